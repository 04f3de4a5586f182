"""Ray that does not start: tried again where it only took too long, else one sentence."""

from __future__ import annotations

import pytest

from cluster import lifecycle
from cluster.settings import load_settings, require_absolute
from spt_core.errors import InputError, MachineError

LATE = Exception("The current node timed out during startup. This could happen because ...")


class Starts:
    """Ray's `init`, which fails as it is told, each time once."""

    def __init__(self, *errors):
        self.errors, self.num_calls = list(errors), 0

    def __call__(self, **options):
        self.num_calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize(
    ("errors", "num_calls", "sentence"),
    [
        ((), 1, ""),
        ((LATE, LATE), 3, ""),
        ((LATE,) * 9, lifecycle.NUM_STARTS, "timed out during startup.*tried 5 times"),
        ((ValueError("no such\noption"),), 1, "on this machine, however: no such option"),
        ((ConnectionError("nobody listens"),), 1, "nobody listens"),
    ],
)
def test_a_start_that_took_too_long_is_tried_again(
    monkeypatch, capsys, errors, num_calls, sentence
):
    starts = Starts(*errors)
    monkeypatch.setattr("ray.init", starts)
    if sentence:
        with pytest.raises(MachineError, match=sentence) as error:
            lifecycle._started("Ray must start on this machine")
        assert "\n" not in str(error.value)
    else:
        lifecycle._started("Ray must start on this machine")
    assert starts.num_calls == num_calls
    assert capsys.readouterr().err.count("try ") == num_calls - 1


@pytest.mark.parametrize("location", ["spt_storage", "./a/b", "a.parquet"])
def test_a_cluster_s_jobs_name_no_folder_that_ends_with_them(monkeypatch, location):
    with pytest.raises(InputError, match="must be a URI or an absolute path"):
        require_absolute(location, "--data")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("SPT_STORAGE", location)
    with pytest.raises(InputError, match="the storage root must be a URI or an absolute path"):
        load_settings()
    monkeypatch.setenv("SPT_STORAGE", "/data")
    monkeypatch.setenv("SPT_DATABASE_URL", f"sqlite:///{location}")
    with pytest.raises(InputError, match="a SQLite database must be"):
        load_settings()
