"""The best model that keeps its limits: candidates of a teacher and its student, measured."""

from typing import TYPE_CHECKING, Any

from spt_core.optimization.limits import Limits

if TYPE_CHECKING:
    from spt_core.optimization.selection import FrontPoint, Selection, select

__all__ = ["FrontPoint", "Limits", "Selection", "select"]


def __getattr__(name: str) -> Any:
    """What measures, imported on first use: limits need neither torch nor ray."""
    if name in ("FrontPoint", "Selection", "select"):
        from spt_core.optimization import selection

        return getattr(selection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
