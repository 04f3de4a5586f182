import dataclasses

import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.text.bases import build_encoder, embedding_name, load_base, store_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.vocabulary import masked_lm
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.masked_lm import adapt
from tests.unit.vocabulary.tiny import TEXTS, tiny_base, tiny_config, tiny_tokenizer

CONFIG = MaskedConfig(
    num_steps=8,
    first_steps=3,
    step_bytes=300,
    max_tokens=32,
    save_steps=2,
    learning_rate=3e-3,
    head_rate=2.0,
)


class KilledError(Exception):
    pass


@pytest.fixture
def base(tmp_path):
    return tiny_base(str(tmp_path))


def run(base, tmp_path, config=CONFIG, texts=TEXTS, **options):
    return adapt(base, texts, fingerprint="tiny", storage=str(tmp_path), config=config, **options)


@pytest.mark.slow
def test_training_lowers_the_loss_and_keeps_the_head_beside_the_base(base, tmp_path):
    config = dataclasses.replace(CONFIG, num_steps=60, save_steps=100)
    made = run(base, tmp_path, config)
    assert np.mean(made.losses[-10:]) < np.mean(made.losses[:10]) - 0.5
    assert made.base.parents == (base.uri,)
    assert set(made.head()) == {
        "head.bias",
        "head.dense.weight",
        "head.dense.bias",
        "head.norm.weight",
        "head.norm.bias",
    }
    assert made.base.weights().keys() == base.weights().keys()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(base, tmp_path):
    seen = []

    def kill(metrics):
        seen.append(metrics["step"])
        if metrics["step"] == 6:
            raise KilledError

    with pytest.raises(KilledError):
        run(base, tmp_path / "a", on_step=kill)
    resumed = run(base, tmp_path / "a", on_step=lambda m: seen.append(m["step"]))
    undisturbed = run(base, tmp_path / "b")
    assert seen == [1, 2, 3, 4, 5, 6, 6, 7, 8]  # the state of step 5 was the last that was kept
    assert resumed.losses == undisturbed.losses
    assert resumed.base.files == undisturbed.base.files
    assert run(base, tmp_path / "a").reused


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(base, tmp_path):
    first = run(base, tmp_path)
    again = run(base, tmp_path, fresh=True)
    other = run(base, tmp_path, dataclasses.replace(CONFIG, seed=1))
    assert not again.reused
    assert first.base.files == again.base.files != other.base.files


def test_first_steps_train_the_head_and_new_rows_alone(base, tmp_path):
    config = dataclasses.replace(CONFIG, num_steps=3)
    made = run(base, tmp_path, config, num_new=2)
    name = embedding_name(base.weights())
    before, after = base.weights(), made.base.weights()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {name}
    assert torch.equal(before[name][:-2], after[name][:-2])
    assert not torch.equal(before[name][-2:], after[name][-2:])


@pytest.mark.slow
def test_a_long_text_is_cut_and_an_unreadable_one_still_counts(base, tmp_path):
    texts = ["warfarin " * 2000, "x" * 9000, "\ufffd 日本 😀", "\ud800", "\x00" * 400]
    made = run(base, tmp_path, dataclasses.replace(CONFIG, num_steps=40, save_steps=200), texts)
    assert len(made.losses) == 40
    assert np.isfinite(made.losses).all()


def test_what_cannot_train_is_refused_before_anything_starts(base, tmp_path):
    for name, value in {"num_steps": 0, "masked_share": 1.0, "first_steps": 9}.items():
        with pytest.raises(InputError, match=name):
            dataclasses.replace(CONFIG, **{name: value})
    with pytest.raises(InputError, match="must fit the encoder"):
        run(base, tmp_path, dataclasses.replace(CONFIG, max_tokens=65))
    with pytest.raises(InputError, match="there are none"):
        run(base, tmp_path, texts=["", " "])


def test_the_base_has_the_licences_of_its_parent_and_of_the_texts(base, tmp_path):
    config = dataclasses.replace(CONFIG, num_steps=1, first_steps=0)
    first = run(base, tmp_path, config, licences=("CC-BY-4.0",)).base
    second = run(first, tmp_path, config, licences=("MIT", "CC-BY-4.0")).base
    unknown = run(first, tmp_path, config)
    assert first.licences == load_base(first.uri).licences == ("CC-BY-4.0",)
    assert second.licences == load_base(second.uri).licences == ("CC-BY-4.0", "MIT")
    assert unknown.base.licences == ("CC-BY-4.0",)
    assert not unknown.reused


def test_a_run_of_other_code_is_not_reused(base, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, num_steps=1, first_steps=0)
    run(base, tmp_path, config)
    assert run(base, tmp_path, config).reused
    monkeypatch.setattr(masked_lm, "code_fingerprint", lambda: "another")
    assert not run(base, tmp_path, config).reused


def test_a_resumed_run_reads_again_but_tokenizes_only_what_is_left(base, tmp_path, monkeypatch):
    def kill(metrics):
        if metrics["step"] == 5:
            raise KilledError

    tokenized = []
    windows_of = masked_lm.windows_of

    def counted(tokenizer, texts, max_tokens):
        tokenized.append(tuple(texts))
        return windows_of(tokenizer, texts, max_tokens)

    monkeypatch.setattr(masked_lm, "windows_of", counted)
    with pytest.raises(KilledError):
        run(base, tmp_path, on_step=kill)
    before = list(tokenized)
    run(base, tmp_path)
    assert len(tokenized) == 6 + 5  # one step ahead; the second stage starts at step 3
    assert tokenized[6] == before[3]


def test_an_encoder_whose_embeddings_are_narrower_than_its_states_is_refused(tmp_path):
    size = open_tokenizer(tiny_tokenizer()).get_vocab_size()
    config = {**tiny_config(size), "model_type": "electra", "embedding_size": 8}
    weights = build_encoder(config).state_dict()
    narrow = store_base("narrow", config, tiny_tokenizer(), weights, storage=str(tmp_path))
    with pytest.raises(InputError, match="as wide as its hidden states, .* narrow has 8 and 16"):
        run(narrow, tmp_path)
