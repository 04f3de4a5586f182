"""Untrained students in seconds: real artifacts, exports and registry entries for tests."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch
from safetensors.torch import save

from spt_core.artifacts import ExportedModel, ModelArtifact, write_bytes, write_manifest
from spt_core.encoder import Encoder
from spt_core.export import export
from spt_core.models.tabular import TABULAR, TabularConfig
from spt_core.signature import Field, Signature
from spt_core.task import Task

FRAUD = "financial_services/fraud_detection"
RISK = "financial_services/risk_assessment"
NUM_ROWS = 400


def tiny_export(task: Task, folder: str, *, seed: int = 0, name: str = "default") -> ExportedModel:
    """An exported student of random weights that takes the task's own fields."""
    torch.manual_seed(seed)
    table = task.sample(NUM_ROWS, 0)
    fields = [_with_categories(field, table) for field in task.fields]
    signature = Signature(
        fields=(*fields, *(window.as_field() for window in task.windows)), windows=task.windows
    )
    config = TabularConfig(num_bins=8, student_hidden=(16, 8))
    rows = Encoder(signature).table(table)
    labels = np.asarray(table[task.label], np.float32)
    facts = TABULAR.facts(signature, config, rows, labels)
    network = TABULAR.build(signature, "student", config, facts)
    network.set_baseline(torch.from_numpy(rows))
    uri = f"{folder}/{task.name}-{name}-{seed}"
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name=name,
        family="tabular",
        role="student",
        signature=signature,
        files={
            "network.safetensors": write_bytes(
                f"{uri}/network.safetensors", save(network.state_dict())
            ),
            "facts.json": write_bytes(f"{uri}/facts.json", json.dumps(facts).encode()),
        },
        config={"network": json.loads(json.dumps(dataclasses.asdict(config)))},
        metrics={},
        seed=seed,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
    )
    write_manifest(uri, artifact.to_json())
    return export(artifact)


def _with_categories(field: Field, table: object) -> Field:
    if field.kind != "category":
        return field
    values = sorted(set(table[field.name].to_pylist()))  # a pyarrow table
    return dataclasses.replace(field, categories=tuple(values))
