"""Texts rewritten as they are read: what is replaced, counted, refused, and written nowhere."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri, parquet_files
from spt_core.data import formats
from spt_core.data.conform import conform, unparsed_rows
from spt_core.data.corpus import ROW
from spt_core.data.partition import PARTS, Partition, Written, write_parts
from spt_core.data.read import ReadJob, _good_rows, replaced
from spt_core.data.rewriting import rewritten
from spt_core.data.splits import table_of
from spt_core.deidentification import TASK, deidentifier, sentence
from spt_core.errors import InputError
from spt_core.model import default_policy
from spt_core.signature import Field
from spt_core.task import find
from tests.kept_exports import kept_export
from tests.tiny_models import TINY

TEXT = Field(name="text", kind="text")


class Refusing:
    """Rewrites `secret`, and refuses a text with `odd` in it."""

    facts = {"patterns": "1"}  # a constant

    def __call__(self, text):
        if "odd" in text:
            raise InputError("a text must be even, however: it is odd")
        return text.replace("secret", "[X]"), Counter(x=text.count("secret"))


def test_patterns_alone_replace_what_has_a_form_and_count_it():
    rewrite = deidentifier(find("financial_services/regulatory_compliance"))
    text, counts = rewrite("Write to a@b.org or c@d.org, SSN 078-05-1121, says Ann.")
    assert text == "Write to [EMAIL] or [EMAIL], SSN [SSN], says Ann."
    assert counts == {"email": 2, "ssn": 1}
    assert rewrite.facts["model"] == "none: patterns alone"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("financial_services/fraud_detection", "is of the tabular family"),
        ("healthcare/drug_interaction_detection", "has pair labels"),
        ("healthcare/hipaa_compliance", "has span labels"),
    ],
)
def test_a_task_whose_rows_cannot_be_rewritten_is_refused_in_a_sentence(path, reason):
    with pytest.raises(InputError, match=f"however: {path} {reason}"):
        deidentifier(find(path))


def test_a_row_that_fails_is_bad_and_has_no_text():
    table = pa.table({"text": ["a secret", "odd secret", None, "plain"]})
    made, reasons, counts = rewritten(table, "text", Refusing())
    assert made["text"].to_pylist() == ["a [X]", None, None, "plain"]
    good, bad = conform(made, [TEXT], refused=reasons)
    assert good["text"].to_pylist() == ["a [X]", "plain"]
    assert bad["__row"].to_pylist() == [1, 2]
    assert "must be rewritten, however: a text must be even" in bad["reason"][0].as_py()
    assert counts == {"x": 1}


def test_nothing_of_a_rewritten_corpus_is_written_as_it_was(tmp_path):
    source = tmp_path / "notes.jsonl"
    lines = [
        {"text": "a secret secret", "label": "y", "patient": "secret Roe"},
        {"text": "odd secret", "label": "n", "patient": "secret Roe", "mail": None},
    ]
    refused = tmp_path / "refused.parquet"
    pq.write_table(unparsed_rows([(7, "a row must be an object", "secret")]), refused)
    source.write_text("\n".join([*map(json.dumps, lines), '{"text": "secret']) + "\n")
    quarantine = as_uri(tmp_path / "bad")
    job = ReadJob(
        format="jsonl",
        fields=(TEXT,),
        label=None,
        labels=None,
        positive=None,
        quarantine=quarantine,
        columns=None,
        required=(),
        gaps=frozenset(),
        time=None,
        rewrite=Refusing(),
        kept=("text", "label"),
        refused=as_uri(refused),
    )
    tables = list(_good_rows(formats.Fragment(uri=as_uri(source), first_row=0), job))
    assert pa.concat_tables(tables)["text"].to_pylist() == ["a [X] [X]"]
    assert replaced(quarantine) == {"x": 2}
    written = b"".join(path.read_bytes() for path in (tmp_path / "bad").iterdir())
    assert b"secret" not in written
    assert b"must be rewritten" in written
    (bad,) = (tmp_path / "bad").glob("*.parquet")
    record = {"text": None, "label": "n", "patient": "[WITHHELD]", "mail": None}
    assert [json.loads(one) for one in pq.read_table(bad)["record"].to_pylist()] == [{}, record, {}]


def test_names_of_groups_are_written_as_pseudonyms_that_change_no_part_and_no_fingerprint(tmp_path):
    names = ["Jane Roe", "John Doe", "Jane Roe", None, *(f"P{number}" for number in range(40))]
    table = pa.table(
        {
            "text": pa.array([f"text {row}" for row in range(len(names))], pa.large_string()),
            "patient": pa.array(names, pa.large_string()),
            "y": pa.array([0.0, 1.0] * 22, pa.float32()),
            ROW: pa.array(range(len(names)), pa.int64()),
        }
    )
    written = {}
    for key in (b"one", b"another"):
        partition = Partition(
            folder=as_uri(tmp_path / key.decode()),
            label="y",
            identity=("text",),
            content=("text", "y"),
            categories=(),
            shares=(0.5, 0.5, 0.0, 0.0),
            seed=0,
            max_categories=10,
            group="patient",
            names=("patient",),
            key=key,
        )
        facts = Written(max_categories=10)
        facts.add(json.loads(write_parts(table, partition)["written"][0].as_py()))
        rows = {part: table_of(parquet_files(f"{partition.folder}/{part}")) for part in PARTS[:2]}
        written[key] = facts.fingerprint("train"), rows
    (first, ours), (second, theirs) = written.values()
    assert first == second
    for part, rows in ours.items():
        assert rows[ROW].equals(theirs[part][ROW])
        assert (
            rows["patient"].drop_null().to_pylist()
            != theirs[part]["patient"].drop_null().to_pylist()
        )
        assert not set(rows["patient"].to_pylist()) & set(filter(None, names))
    known = pa.concat_tables(ours.values()).sort_by(ROW)["patient"].to_pylist()
    assert known[0] == known[2] != known[1]
    assert known[3] is None


def test_the_sentence_says_what_became_of_the_columns_beside_the_texts():
    facts = {"patterns": "1", "model": "none", "pseudonyms": "patient", "as they were": "at, sex"}
    assert sentence(facts, {"email": 2}).endswith(
        "2 email; patient written by pseudonyms, whose key nobody keeps; at, sex written as they "
        "were"
    )


@pytest.mark.slow
def test_a_registered_model_works_beside_the_patterns_and_is_named(tmp_path):
    exported = kept_export(TINY["text"].artifact(find(TASK), as_uri(tmp_path)))
    rewrite = deidentifier(
        find("financial_services/regulatory_compliance"),
        ref=f"{TASK}/default@1",
        exported=exported,
        policy=default_policy(exported),
    )
    text, counts = rewrite("the bank is not liable, SSN 078-05-1121")
    assert "078-05-1121" not in text
    assert sum(counts.values()) >= 1
    assert (rewrite.facts["model"], rewrite.facts["exported"]) == (
        f"{TASK}/default@1",
        exported.uri,
    )
    assert rewrite.facts["policy"] == default_policy(exported).version
