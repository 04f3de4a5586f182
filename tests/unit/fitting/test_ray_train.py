import dataclasses

import pytest
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError

from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.ray_train import fit_model, worker_errors
from tests.publications import splits

MISTAKE = InputError("a shard must be whole, however: it is not")


class NamedError(Exception):
    """Ends a fit as soon as its run has a name."""


class Plan:
    """Asked for a run, it tells the name."""

    role, scratch = "teacher", ()

    def __init__(self, identity=()):
        self.identity = identity

    def prepare(self, name):
        raise NamedError(name)


def named(splits, *identity):
    """The name of the run that fits a plan of this identity."""
    with pytest.raises(NamedError) as told:
        fit_model(Plan(identity), splits, TrainingConfig(output_dir=splits.uri))
    return str(told.value)


def failed(failure):
    """What is raised where Ray Train fails with this failure of its second worker."""
    with pytest.raises((InputError, WorkerGroupError)) as told, worker_errors():
        raise WorkerGroupError("a traceback of many lines", {1: failure})
    return told.value


def test_other_rows_under_the_same_address_make_another_run(tmp_path):
    made = splits(tmp_path)
    again = dataclasses.replace(made, fingerprints={**made.fingerprints, "train": "80-other"})
    assert named(made) == named(made) != named(again)


def test_what_decides_a_plan_is_in_the_name_of_its_run(tmp_path):
    made = splits(tmp_path)
    assert named(made, "one") == named(made, "one") != named(made, "other")


def test_what_a_worker_raised_on_purpose_comes_out_as_it_was():
    assert failed(MISTAKE) is MISTAKE


def test_what_a_task_of_ray_data_raised_comes_out_of_the_worker_that_waited_for_it():
    waited = RayTaskError("tokenize", "a traceback of many lines", MISTAKE)
    assert failed(waited.as_instanceof_cause()) is MISTAKE


def test_a_bug_keeps_the_traceback_that_ray_has_of_it():
    assert "a traceback of many lines" in str(failed(KeyError("x")))
