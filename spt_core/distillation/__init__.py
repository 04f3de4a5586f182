"""Distillation: `DistillationPipeline(DistillationConfig(...)).distill(teacher, splits)`."""

from typing import TYPE_CHECKING, Any

from spt_core.distillation.config import DistillationConfig, DistillationType

if TYPE_CHECKING:
    from spt_core.distillation.pipeline import DistillationPipeline, share_kept

__all__ = ["DistillationConfig", "DistillationPipeline", "DistillationType", "share_kept"]


def __getattr__(name: str) -> Any:
    """What trains, imported on first use: a configuration needs neither torch nor ray."""
    if name in ("DistillationPipeline", "share_kept"):
        from spt_core.distillation import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
