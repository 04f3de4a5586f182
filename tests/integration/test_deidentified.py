"""A corpus whose texts are de-identified: parts, quarantine and lineage, by the job itself."""

import json

import pyarrow.parquet as pq
import pytest

from industries.healthcare.identifiers import VERSION
from spt_core.artifacts import filesystem
from spt_core.data.partition import PARTS
from spt_core.data.splits import load_splits

TASK = "financial_services/regulatory_compliance"


@pytest.mark.ray
def test_a_de_identified_corpus_is_trained_on_without_its_identifiers(tmp_path, job):
    rows = [
        {
            "text": f"Clause {n}: write to user{n}@example.org, SSN 078-05-{1000 + n}.",
            "risk_categories": '["ter"]' if n % 3 else "[]",
            "customer": f"Jane Doe{n % 60}",
        }
        for n in range(300)
    ]
    bad = {"text": "", "risk_categories": "[]", "customer": "Jane Roe", "mail": "jane@example.org"}
    source = tmp_path / "clauses.jsonl"
    source.write_text("\n".join(map(json.dumps, [*rows, bad])))
    ended = job(
        "prepare",
        TASK,
        *("--data", str(source), "--group", "customer", "--set", "data.deidentify=true"),
        *("--storage", str(tmp_path / "storage")),
    )
    assert ended.code == 0, ended.err
    assert "by patterns alone, which find no names" in ended.err
    splits = load_splits(json.loads(ended.out.splitlines()[-1])["uri"])
    assert splits.deidentified["replaced"] == {"email": 300, "ssn": 300}
    assert splits.deidentified["patterns"] == VERSION
    assert sum(splits.quarantine.values()) == 1
    assert splits.deidentified["pseudonyms"] == "customer"
    assert "customer written by pseudonyms" in ended.err
    files, path = filesystem(f"{splits.uri}/quarantine.parquet")
    (record,) = pq.read_table(path, filesystem=files)["record"].to_pylist()
    assert "Jane" not in record
    assert "jane" not in record
    assert json.loads(record)["customer"] == "[WITHHELD]"
    groups = [set[str]() for _ in PARTS]
    for part, seen in zip(PARTS, groups, strict=True):
        for uri in splits.files(part):
            files, path = filesystem(uri)
            rows = pq.read_table(path, filesystem=files)
            texts = rows["text"].to_pylist()
            seen.update(rows["customer"].to_pylist())
            assert all("[EMAIL]" in text and "@" not in text for text in texts)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 60
    assert not any("Jane" in name for name in set.union(*groups))
