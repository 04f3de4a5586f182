import numpy as np
import pytest
import torch

from spt_core.fitting.shards import MemoryShard, StreamShard

NUM_ROWS, SIZE = 103, 10


def arrays(num_rows=NUM_ROWS):
    numbers = np.arange(num_rows, dtype=np.float32)
    return numbers[:, None].repeat(2, 1), numbers % 2, np.ones(num_rows, np.float32)


def memory(seed):
    return MemoryShard(arrays(), seed=seed)


def stream(seed):
    def read():
        for start in range(0, NUM_ROWS, 17):
            yield tuple(array[start : start + 17] for array in arrays())

    return StreamShard(read, num_rows=NUM_ROWS, buffer_rows=40, seed=seed)


@pytest.fixture(params=[memory, stream])
def shard(request):
    return request.param


def rows(shard, epoch=0, *, shuffle=True, start=0):
    batches = list(shard.batches(size=SIZE, epoch=epoch, shuffle=shuffle, start=start))
    return torch.cat([batch.inputs[0][:, 0] for batch in batches]).tolist()


def test_an_epoch_holds_every_row_once(shard):
    assert sorted(rows(shard(0))) == list(range(NUM_ROWS))


def test_the_order_is_a_function_of_seed_and_epoch(shard):
    assert rows(shard(1), 2) == rows(shard(1), 2)
    assert rows(shard(1), 2) != rows(shard(1), 3)
    assert rows(shard(1), 2) != rows(shard(2), 2)


def test_rows_keep_their_order_without_shuffling(shard):
    assert rows(shard(0), shuffle=False) == list(range(NUM_ROWS))


@pytest.mark.parametrize("start", [0, 1, 5, 10])
def test_an_epoch_resumes_at_a_batch(shard, start):
    assert rows(shard(0), 3, start=start) == rows(shard(0), 3)[start * SIZE :]


def test_a_row_keeps_its_target(shard):
    for batch in shard(0).batches(size=SIZE, epoch=0, shuffle=True):
        assert torch.equal(batch.inputs[0][:, 0] % 2, batch.targets)


def test_all_batches_but_the_last_are_full(shard):
    sizes = [len(batch.targets) for batch in shard(0).batches(size=SIZE, epoch=0, shuffle=True)]
    assert sizes == [SIZE] * 10 + [3]
