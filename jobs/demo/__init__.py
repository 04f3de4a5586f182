"""The story that `python -m jobs.watch demo` tells."""
