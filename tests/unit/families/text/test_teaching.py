import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load, save

from spt_core.artifacts import write_manifest
from spt_core.families.text import teaching
from spt_core.families.text.bases import load_base
from spt_core.families.text.teaching import TextTeaching, class_weights, facts_of, figures
from spt_core.fitting import ray_train
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Fitted
from tests.publications import SECURITY, splits
from tests.tiny_models import TEXT_CONFIG, text_task
from tests.unit.vocabulary.tiny import tiny_base


def part_of(folder, *tables):
    """What is asked of Splits whose training rows are these files."""
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet")
    files = [(folder / f"{number}.parquet").as_uri() for number in range(len(tables))]
    return SimpleNamespace(files=lambda part: files, label="label")


def pairs(text, spans, *labels):
    mentions = [{"start": start, "end": end} for start, end in spans]
    row = {"text": text, "mentions": json.dumps(mentions), "label": json.dumps(labels)}
    return pa.Table.from_pylist([row])


@pytest.fixture
def drugs(tmp_path):
    """Two files with three pairs and one."""
    one = pairs("Aspirin, warfarin, aspirin", [(0, 7), (9, 17), (19, 26)], (0, 1, "risky"))
    made = part_of(tmp_path, one, pairs("Warfarin  x", [(0, 8), (8, 9)], (0, 1, "safe")))
    made.classes = ("neither", "safe", "risky", "odd")
    return made


@pytest.fixture
def untrained(monkeypatch):
    """Training on Ray that leaves a network as it was initialised; the runs that asked for it."""
    asked = []

    def fit_network(run, train, validation, **_):
        asked.append(run)
        network = run.learner.network(run)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        return Fitted(save(state), 1)

    monkeypatch.setattr(ray_train, "fit_network", fit_network)
    monkeypatch.setattr(teaching, "token_dataset", lambda *_: None)
    monkeypatch.setattr(teaching, "num_long", lambda rows: 0)
    return asked


def trained(folder, weighting, licences=()):
    made = splits(folder)
    base = tiny_base(folder.as_uri())
    if licences:
        base = dataclasses.replace(base, licences=licences)
        write_manifest(base.uri, base.to_json())
    config = TrainingConfig(
        task=SECURITY,
        family="text",
        output_dir=str(folder),
        class_weighting=weighting,
        network=dataclasses.replace(TEXT_CONFIG, base=base.uri),
    )
    artifact, is_reused = ray_train.fit_model(TextTeaching(made, config), made, config)
    assert not is_reused
    return artifact


def test_a_teacher_takes_the_weights_of_its_classes_back(tmp_path, untrained):
    plain, balanced = (trained(tmp_path / name, name) for name in ("none", "balanced"))
    weights = json.loads(balanced.read("facts.json"))["class_weights"]
    shift = load(balanced.read("network.safetensors"))["shift"].numpy()
    unweighted = load(plain.read("network.safetensors"))["shift"].numpy()
    taken_back = -np.log(list(weights.values()))
    alike = [np.corrcoef(s, taken_back)[0, 1] for s in (shift, shift - unweighted)]
    assert min(alike) > 0.5


def test_a_teacher_carries_the_licences_of_its_base(tmp_path, untrained):
    made = trained(tmp_path, "none", licences=("CC BY-NC 4.0",))
    assert made.licences == ("CC BY-NC 4.0", "MIT")
    assert load_base(untrained[0].facts["base"]).licences == ("CC BY-NC 4.0",)


def test_pairs_that_no_label_names_are_of_the_negative_class(drugs):
    config = TrainingConfig(family="text", class_weighting="balanced")
    weights = class_weights(text_task("pair"), drugs, config)
    assert weights == pytest.approx({"neither": 4 / 6, "safe": 4 / 3, "risky": 4 / 3, "odd": 1.0})


def test_the_mentions_of_all_files_are_known(drugs, tmp_path):
    base = tiny_base(tmp_path.as_uri())
    facts = facts_of(text_task("pair"), drugs, TEXT_CONFIG, base)
    assert facts["lexicon"] == ["aspirin", "warfarin"]


def test_a_value_is_told_in_units_of_all_files(tmp_path):
    values = part_of(tmp_path, pa.table({"label": [1.0, 2.0]}), pa.table({"label": [6.0]}))
    values.classes = ()
    facts = facts_of(text_task("regression"), values, TEXT_CONFIG, tiny_base(tmp_path.as_uri()))
    assert (facts["center"], facts["spread"]) == (3.0, pytest.approx(np.std([1.0, 2.0, 6.0])))


def test_the_figures_of_ordered_classes_are_of_classes_and_not_of_cuts():
    task = text_task("ordinal")
    facts = {"classes": ["low", "middle", "high"]}
    targets = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    logits = np.array([[-9.0, -9.0], [9.0, -9.0], [9.0, 9.0], [-9.0, -9.0]])
    found = figures(task, facts, targets, logits)
    assert found["mean_rank_error"] == pytest.approx(0.5)
    assert found["accuracy"] == pytest.approx(0.75)
