"""The best model that fits a budget: `DomainOptimizer(OptimizationConfig(...)).optimize_model`."""

from typing import TYPE_CHECKING, Any

from spt_core.optimization.config import (
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
    SearchConfig,
)

if TYPE_CHECKING:
    from spt_core.optimization.optimizer import DomainOptimizer, OptimizationResult

__all__ = [
    "DomainOptimizer",
    "OptimizationConfig",
    "OptimizationResult",
    "OptimizationTechnique",
    "OptimizationType",
    "SearchConfig",
]


def __getattr__(name: str) -> Any:
    """What trains, imported on first use: a configuration needs neither torch nor ray."""
    if name in ("DomainOptimizer", "OptimizationResult"):
        from spt_core.optimization import optimizer

        return getattr(optimizer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
