"""The wide part learns words that decide, and what it learnt is what the network computes."""

import numpy as np
import pytest
import torch

from spt_core.families.text.reading import TextEncoder, padded
from spt_core.families.text.votes import fitted_votes, token_counts
from spt_core.families.text.wide import Wide
from tests.tiny_models import tiny_tokenizer

TEXTS = ["the loss is covered", "the gain is covered", "no loss", "a gain", "loss of gain"] * 4
TARGETS = np.array([["loss" in text, "loss of" in text, False] for text in TEXTS], np.float64)


@pytest.fixture(scope="module")
def learnt():
    words = TextEncoder(tiny_tokenizer(TEXTS), max_tokens=24, overlap=4)
    special = (words.prefix, words.suffix, words.pad)
    wide = Wide(words.tokenizer.get_vocab_size(), 257, 3)
    encoded = words.encode(TEXTS)
    counts = token_counts(encoded, wide, special)
    votes, bias = fitted_votes(counts, TARGETS)
    wide.put(votes, bias, 1.0)
    return words, wide, encoded, counts, votes, bias


def test_the_network_computes_what_was_fitted(learnt):
    words, wide, encoded, counts, votes, bias = learnt
    ids = torch.from_numpy(padded([text.windows[0].ids for text in encoded], words.pad))
    mask = ~torch.isin(ids, torch.tensor([words.prefix, words.suffix, words.pad]))
    found, _ = wide(ids, mask)
    wanted = counts @ votes.numpy() + bias.numpy()
    assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_words_and_pairs_that_decide_are_learnt(learnt):
    _, _, _, counts, votes, bias = learnt
    given = counts @ votes.numpy() + bias.numpy() > 0
    assert (given[:, :2] == TARGETS[:, :2]).all()


def test_a_class_that_no_text_has_gets_no_votes(learnt):
    _, wide, *_ = learnt
    assert not wide.token[:, 2].any()
    assert float(wide.bias[2]) == 0.0
