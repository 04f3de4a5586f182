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
