import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spt_core.errors import InputError
from spt_core.models.bases import embedding_name
from spt_core.tokens import open_tokenizer
from spt_core.training import masked_lm
from spt_core.training.masked_lm import FileTexts, MaskedConfig, adapt
from tests.unit.vocabulary.tiny import TEXTS, tiny_base, tiny_tokenizer

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
        "bias",
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
        if metrics["step"] == 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(base, tmp_path / "a", on_step=kill)
    resumed = run(base, tmp_path / "a", on_step=lambda m: seen.append(m["step"]))
    undisturbed = run(base, tmp_path / "b")
    assert seen == [1, 2, 3, 4, 5, 5, 6, 7, 8]
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


def test_a_step_is_of_the_same_text_whatever_the_tokenizer_and_every_text_comes_once(base):
    texts = [f"text number {i} " + "word " * (i % 7) for i in range(50)]
    total = sum(len(text) for text in texts)
    steps = list(itertools.islice(masked_lm._steps(texts, CONFIG), 2 * total // 300))
    flat = [text for step in steps for text in step]
    assert sorted(flat[:50]) == sorted(texts)
    assert flat[:50] != texts
    assert flat[50:] != flat[: len(flat) - 50]


def test_words_are_masked_whole_or_but_for_their_first_pieces():
    tokenizer = open_tokenizer(tiny_tokenizer())
    windows = masked_lm._windows(tokenizer, TEXTS, 32)
    ids, places = masked_lm._masked(windows, 0.2, np.random.default_rng(0))
    words = windows.words.ravel()
    share = len(places) / (words >= 0).sum()
    assert 0.08 < share < 0.25
    assert (ids.ravel()[places] == tokenizer.token_to_id("[MASK]")).all()
    assert (words[places] >= 0).all()
    for place in places:
        follows = place + 1 < len(words) and words[place + 1] == words[place]
        assert not follows or place + 1 in places
    assert windows.ids.shape[1] <= 32


@pytest.mark.slow
def test_a_long_text_is_cut_and_an_unreadable_one_still_counts(base, tmp_path):
    texts = ["warfarin " * 2000, "x" * 9000, "\ufffd 日本 😀", "\ud800", "\x00" * 400]
    made = run(base, tmp_path, dataclasses.replace(CONFIG, num_steps=40, save_steps=200), texts)
    assert len(made.losses) == 40
    assert np.isfinite(made.losses).all()


def test_texts_stream_from_files_and_what_is_no_text_is_left_out(tmp_path):
    pq.write_table(pa.table({"text": ["a", None, " ", "b"]}), tmp_path / "x.parquet")
    texts = FileTexts([(tmp_path / "x.parquet").as_uri()], "parquet", "text")
    assert list(texts) == list(texts) == ["a", "b"]
    with pytest.raises(InputError, match="the nearest is 'text'"):
        FileTexts([(tmp_path / "x.parquet").as_uri()], "parquet", "texts")


def test_what_cannot_train_is_refused_before_anything_starts(base, tmp_path):
    for name, value in {"num_steps": 0, "masked_share": 1.0, "first_steps": 9}.items():
        with pytest.raises(InputError, match=name):
            dataclasses.replace(CONFIG, **{name: value})
    with pytest.raises(InputError, match="must fit the encoder"):
        run(base, tmp_path, dataclasses.replace(CONFIG, max_tokens=65))
    with pytest.raises(InputError, match="there are none"):
        run(base, tmp_path, texts=["", " "])
