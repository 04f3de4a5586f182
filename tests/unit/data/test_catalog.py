"""The catalog's entries, and what is said when files are missing or different."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.conform import conform
from spt_core.data.infer import infer_columns
from spt_core.data.labels import class_counts, num_saying, rule_of
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.signature import Field
from spt_core.task import find

COMPLIANCE = "financial_services/regulatory_compliance"


def test_an_unknown_name_points_to_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nearest is 'credit-german'"):
        open_dataset("credit-germany", data_home=str(tmp_path), storage=str(tmp_path))


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_missing_file_says_where_it_should_be_and_whence(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}.*there is no file://.*get it from https://"):
        open_dataset(name, data_home=str(tmp_path), storage=str(tmp_path))


def test_another_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "financial_services" / "credit-german"
    folder.mkdir(parents=True)
    (folder / "german.data").write_text("A11 6\n")
    with pytest.raises(CorruptArtifactError, match="sha256"):
        open_dataset("credit-german", data_home=str(tmp_path), storage=str(tmp_path))


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_opens_with_its_roles(name: str, data_home: str, tmp_path: Path) -> None:
    dataset = DATASETS[name]
    corpus = open_dataset(name, data_home=data_home, storage=as_uri(tmp_path))
    assert set(dataset.roles.protected) <= set(corpus.protected)
    assert corpus.group == dataset.roles.group
    columns = infer_columns(corpus, find(dataset.task))
    features = {field.name for field in columns.features}
    assert not features & {*dataset.roles.drop, *dataset.roles.protected, dataset.roles.label}
    assert {field.name for field in dataset.roles.declared} - set(corpus.protected) <= features


def read_and_checked(name: str, data_home: str) -> tuple[pa.Table, pa.Table]:
    """The good and the bad rows of a data set on text, all in memory."""
    dataset = DATASETS[name]
    task = find(dataset.task)
    assert dataset.read is not None
    table = dataset.read(f"{as_uri(data_home)}/{task.industry}/{name}")
    return conform(
        table.append_column("__row", pa.array(range(table.num_rows))),
        [*task.fields, Field(name=dataset.roles.group or "", kind="entity")],
        label=dataset.roles.label,
        labels=rule_of(task),
    )


def counts(name: str, rows: pa.Table) -> dict[str, int]:
    dataset = DATASETS[name]
    return class_counts(rows[dataset.roles.label], rule_of(find(dataset.task)))


def test_the_terms_of_service_are_those_of_forty_documents(data_home: str) -> None:
    good, bad = read_and_checked("compliance-unfair-tos", data_home)
    assert (good.num_rows, bad.num_rows) == (14_407 - 986, 0)
    assert len(set(good["document"].to_pylist())) == 40
    assert num_saying(good["risk_categories"], rule_of(find(COMPLIANCE))) == 1085
    expected = {"a": 53, "ch": 170, "cr": 75, "j": 81, "law": 66, "ltd": 391, "pinc": 28}
    assert counts("compliance-unfair-tos", good) == {**expected, "ter": 224, "use": 91}


def test_obliqa_has_weak_topics_and_one_passage_that_is_too_long(data_home: str) -> None:
    good, bad = read_and_checked("compliance-obliqa", data_home)
    assert (good.num_rows, bad.num_rows) == (12_395, 1)
    assert len(set(good["document"].to_pylist())) == 40
    assert len(counts("compliance-obliqa", good)) == 47
    assert "WEAK" in DATASETS["compliance-obliqa"].notes


def test_the_ddi_corpus_has_every_pair_over_spans_that_are_the_mentions(data_home: str) -> None:
    good, bad = read_and_checked("ddi-corpus-2013", data_home)
    assert (good.num_rows, bad.num_rows) == (3789, 0)
    sizes = [len(json.loads(spans)) for spans in good["spans"].to_pylist()]
    assert sum(size * (size - 1) // 2 for size in sizes) == 27_792
    found = counts("ddi-corpus-2013", good)
    assert found == {"advise": 826, "effect": 1687, "int": 188 + 1, "mechanism": 1319}
    assert sum(found.values()) == 4021
    texts = zip(good["text"].to_pylist(), good["spans"].to_pylist(), strict=True)
    mentions = {t[s["start"] : s["end"]].lower() for t, spans in texts for s in json.loads(spans)}
    assert {"warfarin", "digoxin", "cimetidine", "anticoagulants"} <= mentions


def test_tram_has_fifty_techniques_of_149_reports(data_home: str) -> None:
    good, bad = read_and_checked("tram-attack", data_home)
    assert (good.num_rows, bad.num_rows) == (5089, 0)
    assert len(set(good["report"].to_pylist())) == 149
    found = counts("tram-attack", good)
    assert (len(found), found["T1027"], min(found.values())) == (50, 685, 4)
