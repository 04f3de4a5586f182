"""VUS-PR against values of its authors' own package (vus 0.0.6, RangeAUC_volume_opt)."""

import numpy as np
import pytest

from spt_core.heads.volume import vus_pr

STORED = {
    (0, 0): 0.432157129101127,
    (0, 20): 0.5117419630436005,
    (0, 60): 0.6370997196133267,
    (1, 0): 0.46897717597687855,
    (1, 20): 0.48798492448716857,
    (1, 60): 0.5297564717857203,
    (2, 0): 0.6202840486108271,
    (2, 20): 0.6247013282848156,
    (2, 60): 0.6364329431136463,
}
SERIES = (
    (500, [(50, 70), (200, 230), (400, 401)]),
    (800, [(0, 10), (300, 330), (335, 340), (790, 800)]),  # at both ends, and close together
    (1000, [(500, 700)]),
)


def series(number):
    size, segments = SERIES[number]
    draw, labels = np.random.default_rng(number), np.zeros(size)
    for start, end in segments:
        labels[start:end] = 1
    scores = draw.random(size) + 0.8 * labels * draw.random(size)
    return labels, scores.round(1) if number == 1 else scores  # with ties


@pytest.mark.parametrize(("number", "buffer"), STORED)
def test_the_volume_is_that_of_the_authors(number, buffer):
    volume = vus_pr(*series(number), max_buffer=buffer, num_buffers=None)
    assert volume == pytest.approx(STORED[number, buffer], abs=1e-12)


def test_some_buffers_stand_for_all():
    labels, scores = series(0)
    assert vus_pr(labels, scores) == pytest.approx(
        vus_pr(labels, scores, num_buffers=None), abs=0.005
    )


def test_the_order_of_scores_alone_matters():
    labels, scores = series(2)
    assert vus_pr(labels, np.exp(5 * scores)) == pytest.approx(vus_pr(labels, scores))


def test_a_perfect_score_has_more_volume_than_one_that_says_nothing():
    labels, _ = series(0)
    noise = np.random.default_rng(9).random(len(labels))
    assert vus_pr(labels, labels + 0.01 * noise) > 0.9
    assert vus_pr(labels, noise) < 0.4


def test_without_both_kinds_there_is_none():
    assert np.isnan(vus_pr(np.zeros(9), np.arange(9.0)))
    assert np.isnan(vus_pr(np.ones(9), np.arange(9.0)))
