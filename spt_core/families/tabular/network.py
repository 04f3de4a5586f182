"""Tabular family: a TabM teacher and a small student, both with their encoding in the graph.

features [B, F] (numbers, NaN = missing, then category indices) -> logits [B, k]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import tabm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from spt_core.artifacts import Role
from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.outputs import DECISION, Target, target_from_json
from spt_core.heads.beta import IDENTITY
from spt_core.signature import Signature

# A missing number becomes this: below the left edge of every bin, the one for "present" too.
MISSING = -3.0e38
_PRESENT_EDGE = -1.0e38
_NARROWEST = 1e-37  # the inverse of a narrower bin's width is not a float32


class PiecewiseLinearEncoding(nn.Module):
    """[B, N] numbers -> [B, N, bins + 1] in [0, 1]; missing numbers give zeros throughout.

    Bins lie between quantiles of training rows (Gorishniy et al., "On Embeddings for Numerical
    Features in Tabular Deep Learning", NeurIPS 2022), clamped outside; the last one says "present".
    Subtract first, then multiply: both are exact enough to agree between runtimes to 1e-5.
    """

    left: Tensor
    inverse_width: Tensor

    def __init__(self, left: Tensor, inverse_width: Tensor) -> None:
        super().__init__()
        present = torch.full((len(left), 1), _PRESENT_EDGE)
        self.register_buffer("left", torch.cat([left, present], 1))
        self.register_buffer(
            "inverse_width", torch.cat([inverse_width, torch.ones_like(present)], 1)
        )

    def forward(self, numbers: Tensor) -> Tensor:
        """Encoding [B, N, bins + 1]."""
        values = torch.where(torch.isnan(numbers), MISSING, numbers)
        return torch.clamp((values.unsqueeze(2) - self.left) * self.inverse_width, 0.0, 1.0)


class StudentNetwork(nn.Module):
    """Each feature adds a vector to the first hidden layer; the rest is a small MLP.

    That the first layer is a sum over features makes attributions nearly free: leaving a feature
    out, or bringing it in alone, only runs the upper layers again.
    """

    offsets: Tensor
    calibration: Tensor
    scale: Tensor
    shift: Tensor
    baseline: Tensor

    def __init__(
        self, signature: Signature, config: TabularConfig, facts: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.num_numbers = len(signature.numbers)
        num_features = len(signature.columns)
        width, *upper = config.student_hidden
        self._width, self._dropout = width, config.student_dropout
        self._checkpointing = config.gradient_checkpointing
        scale = 1.0 / math.sqrt(max(num_features, 1))
        if self.num_numbers:
            self.encoding = PiecewiseLinearEncoding(*_edges(facts))
            bins = self.encoding.left.shape[1]
            self.number_weight = nn.Parameter(
                torch.randn(self.num_numbers, bins, width) * scale / math.sqrt(bins)
            )
        if signature.cardinalities:
            offsets = np.cumsum([0, *signature.cardinalities[:-1]])
            self.register_buffer("offsets", torch.as_tensor(offsets, dtype=torch.int64))
            self.category_weight = nn.Parameter(
                torch.randn(sum(signature.cardinalities), width) * scale
            )
        self.has_categories = bool(signature.cardinalities)
        self._cardinalities = list(signature.cardinalities)
        self.bias = nn.Parameter(torch.zeros(width))
        self.upper = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise([width, *upper])])
        target = target_from_json(facts)
        size = target.output.num_outputs(target, is_student=True)
        self.output = nn.Linear([width, *upper][-1], size)
        self.is_decision = target.head == DECISION.head
        if self.is_decision:
            self.register_buffer("calibration", torch.tensor(IDENTITY))
        else:
            self.register_buffer("scale", torch.ones(size))
            self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("baseline", torch.zeros(num_features, width))

    def forward(self, features: Tensor) -> Tensor:
        """Uncalibrated logits [B, K]."""
        hidden = self._first(features)
        if self._checkpointing and self.training:
            return checkpoint(self._upper, hidden, use_reentrant=False)
        return self._upper(hidden)

    def score(self, features: Tensor) -> Tensor:
        """Calibrated probabilities [B] of decisions, calibrated scores [B, K] of others."""
        if self.is_decision:
            return torch.sigmoid(self._calibrated(self.forward(features).squeeze(1)))
        return self._calibrated(self.forward(features))

    def scores(self, features: Tensor) -> Tensor:
        """Calibrated scores [B, K]; of decisions, log-odds [B, 1]."""
        return self._calibrated(self.forward(features))

    def scores_of_nothing(self) -> Tensor:
        """Those of a row of which nothing is known [K]."""
        return self._calibrated(self._upper((self.bias + self.baseline.sum(0)).unsqueeze(0)))[0]

    def explain(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and effects [B, F] on the log-odds, or [B, K, F] on the scores.

        A feature's effect is the mean of what leaving it out of the row takes away and what it adds
        to the baseline alone: the first and the last term of its Shapley value (Lundberg and Lee,
        NeurIPS 2017). The baseline is the mean contribution over training rows.
        """
        parts = self._contributions(features)  # [B, F, H]
        num_features = parts.shape[1]
        full = (parts.sum(1) + self.bias).unsqueeze(1)
        nothing = self.bias + self.baseline.sum(0)
        without = (full + self.baseline) - parts
        alone = parts + (nothing - self.baseline)
        hidden = torch.cat([full, without, alone], 1)  # [B, 1 + 2F, H]
        if not self.is_decision:
            scores = self._calibrated(self._upper(hidden))  # [B, 1 + 2F, K]
            of_nothing = self._calibrated(self._upper(nothing.unsqueeze(0)))
            row, out_of = scores[:, :1], scores[:, 1 : 1 + num_features]
            effects = ((row - of_nothing) + (scores[:, 1 + num_features :] - out_of)) * 0.5
            return row.squeeze(1), effects.transpose(1, 2)
        odds = self._calibrated(self._upper(hidden).squeeze(2))
        of_nothing = self._calibrated(self._upper(nothing.unsqueeze(0)).squeeze(1))
        row = odds[:, :1]
        out_of = odds[:, 1 : 1 + num_features]
        into = odds[:, 1 + num_features :]
        return torch.sigmoid(row.squeeze(1)), ((row - of_nothing) + (into - out_of)) * 0.5

    def category_rows(self) -> list[Tensor]:
        """The embedding tables [K + 1, H] of the category columns; row 0 is missing or unseen."""
        if not self.has_categories:
            return []
        return list(self.category_weight.split(self._cardinalities))

    @torch.no_grad()
    def calibrate(self, parameters: Sequence[Any]) -> None:
        """Put a calibration into the graph: (a, b, c) of decisions, else (scale, shift) [K]."""
        if self.is_decision:
            self.calibration.copy_(torch.tensor(parameters))
        else:
            self.scale.copy_(torch.tensor(parameters[0]))
            self.shift.copy_(torch.tensor(parameters[1]))

    @torch.no_grad()
    def set_baseline(self, features: Tensor) -> None:
        """Take the mean contribution of training rows [N, F]."""
        total = torch.zeros_like(self.baseline)
        for part in features.split(4096):
            total += self._contributions(part).sum(0)
        self.baseline.copy_(total / len(features))

    def _first(self, features: Tensor) -> Tensor:
        hidden = self.bias
        if self.num_numbers:
            encoded = self.encoding(features[:, : self.num_numbers]).flatten(1)
            hidden = torch.addmm(self.bias, encoded, self.number_weight.view(-1, self._width))
        if self.has_categories:
            hidden = self._category_rows(features).sum(1) + hidden
        return hidden

    def _contributions(self, features: Tensor) -> Tensor:
        parts: list[Tensor] = []
        if self.num_numbers:
            encoded = self.encoding(features[:, : self.num_numbers])
            parts.append(torch.matmul(encoded.transpose(0, 1), self.number_weight).transpose(0, 1))
        if self.has_categories:
            parts.append(self._category_rows(features))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _category_rows(self, features: Tensor) -> Tensor:
        index = features[:, self.num_numbers :].to(torch.int64) + self.offsets
        return functional.embedding(index, self.category_weight)

    def _upper(self, hidden: Tensor) -> Tensor:
        hidden = functional.relu(hidden)
        for layer in self.upper:
            if self._dropout:
                hidden = functional.dropout(hidden, self._dropout, self.training)
            hidden = functional.relu(layer(hidden))
        return self.output(hidden)

    def _calibrated(self, logits: Tensor) -> Tensor:
        if not self.is_decision:
            return logits * self.scale + self.shift
        a, b, c = self.calibration[0], self.calibration[1], self.calibration[2]
        return a * logits + (b - a) * functional.softplus(logits) + c


class TeacherNetwork(nn.Module):
    """TabM (Gorishniy, Kotelnikov and Babenko, ICLR 2025): k MLPs that share most weights."""

    offsets: Tensor

    def __init__(
        self, signature: Signature, config: TabularConfig, facts: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.num_numbers = len(signature.numbers)
        self.has_categories = bool(signature.cardinalities)
        size = config.teacher_embedding
        self._checkpointing = config.gradient_checkpointing
        if self.num_numbers:
            self.encoding = PiecewiseLinearEncoding(*_edges(facts))
            bins = self.encoding.left.shape[1]
            self.number_weight = nn.Parameter(
                torch.randn(self.num_numbers, bins, size) / math.sqrt(bins)
            )
        if signature.cardinalities:
            offsets = np.cumsum([0, *signature.cardinalities[:-1]])
            self.register_buffer("offsets", torch.as_tensor(offsets, dtype=torch.int64))
            self.categories = nn.Embedding(sum(signature.cardinalities), size)
        num_features = len(signature.columns)
        self.members = tabm.EnsembleView(k=config.teacher_members)
        self.backbone = tabm.make_tabm_backbone(
            d_in=num_features * size,
            n_blocks=config.teacher_blocks,
            d_block=config.teacher_width,
            dropout=config.teacher_dropout,
            k=config.teacher_members,
            start_scaling_init="normal",
            start_scaling_init_chunks=[size] * num_features,
        )
        target = target_from_json(facts)
        self.is_decision = target.head == DECISION.head
        size = target.output.num_outputs(target, is_student=False)
        self.output = tabm.LinearEnsemble(config.teacher_width, size, k=config.teacher_members)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, k] of decisions, [B, k, K] of others."""
        parts: list[Tensor] = []
        if self.num_numbers:
            encoded = self.encoding(features[:, : self.num_numbers])
            embedded = torch.matmul(encoded.transpose(0, 1), self.number_weight).transpose(0, 1)
            parts.append(functional.relu(embedded))
        if self.has_categories:
            index = features[:, self.num_numbers :].to(torch.int64) + self.offsets
            parts.append(self.categories(index))
        flat = torch.cat(parts, 1).flatten(1)
        if self._checkpointing and self.training:
            return checkpoint(self._members, flat, use_reentrant=False)
        return self._members(flat)

    def _members(self, flat: Tensor) -> Tensor:
        logits = self.output(self.backbone(self.members(flat)))
        return logits.squeeze(-1) if self.is_decision else logits


def table_network(
    signature: Signature, role: Role, config: TabularConfig, facts: Mapping[str, Any]
) -> StudentNetwork | TeacherNetwork:
    """A fresh network of that role; a private teacher is a student's, which noise harms less."""
    if not signature.columns:
        raise InputError("a model needs at least one input column, however: there is none")
    is_large = role == "teacher" and not facts.get("is_private", False)
    network = TeacherNetwork if is_large else StudentNetwork
    return network(signature, config, facts)


def table_facts(
    signature: Signature,
    config: TabularConfig,
    sample: NDArray[np.float32],
    targets: NDArray[np.float32],
    target: Target = DECISION,
) -> Mapping[str, Any]:
    """Bin edges, a typical row (medians, commonest categories) as baseline, and the target."""
    labels = target.output.forest_labels(targets.astype(np.float64))
    is_number = target.head == "regression"
    num_numbers = len(signature.numbers)
    left = np.zeros((num_numbers, config.num_bins), np.float32)
    inverse_width = np.zeros_like(left)
    typical = np.full(sample.shape[1], np.nan, np.float32)
    for column in range(num_numbers):
        values = sample[:, column]
        is_present = np.isfinite(values)
        values = values[is_present]
        edges = _edges_of(values, labels[is_present], config.num_bins, is_number=is_number)
        if len(edges) > 1:
            left[column, : len(edges) - 1] = edges[:-1]
            inverse_width[column, : len(edges) - 1] = 1.0 / np.diff(edges)
        if len(values):
            typical[column] = np.median(values.astype(np.float64))
    for column in range(num_numbers, sample.shape[1]):
        typical[column] = np.bincount(sample[:, column].astype(np.int64)).argmax()
    return {
        "left": left.tolist(),
        "inverse_width": inverse_width.tolist(),
        "typical": [None if math.isnan(v) else float(v) for v in typical],
        **target.to_json(),
    }


def _edges(facts: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return torch.tensor(facts["left"]), torch.tensor(facts["inverse_width"])


def _edges_of(
    values: NDArray[np.float32], labels: NDArray[Any], num_bins: int, *, is_number: bool
) -> NDArray[np.float64]:
    """At most num_bins + 1 edges: half from a small tree on the label, half quantiles.

    Quantiles alone collapse where most values are equal, as in rates that are mostly zero.
    """
    distinct = np.unique(values).astype(np.float64)
    if len(distinct) <= num_bins + 1:  # few values: each one its own edge
        return distinct[np.diff(distinct, prepend=-np.inf) > _NARROWEST]
    # The driver alone needs it; workers start sooner.
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    half = num_bins // 2
    kind = DecisionTreeRegressor if is_number else DecisionTreeClassifier
    tree = kind(
        max_leaf_nodes=half + 1, min_samples_leaf=max(10, len(values) // 5000), random_state=0
    ).fit(values[:, None], labels)
    cuts = tree.tree_.threshold[tree.tree_.feature >= 0]
    quantiles = np.quantile(values.astype(np.float64), np.linspace(0, 1, half + 1))
    edges = np.concatenate([distinct[[0, -1]], cuts, quantiles]).astype(np.float32)
    edges = np.unique(edges).astype(np.float64)
    narrowest = max(1e-6 * (edges[-1] - edges[0]), _NARROWEST)
    edges = edges[np.diff(edges, prepend=-np.inf) > narrowest]
    ordered = np.sort(values)
    while len(edges) > num_bins + 1:  # drop the inner edge with the fewest rows around it
        below = np.searchsorted(ordered, edges)
        edges = np.delete(edges, 1 + int(np.argmin(below[2:] - below[:-2])))
    return edges
