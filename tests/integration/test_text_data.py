"""Corpora of texts through Ray Data into Splits: labels of every head, classes, twins, bad rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import open_dataset
from spt_core.data.corpus import Roles
from spt_core.data.held_out import with_validation
from spt_core.data.partition import PARTS
from spt_core.data.sources import Source, open_corpus
from spt_core.data.splits import SplitConfig, Splits, load_splits, splits_from_json
from spt_core.data.splitting import split
from spt_core.errors import InputError
from spt_core.families.text.rows import Vocabulary, num_long, token_dataset
from spt_core.families.text.unlabelled import unlabelled_tokens
from spt_core.task import Task, find
from tests.tiny_models import tiny_text_facts, tiny_tokenizer
from tests.unit.data.text_examples import TEXT, task, topics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
TOPICS = task("multi_label")
RANDOM = SplitConfig(kind="random")


def split_of(
    source: Source, folder: Path, made: Task = TOPICS, config: SplitConfig | None = None
) -> Splits:
    return split(made, open_corpus(made, source, storage=str(folder)), str(folder), config)


def with_label(names: list[str]) -> pa.Table:
    table = topics(len(names))
    return table.set_column(2, "y", pa.array(names))


def findings(splits: Splits, kind: str) -> list[str]:
    return [finding.detail for finding in splits.findings if finding.kind == kind]


def test_texts_are_split_by_their_documents_and_carry_their_classes(tmp_path: Path) -> None:
    splits = split_of(topics(600), tmp_path)
    assert splits.kind == "group"
    assert splits.classes == ("a", "b", "c")
    assert splits.signature.fields == (TEXT,)
    documents = [set(splits.table(part)["document"].to_pylist()) for part in PARTS]
    assert sum(map(len, documents)) == len(set.union(*documents)) == 60
    assert sum(splits.num_positives.values()) == sum(i % 5 == 0 or i % 7 == 0 for i in range(600))
    assert load_splits(splits.uri) == splits


def test_splits_of_before_classes_were_recorded_still_load(tmp_path: Path) -> None:
    content = split_of(topics(300), tmp_path).to_json()
    del content["classes"], content["labels"]
    assert splits_from_json(content).classes == ()


def test_a_training_text_is_in_no_later_part_whatever_stands_beside_it(tmp_path: Path) -> None:
    again = topics(300).set_column(1, "document", pa.array([f"e{i // 10}" for i in range(300)]))
    splits = split_of(pa.concat_tables([topics(300), again]), tmp_path)
    texts = {part: set(splits.table(part)["text"].to_pylist()) for part in PARTS}
    assert not any(texts["train"] & texts[part] for part in PARTS[1:])
    assert splits.num_left_out["identical to a training row"] > 20


def test_rows_no_model_could_read_or_learn_from_go_to_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [b"text,document,y"]
    lines += [b"text number %d,d%d,%s" % (i, i // 10, b"a" if i % 3 else b"[]") for i in range(400)]
    lines[5] = b"  ,d0,a"
    lines[6] = b"caf\xe9,d0,a"
    lines[7] = b"no label,d0,"
    lines[8] = b"bad label,d0,[1]"
    lines[9] = "caf\u00e9,d0,a".encode()  # the file is UTF-8
    path.write_bytes(b"\n".join(lines))
    splits = split_of(path, tmp_path)
    assert splits.quarantine == {
        "the field 'text' must hold a text, however: it is empty or has no visible character": 1,
        "a line must be UTF-8 text": 1,
        "the label 'y' must be known, however: it is missing (write [] for none)": 1,
        "the label 'y' must name classes, however: one is no name": 1,
    }
    assert sorted(splits.quarantined()["__row"].to_pylist()) == [4, 5, 6, 7]
    assert sum(splits.num_rows.values()) + sum(splits.num_left_out.values()) == 396


def test_a_label_that_no_training_row_has_is_kept_and_named(tmp_path: Path) -> None:
    single = task("single_label")
    table = with_label([("x", "y")[i % 2] for i in range(400)])
    test = split_of(table, tmp_path, single).table("test")
    rare = test["text"][0].as_py()
    names = [
        "rare" if t == rare else n
        for t, n in zip(*map(pa.ChunkedArray.to_pylist, (table["text"], table["y"])), strict=True)
    ]
    splits = split_of(with_label(names), tmp_path, single)
    assert splits.classes == ("x", "y")
    assert "rare" in splits.table("test")["y"].to_pylist()
    assert findings(splits, "unseen_class") == [
        "test has 1 of 'rare', training rows none: each is a sure mistake"
    ]
    assert splits.quarantine == {}


def test_a_class_outside_the_task_s_is_bad_and_one_without_rows_is_named(tmp_path: Path) -> None:
    graded = task("ordinal", classes=("low", "medium", "high", "extreme"))
    names = [("low", "medium", "high")[i % 3] for i in range(400)]
    splits = split_of(with_label(["hihg", *names[1:]]), tmp_path, graded)
    assert splits.classes == graded.classes
    assert findings(splits, "absent_class") == ["no training row has the class 'extreme'"]
    assert list(splits.quarantine) == [
        "the label 'y' must be one of the task's classes, however: 'hihg'; the nearest is 'high'"
    ]


def test_numbers_to_predict_are_float64(tmp_path: Path) -> None:
    splits = split_of(with_label([str(i / 7) for i in range(300)]), tmp_path, task("regression"))
    assert splits.table("train").schema.field("y").type == pa.float64()
    assert splits.num_positives == splits.num_rows
    assert splits.classes == ()


def test_labels_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every part must have a label that is not empty.*train"):
        split_of(with_label(["[]"] * 300), tmp_path)
    with pytest.raises(InputError, match=r"two classes in training rows, however: it has \['x'\]"):
        split_of(with_label(["x"] * 300), tmp_path, task("single_label"))


def test_texts_may_be_split_by_time(tmp_path: Path) -> None:
    days = pa.array([f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(300)])
    table = topics(300).append_column("when", days)
    corpus = open_corpus(TOPICS, table, storage=str(tmp_path), roles=Roles(time="when"))
    splits = split(TOPICS, corpus, str(tmp_path))
    assert splits.kind == "time"
    assert splits.signature.fields == (TEXT,)
    assert max(splits.table("train")["when"].to_pylist()) < min(
        splits.table("test")["when"].to_pylist()
    )


def test_formats_give_the_same_fingerprint_and_lists_need_no_json(tmp_path: Path) -> None:
    table = topics(300)
    names = [json.loads(y) if y.startswith("[") else [y] for y in table["y"].to_pylist()]
    lists = [{**row, "y": y} for row, y in zip(table.to_pylist(), names, strict=True)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in lists))
    found = [split_of(source, tmp_path, config=RANDOM) for source in (table, lists, path)]
    assert len({splits.data_fingerprint for splits in found}) == 1
    assert len({str(splits.fingerprints) for splits in found}) == 1


def test_validation_rows_of_the_caller_s_have_the_labels_of_the_head(tmp_path: Path) -> None:
    splits = split_of(topics(300), tmp_path)
    texts = [f"text {i}" for i in range(12)]
    own = pa.table({"text": texts, "y": ["a;new", "[oops", *["[]"] * 10]})
    made = with_validation(splits, open_corpus(TOPICS, own, storage=str(tmp_path)))
    assert made.table("validation")["y"].to_pylist() == ['["a","new"]', *["[]"] * 10]
    assert made.num_positives["validation"] == 1
    assert findings(made, "unseen_class") == [
        "the validation rows have 1 of 'new', training rows none"
    ]
    silent = pa.table({"text": ["one"], "y": ["[]"]})
    with pytest.raises(InputError, match="validation rows must have labels"):
        with_validation(splits, open_corpus(TOPICS, silent, storage=str(tmp_path)))


def test_texts_longer_than_a_step_looks_at_are_counted(tmp_path: Path) -> None:
    rows = topics(300).to_pylist()
    rows += [{**row, "text": f"{row['text']} {n} " * 60} for n, row in enumerate(rows[:40])]
    splits = split_of(pa.Table.from_pylist(rows), tmp_path, config=RANDOM)
    tokenizer = tiny_tokenizer([row["text"] for row in rows])
    facts = tiny_text_facts("multi_label", splits.classes, tokenizer)
    tokens = token_dataset(splits, "train", TOPICS, Vocabulary(tokenizer, 12, 2), facts)
    wanted = sum(len(text) > 1000 for text in splits.table("train")["text"].to_pylist())
    assert num_long(tokens) == wanted > 0


def test_texts_without_labels_are_checked_and_none_is_held_out(tmp_path: Path) -> None:
    splits = split_of(topics(300), tmp_path)
    train, test = (splits.table(part)["text"].to_pylist() for part in ("train", "test"))
    texts = ["One that is new.", test[0], " ", train[0], "And another one."]
    path = tmp_path / "more.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = tiny_tokenizer(texts)
    facts = tiny_text_facts("multi_label", splits.classes, tokenizer)
    corpus = open_corpus(TOPICS, str(path), storage=str(tmp_path), require_label=False)
    words = Vocabulary(tokenizer, 24, 4)
    bad = as_uri(tmp_path / "bad")
    rows = unlabelled_tokens(corpus, splits, TOPICS, words, facts, bad).take_all()
    assert sorted(row["row"] for row in rows) == [0, 3, 4]
    assert [len(row["targets"]) for row in rows] == [3, 3, 3]
    assert pq.read_table(tmp_path / "bad")["__row"].to_pylist() == [2]
    path.write_text(json.dumps({"text": test[1]}) + "\n")
    corpus = open_corpus(TOPICS, str(path), storage=str(tmp_path), require_label=False)
    with pytest.raises(InputError, match=r"some are not held out, however: more\S* has none"):
        unlabelled_tokens(corpus, splits, TOPICS, words, facts, bad)


def test_texts_without_labels_need_no_mentions_in_any_format(tmp_path: Path) -> None:
    drugs = find("healthcare/drug_interaction_detection")
    splits = split_of(drugs.sample(300, 0), tmp_path, drugs)
    text = "Warfarin and aspirin were given."
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": text}))
    pq.write_table(pa.table({"text": [text]}), tmp_path / "more.parquet")
    tokenizer = tiny_tokenizer([text])
    names = ("aspirin", "warfarin")
    facts = tiny_text_facts("pair", splits.classes, tokenizer, negative_class="none", lexicon=names)
    words, bad = Vocabulary(tokenizer, 24, 4), as_uri(tmp_path / "bad")
    for name in ("more.jsonl", "more.parquet"):
        corpus = open_corpus(
            drugs, str(tmp_path / name), storage=str(tmp_path), require_label=False
        )
        (row,) = unlabelled_tokens(corpus, splits, drugs, words, facts, bad).take_all()
        assert len(row["pairs"]) == 5


@pytest.mark.parametrize(
    "path",
    [
        "financial_services/regulatory_compliance",
        "healthcare/drug_interaction_detection",
        "technology/security_analysis",
    ],
)
def test_the_samples_of_the_text_tasks_split_without_a_bad_row(path: str, tmp_path: Path) -> None:
    found = find(path)
    splits = split_of(found.sample(1000, 0), tmp_path, found)
    assert splits.kind == "group"
    assert splits.quarantine == {}
    assert not findings(splits, "unseen_class")
    assert all(splits.num_positives.values())


def test_the_ddi_corpus_splits_by_document(data_home: str, tmp_path: Path) -> None:
    corpus = open_dataset("ddi-corpus-2013", data_home=data_home, storage=as_uri(tmp_path))
    splits = split(find("healthcare/drug_interaction_detection"), corpus, str(tmp_path))
    assert splits.kind == "group"
    assert splits.quarantine == {}
    assert splits.classes == ("none", "advise", "effect", "int", "mechanism")
    assert sum(splits.num_rows.values()) + sum(splits.num_left_out.values()) == 3789
    assert splits == dataclasses.replace(load_splits(splits.uri), reused=splits.reused)
