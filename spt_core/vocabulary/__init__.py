"""Domain vocabulary: a base encoder with tokens for an industry's words, kept only if it helps.

Base + terms or texts -> Extension -> bits per byte and task score, before and after -> Verdict
"""

from typing import TYPE_CHECKING, Any

from spt_core.vocabulary.config import VocabularyConfig

if TYPE_CHECKING:
    from spt_core.vocabulary.manager import Added, DomainVocabularyManager, Extension

__all__ = ["Added", "DomainVocabularyManager", "Extension", "VocabularyConfig"]


def __getattr__(name: str) -> Any:
    """What fits embeddings, imported on first use: a configuration needs no torch."""
    if name in ("Added", "DomainVocabularyManager", "Extension"):
        from spt_core.vocabulary import manager

        return getattr(manager, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
