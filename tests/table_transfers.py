"""Teachers of tables of random weights, with their splits in storage; no Ray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, as_uri, write_bytes, write_manifest
from spt_core.data.corpus import ROW, Corpus
from spt_core.data.partition import PARTS
from spt_core.data.splits import SplitConfig, Splits
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.encoding import targets_of
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.outputs import Target
from spt_core.families.tabular.reading import Encoder
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Field, Signature
from spt_core.task import Task

NETWORK = TabularConfig(
    num_bins=6, teacher_members=2, teacher_blocks=2, teacher_width=8, teacher_embedding=3
)


def table_splits(task: Task, folder: Path, num_rows: int = 200) -> Splits:
    """Four parts of the task's sample, its own fields alone."""
    uri = as_uri(folder / task.name)
    names = [field.name for field in task.fields]
    fields: list[Field] = []
    for seed, part in enumerate(PARTS):
        sampled = task.sample(num_rows, seed)
        table = sampled.select([*names, task.label])
        table = table.append_column(ROW, pa.array(np.arange(num_rows) + seed * num_rows))
        (folder / task.name / part).mkdir(parents=True)
        pq.write_table(table, folder / task.name / part / "0.parquet")
        if part == "train":
            fields = [_with_categories(field, table) for field in task.fields]
    splits = Splits(
        uri=uri,
        task=task.path,
        corpus=Corpus(uris=("memory",), format="parquet", name="toy", identity="0"),
        config=SplitConfig(),
        kind="random",
        signature=Signature(fields=tuple(fields)),
        label=task.label,
        num_rows=dict.fromkeys(PARTS, num_rows),
        num_positives=dict.fromkeys(PARTS, 10),
        fingerprints=dict.fromkeys(PARTS, "f"),
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="d",
        code_fingerprint="c",
        licences=(f"the licence of {task.name}",),
    )
    write_manifest(uri, splits.to_json())
    return splits


def table_run(splits: Splits, network: TabularConfig = NETWORK) -> TrainingRun:
    """The run of a teacher on the splits."""
    table = splits.table("train")
    features = Encoder(splits.signature).table(table)
    target = Target(head="binary")
    targets = targets_of(table[splits.label], target)
    return TrainingRun(
        learner=LEARNER,
        signature=splits.signature,
        role="teacher",
        config=TrainingConfig(network=network),
        facts=table_facts(splits.signature, network, features, targets, target),
        num_rows=table.num_rows,
        row_bytes=100,
        scoring_rows=SCORING_ROWS,
    )


def table_teacher(splits: Splits, folder: Path, network: TabularConfig = NETWORK) -> ModelArtifact:
    """A teacher of random weights of the splits."""
    run = table_run(splits, network)
    torch.manual_seed(3)
    weights = LEARNER.network(run).state_dict()
    uri = as_uri(folder / f"teacher-{splits.task.replace('/', '-')}")
    contents: dict[str, Any] = {WEIGHTS: save(weights), FACTS: json.dumps(run.facts).encode()}
    artifact = ModelArtifact(
        uri=uri,
        task=splits.task,
        model_name="default",
        family="tabular",
        role="teacher",
        signature=splits.signature,
        files={name: write_bytes(f"{uri}/{name}", data) for name, data in contents.items()},
        config=json.loads(json.dumps(dataclasses.asdict(run.config))),
        metrics={},
        seed=0,
        data_fingerprint="d",
        code_fingerprint="c",
        splits=splits.uri,
        licences=splits.licences,
    )
    write_manifest(uri, artifact.to_json())
    return artifact


def _with_categories(field: Field, table: pa.Table) -> Field:
    if field.kind != "category":
        return field
    values = table[field.name].drop_null().unique().to_pylist()
    return dataclasses.replace(field, categories=tuple(sorted(values)))
