import contextlib
import dataclasses
import json

import pytest

from jobs import extend_vocabulary, pretrain
from spt_core.artifacts import MANIFEST
from spt_core.errors import InputError
from tests import publications
from tests.unit.vocabulary.tiny import tiny_base

FRAUD, DRUGS = "financial_services/fraud_detection", "healthcare/drug_interaction_detection"


@pytest.mark.parametrize(
    ("main", "arguments", "sentence"),
    [
        (extend_vocabulary.main, [FRAUD], "a vocabulary is of a task on text"),
        (pretrain.main, [FRAUD], "texts train a task on text"),
        (pretrain.main, [DRUGS], "there is no --data"),
        (extend_vocabulary.main, [DRUGS, "--set", "vocabulary.gate.max_score_drop=-1"], "margins"),
        (extend_vocabulary.main, [DRUGS, "--set", "vocabulary.score_rows=0"], "score_rows"),
        (pretrain.main, [DRUGS, "--set", "vocabulary.training.num_steps=0"], "num_steps"),
    ],
)
def test_what_a_job_cannot_do_is_refused_before_anything_starts(
    main, arguments, sentence, tmp_path
):
    with pytest.raises(InputError, match=sentence):
        main([*arguments, "--storage", str(tmp_path)])


def written(folder):
    """Finished extensions and trainings below a storage root, and when each was written."""
    found = [path for kind in ("extensions", "masked_lm") for path in (folder / kind).glob("*/*")]
    return {path: path.stat().st_mtime_ns for path in found if path.name == MANIFEST}


@pytest.fixture
def extend(tmp_path, monkeypatch, capsys):
    """The job on a tiny base and given splits, without Ray: its JSON line and what it said."""
    base = tiny_base(str(tmp_path))
    monkeypatch.setattr(extend_vocabulary, "started", contextlib.nullcontext)

    def call(splits, *words):
        monkeypatch.setattr(extend_vocabulary, "prepared", lambda _: splits)
        line = [splits.task, "--storage", str(tmp_path), "--recipe", "smoke", "--json", *words]
        line += ["--set", f"training.network.base={base.uri}"]
        extend_vocabulary.main([*line, "--set", "vocabulary.training.max_tokens=32"])
        shown = capsys.readouterr()
        return json.loads(shown.out.splitlines()[-1]), shown.err

    return call


@pytest.mark.slow
def test_what_is_finished_is_used_again_for_the_same_training_rows_alone(extend, tmp_path):
    splits = publications.splits(tmp_path)
    found, shown = extend(splits)
    first = written(tmp_path)
    assert len(first) == 3  # an extension, and both bases after training
    assert found["score_metric"] == "macro_f1"
    assert "macro_f1, both fine-tuned alike" in shown
    for name in ("base", "adapted_base"):
        assert f"training.network.base={found[name]}" in shown.replace("\n", "")
    again, _ = extend(splits)
    assert written(tmp_path) == first
    assert again | {"seconds": 0} | speeds(found) == found | {"seconds": 0}
    extend(splits, "--fresh")
    assert written(tmp_path).keys() == first.keys()
    assert all(written(tmp_path)[name] > moment for name, moment in first.items())
    dealt = dataclasses.replace(splits, fingerprints={**splits.fingerprints, "train": "others"})
    extend(dealt)
    assert len(written(tmp_path)) == 6


def speeds(found):
    return {name: value for name, value in found.items() if name.startswith("characters_per_s")}


def test_rows_are_drawn_from_the_whole_part(tmp_path):
    splits = publications.splits(tmp_path)
    rows = splits.table("train")
    some = extend_vocabulary.drawn(splits, "train", 30)["text"].to_pylist()
    places = [rows["text"].to_pylist().index(text) for text in some]
    assert len(some) == 30
    assert places == sorted(places)
    assert places[-1] > 60
    assert extend_vocabulary.drawn(splits, "train", 1000).num_rows == rows.num_rows == 80
