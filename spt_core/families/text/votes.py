"""Fits a network's wide part: one logistic regression per class over tokens and pairs of them.

training texts -> counts, weighted by rarity -> votes -> the share of them that calibration rows ask
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from spt_core.families.text.reading import EncodedText
from spt_core.families.text.wide import Wide, buckets

WIDE_TEXTS = 100_000  # that it is fitted on at most
SHARES = (0.0, 0.5, 1.0, 2.0)
MIN_TEXTS = 2  # that a token or pair is in, before it has a vote
_STRENGTH = 10.0  # C, of rarity-weighted counts over _SPREAD
_SPREAD = 5.0  # about a text's mean rarity, so that _STRENGTH means what it means for TF-IDF

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def token_counts(texts: Iterable[EncodedText], wide: Wide, special: Sequence[int]) -> csr_matrix:
    """Counts [N, V + M] of tokens and of pairs' buckets, over the root of each text's tokens."""
    num_tokens, num_buckets = len(wide.token), len(wide.pair)
    values: list[Floats] = []
    columns: list[Ids] = []
    ends = [0]
    for text in texts:
        text_columns: list[Ids] = []
        size = 0
        for window in text.windows:
            ids = np.asarray(window.ids, np.int64)
            is_of_text = ~np.isin(ids, special)
            are_both = is_of_text[:-1] & is_of_text[1:]
            pairs = buckets(ids[:-1], ids[1:], num_buckets)[are_both]
            text_columns += [ids[is_of_text], num_tokens + pairs]
            size += int(is_of_text.sum())
        columns.append(np.concatenate(text_columns))
        values.append(np.full(len(columns[-1]), 1.0 / np.sqrt(max(size, 1))))
        ends.append(ends[-1] + len(columns[-1]))
    counts = csr_matrix(
        (np.concatenate(values), np.concatenate(columns), ends),
        shape=(len(ends) - 1, num_tokens + num_buckets),
    )
    counts.sum_duplicates()
    return counts


def fitted_votes(counts: csr_matrix, targets: Floats) -> tuple[torch.Tensor, torch.Tensor]:
    """Votes [V + M, K] and bias [K] of training texts' counts [N, V + M] and targets [N, K].

    A class that all or none of the texts have gets no votes.
    """
    shape: tuple[int, int] = counts.shape  # pyright: ignore[reportAssignmentType]
    num_texts, num_features = shape
    holding = np.bincount(counts.indices, minlength=num_features)
    rarity = np.log((1 + num_texts) / (1 + holding)) + 1.0
    rarity[holding < MIN_TEXTS] = 0.0
    design = csr_matrix(counts.multiply(rarity / _SPREAD))
    votes = np.zeros((num_features, targets.shape[1]))
    bias = np.zeros(targets.shape[1])
    for k, target in enumerate(targets.T):
        if target.min() == target.max():
            continue
        model = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit(design, target > 0.5)
        learnt: Any = model  # its attributes have no types
        votes[:, k], bias[k] = learnt.coef_[0] * rarity / _SPREAD, learnt.intercept_[0]
    return torch.from_numpy(votes).float(), torch.from_numpy(bias).float()
