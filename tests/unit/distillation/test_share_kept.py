import pytest

from spt_core.distillation import share_kept
from tests.tiny_models import text_task


@pytest.mark.parametrize(
    ("head", "student", "teacher", "wanted"),
    [
        ("multi_label", 0.6, 0.8, 0.75),
        ("multi_label", 0.9, 0.8, 1.125),
        ("regression", 4.0, 3.0, 0.75),
        ("multi_label", 0.0, 0.0, 1.0),
    ],
)
def test_the_share_of_the_teachers_metric(head, student, teacher, wanted):
    task = text_task(head)
    name = f"validation_{task.metric}"
    assert share_kept({name: student}, {name: teacher}, task) == pytest.approx(wanted)
