import types

import pytest

from jobs.command import parser, read_run
from jobs.stages import fitting
from spt_core.distillation import DistillationPipeline


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
