import pytest

from spt_core.distillation import share_kept


@pytest.mark.parametrize(
    ("metric", "student", "teacher", "wanted"),
    [
        ("micro_f1", 0.6, 0.8, 0.75),
        ("micro_f1", 0.9, 0.8, 1.125),
        ("rmse", 4.0, 3.0, 0.75),
        ("micro_f1", 0.0, 0.0, 1.0),
    ],
)
def test_the_share_of_the_teachers_metric(metric, student, teacher, wanted):
    name = f"validation_{metric}"
    assert share_kept({name: student}, {name: teacher}, metric) == pytest.approx(wanted)
