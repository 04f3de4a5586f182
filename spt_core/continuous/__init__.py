"""Continuous training: from a publication to a model in production, with nothing lost."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spt_core.continuous.options import WatchOptions
    from spt_core.continuous.pipeline import ContinuousTrainingPipeline

__all__ = ["ContinuousTrainingPipeline", "WatchOptions"]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: parser processes and task files come here too."""
    if name == "ContinuousTrainingPipeline":
        from spt_core.continuous.pipeline import ContinuousTrainingPipeline

        return ContinuousTrainingPipeline
    if name == "WatchOptions":
        from spt_core.continuous.options import WatchOptions

        return WatchOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
