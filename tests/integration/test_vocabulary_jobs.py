"""extend_vocabulary and pretrain as a user calls them, on a tiny base."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.vocabulary.tiny import TEXTS, tiny_base

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
DRUGS = "healthcare/drug_interaction_detection"


def job(name, storage, base, *words):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
    line = [sys.executable, "-m", f"jobs.{name}", DRUGS, "--recipe", "smoke", "--json"]
    line += ["--storage", str(storage), "--set", f"training.network.base={base.uri}"]
    line += ["--set", "vocabulary.training.max_tokens=32", *words]
    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def written(folder):
    """What training and extending have written below a storage root, and when."""
    return {
        path: path.stat().st_mtime_ns
        for kind in ("bases", "extensions", "masked_lm")
        for path in (folder / kind).rglob("*.*")
    }


def test_extend_vocabulary_prints_before_and_after_and_reuses_what_is_finished(tmp_path):
    base = tiny_base(str(tmp_path))
    terms = tmp_path / "terms.txt"
    terms.write_text("warfarin\nthe\n")
    words = ("--set", f"vocabulary.term_lists={terms}")
    found, shown = job("extend_vocabulary", tmp_path, base, *words)
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
    again, _ = job("extend_vocabulary", tmp_path, base, *words)
    assert before == written(tmp_path)
    assert again["bits_per_byte_after"] == found["bits_per_byte_after"]
    assert again["base"] == found["base"]


def test_pretrain_goes_on_from_a_base_with_texts_that_have_no_labels(tmp_path):
    base = tiny_base(str(tmp_path))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    found, _ = job("pretrain", tmp_path, base, "--data", str(texts))
    assert found["base"] != base.uri
    assert found["loss"] > 0
    assert job("pretrain", tmp_path, base, "--data", str(texts))[0]["reused"]
