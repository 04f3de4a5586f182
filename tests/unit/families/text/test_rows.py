import numpy as np
import torch

from spt_core.families.text.rows import (
    POOL_BATCHES,
    STEP_WINDOWS,
    TokenShard,
    TokenStreamShard,
)
from spt_core.families.text.token_rows import TokenRow, token_batch, token_rows

PAD = 0


def row(number, size):
    """A text of `size` tokens that all are its number."""
    return TokenRow(
        np.full(size, number, np.int32),
        np.array([size], np.int32),
        np.array([[number, 1.0]], np.float32),
        np.ones(1, np.float32),
        np.empty((0, 5), np.int32),
        np.empty((1, 0), np.float32),
    )


def rows(num_rows=500, seed=0):
    sizes = np.random.default_rng(seed).geometric(0.05, num_rows) + 2
    return [row(number + 1, int(size)) for number, size in enumerate(sizes)]


def seen(batches):
    return [batch.targets[:, 0].int().tolist() for batch in batches]


def test_each_text_comes_once_an_epoch():
    batches = seen(TokenShard(rows(), pad=PAD, seed=1).batches(size=16, epoch=0, shuffle=True))
    assert sorted(sum(batches, [])) == list(range(1, 501))


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return seen(
            TokenShard(rows(), pad=PAD, seed=seed).batches(size=16, epoch=epoch, shuffle=True)
        )

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_an_epoch_goes_on_from_any_batch():
    shard = TokenShard(rows(), pad=PAD, seed=1)
    whole = seen(shard.batches(size=16, epoch=3, shuffle=True))
    assert seen(shard.batches(size=16, epoch=3, shuffle=True, start=7)) == whole[7:]


def test_next_to_nothing_is_padding():
    shard = TokenShard(rows(16 * POOL_BATCHES), pad=PAD, seed=1)
    ids = [batch.inputs[0] for batch in shard.batches(size=16, epoch=0, shuffle=True)]
    assert sum(int((x == PAD).sum()) for x in ids) < 0.1 * sum(x.numel() for x in ids)


def test_a_stream_gives_the_same_texts_epoch_after_epoch():
    shard = TokenStreamShard(lambda: iter(rows()), num_rows=500, pad=PAD, seed=1)
    whole = seen(shard.batches(size=16, epoch=1, shuffle=True))
    assert sorted(sum(whole, [])) == list(range(1, 501))
    assert seen(shard.batches(size=16, epoch=1, shuffle=True, start=5)) == whole[5:]


def test_windows_of_a_text_know_their_owner_and_pairs_their_window():
    long = row(1, 7)._replace(
        lengths=np.array([4, 3], np.int32), pairs=np.array([[1, 1, 1, 2, 2]], np.int32)
    )
    (features, owner, pairs), *_ = token_batch([row(2, 2), long], PAD)
    assert owner.tolist() == [0, 1, 1]
    assert pairs.tolist() == [[2, 1, 1, 2, 2]]
    assert torch.equal(features[0], torch.tensor([2, 2, PAD, PAD]))


def long_row(num_windows=2 * STEP_WINDOWS, **more):
    """Windows [100, number, 101], the number above 200; states say it too."""
    ids = np.array([(100, 200 + n, 101) for n in range(num_windows)], np.int32)
    return row(1, 1)._replace(
        ids=ids.ravel(),
        lengths=np.full(num_windows, 3, np.int32),
        states=np.arange(num_windows, dtype=np.float32)[:, None],
        **more,
    )


def first_batch(rows, *, epoch=0, seed=1):
    (batch,) = TokenShard(rows, pad=PAD, seed=seed).batches(size=8, epoch=epoch, shuffle=True)
    return batch, (batch.inputs[0][:, 1] - 200).tolist()


def test_a_long_text_shows_some_of_its_windows_other_ones_each_epoch():
    batch, shown = first_batch([long_row()])
    assert len(shown) == STEP_WINDOWS
    assert shown == sorted(set(shown)) == batch.states[:, 0].tolist()
    assert batch.targets.tolist() == [[1.0, 1.0]]
    assert first_batch([long_row()])[1] == shown
    assert first_batch([long_row()], epoch=1)[1] != shown
    assert first_batch([long_row(STEP_WINDOWS)])[1] == list(range(STEP_WINDOWS))


def test_tags_are_of_the_tokens_that_are_shown():
    number = 2 * STEP_WINDOWS
    tags = np.arange(number, dtype=np.float32)[:, None]
    batch, shown = first_batch([long_row(targets=tags, weights=2 * tags[:, 0])])
    assert batch.targets[:, 0].tolist() == shown
    assert batch.weights.tolist() == [2.0 * n for n in shown]


def test_windows_that_hold_pairs_are_shown_first():
    held = np.arange(2 * STEP_WINDOWS)[::-2]  # half of them, the last first
    pairs = np.array([(n, 1, 1, 1, 1) for n in held], np.int32)
    named = {"targets": held.astype(np.float32)[:, None], "weights": np.ones(len(held), np.float32)}
    batch, shown = first_batch([long_row(pairs=pairs, **named)])
    assert shown == sorted(held.tolist())
    assert [shown[n] for n in batch.inputs[2][:, 0]] == batch.targets[:, 0].tolist() == [*held]


def test_flat_lists_become_rows_again():
    batch = {
        "ids": [[5, 6, 7]],
        "lengths": [[3]],
        "targets": [[0.0, 1.0, 1.0, 0.0]],
        "weights": [[1.0, 1.0]],
        "pairs": [[0, 1, 1, 2, 2, 0, 1, 1, 3, 3]],
    }
    (found,) = token_rows(batch, 2)
    assert found.targets.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert found.pairs.shape == (2, 5)
    assert found.states.shape == (1, 0)
