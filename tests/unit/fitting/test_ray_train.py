import dataclasses

import pytest
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError

from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.ray_train import run_digest, worker_errors
from spt_core.signature import Field, Signature
from tests.publications import splits

SIGNATURE = Signature(fields=(Field(name="text", kind="text"),))
MISTAKE = InputError("a shard must be whole, however: it is not")


def failed(failure):
    """What is raised where Ray Train fails with this failure of its second worker."""
    with pytest.raises((InputError, WorkerGroupError)) as told, worker_errors():
        raise WorkerGroupError("a traceback of many lines", {1: failure})
    return told.value


def test_other_rows_under_the_same_address_make_another_run(tmp_path):
    made = splits(tmp_path)
    again = dataclasses.replace(made, fingerprints={**made.fingerprints, "train": "80-other"})
    first, same, other = (
        run_digest(TrainingConfig(), rows, SIGNATURE) for rows in (made, made, again)
    )
    assert first == same != other


def test_what_a_worker_raised_on_purpose_comes_out_as_it_was():
    assert failed(MISTAKE) is MISTAKE


def test_what_a_task_of_ray_data_raised_comes_out_of_the_worker_that_waited_for_it():
    waited = RayTaskError("tokenize", "a traceback of many lines", MISTAKE)
    assert failed(waited.as_instanceof_cause()) is MISTAKE


def test_a_bug_keeps_the_traceback_that_ray_has_of_it():
    assert "a traceback of many lines" in str(failed(KeyError("x")))
