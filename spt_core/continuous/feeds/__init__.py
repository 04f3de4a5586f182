"""Documents of sources -> items: a kind of feed in each file."""
