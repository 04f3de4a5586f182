"""Texts rewritten as they are read: what is replaced, counted, refused, and written nowhere."""

import json
from collections import Counter

import pyarrow as pa
import pytest

from spt_core.artifacts import as_uri
from spt_core.data import formats
from spt_core.data.conform import conform
from spt_core.data.read import ReadJob, _good_rows, replaced
from spt_core.data.rewriting import rewritten
from spt_core.deidentification import TASK, deidentifier
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
    lines = [{"text": "a secret secret", "label": "y"}, {"text": "odd secret", "label": "n"}]
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
    )
    tables = list(_good_rows(formats.Fragment(uri=as_uri(source), first_row=0), job))
    assert pa.concat_tables(tables)["text"].to_pylist() == ["a [X] [X]"]
    assert replaced(quarantine) == {"x": 2}
    written = b"".join(path.read_bytes() for path in (tmp_path / "bad").iterdir())
    assert b"secret" not in written
    assert b"must be rewritten" in written


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
