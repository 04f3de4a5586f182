import dataclasses

import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.text.bases import store_base
from spt_core.families.text.encoding import targets_of
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.rows import TokenShard
from spt_core.families.text.scores import WindowedText, score_windows
from spt_core.families.text.token_rows import TokenRow, windows_of
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import fit
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Field, Signature
from tests.tiny_models import TEXT_CONFIG, tiny_text_facts, tiny_tokenizer
from tests.unit.fitting.runs import Reports

pytestmark = pytest.mark.slow

WORDS = {"safe": "the patient is well", "risky": "the wire was forged"}
CONFIG = TrainingConfig(
    family="text",
    num_epochs=4,
    batch_size=8,
    learning_rate=3e-3,
    evaluation_strategy="epoch",
    network=TEXT_CONFIG,
)


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """(facts, rows): which of two sentences is in a text of noise."""
    draw = np.random.default_rng(0)
    noise = np.array(
        [
            "and",
            "or",
            "on",
            "at",
            "of",
            "in",
            "so",
            "but",
            "then",
            "there",
            "here",
            "it",
            "this",
            "that",
        ]
    )
    labels = [("safe", "risky")[i % 2] for i in range(64)]
    texts = [
        " ".join([*draw.choice(noise, 3), WORDS[label], *draw.choice(noise, 3)]) for label in labels
    ]
    tokenizer = tiny_tokenizer(texts)
    facts = tiny_text_facts("single_label", ("safe", "risky"), tokenizer)
    torch.manual_seed(0)
    start = TextNetwork(TEXT_CONFIG, facts).encoder.state_dict()
    folder = str(tmp_path_factory.mktemp("bases"))
    base = store_base("tiny", facts["encoder"], tokenizer, start, storage=folder)
    encoder = TextEncoder(tokenizer, max_tokens=24, overlap=4)
    rows = [
        TokenRow(
            np.array(text.windows[0].ids, np.int32),
            np.array([len(text.windows[0].ids)], np.int32),
            targets_of(facts, label, text),
            np.ones(1, np.float32),
            np.empty((0, 5), np.int32),
            np.empty((1, 0), np.float32),
        )
        for text, label in zip(encoder.encode(texts), labels, strict=True)
    ]
    return {**facts, "base": base.uri}, rows


def run_of(facts, config, num_rows):
    return TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(Field(name="text", kind="text"),)),
        role="teacher",
        config=config,
        facts=facts,
        num_rows=num_rows,
        row_bytes=1000,
        scoring_rows=2 * config.batch_size,
        head="single_label",
        state_weight=1.0,
    )


def fitted(problem, folder, config=CONFIG, *, resume=None, states=None):
    facts, rows = problem
    if states is not None:
        rows = [row._replace(states=states) for row in rows]
    run = run_of(facts, config, len(rows))
    reports = Reports(folder)
    shard, held_out = (TokenShard(part, pad=0, seed=config.seed) for part in (rows, rows[:16]))
    fit(run, shard, held_out, report=reports, resume=resume)
    return reports


def test_a_text_network_learns(problem, tmp_path):
    losses = fitted(problem, tmp_path).values("validation_loss")
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_specialized_layer_is_refused_before_any_worker_starts(problem):
    layers = ["encoder.encoder.layers.0"]
    with pytest.raises(InputError, match=r"the nearest is 'encoder\.encoder\.layer\.0'"):
        run_of(problem[0], dataclasses.replace(CONFIG, specialized_layers=layers), 1)
    known = dataclasses.replace(CONFIG, specialized_layers=["classifier"])
    assert run_of(problem[0], known, 1).config == known


def test_the_same_seed_gives_the_same_weights(problem, tmp_path):
    first, again = (fitted(problem, tmp_path / name).best for name in ("a", "b"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_resumed_run_equals_an_undisturbed_one(problem, tmp_path):
    whole = fitted(problem, tmp_path / "whole")
    again = fitted(problem, tmp_path / "again", resume=whole.folders[1])
    assert all(torch.equal(whole.best[name], again.best[name]) for name in whole.best)


def test_a_process_may_train_in_several_precisions(problem, tmp_path, monkeypatch):
    found = []
    for name, has_tiles in (("a", False), ("b", True), ("c", False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has_tiles: {"amx_bf16": has})
        found.append(fitted(problem, tmp_path / name).best)
    first, tiles, again = found
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], tiles[name]) for name in first)
    assert all(value.dtype == torch.float32 for value in tiles.values())


def test_two_small_batches_step_like_a_large_one(problem, tmp_path):
    config = dataclasses.replace(
        CONFIG, num_epochs=1, evaluation_strategy="no", use_mixed_precision=False
    )
    config = dataclasses.replace(config, network=dataclasses.replace(TEXT_CONFIG, dropout=0.0))
    split = dataclasses.replace(config, batch_size=32, gradient_accumulation_steps=2)
    large = fitted(problem, tmp_path / "a", dataclasses.replace(config, batch_size=64)).best
    small = fitted(problem, tmp_path / "b", split).best
    assert max(float((large[name] - small[name]).abs().max()) for name in large) < 1e-3


def distance(problem, weights, teacher):
    """The mean cosine distance of the texts' token states from the teacher's [1, H]."""
    facts, rows = problem
    network = TextNetwork(TEXT_CONFIG, facts)
    network.load_state_dict(weights)
    texts = [WindowedText(windows_of(row), row.pairs) for row in rows]
    states = torch.from_numpy(np.concatenate(score_windows(network, texts, facts["pad"]).states))
    return 1.0 - float(torch.cosine_similarity(states, torch.from_numpy(teacher)).mean())


def test_token_states_are_pulled_to_the_teachers(problem, tmp_path):
    states = np.ones((1, 32), np.float32)
    far = fitted(problem, tmp_path / "far").best
    near = fitted(problem, tmp_path / "near", states=states).best
    assert set(far) == set(near)
    assert distance(problem, near, states) < distance(problem, far, states) - 0.01
