"""The teacher of a series: InceptionTime members, and a booster on windows' statistics beside them.

Splits -> encoded windows -> Ray Train (networks) -> booster, blend, calibration -> files
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, Role
from spt_core.data.read import Dataset
from spt_core.data.series import windows_of
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.series.boosters import WindowBooster, fit_booster
from spt_core.families.series.encoding import standard, usual_rows
from spt_core.families.series.ensemble import (
    BLEND,
    BOOSTER,
    USUAL,
    TeacherEnsemble,
    best_share,
    network_outputs,
)
from spt_core.families.series.facts import sequence_field, series_facts, with_seen
from spt_core.families.series.learner import LEARNER, SCORING_ROWS
from spt_core.families.series.reading import filled
from spt_core.families.series.rows import Labelled, encoded_dataset, encoded_part, part_table
from spt_core.families.series.scores import calibration_of, figures
from spt_core.families.series.usual import (
    anomaly_figures,
    fit_usual,
    parts_of,
    usual_bytes,
    usual_windows,
)
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.task import find

FACT_ROWS = 20_000
HELD_OUT_ROWS = 20_000


class SeriesTeaching:
    """The FitPlan of a teacher."""

    role: Role = "teacher"
    scratch: Sequence[str] = ()

    def __init__(
        self, splits: Splits, config: TrainingConfig, twin: ModelArtifact | None = None
    ) -> None:
        if config.class_weighting != "none":
            raise InputError(
                "class_weighting must be none for the series family, however: it is "
                f"{config.class_weighting!r}"
            )
        self._splits, self._config, self._task = splits, config, find(splits.task)
        self._twin, self._field = twin, sequence_field(splits.signature).name
        self.identity: Sequence[Any] = [
            splits.signature.to_json(),
            *([twin.files] if twin else []),
        ]

    def prepare(self, name: str) -> TrainingRun:
        """Facts of the training rows."""
        del name
        splits, config = self._splits, self._config
        facts, signature = facts_of(splits)
        if self._twin is not None:  # what its calibration was fitted to
            facts = json.loads(self._twin.read(FACTS))
        self._run = series_run(self.role, splits, config, facts, signature)
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """Encoded windows."""
        return encoded_dataset(self._splits, part, self._field, self._run.facts)

    def finish(self, weights: bytes) -> Trained:
        """The networks and the booster, blended on validation rows."""
        if self._twin is not None:
            return self._finish_like(self._twin, weights)
        facts, splits = self._run.facts, self._splits
        network = LEARNER.network(self._run).eval()
        network.load_state_dict(load_weights(weights))
        if self._task.head == "anomalies":
            return self._finish_usual(network, weights)
        windows, targets = encoded_part(splits, "validation", self._field, facts, HELD_OUT_ROWS)
        booster, share = self._booster((windows, targets)), 0.0
        if booster is not None:
            scores, boosted = network_outputs(network, windows, facts), booster.outputs(windows)
            share = best_share(scores, boosted, targets.astype(np.float64), facts)
        ensemble = TeacherEnsemble(network, facts, booster, share)
        calibration = calibration_of(self._task, splits, self._field, facts, ensemble.outputs)
        metrics = figures(self._task, facts, targets, ensemble.outputs(windows), calibration)
        blend = {"booster": share, "scale": calibration[0], "shift": calibration[1]}
        files = {WEIGHTS: weights, BLEND: json.dumps(blend).encode()}
        if booster is not None:
            files[BOOSTER] = booster.to_text().encode()
        return Trained(files, {**metrics, "booster_weight": share})

    def _finish_usual(self, network: nn.Module, weights: bytes) -> Trained:
        """What is usual beside the networks: components, noise and units."""
        facts, splits = self._run.facts, self._splits

        def expect(windows: NDArray[np.float32]) -> NDArray[np.float64]:
            return network_outputs(network, windows, facts)

        size = self._config.network.components
        usual = fit_usual(*usual_windows(splits, self._field, facts), facts, size, expect)

        def score(windows: NDArray[np.float32]) -> NDArray[np.float64]:
            error = standard(windows[:, -1], facts) - expect(windows)
            return parts_of(windows, error, usual, facts).sum((0, 2, 3))[:, None]

        metrics = anomaly_figures(self._task, splits, self._field, score)
        return Trained({WEIGHTS: weights, USUAL: usual_bytes(usual)}, metrics)

    def _booster(self, held_out: Labelled | None, num_trees: int = 0) -> WindowBooster | None:
        """Stopped early on held-out windows, or with so many trees."""
        network = self._config.network
        if not network.booster_rows or self._task.head == "forecasts":
            return None
        facts, limit = self._run.facts, network.booster_rows
        return fit_booster(
            self._task.head,
            encoded_part(self._splits, "train", self._field, facts, limit),
            held_out,
            num_trees=num_trees or network.booster_trees,
            seed=self._config.seed,
        )

    def _finish_like(self, twin: ModelArtifact, weights: bytes) -> Trained:
        """With a twin's blend, trees and figures: every row that could choose them trained this."""
        kept = [name for name in (BLEND, USUAL) if name in twin.files]
        files = {WEIGHTS: weights, **{name: twin.read(name) for name in kept}}
        if BOOSTER in twin.files:
            own = WindowBooster(twin.read(BOOSTER).decode(), self._task.head)
            booster = self._booster(None, own.num_trees)
            assert booster is not None, "a twin is of the same configuration"
            files[BOOSTER] = booster.to_text().encode()
        return Trained(files, dict(twin.metrics))


def facts_of(splits: Splits) -> tuple[dict[str, Any], Any]:
    """What the training rows tell, and the Signature that says what they span."""
    task, field = find(splits.task), sequence_field(splits.signature)
    assert field.shape is not None
    table = part_table(splits, "train", FACT_ROWS)
    raw = {"head": task.head}
    table = usual_rows(table, raw)
    if not table.num_rows:
        raise InputError(
            "training must have windows that hold no anomaly, however: none of "
            f"{splits.num_rows['train']:,} is"
        )
    raw_windows = windows_of(table[field.name], field.shape)
    windows = filled(raw_windows)
    values = None
    if task.head == "regression":
        values = np.asarray(table[splits.label], np.float64)
    facts = series_facts(
        field.shape,
        windows,
        head=task.head,
        classes=splits.classes,
        values=values,
        target=splits.label,
    )
    return facts, with_seen(splits.signature, field.name, raw_windows)


def series_run(
    role: Role,
    splits: Splits,
    config: TrainingConfig,
    facts: Mapping[str, Any],
    signature: Any,
    *,
    num_rows: int | None = None,
) -> TrainingRun:
    """The run of a network; `num_rows` are the training rows of the splits unless given."""
    return TrainingRun(
        learner=LEARNER,
        signature=signature,
        role=role,
        config=config,
        facts=facts,
        num_rows=splits.num_rows["train"] if num_rows is None else num_rows,
        row_bytes=4 * (int(facts["length"]) * len(facts["center"]) + 8),
        scoring_rows=SCORING_ROWS,
        head=facts["head"],
    )
