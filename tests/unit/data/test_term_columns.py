"""Columns of terms and of pairs in a corpus: how they are told, counted, held against labels."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.data.conform import conform
from spt_core.data.corpus import ROW, Corpus
from spt_core.data.formats import jsonl_rows
from spt_core.data.infer import columns_of
from spt_core.data.kinds import parse_type
from spt_core.data.leakage import refuse_label_like
from spt_core.data.likeness import oddities
from spt_core.data.partition import Partition, Written, write_parts
from spt_core.data.sampling import sample_of
from spt_core.errors import InputError
from spt_core.signature import Field, Signature
from tests.unit.data.examples import TASK, rows

CORPUS = Corpus(uris=("memory",), format="parquet", name="toy", identity="0", label="y")
TERMS = Field(name="codes", kind="terms", required=False)
DRAW = np.random.default_rng(0)
LABELS = (DRAW.random(600) < 0.3).astype(np.float32)


def kinds(corpus, **columns):
    table = rows(200)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return {f.name: f.kind for f in columns_of(sample_of(table), corpus, TASK).features}


def test_a_column_of_lists_is_one_of_terms_and_text_is_where_it_is_said():
    lists = [["a", "b"], ["c"]] * 100
    assert kinds(CORPUS, codes=lists)["codes"] == "terms"
    corpus = dataclasses.replace(CORPUS, types=("codes:terms", "bp:number_pair"))
    told = kinds(corpus, codes=["a;b", "c"] * 100, bp=["120/80", "150/95"] * 100)
    assert (told["codes"], told["bp"]) == ("terms", "number_pair")


def test_lists_of_a_line_of_json_are_read_as_they_are():
    lines = [b'{"p": {"codes": ["a", "b"]}}', b'{"p": {"codes": []}}', b'{"p": {"codes": null}}']
    raw = jsonl_rows(lines, 0)
    good, bad = conform(raw.table, [dataclasses.replace(TERMS, name="p.codes")])
    assert good["p.codes"].to_pylist() == ['["a", "b"]', "[]", None]
    assert bad.num_rows == 0


def test_lists_and_texts_in_one_file_are_read_alike():
    raw = jsonl_rows([b'{"codes": ["b", "a"]}', b'{"codes": "a; b"}'], 0)
    good, _ = conform(raw.table, [TERMS])
    assert good["codes"].to_pylist() == ['["a", "b"]'] * 2


@pytest.mark.parametrize("text", ["codes:terms(day_first)", "codes:term"])
def test_a_type_that_is_none_is_refused(text):
    with pytest.raises(InputError):
        parse_type(text)


def test_the_vocabulary_is_what_training_rows_have_often_enough(tmp_path):
    cells = [["a", "b"]] * 5 + [["a"]] * 3 + [["rare"], None]
    table = pa.table(
        {
            "codes": pa.array(
                [None if cell is None else json.dumps(cell) for cell in cells], pa.large_string()
            ),
            "y": pa.array([0.0, 1.0] * 5, pa.float32()),
            ROW: pa.array(range(10), pa.int64()),
        }
    )
    partition = Partition(
        folder=f"file://{tmp_path}",
        label="y",
        identity=("codes", ROW),
        content=("codes", "y"),
        categories=(),
        terms=("codes",),
        shares=(1.0, 0.0, 0.0, 0.0),
        seed=0,
        max_categories=10,
    )
    written = Written(max_categories=10)
    written.add(json.loads(write_parts(table, partition)["written"][0].as_py()))
    assert written.categories("codes") == ("a", "b", "rare")
    assert written.categories("codes", min_rows=3) == ("a", "b")
    assert written.missing == {"codes"}


def test_a_term_that_gives_the_label_away_is_refused():
    noise = DRAW.integers(0, 5, len(LABELS))
    cells = [
        json.dumps(sorted([f"n{n}", *(["chargeback"] if label else [])]))
        for n, label in zip(noise, LABELS, strict=True)
    ]
    table = pa.table({"codes": cells, "y": LABELS})
    with pytest.raises(InputError, match="'codes' alone reaches an AUC of"):
        refuse_label_like(table, "y", [TERMS])
    plain = table.set_column(0, "codes", pa.array([json.dumps([f"n{n}"]) for n in noise]))
    assert refuse_label_like(plain, "y", [TERMS]) == []


def test_a_number_of_a_pair_that_gives_the_label_away_is_refused():
    pairs = [f"{100 + 50 * label:g}/80" for label in LABELS]
    field = Field(name="bp", kind="number_pair")
    with pytest.raises(InputError, match="'bp' alone reaches an AUC of"):
        refuse_label_like(pa.table({"bp": pairs, "y": LABELS}), "y", [field])


def test_terms_that_training_hardly_saw_are_told_of():
    signature = Signature(fields=(dataclasses.replace(TERMS, categories=("fever", "cough")),))
    usual = pa.table({"codes": [["fever"], ["cough", "fever"]]})
    assert oddities(sample_of(usual), signature, "new.jsonl") == []
    (sentence,) = oddities(
        sample_of(pa.table({"codes": [["fever"], ["Fieber"]]})), signature, "new.jsonl"
    )
    assert sentence == (
        "codes holds terms that training hardly saw in 50% of the sampled rows, such as 'fieber'"
    )
