"""How many examples a property is tried on: in `make slow` ten times as many as usual."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("SPT_EXAMPLES_TIMES", "1"))


def examples(number: int) -> settings:
    """Settings of a property that usually has so many examples."""
    return settings(
        max_examples=number * TIMES,
        deadline=None,  # machines are busy
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
