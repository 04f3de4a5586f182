"""A data set to be scored, held against what its model was trained on: Sample -> what is odd.

A file of another country, a header that is missing, codes that lost their zeros: each row of it may
be readable, and all of it wrong.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data.conform import typed_column
from spt_core.data.corpus import RESERVED
from spt_core.data.kinds import notation_of, shows_decimal_comma
from spt_core.data.raw import plain_integers_of
from spt_core.data.sampling import Sample
from spt_core.errors import InputError, nearest
from spt_core.notation import EPOCH_UNITS, Notation
from spt_core.signature import Field, Signature

MIN_UNSEEN = 0.1  # of a column's rows, for its owner to be told of categories
MIN_BEYOND = 0.1  # and of numbers beyond those of training
MIN_BAD = 0.1  # and of values that cannot be read
_ORDERS = ("day_first", "month_first")


def oddities(rows: Sample, signature: Signature, file: str) -> list[str]:
    """What whoever scores the file should know, a sentence each.

    InputError where no column is one of the model's, or where days and months change places.
    """
    names = [name for name in rows.table.column_names if name not in RESERVED]
    fields = [field for field in signature.fields if field.name in names]
    if not fields and rows.refused:
        return []  # no row can be read: they say why
    if not fields:
        own = [field.name for field in signature.fields]
        has = f"has the columns {', '.join(names[:8])}" if names else "has no row"
        hint = f"; {nearest(names[0], own)}" if names else ""
        raise InputError(
            f"a data set must have inputs of the model, however: {file} {has}, none of "
            f"{', '.join(own)}{hint}"
        )
    gaps = frozenset(signature.gaps)
    sentences: list[str] = []
    some = [field for field in fields if field.kind != "image"]  # each is checked when it is read
    for field in some if rows.table.num_rows else ():
        column = rows.table[field.name].combine_chunks()
        sentences += _of_notation(field, column, gaps)
        sentences += _of_values(field, column, gaps)
    return sentences


def _of_notation(field: Field, column: pa.Array, gaps: frozenset[str]) -> list[str]:
    if field.kind not in ("number", "time"):
        return []
    own = notation_of(Field(name=field.name, kind=field.kind), column, gaps).notation
    trained = field.notation
    if own is None or own == trained:
        return []
    if {own, trained} == set(_ORDERS):
        raise InputError(
            f"times are written as in training, {_words(trained)}, however: those of "
            f"{field.name!r} are {_words(own)}"
        )
    if field.kind == "time" and {own, trained or ""} <= set(EPOCH_UNITS):
        how = f"read as {_words(trained)}, as in training"
        return [f"{field.name} is {how}: it looks like {_words(own)}"]
    if own == "decimal_comma" and shows_decimal_comma(column):
        return [f"{field.name} is read with a decimal point, as in training: it has decimal commas"]
    return []


def _words(notation: Notation | None) -> str:
    return (notation or "").replace("_", " ")


def _of_values(field: Field, column: pa.Array, gaps: frozenset[str]) -> list[str]:
    typed = typed_column(column, field, gaps)
    if typed.bad is not None and typed.bad.mean() >= MIN_BAD:
        bad = column.filter(pa.array(typed.bad))
        return [f"{field.name} cannot be read in {_share(typed.bad)}, such as {bad[0].as_py()!r}"]
    present = np.asarray(typed.values.is_valid())
    if field.kind == "category" and field.categories:
        words = pa.array(field.categories, pa.large_string())
        seen = pc.or_(  # a format without types writes whole numbers with decimals too
            pc.is_in(typed.values, value_set=words),
            pc.is_in(plain_integers_of(typed.values), value_set=words),
        )
        unseen = present & ~np.asarray(pc.fill_null(seen, False))
        if unseen.mean() >= MIN_UNSEEN:
            example = typed.values.filter(pa.array(unseen))[0].as_py()
            what = "values that training never saw"
            return [f"{field.name} holds {what} in {_share(unseen)}, such as {example!r}"]
    if field.kind == "terms" and field.categories:
        cells = typed.values.to_pylist()
        others = [set(json.loads(cell)) - set(field.categories) if cell else None for cell in cells]
        share = np.array([bool(terms) for terms in others])
        if share.mean() >= MIN_UNSEEN:
            example = next(min(terms) for terms in others if terms)
            what = "terms that training hardly saw"
            return [f"{field.name} holds {what} in {_share(share)}, such as {example!r}"]
    if field.kind == "number" and field.seen is not None:
        values = np.asarray(pc.fill_null(typed.values, np.nan), np.float64)
        with np.errstate(invalid="ignore"):
            beyond = (values < field.seen[0]) | (values > field.seen[1])
        if beyond.mean() >= MIN_BEYOND:
            return [
                f"{field.name} lies beyond training's {field.seen[0]:g} to {field.seen[1]:g} in "
                f"{_share(beyond)}, such as {values[beyond][0]:g}"
            ]
    return []


def _share(rows: np.ndarray) -> str:
    return f"{rows.mean():.0%} of the sampled rows"
