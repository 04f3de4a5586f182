"""Rows of a table: numbers, categories, times and what is known of an entity."""
