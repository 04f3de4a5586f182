"""Texts of every head, and what must never be answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from spt_core.answering import Answerer
from spt_core.errors import InputError
from spt_core.families.text.checkpoint import CheckpointTextRuntime
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.scores import score_texts
from spt_core.families.text.serving import TextPredictor
from spt_core.heads import HEADS
from spt_core.heads.labels import rank_probabilities, sigmoid, softmax
from spt_core.judgement import Labels, LabelScore, Pairs, Phrase, Spans, Value
from spt_core.signature import Signature
from tests.tiny_models import (
    TEXT_CONFIG,
    TEXTS,
    text_task,
    tiny_text_facts,
    tiny_text_network,
    tiny_tokenizer,
)

TEXT_HEADS = ("single_label", "multi_label", "ordinal", "pair", "span", "regression")
LONG = " ".join(TEXTS * 5)  # several windows
each_head = pytest.mark.parametrize("head", TEXT_HEADS)
_OPENED: dict[str, Answerer] = {}


def opened(head: Any) -> Answerer:
    """An untrained model of a head, built once."""
    if head not in _OPENED:
        task, tokenizer = text_task(head), tiny_tokenizer()
        names = ("aspirin", "warfarin", "ibuprofen")
        facts = tiny_text_facts(
            head, task.classes, tokenizer, lexicon=names, center=3.0, spread=2.0
        )
        predictor = TextPredictor(
            Signature(fields=task.fields),
            CheckpointTextRuntime(tiny_text_network(facts)),
            words=TextEncoder(
                tokenizer,
                max_tokens=TEXT_CONFIG.max_tokens,
                overlap=TEXT_CONFIG.window_overlap,
            ),
            facts=facts,
        )
        policy = HEADS[task.head].default_policy(task, task.classes)
        _OPENED[head] = Answerer(task, predictor, policy)
    return _OPENED[head]


def judged(head: str, text: str, **more: Any) -> Any:
    """The judgement itself, as the head makes it."""
    return opened(head).answer({"text": text, **more})["judgement"]


def all_scores(judgement: Any) -> list[tuple[LabelScore, ...]]:
    """Those of the text or of its pairs; none of spans and of a value."""
    if isinstance(judgement, Pairs):
        return [pair.scores for pair in judgement.pairs]
    return [judgement.scores] if isinstance(judgement, Labels) else []


@pytest.mark.parametrize("text", [*TEXTS, LONG], ids=["one", "two", "three", "long"])
@pytest.mark.parametrize("head", ["single_label", "ordinal", "pair"])
def test_exactly_one_class_is_given_and_the_probabilities_add_up(head: str, text: str) -> None:
    for scores in all_scores(judged(head, text)):
        assert sum(score.probability for score in scores) == pytest.approx(1.0)
        assert [s.is_given for s in scores] == [True, False, False]
        found = [s.probability for s in scores]
        assert found == sorted(found, reverse=True)


def test_labels_stand_for_themselves_and_reach_their_thresholds() -> None:
    for score in judged("multi_label", LONG).scores:
        assert 0.0 < score.probability < 1.0
        assert score.is_given == (score.probability >= 0.5)


def test_a_value_is_in_the_unit_of_the_labels() -> None:
    model, values = opened("regression"), [judged("regression", text).value for text in TEXTS]
    assert len(set(values)) == 3
    read, run = model.predictor.read, model.predictor._run
    logits = [run(read({"text": text})).logits.item() for text in TEXTS]
    assert values == pytest.approx([3.0 + 2.0 * logit for logit in logits])


@pytest.mark.parametrize(
    ("head", "squashed"),
    [
        ("single_label", softmax),
        ("multi_label", sigmoid),
        ("ordinal", rank_probabilities),
        ("regression", lambda logits: 3.0 + 2.0 * logits),
    ],
)
def test_many_windows_have_the_probability_that_was_calibrated(head: str, squashed: Any) -> None:
    model = opened(head)
    predictor: Any = model.predictor
    network, text = predictor.runtime._network, predictor.read({"text": LONG})
    assert len(text.windows) > 3
    (logits,) = score_texts(network, predictor.words, [text]).logits[0]
    wanted = squashed(logits * network.scale.numpy() + network.shift.numpy())
    np.testing.assert_allclose(model.outputs({"text": LONG})[0], wanted, atol=1e-5)


def test_every_pair_of_mentions_is_judged() -> None:
    found = judged("pair", TEXTS[0])
    assert [span.text for span in found.spans] == ["Aspirin", "warfarin", "ibuprofen"]
    pairs = [(pair.first.text, pair.second.text) for pair in found.pairs]
    assert pairs == [("Aspirin", "warfarin"), ("Aspirin", "ibuprofen"), ("warfarin", "ibuprofen")]


def test_mentions_of_the_client_are_taken_instead_of_found_ones() -> None:
    spans = [{"start": 35, "end": 43}, {"start": 0, "end": 7}]
    found = judged("pair", TEXTS[0], mentions=spans)
    assert [span.text for span in found.spans] == ["Aspirin", "warfarin"]
    assert len(found.pairs) == 1
    assert judged("pair", TEXTS[0], mentions=[]).pairs == ()


def test_a_text_without_a_known_name_has_no_pairs() -> None:
    found = judged("pair", "Nothing here is a drug.")
    assert (found.spans, found.pairs) == ((), ())


@each_head
def test_reasons_and_spans_are_the_text_s_own_words(head: str) -> None:
    text = "Ärzte warnen: aspirin 💊 may  increase\u00a0the EFFECT of warfarin."
    found = judged(head, text)
    reasons = [r for scores in all_scores(found) for score in scores for r in score.reasons]
    reasons += found.reasons if isinstance(found, Value) else ()
    assert all(isinstance(reason, Phrase) for reason in reasons)
    spans = found.spans if isinstance(found, Pairs | Spans) else ()
    for part in (*reasons, *spans):
        assert text[part.start : part.end] == part.text != ""
    if head == "regression":
        assert found.reasons
    if head in ("single_label", "multi_label", "ordinal"):
        assert found.scores[0].reasons
        effects = [abs(reason.effect) for reason in found.scores[0].reasons]
        assert effects == sorted(effects, reverse=True)


@each_head
def test_records_and_a_table_get_the_same_answers(head: str) -> None:
    model = opened(head)
    table = pa.table({"text": [*TEXTS, LONG]})
    records = [{"text": text} for text in (*TEXTS, LONG)]
    scores, rows = model.table(table)
    assert rows == model.answers(records) == [model.answer(record) for record in records]
    np.testing.assert_array_equal(scores, model.score(table))


def test_spans_of_a_table_are_json() -> None:
    table = pa.table({"text": [TEXTS[0]] * 2, "mentions": ['[{"start": 0, "end": 7}]', None]})
    _, (given, found) = opened("pair").table(table)
    assert (len(given["judgement"].spans), len(found["judgement"].spans)) == (1, 3)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty or has no visible character"),
        (" \n\t", "no visible character"),
        ("\u200b\u2060\ufeff", "no visible character|leaves nothing"),
        ("\x00\x07", "no visible character"),
        ("\u200d", "leaves nothing of it"),
        ("a" * 1_000_000, "at most 100,000 characters"),
        ("half \ud83d of a pair", "half of a surrogate pair"),
        (None, "must be a text, however: it is null"),
        (7, "must be a text"),
        (["a"], "must be a text"),
        (b"a", "must be a text"),
    ],
)
@each_head
def test_what_no_model_can_read_is_refused(head: str, text: Any, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        opened(head).answer({"text": text})


@pytest.mark.parametrize(
    "text",
    [
        "💊💊💊",
        "\u05e9\u05dc\u05d5\u05dd aspirin \u0627\u0644\u0633\u0644\u0627\u0645 warfarin",
        "アスピリンとワルファリンを併用しない aspirin 阿司匹林 warfarin",
        "a\x00spirin and warfarin\x07",
        "e\u0301" * 300,
        "[CLS] [SEP] [PAD] aspirin [MASK] warfarin",
        "x" * 5000,
        "aspirin " * 200,
        "?!.,;",
    ],
)
@each_head
def test_odd_texts_are_answered(head: str, text: str) -> None:
    found = judged(head, text)
    assert found.record == {"text": text}
    for scores in all_scores(found):
        assert all(np.isfinite(score.probability) for score in scores)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({}, "'text' is required, however: it is missing"),
        ({"txet": "a"}, "'txet' is none of them; the nearest is 'text'"),
        ({"text": "a", "label": 1}, "'label' is none of them"),
        ({"text": {"a": "b"}}, "'text.a' is none of them"),
        ({"text": "abc", "mentions": [{"start": 0, "end": 9}]}, "0 <= start < end <= 3"),
        ({"text": "abc", "mentions": [{"start": 2, "end": 2}]}, "0 <= start < end <= 3"),
        ({"text": "abc", "mentions": [{"start": True, "end": 2}]}, "0 <= start < end"),
        ({"text": "abc", "mentions": "a"}, "a list of objects"),
        ({"text": "abc", "mentions": [1]}, "a list of objects"),
        ({"text": "abc", "mentions": [{"start": 0, "end": 1}] * 65}, "at most 64 spans"),
    ],
)
def test_a_bad_record_is_told_in_one_sentence(record: Any, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        opened("pair").answer(record)


def test_a_batch_names_its_bad_record() -> None:
    with pytest.raises(InputError, match="record 1: the field 'text' must hold a text"):
        opened("multi_label").answers([{"text": "a"}, {"text": ""}])


def test_the_headline_is_the_likeliest_label_that_says_something() -> None:
    pairs = judged("pair", TEXTS[0]).pairs
    wanted = max(s.probability for p in pairs for s in p.scores if s.label != "neither")
    assert opened("pair").score(pa.table({"text": [TEXTS[0]]})) == pytest.approx([wanted])
    assert np.isnan(opened("pair").score(pa.table({"text": ["nothing"]}))).all()


def test_many_windows_and_pairs_are_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {head: judged(head, LONG) for head in ("multi_label", "pair")}
    monkeypatch.setattr("spt_core.families.text.serving.WINDOWS_AT_ONCE", 2)
    monkeypatch.setattr("spt_core.families.text.serving.PAIRS_AT_ONCE", 3)
    for head, wanted in whole.items():
        for some, others in zip(all_scores(judged(head, LONG)), all_scores(wanted), strict=True):
            for score, other in zip(some, others, strict=True):
                assert score.label == other.label
                assert score.probability == pytest.approx(other.probability, abs=1e-6)
