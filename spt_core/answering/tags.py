"""Tags of tokens -> spans of the text: B and I of each class, 0 outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spt_core.task import Span
from spt_core.tokens import TokenWindow


def spans_of(
    text: str,
    windows: Sequence[TokenWindow],
    probabilities: NDArray[np.float64],
    classes: Sequence[str],
) -> tuple[Span, ...]:
    """The spans that the tags' probabilities [W, T, 2C + 1] make; they do not overlap.

    A token in several windows has the mean of their probabilities. An I without a B before it, or
    of another class, begins a span; pieces of one word are never parted: its first piece decides.
    """
    sums: dict[int, NDArray[np.float64]] = {}
    ends: dict[int, int] = {}
    for window, of_window in zip(windows, probabilities, strict=True):
        for (start, end), tags in zip(window.offsets, of_window, strict=False):
            if end > start:
                sums[start] = sums[start] + tags if start in sums else tags
                ends[start] = max(end, ends.get(start, 0))
    found: list[Span] = []
    is_open, last_end = False, -1
    for start in sorted(sums):
        goes_on = start == last_end and text[start - 1].isalnum() and text[start].isalnum()
        tag, last_end = int(sums[start].argmax()), ends[start]
        if goes_on:
            if is_open:
                found[-1] = found[-1]._replace(end=last_end)
            continue
        label = "" if tag == 0 else classes[(tag - 1) // 2]
        if tag == 0:
            is_open = False
        elif tag % 2 == 0 and is_open and found[-1].label == label:
            found[-1] = found[-1]._replace(end=last_end)
        else:
            found.append(Span(start, last_end, "", label))
            is_open = True
    return tuple(span._replace(text=text[span.start : span.end]) for span in found)
