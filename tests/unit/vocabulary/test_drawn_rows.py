import numpy as np
import pytest

from spt_core.vocabulary.score import drawn_rows


@pytest.mark.parametrize(
    ("num_labelled", "limit", "wanted"),
    [(70, 40, 20), (30, 80, 30), (95, 60, 55), (5, 9, 5), (0, 10, 0), (50, 200, 50)],
)
def test_half_of_the_rows_have_a_label_where_a_text_may_have_several(num_labelled, limit, wanted):
    labels = ['["safe"]'] * num_labelled + ["[]"] * (100 - num_labelled)
    chosen = drawn_rows(labels, "multi_label", limit)
    assert len(chosen) == min(limit, 100)
    assert (np.diff(chosen) > 0).all()
    assert (chosen < num_labelled).sum() == wanted


def test_other_rows_are_drawn_as_they_are():
    chosen = drawn_rows(["safe"] * 100, "single_label", 30)
    assert len(set(chosen)) == 30
    assert chosen[-1] > 60
