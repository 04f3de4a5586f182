"""A model that names held-out rows, without a training: random weights, rows of a task's sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import ExportedModel, ModelArtifact, as_uri, write_manifest
from spt_core.data.corpus import SAMPLE, Corpus
from spt_core.data.partition import PARTS
from spt_core.data.splits import SplitConfig, Splits
from spt_core.model import SpecializedModel
from spt_core.policy import Policy
from spt_core.task import find


def splits_of(artifact: ModelArtifact, table: pa.Table, folder: Path, **changes: Any) -> Splits:
    """Splits whose every part holds the rows, stored below a folder."""
    task, uri = find(artifact.task), as_uri(folder / "splits")
    for part in PARTS:
        (folder / "splits" / part).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "splits" / part / "0.parquet")
    counts = {part: table.num_rows for part in PARTS}
    corpus: dict[str, Any] = {"name": SAMPLE, "time": task.time, "group": task.group}
    splits = Splits(
        uri=uri,
        task=task.path,
        corpus=Corpus(
            uris=(), format="parquet", identity="tiny", **{**corpus, **changes.pop("corpus", {})}
        ),
        config=SplitConfig(),
        kind="random",
        signature=artifact.signature,
        label=task.label,
        num_rows=counts,
        num_positives=counts,
        fingerprints=changes.pop("fingerprints", {part: "tiny" for part in PARTS}),
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        synthetic=True,
        protected=changes.pop("protected", ()),
        **changes,
    )
    write_manifest(uri, splits.to_json())
    return splits


def held_out(
    source: ModelArtifact | ExportedModel,
    table: pa.Table,
    folder: Path,
    *,
    policy: Policy | None = None,
    **changes: Any,
) -> SpecializedModel:
    """The model that names such splits."""
    artifact = source.artifact if isinstance(source, ExportedModel) else source
    splits = splits_of(artifact, table, folder, **changes)
    own = dataclasses.replace(artifact, splits=splits.uri)
    if isinstance(source, ExportedModel):
        return SpecializedModel(dataclasses.replace(source, artifact=own), policy=policy)
    return SpecializedModel(own, policy=policy)
