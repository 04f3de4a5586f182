"""Training on Ray Train: `SpecializedModelTrainer(TrainingConfig(...)).train(data)`."""

from spt_core.training.config import TrainingConfig
from spt_core.training.trainer import SpecializedModelTrainer

__all__ = ["SpecializedModelTrainer", "TrainingConfig"]
