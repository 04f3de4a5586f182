"""What each column is, judged by a sample of rows: Corpus -> Columns.

Declared fields win over the task's canonical ones, which win over what the content looks like.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data import formats
from spt_core.data.conform import (
    conform,
    label_column,
    number_column,
    text_column,
    time_column,
    typed_column,
)
from spt_core.data.corpus import RESERVED, Corpus, Finding, require_columns
from spt_core.data.labels import LabelRule, rule_of
from spt_core.errors import InputError
from spt_core.signature import Field, FieldKind
from spt_core.task import Task

SAMPLE_ROWS = 20_000
MAX_TEXT_IN_NUMBERS = 0.1
MIN_ROWS_FOR_IDENTIFIERS = 20
_ID_NAME = re.compile(r"(^|[_.\s])(id|uuid|guid|key|no|nr|number|ref|reference)$|[a-z]I[dD]$", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What is read of a corpus: `features` for the model, `carried` columns beside them.

    Carried are protected attributes and the group key: typed and written, never encoded.
    """

    features: tuple[Field, ...]
    carried: tuple[Field, ...]
    findings: tuple[Finding, ...]

    @property
    def all(self) -> tuple[Field, ...]:
        """Every field that is conformed and written."""
        return self.features + self.carried


def infer_fields(corpus: Corpus, task: Task) -> tuple[tuple[Field, ...], tuple[Finding, ...]]:
    """The features of a corpus, and the columns that are left out of them, with the reason."""
    columns = infer_columns(corpus, task)
    return columns.features, columns.findings


def infer_columns(corpus: Corpus, task: Task) -> Columns:
    """The fields of a corpus by a sample of its rows; reads up to SAMPLE_ROWS of them."""
    return columns_of(formats.sample(corpus, SAMPLE_ROWS).table, corpus, task)


def columns_of(table: pa.Table, corpus: Corpus, task: Task) -> Columns:
    """The fields of a corpus whose first rows are in `table`, as they are written."""
    if table.num_rows == 0:
        raise InputError(f"a corpus must have rows, however: {corpus.uris[0]} has none")
    if corpus.label is not None and task.head == "binary":
        _check_label(_array(table, corpus.label), corpus)
    columns = (_tabular_columns if task.subject is None else _text_columns)(table, corpus, task)
    if corpus.label is not None and task.head != "binary":
        _check_labels(table, columns.features, corpus, rule_of(task))
    return columns


def _tabular_columns(table: pa.Table, corpus: Corpus, task: Task) -> Columns:
    fields = {field.name: field for field in (*task.fields, *corpus.declared)}
    fields |= {w.name: w.as_field() for w in corpus.windows if w.name not in fields}
    protected = {name.lower() for name in corpus.protected}
    keep = set(corpus.keep)
    features: list[Field] = []
    carried: list[Field] = []
    findings: list[Finding] = []
    names: list[str] = table.column_names
    for name in names:
        is_protected = name.lower() in protected or task.protects(name)
        if name in RESERVED or name == corpus.label:
            continue
        field, finding = _judge(name, _array(table, name), corpus, fields.get(name))
        role = name in (corpus.time, *corpus.entities)
        if is_protected and name not in keep and not role:
            findings.append(Finding(kind="protected", column=name, detail="kept out of features"))
            if field is not None:
                carried.append(field)
        elif name in corpus.drop or name == corpus.group and name not in corpus.entities:
            if field is not None and (role or name == corpus.group):
                carried.append(field)
        elif field is not None and (finding is None or finding.kind == "free_text"):
            features.append(field)
        elif field is not None and name in keep:
            features.append(field)
            finding = Finding(kind="accepted", column=name, detail="kept, as asked")
        if finding is None or name in corpus.drop or is_protected:
            continue
        findings.append(finding)
    features = _with_controllable(features, findings, corpus)
    if not any(field.kind != "entity" for field in features):
        raise InputError(f"a corpus must have a feature, however: {corpus.name} has none left")
    return Columns(features=tuple(features), carried=tuple(carried), findings=tuple(findings))


def _with_controllable(
    features: list[Field], findings: Sequence[Finding], corpus: Corpus
) -> list[Field]:
    """The features, those marked that the corpus names as controllable; each must be one."""
    settable = {f.name for f in features if f.kind in ("number", "category", "boolean")}
    for name in corpus.controllable:
        if name not in settable:
            reasons = [finding.detail for finding in findings if finding.column == name]
            raise InputError(
                "a controllable column must be a feature that varies, however: "
                f"{name!r} of {corpus.name}: {reasons[0] if reasons else 'it is none'}"
            )
    named = set(corpus.controllable)
    return [
        dataclasses.replace(field, controllable=field.controllable or field.name in named)
        for field in features
    ]


def _text_columns(table: pa.Table, corpus: Corpus, task: Task) -> Columns:
    """The task's own fields; other columns say nothing to a model of texts."""
    needed = [task.text_field.name]
    if task.head == "pair" and corpus.label is not None:
        assert task.spans_field is not None
        needed.append(task.spans_field.name)
    asked = [*corpus.keep, *(field.name for field in (*corpus.declared, *corpus.windows))]
    if asked:
        raise InputError(
            f"a model of texts takes its task's fields alone, however: {asked} are asked for"
        )
    usable = [name for name in table.column_names if name not in corpus.drop]
    require_columns(needed, usable, what="input", file=corpus.uris[0])
    features = tuple(field for field in task.fields if field.name in usable)
    names_in_use = {*RESERVED, corpus.label, *(field.name for field in features)}
    carried: list[Field] = []
    findings: list[Finding] = []
    names: list[str] = table.column_names
    for name in names:
        if name in names_in_use:
            continue
        if name == corpus.time:
            carried.append(Field(name=name, kind="time"))
        elif name == corpus.group or name in corpus.entities:
            carried.append(Field(name=name, kind="entity", required=False))
        elif name in corpus.protected or task.protects(name):
            field, _ = _judge(name, _array(table, name), corpus, None)
            carried += [field] if field is not None else []
            findings.append(Finding(kind="protected", column=name, detail="kept out of features"))
        elif name not in corpus.drop:
            detail = "a model of texts takes its task's fields alone"
            findings.append(Finding(kind="unused", column=name, detail=detail))
    return Columns(features=features, carried=tuple(carried), findings=tuple(findings))


def _check_labels(
    table: pa.Table, fields: Sequence[Field], corpus: Corpus, rule: LabelRule
) -> None:
    """Refuse a label column that mostly holds something else than the head asks for."""
    assert corpus.label is not None
    if corpus.positive is not None:
        raise InputError(
            f"only a label of two values has a positive one, however: {corpus.positive!r} is given "
            f"for a {rule.head} label"
        )
    good, bad = conform(table, fields, label=corpus.label, labels=rule)
    reasons = Counter(r for r in bad["reason"].to_pylist() if r.startswith("the label"))
    if reasons.total() > MAX_TEXT_IN_NUMBERS * table.num_rows:
        raise InputError(
            f"the label column {corpus.label!r} must hold {rule.head} labels, however: "
            f"{reasons.total()} of the {table.num_rows} sampled rows of {corpus.uris[0]} do not, "
            f"most because {reasons.most_common(1)[0][0]}"
        )
    if rule.head == "regression" and good.num_rows > 1:
        values = pc.unique(good[corpus.label])
        if len(values) == 1:
            raise InputError(
                f"the label column {corpus.label!r} must hold different numbers, however: all of "
                f"the {good.num_rows} sampled rows hold {values[0].as_py():g}"
            )
    if rule.head != "single_label" or good.num_rows < MIN_ROWS_FOR_IDENTIFIERS:
        return
    distinct = pc.count_distinct(good[corpus.label]).as_py()
    if distinct > 0.5 * good.num_rows:
        raise InputError(
            f"the label column {corpus.label!r} must hold class names, however: there are "
            f"{distinct} in {good.num_rows} rows"
        )


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _judge(
    name: str, column: pa.Array, corpus: Corpus, declaration: Field | None
) -> tuple[Field | None, Finding | None]:
    if name in corpus.entities or (name == corpus.group and declaration is None):
        return declaration or Field(name=name, kind="entity", required=False), None
    if declaration is not None or name == corpus.time:
        field = declaration or Field(name=name, kind="time")
        _check_share(column, field, corpus)
        return field, None
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        detail = f"a column of {column.type} is not a field of a table"
        return None, Finding(kind="unsupported", column=name, detail=detail)
    kind = _kind(column)
    field = Field(name=name, kind=kind)
    values = typed_column(column, field).values
    distinct = pc.count_distinct(values, mode="only_valid").as_py()
    num_present = len(values) - values.null_count
    if distinct == 0 or (distinct == 1 and num_present == len(values)):
        detail = "it is empty" if distinct == 0 else f"every row holds {values[0].as_py()!r}"
        return field, Finding(kind="constant", column=name, detail=detail)
    if kind == "category" and _is_free_text(values):
        detail = (
            f"free text with {distinct} values in {num_present} rows; rare ones count as unseen"
        )
        return field, Finding(kind="free_text", column=name, detail=detail)
    if num_present >= MIN_ROWS_FOR_IDENTIFIERS and _is_identifier(
        name, column, field, distinct / num_present
    ):
        detail = f"{distinct} values in {num_present} rows: an identifier is not a feature"
        return field, Finding(kind="identifier", column=name, detail=detail)
    return field, None


def _kind(column: pa.Array) -> FieldKind:
    if pa.types.is_boolean(column.type):
        return "boolean"
    if pa.types.is_temporal(column.type):
        return "time"
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return "number"
    if _share_bad(number_column(column).values, column) <= MAX_TEXT_IN_NUMBERS:
        return "number"
    words = set(pc.unique(pc.utf8_lower(column.drop_null())).to_pylist())
    if words <= {"true", "false"} and words:
        return "boolean"
    some = column.drop_null().slice(0, 1000)
    if time_column(some).values.null_count <= 0.05 * len(some):
        return "time"
    return "category"


def _share_bad(values: pa.Array, column: pa.Array) -> float:
    num_present = len(column) - column.null_count
    return (num_present - (len(values) - values.null_count)) / max(num_present, 1)


def _is_free_text(values: pa.Array) -> bool:
    words = values.drop_null()
    spaced = pc.mean(pc.match_substring_regex(words, r"\S\s+\S+\s+\S").cast(pa.int8())).as_py()
    distinct = pc.count_distinct(words).as_py()
    return spaced > 0.5 and distinct > 0.5 * len(words) and len(words) >= MIN_ROWS_FOR_IDENTIFIERS


def _is_identifier(name: str, column: pa.Array, field: Field, share: float) -> bool:
    """Nearly unique text; or whole numbers that are also dense, long or named like a key.

    Amounts in whole units can be nearly unique too, so uniqueness alone does not do for numbers.
    """
    if share < 0.95 or field.kind in ("boolean", "time"):
        return False
    if field.kind == "category":
        return True
    numbers = np.asarray(number_column(column).values.drop_null())
    if share < 0.99 or not np.array_equal(numbers, np.floor(numbers)):
        return False
    spread = numbers.max() - numbers.min() + 1
    return bool(
        _ID_NAME.search(name) is not None
        or spread <= 2 * len(numbers)
        or np.abs(numbers).min() >= 1e9
        or np.all(np.diff(numbers) > 0)
    )


def _check_share(column: pa.Array, field: Field, corpus: Corpus) -> None:
    if field.kind != "number":
        return
    typed = number_column(column)
    if typed.bad is None:
        return
    share = float(typed.bad.mean())
    if share > MAX_TEXT_IN_NUMBERS:
        example = text_column(column.filter(pa.array(typed.bad))).values[0].as_py()
        raise InputError(
            f"the number column {field.name!r} must hold numbers, however: a numeric column full "
            f"of text: {share:.0%} of the sampled rows of {corpus.uris[0]} do not, such as "
            f"{example!r}"
        )


def _check_label(column: pa.Array, corpus: Corpus) -> None:
    typed = label_column(column, corpus.positive)
    if typed.bad is None or typed.bad.mean() <= MAX_TEXT_IN_NUMBERS:
        return
    values: Sequence[str] = text_column(column).values.unique().drop_null().slice(0, 5).to_pylist()
    raise InputError(
        f"the label column {corpus.label!r} must be 0/1 or true/false unless `positive` names the "
        f"value that counts as 1, however: it holds {', '.join(map(repr, values))}"
    )
