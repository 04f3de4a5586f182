import dataclasses

import pytest

from spt_core.artifacts import load_artifact, write_manifest
from spt_core.distillation import DistillationConfig, DistillationPipeline, pipeline
from spt_core.errors import InputError
from spt_core.families.text.learner import LEARNER
from spt_core.families.training import TRAINING
from spt_core.fitting import ray_train
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Fitted, Trained, TrainingRun
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType
from tests.publications import artifact, splits


class Unlearned:
    """The FitPlan of a student that is none."""

    role, identity, scratch = "student", (), ()

    def __init__(self, lesson):
        self._lesson = lesson

    def prepare(self, name):
        return TrainingRun(
            learner=LEARNER,
            signature=self._lesson.teacher.signature,
            role=self.role,
            config=self._lesson.training,
            facts={"classes": []},
            num_rows=1,
            row_bytes=1,
            scoring_rows=1,
        )

    def rows(self, part):
        return part

    def finish(self, weights):
        return Trained({}, {})


@pytest.fixture
def made(tmp_path):
    return splits(tmp_path)


@pytest.fixture
def distilled(tmp_path, made, monkeypatch):
    """Distills a teacher of `made` on other splits; the student is none."""
    teacher = dataclasses.replace(
        artifact(tmp_path, 0, made.uri),
        data_fingerprint=made.data_fingerprint,
        licences=("CC BY-NC 4.0",),
    )
    monkeypatch.setattr(
        pipeline, "TRAINING", {"text": TRAINING["text"]._replace(distill=Unlearned)}
    )
    monkeypatch.setattr(ray_train, "fit_network", lambda *_, **__: Fitted(b"", 1))
    training = TrainingConfig(
        family="text", industry=IndustryType.TECHNOLOGY, output_dir=str(tmp_path)
    )
    steps = DistillationPipeline(DistillationConfig(training=training))
    return lambda rows: steps.distill(SpecializedModel(teacher), rows).artifact


def elsewhere(made, **fingerprints):
    """The splits under another address, with other parts."""
    found = dataclasses.replace(
        made, uri=f"{made.uri}-again", fingerprints={**made.fingerprints, **fingerprints}
    )
    write_manifest(found.uri, found.to_json())
    return found


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_teacher_of_another_split_of_the_same_rows_is_refused(distilled, made, part):
    with pytest.raises(InputError, match=f"the part {part} of .* is not that of .*-again"):
        distilled(elsewhere(made, **{part: "80-other"}))


def test_a_teacher_of_other_rows_is_refused(distilled, made):
    with pytest.raises(InputError, match="the fingerprints are 180-0"):
        distilled(dataclasses.replace(made, data_fingerprint="181-0"))


def test_the_same_parts_elsewhere_will_do(distilled, made):
    again = elsewhere(made)
    assert distilled(again).splits == again.uri


def test_a_student_carries_the_licences_of_its_teacher(distilled, made):
    student = distilled(made)
    assert student.licences == ("CC BY-NC 4.0", "MIT")
    assert load_artifact(student.uri) == student
