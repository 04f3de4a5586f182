"""What each column is for, judged by a sample of rows: Corpus -> Columns.

Declared fields and types win over the task's canonical fields, which win over what the content
looks like (kinds.py).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data import formats
from spt_core.data.conform import (
    text_column,
    typed_column,
)
from spt_core.data.corpus import (
    FOLDER,
    PLACE,
    RESERVED,
    SUBFOLDER,
    Corpus,
    Finding,
    require_columns,
)
from spt_core.data.kinds import (
    MAX_TEXT_IN_NUMBERS,
    Judged,
    are_months,
    holds,
    in_decimal_comma,
    is_list,
    is_text,
    judged,
    notation_of,
    parse_type,
    shows_decimal_comma,
    with_notation,
    without_own_gaps,
)
from spt_core.data.label_column import judged_label
from spt_core.data.labels import BINARY, LabelRule
from spt_core.data.sampling import Sample, sample
from spt_core.errors import InputError
from spt_core.protected import attribute_of
from spt_core.signature import Field, FieldKind, Signature
from spt_core.task import Task

SAMPLE_ROWS = 20_000
LEAST_WEIGHT = 1e-6  # of a row; one that weighs nothing is no row
MIN_ROWS_FOR_IDENTIFIERS = 20
_ID_NAME = re.compile(
    r"(?:^|[_.\s-])(?:(?i:id|uuid|guid|key|no|nr|nbr|number|ref|reference))$|[a-z](?:ID|Id|No|Nr|Key)$"
)
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: \d+|index")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What is read of a corpus: `features` for the model, `carried` columns beside them.

    Carried are protected attributes and the group key: typed and written, never encoded. `labels`
    is what the label column may hold, as it is written. Of series, `readings` are the columns that
    windows are cut of.
    """

    features: tuple[Field, ...]
    carried: tuple[Field, ...]
    findings: tuple[Finding, ...]
    labels: LabelRule = BINARY
    readings: tuple[Field, ...] = ()

    @property
    def as_read(self) -> tuple[Field, ...]:
        """Every field that is conformed, before windows are cut of them."""
        return (*self.readings, *self.carried) if self.readings else self.all

    @property
    def all(self) -> tuple[Field, ...]:
        """Every field that is written."""
        return self.features + self.carried


def infer_fields(corpus: Corpus, task: Task) -> tuple[tuple[Field, ...], tuple[Finding, ...]]:
    """The features of a corpus, and the columns that are left out of them, with the reason."""
    columns = infer_columns(corpus, task)
    return columns.features, columns.findings


def infer_columns(corpus: Corpus, task: Task) -> Columns:
    """The fields of a corpus by a sample of its rows; reads up to SAMPLE_ROWS of them."""
    return columns_of(sample(corpus, SAMPLE_ROWS), corpus, task)


def columns_of(rows: Sample, corpus: Corpus, task: Task) -> Columns:
    """The fields of a corpus of which there are some rows, as they are written."""
    table = rows.table
    if table.num_rows == 0:
        fact = f"{corpus.uris[0]} has none"
        if rows.refused:
            (reason, count), *_ = rows.refused.most_common(1)
            fact = f"none of {corpus.uris[0]} can be read: of {count} sampled, {reason}"
        raise InputError(f"a corpus must have rows, however: {fact}")
    table = _with_absent(table, corpus)
    rows = rows._replace(table=table)
    columns = _COLUMNS[task.facts.subject](rows, corpus, task)
    fields = [field for field in columns.as_read if field.kind != "image"]  # decoded in workers
    labels, of_label = judged_label(rows, fields, corpus, task)
    findings = [*_findings_of_files(rows, corpus), *of_label]
    findings += _unused_gaps(table, corpus)
    return dataclasses.replace(columns, findings=(*findings, *columns.findings), labels=labels)


def _unused_gaps(table: pa.Table, corpus: Corpus) -> list[Finding]:
    """The texts that stand for no value, by the corpus's word, and that no sampled cell holds."""
    findings: list[Finding] = []
    for gap in corpus.gaps:
        columns = [_array(table, name) for name in table.column_names if name not in RESERVED]
        if not any(holds(column, gap) for column in columns):
            detail = f"data.gaps names {gap!r}, which no sampled cell holds"
            findings.append(Finding(kind="unused", column="", detail=detail))
    return findings


def _with_absent(table: pa.Table, corpus: Corpus) -> pa.Table:
    """The sampled rows with the columns that only files have of which none was sampled."""
    for name in corpus.columns:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows))
    return table


def _findings_of_files(rows: Sample, corpus: Corpus) -> list[Finding]:
    findings: list[Finding] = []
    for name, count in corpus.columns.items():
        if corpus.format != "jsonl" and count < len(corpus.uris):
            detail = f"{count} of {len(corpus.uris)} files have it: missing in the others"
            findings.append(Finding(kind="absent", column=name, detail=detail))
    if corpus.ignored:
        first, num_more = corpus.ignored[0], len(corpus.ignored) - 1
        more = f" and {num_more:,} more" if num_more else ""
        detail = f"{first}{more} beside the folders of images: no images, and ignored"
        findings.append(Finding(kind="unused", column="", detail=detail))
    if corpus.format == "csv":
        how = formats.dialect(corpus.uris[0])
        if how.encoding != "utf-8":
            detail = f"read as {how.encoding}, cells parted by {how.delimiter!r}"
            findings.append(Finding(kind="dialect", column="", detail=detail))
    if rows.num_mended:
        count = rows.num_mended
        lines = "1 line holds" if count == 1 else f"{count:,} lines hold"
        detail = f"{lines} a quote that opens a cell and is never closed: read as a character"
        findings.append(Finding(kind="dialect", column="", detail=detail))
    return findings


def _tabular_columns(rows: Sample, corpus: Corpus, task: Task) -> Columns:
    table = rows.table
    types = [parse_type(text) for text in corpus.types]
    require_columns((f.name for f in types), table.column_names, what="typed", file=corpus.uris[0])
    fields = {field.name: field for field in (*task.fields, *types, *corpus.declared)}
    fields |= {w.name: w.as_field() for w in corpus.windows if w.name not in fields}
    judgements = _judgements(table, corpus, fields)
    protected = {name.lower() for name in corpus.protected}
    keep = set(corpus.keep)
    features: list[Field] = []
    carried: list[Field] = []
    findings: list[Finding] = []
    names: list[str] = table.column_names
    for name in names:
        is_protected = name.lower() in protected or task.protects(name)
        if name in RESERVED or name == corpus.label or _is_object(name, table):
            continue
        if name in task.realized:
            carried.append(Field(name=name, kind="number", required=False))
            continue
        if name == corpus.weight:
            judgement = judgements[name]
            field = Field(name=name, kind="number", minimum=LEAST_WEIGHT)
            carried.append(with_notation(field, judgement))
            if judgement.is_open:
                raise InputError(
                    f"the weight {name!r} must have one meaning, however: "
                    f"{judgement.detail.replace('COLUMN', name)}"
                )
            findings += [f for f in [_of_notation(name, judgement)] if f is not None]
            continue
        field, finding = _judge(name, rows, corpus, fields.get(name), judgements.get(name))
        role = name in (corpus.time, *corpus.entities)
        if is_protected and name not in keep and not role:
            findings.append(_protected(name, judgements.get(name)))
            if field is not None:
                carried.append(field)
        elif name in corpus.drop or name == corpus.group and name not in corpus.entities:
            if field is not None and (role or name == corpus.group):
                carried.append(field)
        elif field is not None and (finding is None or finding.kind in _KEPT):
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


def _is_object(name: str, table: pa.Table) -> bool:
    """Whether a column is what is left of nested objects that are null."""
    is_prefix = any(other.startswith(f"{name}.") for other in table.column_names)
    return is_prefix and table[name].null_count == table.num_rows


_KEPT = ("free_text", "notation", "code")  # findings of columns that stay features


def _judgements(table: pa.Table, corpus: Corpus, fields: Mapping[str, Field]) -> dict[str, Judged]:
    """How the values of each column are written; one comma for decimals tells of all columns."""
    judgements: dict[str, Judged] = {}
    gaps = frozenset(corpus.gaps)
    for name in table.column_names:
        column = _array(table, name)
        if name in (*RESERVED, corpus.label) or _is_unsupported(column.type):
            continue
        if name in fields:
            judgements[name] = notation_of(fields[name], column, gaps)
        elif name == corpus.time:
            judgements[name] = notation_of(Field(name=name, kind="time"), column, gaps)
        elif name == corpus.weight:
            judgements[name] = notation_of(Field(name=name, kind="number"), column, gaps)
        elif name not in corpus.entities and name != corpus.group:
            judgements[name] = judged(name, column, gaps)
    commas = [n for n, judgement in judgements.items() if judgement.notation == "decimal_comma"]
    if any(shows_decimal_comma(_array(table, name)) for name in commas):
        for name, judgement in judgements.items():
            judgements[name] = in_decimal_comma(judgement, _array(table, name))
    return judgements


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


def _subject_columns(rows: Sample, corpus: Corpus, task: Task) -> Columns:
    """The task's own fields; other columns say nothing to a model of texts or images."""
    table, subject = rows.table, task.subject
    assert subject is not None
    needed = [subject.name]
    if task.head == "pair" and corpus.label is not None:
        assert task.spans_field is not None
        needed.append(task.spans_field.name)
    asked = [*corpus.keep, *corpus.types]
    asked += [field.name for field in (*corpus.declared, *corpus.windows)]
    if asked:
        raise InputError(
            f"a model of {subject.kind}s takes its task's fields alone, however: {asked} are asked "
            "for"
        )
    usable = [name for name in table.column_names if name not in corpus.drop]
    require_columns(needed, usable, what="input", file=corpus.uris[0])
    features = tuple(field for field in task.fields if field.name in usable)
    names_in_use = {*RESERVED, corpus.label, *(field.name for field in features)}
    if corpus.format == "images":  # what their files say beside, unless it is asked for
        names_in_use |= {FOLDER, SUBFOLDER, PLACE} - {corpus.group}
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
            column = _array(table, name)
            unsupported = _is_unsupported(column.type)
            judgement = None if unsupported else judged(name, column, frozenset(corpus.gaps))
            field, _ = _judge(name, rows, corpus, None, judgement)
            carried += [field] if field is not None else []
            findings.append(_protected(name, judgement))
        elif name not in corpus.drop:
            detail = f"a model of {subject.kind}s takes its task's fields alone"
            findings.append(Finding(kind="unused", column=name, detail=detail))
    return Columns(features=features, carried=tuple(carried), findings=tuple(findings))


def _series_columns(rows: Sample, corpus: Corpus, task: Task) -> Columns:
    """Numbers are channels of the readings; when, and of which unit, they were is carried."""
    subject, table, label = task.subject, rows.table, corpus.label
    assert subject is not None
    assert subject.shape is not None
    if corpus.keep or corpus.windows:
        raise InputError(
            f"readings are what windows are cut of, however: {corpus.keep or corpus.windows} are "
            "asked for"
        )
    if corpus.time is None:
        raise InputError(
            "readings need a column that says when they were (--time), such as a time or a cycle, "
            f"however: {corpus.name} names none"
        )
    carried, findings = _carried_of_series(rows, corpus)
    skipped = {*RESERVED, *corpus.drop, *(field.name for field in carried)}
    skipped |= set() if task.head == "forecasts" else {label}
    typed = {field.name: field for field in (*map(parse_type, corpus.types), *corpus.declared)}
    channels: list[Field] = []
    names: list[str] = table.column_names
    for name in names:
        if name in skipped:
            continue
        if name.lower() in {n.lower() for n in corpus.protected} or task.protects(name):
            findings.append(_protected(name, None))
            continue
        column = _array(table, name)
        judgement = None
        if not _is_unsupported(column.type):
            gaps = frozenset(corpus.gaps)
            judgement = notation_of(typed[name], column, gaps) if name in typed else None
            judgement = judgement or judged(name, column, gaps)
        field, finding = _judge(name, rows, corpus, typed.get(name), judgement)
        if (
            field is not None
            and field.kind in ("number", "boolean")
            and (finding is None or finding.kind in ("notation", "identifier"))
        ):
            channels.append(dataclasses.replace(field, kind="number", required=False))
            finding = finding if finding is not None and finding.kind == "notation" else None
        elif finding is None or finding.kind not in ("constant", "unsupported"):
            detail = "a model of readings takes numbers alone"
            finding = Finding(kind="unused", column=name, detail=detail)
        findings += [] if finding is None else [finding]
    if not channels:
        raise InputError(
            f"readings must have a channel of numbers that vary, however: {corpus.name} has none"
        )
    field = dataclasses.replace(
        subject,
        shape=dataclasses.replace(
            subject.shape,
            channels=tuple(channel.name for channel in channels),
            time=corpus.time,
            unit=corpus.group,
            notation=carried[0].notation,
            in_advance=_in_advance(channels, findings, corpus, subject.shape.in_advance),
            calendar=(),  # what of it there is to learn from, the clock will say
        ),
    )
    return Columns(
        features=(field,),
        carried=tuple(carried),
        findings=tuple(findings),
        readings=tuple(channels),
    )


def _in_advance(
    channels: Sequence[Field],
    findings: Sequence[Finding],
    corpus: Corpus,
    usual: Sequence[str],
) -> tuple[str, ...]:
    """The channels that are known in advance: the corpus's, else those of the task's it has."""
    names = [channel.name for channel in channels]
    if corpus.known_in_advance is None:
        return tuple(name for name in usual if name in names)
    for name in corpus.known_in_advance:
        if name not in names:
            reasons = [finding.detail for finding in findings if finding.column == name]
            raise InputError(
                "what is known in advance must be a channel of numbers that vary, however: "
                f"{name!r} of {corpus.name}: {reasons[0] if reasons else 'it is none'}"
            )
    return corpus.known_in_advance


def _carried_of_series(rows: Sample, corpus: Corpus) -> tuple[list[Field], list[Finding]]:
    """When readings were, a time or a number that rises, and of which unit they are."""
    assert corpus.time is not None
    column, gaps = _array(rows.table, corpus.time), frozenset(corpus.gaps)
    stated = next((f for f in map(parse_type, corpus.types) if f.name == corpus.time), None)
    is_number = judged(corpus.time, column, gaps).kind in ("number", "boolean")
    is_number = is_number and (stated is None or stated.kind != "time")
    if stated is None and is_number:
        is_number = not are_months(without_own_gaps(column, gaps))
    clock = stated or Field(name=corpus.time, kind="number" if is_number else "time")
    written = notation_of(clock, column, gaps)
    if written.is_open:
        raise InputError(
            f"the column {corpus.time!r} must have one meaning, however: "
            f"{written.detail.replace('COLUMN', corpus.time)}"
        )
    finding = _of_notation(corpus.time, written)
    others = [name for name in (corpus.group, *corpus.entities) if name is not None]
    return [
        with_notation(clock, written),
        *(Field(name=name, kind="entity", required=False) for name in dict.fromkeys(others)),
    ], [] if finding is None else [finding]


def reading_signature(signature: Signature, corpus: Corpus) -> Signature:
    """What windows for a model are cut of in a corpus of readings, as fields of rows.

    InputError where a channel of the model, or what says when readings were, is not there.
    """
    field = next(field for field in signature.fields if field.kind == "sequence")
    shape = field.shape
    assert shape is not None
    named = [name for name in (shape.time, shape.unit) if name is not None]
    require_columns([*named, *shape.channels], [*corpus.columns], what="input", file=corpus.uris[0])
    own = dataclasses.replace(corpus, time=shape.time, group=shape.unit, entities=())
    rows = sample(own, SAMPLE_ROWS)
    carried, _ = _carried_of_series(rows, own)
    if shape.notation is not None and carried[0].kind != "time":
        # Months of one year alone look like a counter, unless one knows what the model learned.
        clock = Field(name=shape.time, kind="time")
        written = notation_of(clock, _array(rows.table, shape.time), frozenset(corpus.gaps))
        if written.notation == shape.notation:
            carried = [with_notation(clock, written), *carried[1:]]
    if (shape.calendar or shape.in_months) and carried[0].kind != "time":
        raise InputError(
            f"the model's steps are of the calendar, so that {shape.time!r} must hold times, "
            f"however: in {corpus.name} it holds numbers"
        )
    ends = shape.seen or ((None,) * len(shape.channels))
    channels = [
        Field(name=name, kind="number", required=False, seen=seen)
        for name, seen in zip(shape.channels, ends, strict=True)
        if name not in named
    ]
    required = tuple(dataclasses.replace(each, required=True) for each in carried)
    return Signature(fields=(*channels, *required), gaps=signature.gaps)


_COLUMNS: Mapping[FieldKind | None, Callable[[Sample, Corpus, Task], Columns]] = {
    None: _tabular_columns,
    "text": _subject_columns,
    "image": _subject_columns,
    "sequence": _series_columns,
}


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()


def _judge(
    name: str,
    rows: Sample,
    corpus: Corpus,
    declaration: Field | None,
    judgement: Judged | None,
) -> tuple[Field | None, Finding | None]:
    column = _array(rows.table, name)
    if name in corpus.entities or (name == corpus.group and declaration is None):
        return declaration or Field(name=name, kind="entity", required=False), None
    if judgement is None:
        detail = f"a column of {column.type} is not a field of a table"
        return None, Finding(kind="unsupported", column=name, detail=detail)
    if declaration is not None or name == corpus.time:
        field = declaration or Field(name=name, kind="time")
        if judgement.is_open:
            raise InputError(
                f"the column {name!r} must have one meaning, however: "
                f"{judgement.detail.replace('COLUMN', name)}"
            )
        field = with_notation(field, judgement)
        _check_share(column, field, corpus)
        return field, _of_notation(name, judgement)
    field = Field(name=name, kind=judgement.kind, notation=judgement.notation, required=False)
    if judgement.is_open:
        detail = judgement.detail.replace("COLUMN", name)
        return None, Finding(kind="unsupported", column=name, detail=detail)
    values = typed_column(column, field, frozenset(corpus.gaps)).values
    distinct = pc.count_distinct(values, mode="only_valid").as_py()
    num_present = len(values) - values.null_count
    if distinct == 0 or (distinct == 1 and num_present == len(values)):
        whole = "" if rows.is_whole and len(values) == rows.num_rows else "sampled "
        detail = f"all {len(values):,} {whole}rows "
        detail += "are empty" if distinct == 0 else f"hold {values[0].as_py()!r}"
        return field, Finding(kind="constant", column=name, detail=detail)
    if _is_index(name, values):
        detail = "numbers of rows, as pandas writes them, are not a feature"
        return field, Finding(kind="index", column=name, detail=detail)
    if field.kind == "category" and _is_free_text(values):
        detail = (
            f"free text with {distinct} values in {num_present} rows; rare ones count as unseen"
        )
        return field, Finding(kind="free_text", column=name, detail=detail)
    if num_present >= MIN_ROWS_FOR_IDENTIFIERS and _is_identifier(
        name, values, field, distinct / num_present, rows.num_rows
    ):
        detail = f"{distinct} values in {num_present} rows: an identifier is not a feature"
        return field, Finding(kind="identifier", column=name, detail=detail)
    return field, _of_notation(name, judgement)


def _protected(name: str, judgement: Judged | None) -> Finding:
    attribute = attribute_of(name)
    what = f"{attribute.replace('_', ' ')}, by its name: " if attribute else ""
    written = f"; {judgement.detail}" if judgement is not None and judgement.detail else ""
    return Finding(
        kind="protected",
        column=name,
        detail=f"{what}kept out of the features, figures by group alone (data.keep makes it one)"
        f"{written}",
    )


def _of_notation(name: str, judgement: Judged) -> Finding | None:
    if not judgement.detail:
        return None
    kind = "code" if judgement.kind == "category" else "notation"
    detail = judgement.detail.replace("COLUMN", name)
    return Finding(kind=kind, column=name, detail=detail)


def _is_unsupported(kind: pa.DataType) -> bool:
    """Whether a type is none of numbers, texts, lists of them, times, yes and no, or nothing."""
    is_of = pa.types
    return not (
        is_text(kind)
        or is_list(kind)
        or is_of.is_boolean(kind)
        or is_of.is_integer(kind)
        or is_of.is_floating(kind)
        or is_of.is_decimal(kind)
        or (is_of.is_temporal(kind) and not is_of.is_interval(kind))
        or is_of.is_null(kind)
    )


def _is_index(name: str, values: pa.Array) -> bool:
    """Whether a column numbers the rows: named as pandas names an index, whole and distinct."""
    if _INDEX_NAME.fullmatch(name) is None or not pa.types.is_floating(values.type):
        return False
    numbers = np.asarray(values.drop_null())
    is_whole = np.array_equal(numbers, np.floor(numbers))
    return is_whole and len(np.unique(numbers)) == len(values) and values.null_count == 0


def _is_free_text(values: pa.Array) -> bool:
    words = values.drop_null()
    spaced = pc.mean(pc.match_substring_regex(words, r"\S\s+\S+\s+\S").cast(pa.int8())).as_py()
    distinct = pc.count_distinct(words).as_py()
    return spaced > 0.5 and distinct > 0.5 * len(words) and len(words) >= MIN_ROWS_FOR_IDENTIFIERS


def _is_identifier(name: str, values: pa.Array, field: Field, share: float, num_rows: int) -> bool:
    """Nearly unique text; whole numbers named like a key that mostly differ, or that number rows.

    Amounts in whole units can be nearly unique too, so uniqueness alone does not do for numbers:
    those that number rows differ all, and lie within twice as many numbers as there are rows, where
    as many amounts would coincide. The order of the rows says nothing.
    """
    if field.kind in ("boolean", "time", "terms", "number_pair"):
        return False
    if field.kind == "category":
        return share >= 0.95
    numbers = np.asarray(values.drop_null())
    if not np.array_equal(numbers, np.floor(numbers)):
        return False
    if _ID_NAME.search(name) is not None:
        return share >= 0.5
    return share == 1.0 and bool(numbers.max() - numbers.min() + 1 <= 2 * num_rows)


def _check_share(column: pa.Array, field: Field, corpus: Corpus) -> None:
    if field.kind != "number":
        return
    typed = typed_column(column, field, frozenset(corpus.gaps))
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
