"""Serving on Ray Serve. Always import from its modules: Ray has a `serve` of its own."""
