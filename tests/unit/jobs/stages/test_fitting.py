import types

import pytest

from jobs.command import parser, read_run
from jobs.stages import fitting
from spt_core.distillation import DistillationPipeline
from spt_core.fitting.config import TrainingConfig


def model(score):
    artifact = types.SimpleNamespace(metrics={"validation_macro_f1": score}, notes=())
    return types.SimpleNamespace(artifact=artifact, reused=False)


@pytest.mark.parametrize(("score", "is_warned"), [(0.72, True), (0.78, False)])
def test_a_student_that_keeps_under_95_percent_is_warned_of(
    score, is_warned, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(DistillationPipeline, "distill", lambda *_, **__: model(score))
    words = ("technology/security_analysis", "--storage", str(tmp_path))
    fitting.distilled(read_run(parser("pipeline", "").parse_args(words)), model(0.8), None)
    said = capsys.readouterr().err
    assert f"{score / 0.8:.1%} of its teacher's" in said
    assert ("the student keeps 90.0% of its teacher's macro f1" in said) == is_warned


class Bar:
    """Stands for a stage's progress bar."""

    def __init__(self):
        self.seen = []

    def advance(self, completed, total, text):
        self.seen.append((completed, total, text))


@pytest.mark.parametrize(
    ("metrics", "completed", "text"),
    [
        ({"epoch": 0, "progress": 1 / 70, "train_loss": 0.5}, 0.1, "epoch 1 of 7, train loss 0.5"),
        ({"epoch": 3, "progress": 3 / 7, "train_loss": 0.5}, 3, "epoch 3 of 7, train loss 0.5"),
        ({"epoch": 2, "progress": 0.3}, 2.1, "epoch 3 of 7"),
        ({"epoch": 7, "final": 1.0}, 7, "epoch 7 of 7"),
    ],
)
def test_an_epoch_is_shown_before_it_is_over(metrics, completed, text):
    bar = Bar()
    config = TrainingConfig(task="financial_services/fraud_detection", num_epochs=7)
    fitting.watch(bar, config)({"step": 1, **metrics})
    ((done, of, said),) = bar.seen
    assert (done, of) == (pytest.approx(completed), 7)
    assert said.startswith(text)


def test_how_long_it_may_take_is_told_by_what_is_done(monkeypatch):
    bar, now_s = Bar(), [100.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: now_s[0])
    config = TrainingConfig(task="financial_services/fraud_detection", num_epochs=4)
    show = fitting.watch(bar, config)
    for progress in (0.1, 0.2, 0.6, 0.9, 0.1, 0.3):  # two trainings, one behind the other
        show({"epoch": int(progress * 4), "progress": progress})
        now_s[0] += 60
    rests = [text.partition(", ")[2] for _, _, text in bar.seen]
    assert rests == [
        "",
        "at most 0:08:00 more",
        "at most 0:01:36 more",
        "",
        "",
        "at most 0:03:30 more",
    ]
