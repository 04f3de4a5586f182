"""Distillation: `DistillationPipeline(DistillationConfig(...)).distill(teacher, splits)`."""

from spt_core.distillation.config import DistillationConfig
from spt_core.distillation.pipeline import DistillationPipeline

__all__ = ["DistillationConfig", "DistillationPipeline"]
