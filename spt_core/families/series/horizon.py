"""What a request says in advance of the steps to come -> numbers [H, C]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError, nearest, shown
from spt_core.notation import FLOAT32_MAX
from spt_core.signature import KNOWN_IN_ADVANCE, SequenceShape


def read_horizon(given: object, shape: SequenceShape) -> NDArray[np.float32]:
    """What is known of each step, NaN for the channels of which nothing is.

    It is an object of lists, one for each channel that is known in advance, or a list of objects,
    one for each step. InputError with one sentence about the first fault.
    """
    ahead = np.full((shape.horizon, len(shape.channels)), np.nan, np.float32)
    if not shape.in_advance:
        return ahead
    rule = (
        f"{KNOWN_IN_ADVANCE!r} must have {', '.join(shape.in_advance)} of each of the "
        f"{shape.horizon} steps to come, however: "
    )
    columns = _by_channel(given, shape, rule)
    for name in columns:
        if name not in shape.in_advance:
            raise InputError(
                f"{rule}{shown(name)} is none of them; {nearest(str(name), shape.in_advance)}"
            )
    for name in shape.in_advance:
        ahead[:, shape.channels.index(name)] = _numbers(name, columns.get(name), shape, rule)
    return ahead


def _by_channel(given: object, shape: SequenceShape, rule: str) -> Mapping[str, Any]:
    """What is known, by channel."""
    if given is None:
        raise InputError(f"{rule}it is missing")
    if isinstance(given, Mapping):
        return cast(Mapping[str, Any], given)
    if not isinstance(given, list):
        raise InputError(f"{rule}it is {shown(given)}")
    steps = cast(list[Any], given)
    for number, step in enumerate(steps, 1):
        if not isinstance(step, Mapping):
            raise InputError(f"{rule}step {number} is {shown(step)}")
    if len(steps) != shape.horizon:
        raise InputError(f"{rule}there are {len(steps)}")
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: [step.get(name) for step in steps] for name in names}


def _numbers(name: str, values: object, shape: SequenceShape, rule: str) -> Sequence[float]:
    """A channel's value of each step."""
    if not isinstance(values, list):
        raise InputError(f"{rule}{name!r} is {'missing' if values is None else 'no list'}")
    numbers = cast(list[Any], values)
    if len(numbers) != shape.horizon:
        raise InputError(f"{rule}{name!r} has {len(numbers)}")
    for number, value in enumerate(numbers, 1):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= FLOAT32_MAX:
            raise InputError(f"{rule}{name!r} of step {number} is {shown(value)}")
    return numbers
