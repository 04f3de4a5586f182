"""Checkpoint -> files to serve from, refused unless they answer like the checkpoint."""

from spt_core.export.exporter import export

__all__ = ["export"]
