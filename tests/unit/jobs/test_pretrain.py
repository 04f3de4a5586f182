import contextlib
import json
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jobs import pretrain
from jobs.command import parser, read_run
from spt_core.families.text.bases import embedding_name, load_base
from spt_core.task import IndustryType, find
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig
from tests.unit.vocabulary.tiny import TEXTS, tiny_base

DRUGS = "healthcare/drug_interaction_detection"
FIELD, LABEL = find(DRUGS).text_field.name, find(DRUGS).label


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "labelled.jsonl"
    rows = [{FIELD: "a training text", LABEL: "[]"}, {FIELD: "a test text", LABEL: "[]"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def split(tmp_path, monkeypatch):
    """The splits that the job prepares, without Ray."""
    pq.write_table(pa.table({FIELD: ["a training text"]}), tmp_path / "train.parquet")
    made = types.SimpleNamespace(
        files={"train": [(tmp_path / "train.parquet").as_uri()]}.get,
        fingerprints={"train": "of the training rows"},
        licences=("CC-BY-4.0",),
    )
    monkeypatch.setattr(pretrain, "started", contextlib.nullcontext)
    monkeypatch.setattr(pretrain, "prepared", lambda _: made)


def described(tmp_path, *words):
    words = (DRUGS, "--storage", str(tmp_path), *words)
    return pretrain.raw_texts(read_run(parser("pretrain", "").parse_args(words)))


@pytest.mark.parametrize("words", [("--label", "another"), ("--dataset", "ddi-corpus-2013"), ()])
def test_of_what_has_labels_the_training_rows_alone_are_read(labelled, split, tmp_path, words):
    source = () if "--dataset" in words else ("--data", str(labelled))
    found = described(tmp_path, *source, *words)
    assert list(found.texts) == ["a training text"]
    assert found.fingerprint == "of the training rows"
    assert found.licences == ("CC-BY-4.0",)


def test_an_extension_is_trained_on_raw_texts_its_new_rows_first_and_keeps_all_licences(tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({FIELD: text}) + "\n" for text in TEXTS))
    config = VocabularyConfig(context_steps=0)
    manager = DomainVocabularyManager(
        tiny_base(str(tmp_path)), str(tmp_path), config=config, licences=("MIT",)
    )
    base = manager.extend_vocabulary(
        industry=IndustryType.HEALTHCARE, new_terms=["warfarin", "metformin"]
    ).base
    settings = {
        "training.network.base": base.uri,
        "data.licences": "CC0-1.0",
        "vocabulary.training.max_tokens": 32,
        "vocabulary.training.step_bytes": 300,
        "vocabulary.training.first_steps": 1,
        "vocabulary.training.num_steps": 1,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    assert pretrain.main([DRUGS, "--storage", str(tmp_path), "--data", str(texts), *words]) == 0
    made = [load_base(path.parent.as_uri()) for path in tmp_path.glob("bases/*/_manifest.json")]
    (trained,) = [found for found in made if found.parents == (base.uri,)]
    assert trained.licences == ("CC0-1.0", "MIT")
    name = embedding_name(base.weights())
    before, after = base.weights(), trained.weights()
    assert {key for key in before if not torch.equal(before[key], after[key])} == {name}
    assert torch.equal(before[name][:-2], after[name][:-2])
    assert not torch.equal(before[name][-2:], after[name][-2:])
