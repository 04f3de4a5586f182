"""What one trained model takes: its fields, window features, columns, and their JSON Schema.

The values themselves are read and turned into numbers by the families (families/*/reading.py).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

from spt_core.calendar import CalendarPart
from spt_core.errors import InputError, nearest
from spt_core.notation import Notation
from spt_core.plain import from_plain

FieldKind = Literal[
    "number",
    "category",
    "boolean",
    "time",
    "terms",  # a set of terms, such as symptoms
    "number_pair",  # two numbers that are written as one, such as a blood pressure
    "text",
    "spans",
    "image",
    "sequence",
    "entity",
]
Goal = Literal["lower", "higher"]
WindowFunction = Literal["count", "mean", "sum", "label_rate"]
FIELD_KINDS: tuple[FieldKind, ...] = get_args(FieldKind)
MAX_CHARACTERS = 100_000  # of a text
MAX_SPANS = 64  # of a text
MAX_READINGS = 10_000  # of a request's window
STATES = 3  # of a term's column: nothing is told, absent, present
STEPS = "steps"  # the unit of a number beside a window that counts steps of its horizon
KNOWN_IN_ADVANCE = "known_in_advance"  # of a request, beside its window

_WINDOW = re.compile(
    r"(?P<function>count|mean|sum|label_rate)\((?P<entity>[^,()]+)(?:,(?P<value>[^,()]+?))??"
    r",(?P<span>\d+)d(?:,after(?P<delay>\d+)d)?\)"
)

_SPAN_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "characters of the text: the first, and the one behind the last",
    "properties": {
        "start": {"type": "integer", "minimum": 0},
        "end": {"type": "integer", "minimum": 1},
    },
    "required": ["start", "end"],
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SequenceShape:
    """What a window of readings holds: [T, C], T of `length`, C of `channels`, in order.

    Readings are one `step` apart: seconds where `time` is a time, else in the unit of that column
    (cycles, rows); `in_months` says that they are calendar months, `in_readings` that each reading
    is one step after the one before it, whatever lies between, as trading days are; those of
    training were mostly `apart` of each other, 0 where no distance was usual. `time` and `unit` are
    the columns of a long table that say when a reading was and of what, `notation` how times are
    written there, and in requests unless these are of ISO 8601. `horizon` is how many steps after
    the last reading the label speaks of. `seen` are the least and the greatest value of each
    channel in the training rows, once there are some; `gaps` says with how many gaps in a row 99 of
    100 training windows end at most, by channel. Of two readings of one step the later counts.

    The channels `in_advance` are known for the horizon too, such as a promotion or a price, and the
    parts of the `calendar` follow from when the last reading was. Where there are any, a window is
    [T + H, C + 2 * parts]: the horizon's rows hold what is known then, the last columns the sine
    and the cosine of each part.
    """

    length: int
    channels: tuple[str, ...] = ()
    step: float = 1.0
    time: str = "time"
    unit: str | None = None
    horizon: int = 0
    seen: tuple[tuple[float, float], ...] = ()
    gaps: tuple[int, ...] = ()
    in_months: bool = False
    in_readings: bool = False
    apart: float = 0.0
    in_advance: tuple[str, ...] = ()
    calendar: tuple[CalendarPart, ...] = ()
    notation: Notation | None = None

    def __post_init__(self) -> None:
        """Refuse a window without readings."""
        if self.length < 2 or self.horizon < 0 or not self.step > 0:
            raise InputError(
                "a window must have a length of at least 2, a horizon of at least 0 and a step "
                f"above 0, however: {self.length=}, {self.horizon=}, {self.step=}"
            )

    @property
    def num_ahead(self) -> int:
        """Rows of a window behind its readings: the horizon's, where something is known of it."""
        return self.horizon if self.in_advance or self.calendar else 0

    @property
    def num_rows(self) -> int:
        """All rows of a window."""
        return self.length + self.num_ahead

    @property
    def num_columns(self) -> int:
        """All columns of a window: its channels, and two for each part of the calendar."""
        return len(self.channels) + 2 * len(self.calendar)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One named input: its kind, unit, range, and whether it may be missing.

    `controllable` says that whoever runs the process can set it; `seen` are the least and the
    greatest value of the training rows, once there are some; `notation` is how its numbers or times
    are written, in files and in requests; `complete` says that no training row lacked it. `shape`
    is that of a sequence's windows. `categories` are those of the training rows, or the vocabulary
    of a set of terms; both numbers of a pair are within the range. `in_utc` tells a time by the
    clock of UTC, whatever offset is written; others are of the clock that wrote them.
    """

    name: str
    kind: FieldKind
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    required: bool = True
    categories: tuple[str, ...] = ()
    controllable: bool = False
    seen: tuple[float, float] | None = None
    notation: Notation | None = None
    complete: bool = False
    shape: SequenceShape | None = None
    in_utc: bool = False

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist."""
        if self.kind not in FIELD_KINDS:
            raise InputError(f"a field kind must be one of {FIELD_KINDS}, however: {self.kind!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A figure over the past `span_days` of one entity, the present row included.

    `label_rate` is the share of positive labels among the rows that are at least `delay_days` old,
    over `span_days` before that moment: labels that were not known yet must not be counted.
    """

    entity: str
    function: WindowFunction
    span_days: int
    value: str | None = None
    delay_days: int = 0

    def __post_init__(self) -> None:
        """Refuse a window that could not be computed."""
        if (self.value is None) == (self.function in ("mean", "sum")):
            raise InputError(f"mean and sum windows, and only these, need a value column: {self}")
        if self.function == "label_rate" and self.delay_days < 1:
            raise InputError(
                "a label_rate needs a delay of a day or more, such as label_rate(shop,30d,after7d):"
                f" a row's own label is not known when it is asked, however: {self.name!r} has none"
            )
        if self.span_days < 1 or self.delay_days < 0:
            raise InputError(f"a window needs span_days >= 1 and delay_days >= 0, however: {self}")

    @property
    def name(self) -> str:
        """The column that this window makes, such as `card.amount_mean_7d`."""
        what = self.function if self.value is None else f"{self.value}_{self.function}"
        delay = f"_after_{self.delay_days}d" if self.delay_days else ""
        return f"{self.entity}.{what}_{self.span_days}d{delay}"

    def as_field(self) -> Field:
        """The input that a client supplies until a feature store does."""
        floor = 0.0 if self.function in ("count", "label_rate") else None
        return Field(
            name=self.name,
            kind="number",
            minimum=floor,
            maximum=1.0 if self.function == "label_rate" else None,
            required=False,
            description=f"{self.function} over {self.span_days} days per {self.entity}",
        )


def parse_window(text: str) -> Window:
    """The Window that `count(card, 7d)`, `mean(card, amount, 30d)` or
    `label_rate(shop, 30d, after 7d)` describes.
    """
    match = _WINDOW.fullmatch(text.replace(" ", ""))
    if match is None:
        raise InputError(
            "a window reads count(ENTITY,7d), mean(ENTITY,COLUMN,7d), sum(ENTITY,COLUMN,7d) or "
            f"label_rate(ENTITY,7d,after7d), however: {text!r}"
        )
    return Window(
        function=cast(WindowFunction, match["function"]),
        entity=match["entity"],
        value=match["value"],
        span_days=int(match["span"]),
        delay_days=int(match["delay"] or 0),
    )


class Column(NamedTuple):
    """One encoded column: the field that it comes from and which part of it, or which term."""

    field: str
    part: Literal["value", "hour", "weekday", "first", "second", "index", "term"]
    term: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Everything that a request to one trained model may hold; windows look back from `time`.

    `goal` says which way the number that the model predicts is better, if settings are searched.
    `gaps` are texts that stand for no value, beside the usual ones (notation.py).
    """

    fields: tuple[Field, ...]
    windows: tuple[Window, ...] = ()
    time: str | None = None
    goal: Goal | None = None
    gaps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse duplicate names and names that a nested request could not express."""
        names = [f.name for f in self.fields]
        if len(set(names)) != len(names):
            raise InputError(f"field names must be unique, however: {sorted(names)}")

    @property
    def numbers(self) -> tuple[Column, ...]:
        """The numeric columns of the encoding, in order."""
        columns: list[Column] = []
        for field in self.fields:
            if field.kind in ("number", "boolean"):
                columns.append(Column(field.name, "value"))
            elif field.kind == "time":
                columns += [Column(field.name, "hour"), Column(field.name, "weekday")]
            elif field.kind == "number_pair":
                columns += [Column(field.name, "first"), Column(field.name, "second")]
        return tuple(columns)

    @property
    def categories(self) -> tuple[Column, ...]:
        """The category columns of the encoding behind the numbers, in order; then the terms'."""
        named = [Column(f.name, "index") for f in self.fields if f.kind == "category"]
        terms = [f for f in self.fields if f.kind == "terms"]
        return (*named, *(Column(f.name, "term", term) for f in terms for term in f.categories))

    @property
    def columns(self) -> tuple[Column, ...]:
        """All F encoded columns."""
        return self.numbers + self.categories

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """How many indices each category column has, index 0 (missing or unseen) included."""
        named = [len(f.categories) + 1 for f in self.fields if f.kind == "category"]
        num_terms = sum(len(f.categories) for f in self.fields if f.kind == "terms")
        return (*named, *[STATES] * num_terms)

    def field(self, name: str) -> Field:
        """The field of that name."""
        for field in self.fields:
            if field.name == name:
                return field
        raise InputError(
            f"the model has no field {name!r}; {nearest(name, [f.name for f in self.fields])}"
        )

    def problems_for(self, old: Signature) -> list[str]:
        """Why clients of `old` could not call a model with this Signature; empty when they can."""
        mine = {f.name: f for f in self.fields}
        theirs = {f.name: f for f in old.fields}
        problems = [f"field {n!r} is gone" for n in theirs if n not in mine]
        for name, field in mine.items():
            before = theirs.get(name)
            if before is None:
                if field.required:
                    problems.append(f"field {name!r} is new and required")
                continue
            if field.kind != before.kind:
                problems.append(f"field {name!r} was {before.kind}, is {field.kind}")
            if field.required and not before.required:
                problems.append(f"field {name!r} may no longer be missing")
            problems += _problems_of_shape(name, field.shape, before.shape)
            if field.minimum is not None and field.minimum > _or(before.minimum, -math.inf):
                problems.append(f"field {name!r} has a higher minimum")
            if field.maximum is not None and field.maximum < _or(before.maximum, math.inf):
                problems.append(f"field {name!r} has a lower maximum")
        return problems

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of one record, dotted fields nested."""
        root: dict[str, Any] = _object_schema()
        for field in self.fields:
            node = root
            *parents, leaf = field.name.split(".")
            for parent in parents if field.name not in {w.name for w in self.windows} else ():
                node = node["properties"].setdefault(
                    parent, {**_object_schema(), "type": ["object", "null"]}
                )
            key = leaf if node is not root or not parents else field.name
            node["properties"][key] = _field_schema(field)
            if field.required:
                node["required"].append(key)
                for depth, parent in enumerate(parents):
                    holder = _descend(root, parents[:depth])
                    holder["properties"][parent]["type"] = "object"
                    if parent not in holder["required"]:
                        holder["required"].append(parent)
        for shape in (field.shape for field in self.fields if field.shape is not None):
            if shape.in_advance:
                root["properties"][KNOWN_IN_ADVANCE] = _in_advance_schema(shape)
                root["required"].append(KNOWN_IN_ADVANCE)
        return root

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `signature_from_json` reads back."""
        return dataclasses.asdict(self)


def signature_from_json(content: Mapping[str, Any]) -> Signature:
    """The Signature that `to_json` wrote; `time` is younger than some models in registries."""
    return from_plain(Signature, content)


def step_unit(shape: SequenceShape) -> str:
    """What a step is counted in, behind its number; "" for the clock's own unit."""
    return " months" if shape.in_months else " readings" if shape.in_readings else ""


def _problems_of_shape(
    name: str, shape: SequenceShape | None, before: SequenceShape | None
) -> list[str]:
    if shape is None or before is None:
        return []
    added = [channel for channel in shape.channels if channel not in before.channels]
    gone = [channel for channel in before.channels if channel not in shape.channels]
    problems = [f"channel {channel!r} of {name!r} is new" for channel in added]
    problems += [f"channel {channel!r} of {name!r} is gone" for channel in gone]
    if shape.length > before.length:
        problems.append(f"windows of {name!r} are longer: {shape.length} readings")
    apart, was = (f"{s.step:g}{step_unit(s)}" for s in (shape, before))
    if apart != was:
        problems.append(f"readings of {name!r} are {apart} apart, not {was}")
    if shape.calendar and not before.calendar:
        problems.append(f"readings of {name!r} must say when they were")
    if shape.in_advance != before.in_advance:
        now, then = (", ".join(s.in_advance) or "nothing" for s in (shape, before))
        problems.append(f"{KNOWN_IN_ADVANCE!r} takes {now}, not {then}")
    elif shape.in_advance and shape.horizon != before.horizon:
        problems.append(f"{KNOWN_IN_ADVANCE!r} takes {shape.horizon} steps, not {before.horizon}")
    return problems


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _object_schema() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def _descend(root: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for name in path:
        root = root["properties"][name]
    return root


def _field_schema(field: Field) -> dict[str, Any]:
    kinds = {
        "number": ["number", "string"],
        "boolean": ["boolean", "string", "number"],
        "category": ["string", "number", "boolean"],
        "time": ["string", "number"],
        "entity": ["string", "number"],
        "terms": ["array", "string"],
        "number_pair": ["string", "array"],
        "spans": ["array"],
        "sequence": ["array", "object"],
    }
    types = kinds.get(field.kind, ["string"])
    schema: dict[str, Any] = {"type": types if field.required else [*types, "null"]}
    text = " ".join(filter(None, (field.description, f"[{field.unit}]" if field.unit else "")))
    if text:
        schema["description"] = text
    if field.kind == "number_pair":
        return schema | {"items": _bounded({"type": "number"}, field), "examples": ["150/95"]}
    if field.kind == "terms":
        examples = {"examples": [list(field.categories[:5])]} if field.categories else {}
        return schema | {"items": {"type": ["string", "number"]}} | examples
    schema = _bounded(schema, field)
    if field.categories:
        schema["examples"] = list(field.categories[:5])
    if field.kind == "text":
        schema |= {"minLength": 1, "maxLength": MAX_CHARACTERS}
    if field.kind == "image":
        schema |= {"minLength": 1, "contentEncoding": "base64", "contentMediaType": "image/*"}
    if field.kind == "spans":
        schema |= {"items": _SPAN_SCHEMA, "maxItems": MAX_SPANS}
    if field.shape is not None:
        schema |= {"items": _reading_schema(field.shape), "minItems": field.shape.length}
        listed = {"type": "array", "minItems": field.shape.length}
        schema["properties"] = dict.fromkeys(field.shape.channels, listed)
    return schema


def _bounded(schema: dict[str, Any], field: Field) -> dict[str, Any]:
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    return schema | {name: value for name, value in bounds.items() if value is not None}


def _reading_schema(shape: SequenceShape) -> dict[str, Any]:
    """One reading: its channels, null where one has none, and when it was, if the client says."""
    channels = {name: {"type": ["number", "null"]} for name in shape.channels}
    clock = {shape.time: {"type": ["string", "number"]}} if shape.time not in channels else {}
    required = [*clock, *channels] if shape.calendar else [*channels]
    return {"type": "object", "properties": {**clock, **channels}, "required": required}


def _in_advance_schema(shape: SequenceShape) -> dict[str, Any]:
    """What is known of the steps to come: a list of a number for each step, by channel."""
    steps = {"minItems": shape.horizon, "maxItems": shape.horizon}
    values = {"type": "array", "items": {"type": "number"}, **steps}
    step = dict.fromkeys(shape.in_advance, {"type": "number"})
    return {
        "type": ["object", "array"],
        "description": f"of each of the {shape.horizon} steps after the last reading, in order",
        "properties": dict.fromkeys(shape.in_advance, values),
        "required": [*shape.in_advance],
        "items": {"type": "object", "properties": step, "required": [*shape.in_advance]},
        **steps,
    }
