"""Can a model be trained on these parts, and judged by them? Refusals, and doubts to show."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence

from spt_core.data.corpus import Finding
from spt_core.data.labels import NAMES, SETS, LabelRule
from spt_core.data.partition import PARTS, Written
from spt_core.errors import InputError

MIN_OF_CLASS = 10  # rows of a class in a part, below which a figure is one of chance
MAX_CLASSES = 500  # of a table: a forest of each is grown in every round


def class_findings(label: str, written: Written, labels: LabelRule) -> list[Finding]:
    """The classes that training rows lack: rows of other parts keep them, to be judged by."""
    train = {name for name, count in written.classes["train"].items() if count > 0}
    absent = [name for name in labels.classes if name not in {*train, labels.negative_class}]
    findings = [
        Finding(kind="absent_class", column=label, detail=f"no training row has the class {name!r}")
        for name in absent
    ]
    for part in PARTS[1:]:
        unseen = {n: c for n, c in written.classes[part].items() if c > 0 and n not in train}
        for name, count in sorted(unseen.items()):
            detail = f"{part} has {count} of {name!r}, training rows none: each is a sure mistake"
            findings.append(Finding(kind="unseen_class", column=label, detail=detail))
    return findings


def few_of_class(label: str, labels: LabelRule, written: Written) -> list[Finding]:
    """The parts with so few rows of a class that figures on them say little."""
    if labels.head != "binary":
        return []
    findings: list[Finding] = []
    for what, is_positive in (("positive", True), ("negative", False)):
        positives, rows = written.num_positives, written.num_rows
        counts = {p: positives[p] if is_positive else rows[p] - positives[p] for p in PARTS}
        few = [f"{count} in {part}" for part, count in counts.items() if count < MIN_OF_CLASS]
        if few:
            detail = (
                f"{what} rows: {', '.join(few)}; with fewer than {MIN_OF_CLASS} what is chosen, "
                "calibrated or measured by them is mostly chance: bring more of them"
            )
            findings.append(Finding(kind="few", column=label, detail=detail))
    return findings


def require_classes(
    label: str, labels: LabelRule, written: Written, quarantine: Mapping[str, int]
) -> None:
    """Refuse a label, or a part, that a model could not be trained on or judged by."""
    worst = max(quarantine, key=lambda reason: quarantine[reason], default="")
    hint = f"; {sum(quarantine.values())} rows are bad, most because {worst}" if quarantine else ""
    if sum(written.num_rows.values()) == 0:
        for reason, count in written.left_out.most_common(1):
            hint += f"; {written.left_out.total():,} are left out, most: {reason} ({count:,})"
        raise InputError(f"a corpus must have good rows, however: it has none{hint}")
    if labels.head == "binary":
        _require_both(label, written, hint)
        return
    if labels.head == "anomalies":
        _require_anomalies(label, written, hint)
    advice = f"bring more rows, or choose other shares or another kind of split{hint}"
    classes = sorted(name for name, count in written.classes["train"].items() if count > 0)
    if labels.head in NAMES and len(classes) < 2:
        raise InputError(
            f"the label {label!r} must have two classes in training rows, however: it has "
            f"{classes}; {advice}"
        )
    for part in PARTS:
        rows, some = written.num_rows[part], written.num_positives[part]
        if not rows or (labels.head in SETS and not some):
            what = "a label that is not empty" if labels.head in SETS else "a row"
            raise InputError(
                f"every part must have {what}, however: {part} has {rows} rows, {some} of them "
                f"with a label; {advice}"
            )


def _require_anomalies(label: str, written: Written, hint: str) -> None:
    """Refuse parts that a detector could not be judged by; it learns from usual readings alone."""
    for part in ("validation", "test"):
        rows, some = written.num_rows[part], written.num_positives[part]
        if some in (0, rows):
            raise InputError(
                f"{part} rows must hold anomalies and usual readings, to judge by, however: "
                f"{some:,} of {rows:,} have a {label!r} of 1; choose other shares (split.train, "
                f"split.validation, ...) or another kind of split{hint}"
            )


def require_table_classes(label: str, labels: LabelRule, written: Written) -> None:
    """Refuse classes of a table that no model could tell apart.

    Texts may have rare classes: their teacher has read before, and knows what their names mean.
    """
    if labels.head not in NAMES:
        return
    counts: Counter[str] = Counter()
    for part in PARTS:
        counts.update(written.classes[part])
    if len(counts) > MAX_CLASSES:
        raise InputError(
            f"the label {label!r} of a table may have {MAX_CLASSES} classes, however: it has "
            f"{len(counts):,}; merge those that are treated alike, or predict a number"
        )
    spellings: dict[float, str] = {}
    for name in sorted(counts):
        with contextlib.suppress(ValueError):
            other = spellings.setdefault(float(name), name)
            if other != name:
                raise InputError(
                    f"the label {label!r} must write a class in one way, however: {other!r} and "
                    f"{name!r} are the same number"
                )
    alone = sorted(name for name, count in counts.items() if count == 1)
    if alone:
        raise InputError(
            f"every class of {label!r} must have two rows, to learn from one and be judged by "
            f"another, however: {alone[0]!r} has one{and_more(alone)}; merge it with another "
            "class, or leave its row out"
        )


def and_more(names: Sequence[str]) -> str:
    """How many there are beside the first, which the sentence names."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _require_both(label: str, written: Written, hint: str) -> None:
    total, positives = sum(written.num_rows.values()), sum(written.num_positives.values())
    if positives in (0, total):
        value = "positive" if positives else "negative"
        raise InputError(
            f"the label {label!r} must have two classes, however: all {total} rows are "
            f"{value}{hint}"
        )
    for part in PARTS:
        rows, some = written.num_rows[part], written.num_positives[part]
        if some in (0, rows):
            raise InputError(
                f"every part must have rows of both classes, however: {part} has {rows} rows, "
                f"{some} of them positive; bring more rows, or choose other shares or another "
                f"kind of split{hint}"
            )
