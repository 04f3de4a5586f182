"""kill -9 of a worker of a sharded run: it resumes from all shards, with the undisturbed metrics.

Runs of one seed and worker count on one machine agree within TOLERANCE.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import psutil
import pytest

from tests.chaos.test_training_kill import epoch_of, until, words_of
from tests.tiny_text_runs import CONFIG, train_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TOLERANCE = 1e-6
NUM_EPOCHS = 8


def losses(reports: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(m["epoch"], m["validation_loss"]) for m in reports if "validation_loss" in m]


def kill_a_worker(run: Path, *, after: int) -> None:
    """kill -9 of one of this driver's workers once a checkpoint of epoch `after` is there.

    And once the controller knows of one: a folder that it does not know is not resumed from.
    """
    until(lambda: any((epoch_of(folder) or 0) >= after for folder in run.glob("checkpoint_*")))
    snapshot = run / "checkpoint_manager_snapshot.json"
    until(lambda: snapshot.exists() and '"checkpoint_dir_name"' in snapshot.read_text())
    family = psutil.Process().children(recursive=True)
    [process for process in family if "ray::RayTrainWorker" in " ".join(words_of(process))][
        -1
    ].kill()


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_a_killed_worker_of_a_sharded_run_is_replaced_and_the_metrics_are_the_same(
    local_ray: None, tmp_path: Path, strategy: str
) -> None:
    config = dataclasses.replace(CONFIG, strategy=strategy, num_epochs=NUM_EPOCHS)
    _, undisturbed = train_tiny(tmp_path, config, "undisturbed")

    killer = threading.Thread(
        target=kill_a_worker, args=(tmp_path / "runs" / "killed",), kwargs={"after": 2}
    )
    killer.start()
    _, killed = train_tiny(tmp_path, config, "killed")
    killer.join()
    assert dict(losses(killed)) == pytest.approx(dict(losses(undisturbed)), abs=TOLERANCE)
    assert [epoch for epoch, _ in losses(killed)].count(1) == 1, "it resumed, and did not restart"
