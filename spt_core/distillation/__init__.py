"""Distillation: `DistillationPipeline(DistillationConfig(...)).distill(teacher, splits)`."""

from spt_core.distillation.config import DistillationConfig
from spt_core.distillation.pipeline import DistillationPipeline, share_kept

__all__ = ["DistillationConfig", "DistillationPipeline", "share_kept"]
