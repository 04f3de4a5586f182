"""Training on Ray Train: `SpecializedModelTrainer(TrainingConfig(...)).train(data)`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spt_core.fitting.config import TrainingConfig
    from spt_core.training.trainer import SpecializedModelTrainer

__all__ = ["SpecializedModelTrainer", "TrainingConfig"]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: every worker process imports this package."""
    if name == "TrainingConfig":
        from spt_core.fitting.config import TrainingConfig

        return TrainingConfig
    if name == "SpecializedModelTrainer":
        from spt_core.training.trainer import SpecializedModelTrainer

        return SpecializedModelTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
