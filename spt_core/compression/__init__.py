"""What a served model may take, what it is chosen among, and what makes it smaller, with proof."""
