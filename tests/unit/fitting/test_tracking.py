import sys
import types

import pytest

from spt_core.errors import MissingPackageError
from spt_core.fitting import tracking


def test_without_trackers_nothing_happens():
    with tracking.track((), "run", {}) as log:
        log({"loss": 1.0})


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_missing_tracker_says_what_to_install(tracker, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, tracker, None)
    with (
        pytest.raises(MissingPackageError, match=rf"\.\[{tracker}\]"),
        tracking.track((tracker,), "run", {}),
    ):
        pass


class Run:
    """A run of either tracker, as they show it."""

    def __init__(self, url=None):
        self.info = self
        self.experiment_id, self.run_id, self.id, self.url = "7", "abc", "abc", url
        self.logged = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def log(self, metrics):
        self.logged.append(metrics)


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("http://mlflow.bank/", "http://mlflow.bank/#/experiments/7/runs/abc"),
        ("sqlite:///mlflow.db", "mlflow:abc"),
    ],
)
def test_a_run_of_mlflow_is_known_by_its_page(server, address, monkeypatch):
    run = Run()
    mlflow = types.SimpleNamespace(
        start_run=lambda run_name: run,
        log_params=lambda params: None,
        log_metrics=lambda metrics, step: run.log(metrics),
        get_tracking_uri=lambda: server,
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with tracking.track(("mlflow",), "run", {}) as log:
        log({"loss": 1.0})
    assert log.runs == (address,)
    assert run.logged == [{"loss": 1.0}]


@pytest.mark.parametrize(
    ("url", "address"), [("https://wandb.ai/a/b/runs/abc",) * 2, (None, "wandb:abc")]
)
def test_a_run_of_weights_and_biases_is_known_by_its_page(url, address, monkeypatch):
    run = Run(url)
    wandb = types.SimpleNamespace(init=lambda name, config: run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with tracking.track(("wandb",), "run", {}) as log:
        log({"loss": 1.0})
    assert log.runs == (address,)
    assert run.logged == [{"loss": 1.0}]
