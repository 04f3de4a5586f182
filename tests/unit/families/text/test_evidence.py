import numpy as np
import pytest
import torch

from spt_core.families.text import evidence
from spt_core.families.text.evidence import phrases, pooled, words_of
from spt_core.families.text.network import pooled as pooled_tensor
from spt_core.families.text.reading import TokenWindow

TEXT = "We may anti-close the account"
#       0  3   7   12    18  22
OFFSETS = [
    (0, 0),
    (0, 2),
    (3, 6),
    (7, 11),
    (11, 12),
    (12, 15),
    (15, 17),
    (18, 21),
    (22, 29),
    (0, 0),
]
WINDOW = TokenWindow(list(range(10)), OFFSETS)


def shares(*values):
    """Shares [1, T, 1] of the eight tokens between the special ones."""
    return np.array([9.0, *values, 9.0]).reshape(1, -1, 1)


def test_pieces_are_summed_to_words_and_special_tokens_left_out():
    words = words_of(TEXT, [WINDOW], shares(1, 2, 3, 4, 5, 6, 7, 8))
    assert [TEXT[s:e] for s, e in words.places] == [
        "We",
        "may",
        "anti",
        "-",
        "close",
        "the",
        "account",
    ]
    assert words.effects[:, 0].tolist() == [1, 2, 3, 4, 11, 7, 8]


def test_a_token_of_two_windows_counts_in_both():
    words = words_of(TEXT, [WINDOW, WINDOW], np.concatenate([shares(*[1] * 8)] * 2))
    assert words.effects[0, 0] == 2.0


def test_neighbors_of_one_sign_become_a_phrase_and_the_strongest_comes_first():
    words = words_of(TEXT, [WINDOW], shares(-1, 0.1, 0.1, 0, 1, 1, 0.1, 2))
    found = phrases(TEXT, words, np.ones(1))
    assert [(p.text, p.effect) for p in found] == [
        ("close the account", pytest.approx(4.1)),
        ("We", -1.0),
    ]


def test_marks_alone_are_no_phrase():
    words = words_of(TEXT, [WINDOW], shares(0, 0, 0, 9, 0, 0, 0, 1))
    assert [p.text for p in phrases(TEXT, words, np.ones(1))] == ["account"]


def test_pooling_is_that_of_training_with_its_slopes():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    wanted = pooled_tensor(logits, torch.zeros(4, dtype=torch.long))
    found, weights = pooled(logits.detach().numpy(), np.ones(3))
    np.testing.assert_allclose(found, wanted.detach().numpy()[0], atol=1e-12)
    wanted.sum().backward()
    # The tensor's maximum is detached, which leaves the slopes as they are.
    np.testing.assert_allclose(weights, logits.grad.numpy(), atol=1e-12)


def test_windows_are_pooled_as_they_were_before_calibration():
    raw = np.array([[6.0], *[[-4.0]] * 9])
    wanted = pooled_tensor(torch.from_numpy(raw), torch.zeros(10, dtype=torch.long)).numpy()[0]
    calibrated, scale = 0.5 * raw + 0.7, np.array([0.5])
    found, weights = pooled(calibrated, scale)
    np.testing.assert_allclose(found, 0.5 * wanted + 0.7, atol=1e-12)
    step = np.zeros((10, 1))
    step[3] = 1e-5
    slope = (pooled(calibrated + step, scale)[0] - pooled(calibrated - step, scale)[0]) / 2e-5
    assert slope == pytest.approx(weights[3], rel=1e-5)
    np.testing.assert_array_equal(pooled(calibrated[:1], scale)[0], calibrated[0])


def test_scripts_without_spaces_have_a_word_a_character():
    window = TokenWindow([0, 1, 2, 3], [(0, 0), (0, 1), (1, 2), (0, 0)])
    assert len(words_of("禁止", [window], np.ones((1, 4, 1))).places) == 2


def test_the_most_phrases_are_few():
    size = 60
    offsets = [(3 * i, 3 * i + 2) for i in range(size)]
    text = "ab " * size
    values = np.where(np.arange(size) % 3, 0.0, 1.0)
    words = words_of(text, [TokenWindow(list(range(size)), offsets)], values.reshape(1, -1, 1))
    assert len(phrases(text, words, np.ones(1))) == evidence.MAX_PHRASES
