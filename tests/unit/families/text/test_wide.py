"""Votes of tokens and pairs, by hand."""

import numpy as np
import pytest
import torch

from spt_core.families.text.wide import Wide, buckets

IDS = torch.tensor([[1, 5, 6, 5, 2], [1, 7, 2, 0, 0]])
MASK = torch.tensor([[False, True, True, True, False], [False, True, False, False, False]])


@pytest.fixture
def wide():
    made = Wide(num_tokens=10, num_buckets=101, num_classes=2)
    votes = torch.randn(111, 2, generator=torch.Generator().manual_seed(0))
    made.put(votes, torch.tensor([0.5, -0.5]), 2.0)
    return made


def test_a_windows_logits_are_the_votes_of_its_tokens_and_pairs(wide):
    logits, shares = wide(IDS, MASK)
    first, second = (buckets(a, b, 101) for a, b in ((5, 6), (6, 5)))
    total = wide.token[[5, 6, 5]].sum(0) + wide.pair[[first, second]].sum(0)
    assert torch.allclose(logits[0], total / 3**0.5 + wide.bias)
    assert torch.allclose(logits[1], wide.token[7] + wide.bias)
    assert torch.allclose(shares.sum(1) + wide.bias, logits)


def test_a_pair_is_shared_by_its_two_tokens_and_no_other_has_a_share(wide):
    _, shares = wide(IDS, MASK)
    assert not shares[~MASK].any()
    wanted = (wide.token[5] + wide.pair[buckets(5, 6, 101)] / 2) / 3**0.5
    assert torch.allclose(shares[0, 1], wanted)


def test_padding_changes_nothing(wide):
    alone, _ = wide(IDS[1:, :3], MASK[1:, :3])
    assert torch.allclose(alone, wide(IDS, MASK)[0][1:])


def test_a_share_of_nothing_is_silent(wide):
    wide.put(torch.ones(111, 2), torch.ones(2), 0.0)
    assert not wide(IDS, MASK)[0].any()


def test_arrays_and_tensors_fall_into_the_same_buckets():
    first, second = np.arange(50), np.arange(50)[::-1] + 30_000
    found = buckets(first, second, 16_384)
    tensors = buckets(torch.from_numpy(first), torch.from_numpy(second.copy()), 16_384)
    assert found.tolist() == tensors.tolist()
