"""Blends of a student of random weights and forests of a task's own sample."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, write_bytes, write_manifest
from spt_core.families.tabular.blending import STUDENT
from spt_core.families.tabular.boosters import Rows, fit_lightgbm, fit_quantile, fit_xgboost
from spt_core.families.tabular.encoding import targets_of
from spt_core.families.tabular.ensemble import BLEND, FORESTS, QUANTILE_FORESTS
from spt_core.families.tabular.outputs import QUANTILES, target_from_json
from spt_core.families.tabular.reading import Encoder
from spt_core.task import Task
from tests.tiny_models import tiny_table_artifact

SHARES = {STUDENT: 0.5, "lightgbm": 0.3, "xgboost": 0.2}
FORESTS_ALONE = {STUDENT: 0.0, "lightgbm": 1.0, "xgboost": 0.0}
CALIBRATIONS = {
    "binary": [1.3, 0.7, -0.2],
    "single_label": [[0.8] * 3, [0.1, 0.0, -0.1]],
    "regression": [[1.0] * 3, [0.0] * 3],
}
LEAST = {"lightgbm": {"min_data_in_leaf": 5, "min_data_per_group": 5}, "xgboost": {"max_depth": 4}}


def tiny_blend(task: Task, folder: str, shares: Mapping[str, float]) -> ModelArtifact:
    """The student and forests of five trees, as one artifact."""
    student = tiny_table_artifact(task, folder)
    contents = {
        **tiny_forests(task, student),
        BLEND: json.dumps({"weights": shares, "calibration": CALIBRATIONS[task.head]}).encode(),
        FACTS: student.read(FACTS),
    }
    if shares[STUDENT]:
        contents[WEIGHTS] = student.read(WEIGHTS)
    uri = f"{folder}/blend-{task.name}-{shares[STUDENT]}"
    files = {name: write_bytes(f"{uri}/{name}", content) for name, content in contents.items()}
    artifact = dataclasses.replace(student, uri=uri, role="blend", files=files)
    write_manifest(uri, artifact.to_json())
    return artifact


def tiny_forests(task: Task, student: ModelArtifact) -> dict[str, bytes]:
    """The files of both forests, and of a number's quantiles."""
    target = target_from_json(json.loads(student.read(FACTS)))
    table, output = task.sample(300, 0), target.output
    features = Encoder(student.signature).table(table)
    targets = targets_of(table[task.label], target).astype(np.float64)
    labels, first = output.forest_labels(targets), len(student.signature.numbers)
    data = Rows(features, labels, features, labels, first, output.objective(target))
    files = {
        FORESTS["lightgbm"]: fit_lightgbm(LEAST["lightgbm"], data, 0, num_rounds=5).to_bytes(),
        FORESTS["xgboost"]: fit_xgboost(LEAST["xgboost"], data, 0, num_rounds=5).to_bytes(),
    }
    if task.head == "regression":
        for quantile, name in zip(QUANTILES, QUANTILE_FORESTS, strict=True):
            files[name] = fit_quantile(quantile, LEAST["lightgbm"], data, 0).to_bytes()
    return files
