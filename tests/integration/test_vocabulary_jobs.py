"""extend_vocabulary and pretrain on a tiny base."""

import json

import pytest

from tests.unit.vocabulary.tiny import TEXTS, tiny_base

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
DRUGS = "healthcare/drug_interaction_detection"


@pytest.fixture
def on(job):
    """Calls a job for a base: its JSON line, and what it said."""

    def call(name, storage, base, *words):
        line = [DRUGS, "--recipe", "smoke", "--storage", str(storage)]
        line += ["--set", f"training.network.base={base.uri}"]
        done = job(name, *line, "--set", "vocabulary.training.max_tokens=32", *words)
        return done.result, done.err

    return call


def written(folder):
    """What training and extending have written below a storage root, and when."""
    return {
        path: path.stat().st_mtime_ns
        for kind in ("bases", "extensions", "masked_lm")
        for path in (folder / kind).rglob("*.*")
    }


def test_extend_vocabulary_prints_before_and_after_and_reuses_what_is_finished(on, tmp_path):
    base = tiny_base(str(tmp_path))
    terms = tmp_path / "terms.txt"
    terms.write_text("warfarin\nthe\n")
    words = ("--set", f"vocabulary.term_lists={terms}")
    found, shown = on("extend_vocabulary", tmp_path, base, *words)
    assert found["tokens_per_word_after"] < found["tokens_per_word_before"]
    assert {"bits_per_byte_before", "bits_per_byte_after", "score_before", "score_after"} <= set(
        found
    )
    assert type(found["kept"]) is bool
    assert (found["base"] == base.uri) is not found["kept"]
    assert "continuation pieces" in shown
    assert found["score_metric"] in shown
    assert found["adapted_base"] != found["base"]
    before = written(tmp_path)
    again, _ = on("extend_vocabulary", tmp_path, base, *words)
    assert before == written(tmp_path)
    assert again["bits_per_byte_after"] == found["bits_per_byte_after"]
    assert again["base"] == found["base"]


def test_pretrain_goes_on_from_a_base_with_texts_that_have_no_labels(on, tmp_path):
    base = tiny_base(str(tmp_path))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    found, _ = on("pretrain", tmp_path, base, "--data", str(texts))
    assert found["base"] != base.uri
    assert found["loss"] > 0
    assert on("pretrain", tmp_path, base, "--data", str(texts))[0]["reused"]
