"""A small world of publications: splits of a text task, champions of it, a ledger with items."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from industries.technology.security_analysis import DECIDING
from spt_core.artifacts import ExportedModel, ModelArtifact, as_uri, write_manifest
from spt_core.continuous.ledger import (
    Fence,
    Item,
    Ledger,
    Retrain,
    Source,
    SourceResult,
    Trigger,
)
from spt_core.continuous.retraining import candidate_sha
from spt_core.data.corpus import HASH, ROW, Corpus
from spt_core.data.hashing import row_hashes
from spt_core.data.labels import LabelRule
from spt_core.data.partition import PARTS
from spt_core.data.splits import SplitConfig, Splits
from spt_core.policy import LabelPolicy
from spt_core.registry import ModelVersion, Registry
from spt_core.signature import Signature
from spt_core.task import Task, find

SECURITY = "technology/security_analysis"
BUCKET = "technology.security_analysis"
MODEL = f"{SECURITY}/default"
CLASSES = tuple(sorted(DECIDING))
SIZES = {"train": 80, "validation": 20, "calibration": 20, "test": 60}


def task() -> Task:
    """The task with its classes named, for models that no training row has taught them."""
    return dataclasses.replace(find(SECURITY), classes=CLASSES)


def rows(num_rows: int, seed: int, first: int = 0) -> pa.Table:
    """Typed rows as `split` writes them, with a column of regions beside."""
    sampled = find(SECURITY).sample(num_rows, seed)
    typed = {name: sampled[name].cast(pa.large_string()) for name in sampled.column_names}
    regions = [("north", "south")[number % 5 == 0] for number in range(num_rows)]
    table = pa.table({**typed, "region": pa.array(regions, pa.large_string())})
    table = table.append_column(ROW, pa.array(np.arange(first, first + num_rows)))
    return table.append_column(HASH, pa.array(row_hashes(table, ["text"])))


def splits(folder: Path) -> Splits:
    """Four parts in storage; no Ray."""
    uri, first = as_uri(folder / "splits" / "one"), 0
    counts: dict[str, int] = {}
    fingerprints: dict[str, str] = {}
    for seed, part in enumerate(PARTS):
        found = rows(SIZES[part], seed, first)
        first += found.num_rows
        (folder / "splits" / "one" / part).mkdir(parents=True)
        pq.write_table(found, folder / "splits" / "one" / part / "0.parquet")
        counts[part] = found.num_rows
        names = ["text", "report", "technique", "region"]
        total = int(row_hashes(found, names).sum(dtype=np.uint64))
        fingerprints[part] = f"{found.num_rows}-{total:016x}"
    made = Splits(
        uri=uri,
        task=SECURITY,
        corpus=Corpus(
            uris=("memory",), format="parquet", name="toy", identity="0", label="technique",
            group="report",
        ),
        config=SplitConfig(),
        kind="group",
        signature=Signature(fields=find(SECURITY).fields),
        label="technique",
        num_rows=counts,
        num_positives=counts,
        fingerprints=fingerprints,
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="180-0",
        code_fingerprint="c",
        licences=("MIT",),
        labels=LabelRule(head="single_label"),
        classes=CLASSES,
    )  # fmt: skip
    write_manifest(uri, made.to_json())
    return made


def artifact(folder: Path, seed: int, splits_uri: str = "") -> ModelArtifact:
    """An untrained model that tells the techniques apart."""
    from tests.tiny_models import tiny_text_artifact  # torch takes seconds

    made = tiny_text_artifact(task(), as_uri(folder), seed=seed)
    made = dataclasses.replace(made, splits=splits_uri)
    write_manifest(made.uri, made.to_json())
    return made


def item(key: str, text: str, **values: Any) -> Item:
    """A publication of the bucket."""
    content = hashlib.sha256(text.encode()).hexdigest()
    told = {"source_id": "cert", "bucket": BUCKET, "title": f"Advisory {key}", **values}
    return Item(item_key=key, content_sha=content, text=text, **told)


def begun(ledger: Ledger, fence: Fence, *items: Item, **trigger: Any) -> Retrain:
    """A retraining on the items, QUEUED."""
    names = sorted({one.source_id for one in items})
    sources = [Source(source_id=n, kind="rss", url=f"https://{n}.example/") for n in names]
    ledger.upsert_sources(sources, actor="olga")

    def decide(pending: Any) -> Trigger:
        refs = tuple(one.ref for one in pending)
        return Trigger(bucket=BUCKET, items=refs, reason="a test", **trigger)

    results = [
        SourceResult(source=source, items=tuple(i for i in items if i.source_id == n))
        for n, source in zip(names, sources, strict=True)
    ]
    (made,) = ledger.ingest(fence, results, decide).retrains
    return made


def version(registry: Registry, seed: int, report: dict[str, Any] | None = None) -> ModelVersion:
    """A registered model of the task that is nothing but its name."""
    made = ModelArtifact(
        uri=f"file:///artifacts/{seed}",
        task=SECURITY,
        model_name="default",
        family="text",
        role="student",
        signature=Signature(fields=find(SECURITY).fields),
        files={},
        config={},
        metrics={},
        seed=seed,
        data_fingerprint="d",
        code_fingerprint="c",
        splits="file:///splits",
    )
    model = ExportedModel(
        uri=f"{made.uri}/onnx", artifact=made, files={}, parity={}, probes={}, size_bytes=1
    )
    policy = LabelPolicy(thresholds={}, most_probable=True)
    return registry.add(model, policy, report or {}, created_by="test", report_uri="file:///r.html")


def evaluation(value: float = 0.82, **more: Any) -> dict[str, Any]:
    """What `compare` and the job found: a candidate beside a champion of 0.8."""

    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.02, "high": value + 0.02}

    one = {
        "name": "held-out rows",
        "uri": "file:///splits/test",
        "fingerprint": "60-1",
        "num_rows": 60,
        "num_groups": 3,
        "champion": figure(0.8),
        "candidate": figure(value),
        "difference": figure(value - 0.8),
        "others": {},
        "slices": [],
        "churn": 0.05,
    }
    golden = [
        {"record": {"text": f"text {n}"}, "labels": ["T1027"], "candidate_right": True}
        for n in range(10)
    ]
    example = {
        "set": "held-out rows", "record": {"text": "a <b>text</b>"}, "true": ["T1027"],
        "champion": ["T1055"], "candidate": ["T1027"],
        "champion_probability": 0.6, "candidate_probability": 0.9,
    }  # fmt: skip
    found = {"metric": "macro_f1", "lower_is_better": False, "sets": [one], "examples": [example]}
    return {
        **found, "golden": golden, "compliance": {}, "new_classes": [],
        "vocabulary": {"added": []}, "data": {"num_new": 2, "num_replayed": 80}, **more,
    }  # fmt: skip


def trained(
    ledger: Ledger,
    fence: Fence,
    made: Retrain,
    folder: Path,
    candidate: ModelVersion,
    *,
    champion: str = f"{MODEL}@1",
    **found: Any,
) -> Retrain:
    """The retraining once its job has stored a candidate."""
    submission = made.submission_id or ""
    ledger.submitted(fence, submission)
    claim = ledger.claim_run(submission, host=f"job {submission}")
    sha = candidate_sha(candidate.exported, candidate.policy)
    result = {
        "submission_id": submission,
        "retrain_id": made.retrain_id,
        "candidate_version": candidate.ref,
        "candidate_sha": sha,
        "champion_before": champion,
        "evaluation_set_sha": "e",
        "evaluation": evaluation(**found),
        "code_fingerprint": "c",
        "configuration": {"mlm_steps": 0},
        "data_fingerprint": "d",
        "labels": [],
    }
    path = folder / f"{submission}.json"
    path.write_text(json.dumps(result))
    ledger.finish_run(claim, path.as_uri(), sha)
    ledger.trained(fence, submission)
    return ledger.retrain(made.retrain_id)
