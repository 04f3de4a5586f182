"""Domain vocabulary: a base encoder with tokens for an industry's words, kept only if it helps.

Base + terms or texts -> Extension -> bits per byte and task score, before and after -> Verdict
"""

from spt_core.vocabulary.manager import (
    Added,
    DomainVocabularyManager,
    Extension,
    VocabularyConfig,
)

__all__ = ["Added", "DomainVocabularyManager", "Extension", "VocabularyConfig"]
