"""A data set to be scored, held against what its model was trained on: Sample -> what is odd.

A file of another country, a header that is missing, codes that lost their zeros: each row of it may
be readable, and all of it wrong.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data.conform import typed_column
from spt_core.data.kinds import Judged, is_text, notation_of
from spt_core.data.sampling import Sample
from spt_core.errors import InputError, nearest
from spt_core.signature import Field, Signature

MIN_UNSEEN = 0.1  # of a column's rows, for its owner to be told of categories
MIN_BEYOND = 0.1  # and of numbers beyond those of training
MIN_BAD = 0.1  # and of values that cannot be read
_ORDERS = ("day_first", "month_first")


def oddities(rows: Sample, signature: Signature, file: str) -> list[str]:
    """What whoever scores the file should know, a sentence each.

    InputError where no column is one of the model's, or where days and months change places.
    """
    names = rows.table.column_names
    fields = [field for field in signature.fields if field.name in names]
    if not fields:
        own = [field.name for field in signature.fields]
        hints = [nearest(name, own) for name in names[:1]]
        raise InputError(
            f"a data set must have inputs of the model, however: {file} has the columns "
            f"{', '.join(names[:8])}, none of {', '.join(own)}; {hints[0] if hints else ''}"
        )
    gaps = frozenset(signature.gaps)
    sentences: list[str] = []
    for field in fields:
        column = rows.table[field.name].combine_chunks()
        sentences += _of_notation(field, column, gaps)
        sentences += _of_values(field, column, gaps)
    return sentences


def _of_notation(field: Field, column: pa.Array, gaps: frozenset[str]) -> list[str]:
    if field.kind not in ("number", "time") or not is_text(column.type):
        return []
    plain = Field(name=field.name, kind=field.kind)
    written: Judged = notation_of(plain, column, gaps)
    own, trained = written.notation or "decimal_point", field.notation or "decimal_point"
    if field.kind == "time":
        if {own, trained} == set(_ORDERS):
            raise InputError(
                f"times are written as in training, {trained.replace('_', ' ')}, however: those of "
                f"{field.name!r} are {own.replace('_', ' ')}"
            )
        return []
    if own != trained or written.is_open or "groups of three" in written.detail:
        how = "a decimal comma" if trained == "decimal_comma" else "a decimal point"
        doubt = written.detail.split(":")[0] if written.detail else f"it looks like {own}"
        return [f"{field.name} is read with {how}, as in training: {doubt}"]
    return []


def _of_values(field: Field, column: pa.Array, gaps: frozenset[str]) -> list[str]:
    typed = typed_column(column, field, gaps)
    size = len(column)
    if typed.bad is not None and typed.bad.mean() >= MIN_BAD:
        bad = column.filter(pa.array(typed.bad))
        return [f"{field.name} cannot be read in {_share(typed.bad)}, such as {bad[0].as_py()!r}"]
    present = np.asarray(typed.values.is_valid())
    if field.kind == "category" and field.categories:
        known = pc.is_in(typed.values, value_set=pa.array(field.categories, pa.large_string()))
        unseen = present & ~np.asarray(pc.fill_null(known, False))
        if unseen.mean() >= MIN_UNSEEN:
            example = typed.values.filter(pa.array(unseen))[0].as_py()
            what = "values that training never saw"
            return [f"{field.name} holds {what} in {_share(unseen)}, such as {example!r}"]
    if field.kind == "number" and field.seen is not None:
        values = np.asarray(pc.fill_null(typed.values, np.nan), np.float64)
        with np.errstate(invalid="ignore"):
            beyond = (values < field.seen[0]) | (values > field.seen[1])
        if size and beyond.mean() >= MIN_BEYOND:
            return [
                f"{field.name} lies beyond training's {field.seen[0]:g} to {field.seen[1]:g} in "
                f"{_share(beyond)}, such as {values[beyond][0]:g}"
            ]
    return []


def _share(rows: np.ndarray) -> str:
    return f"{rows.mean():.0%} of the sampled rows"
