"""Techniques that make an exported model smaller, each with the proof of what it costs."""
