"""What Ray says of itself does not reach a person."""

import logging

import pytest
from ray._private import worker as ray_worker

from cluster.lifecycle import _quiet


def test_a_call_that_nobody_waits_for_fails_without_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", said.append)
    for name in ("print_to_stdstream", "_unhandled_error_handler"):
        monkeypatch.setattr(ray_worker, name, getattr(ray_worker, name))  # put back at the end
    _quiet()
    monkeypatch.setattr(ray_worker.global_worker, "deserialize_objects", lambda *_: [OSError("x")])
    logging.getLogger("ray").addHandler(handler)
    try:
        ray_worker.global_worker.raise_errors([], [])
    finally:
        logging.getLogger("ray").removeHandler(handler)
    assert not said
