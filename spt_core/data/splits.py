"""Splits: the parts of one corpus in storage, and the EvaluationSet; splitting.py makes them.

Importing this brings no ray: configurations and registered models name splits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import (
    filesystem,
    parquet_files,
    read_manifest,
)
from spt_core.data import formats
from spt_core.data.corpus import READINGS, Corpus, Finding
from spt_core.data.labels import BINARY, LabelRule
from spt_core.data.packing import unpacked
from spt_core.data.partition import (
    PARTS,
    Part,
)
from spt_core.errors import InputError
from spt_core.plain import from_plain
from spt_core.signature import Signature

if TYPE_CHECKING:
    from spt_core.data.read import Dataset

SplitKind = Literal["time", "group", "random"]
SAMPLE_BATCH_ROWS = 256  # that are read at a time for a sample: they may be images
SERIES_RUN_ROWS = 1_000
StepUnit = Literal["second", "minute", "hour", "day", "week", "month", "reading"]
REFIT_PARTS: tuple[Part, ...] = ("train", "validation", "calibration")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """How rows are dealt: `kind` None is time if the corpus has dates, else group, else random.

    A time split leaves out the rows of the `label_delay_days` before each later part, whose labels
    would not have been known yet, and the first `history_days`, which only feed windows. Of series,
    a window has `window_steps` readings (None: as the task says), `step` apart (None: as they come
    most often, or one `step_unit`: "reading" counts them, whatever lies between; where the clock
    counts, in its own unit), and one ends at every `stride_steps`-th of them; its label looks
    `horizon_steps` ahead (None: as the task says). A window of a time split that, with its label,
    is not within one part is left out.
    """

    kind: SplitKind | None = None
    train: float = 0.6
    validation: float = 0.15
    calibration: float = 0.1
    test: float = 0.15
    label_delay_days: float = 0.0
    history_days: float = 0.0
    seed: int = 0
    max_categories: int = 10_000
    window_steps: int | None = None
    stride_steps: int = 1
    horizon_steps: int | None = None
    step: float | None = None
    step_unit: StepUnit | None = None

    def __post_init__(self) -> None:
        """Refuse shares that do not add up and a kind that does not exist."""
        if self.kind is not None and self.kind not in get_args(SplitKind):
            raise InputError(f"a split is one of {get_args(SplitKind)}, however: {self.kind!r}")
        if min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1.0, abs_tol=1e-9):
            raise InputError(f"shares must be positive and add up to 1, however: {self.shares}")
        if self.label_delay_days < 0 or self.history_days < 0 or self.max_categories < 1:
            raise InputError(f"days must be >= 0 and max_categories >= 1, however: {self}")
        if self.step_unit is not None and self.step_unit not in get_args(StepUnit):
            raise InputError(
                f"a step's unit is one of {get_args(StepUnit)}, however: {self.step_unit!r}"
            )
        if self.stride_steps < 1 or not (self.step is None or self.step > 0):
            raise InputError(
                "stride_steps must be at least 1 and step above 0, however: "
                f"{self.stride_steps=}, {self.step=}"
            )

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """The shares of the four parts, in order."""
        return self.train, self.validation, self.calibration, self.test


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Frozen rows that no later training may touch; champion and candidate meet on it."""

    uri: str
    task: str
    num_rows: int
    num_positives: int
    fingerprint: str
    label: str
    signature: Signature
    protected: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    synthetic: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `evaluation_set_from_json` reads back."""
        return dataclasses.asdict(self)

    def files(self) -> list[str]:
        """The URIs of its Parquet files, in order."""
        return parquet_files(self.uri)

    def table(self, limit: int | None = None) -> pa.Table:
        """Its rows; at most `limit` of them, from all over, when given."""
        return sampled_table(self.files(), limit, run_rows=_run_rows(self.signature))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Four parts of one corpus in storage, and everything that was found on the way.

    `num_positives` counts the rows whose label says something: 1, a class that is not the negative
    one, a set that is not empty. `labels` is what a label may be, `classes` the names that a model
    of these rows tells apart: the task's, else those of the training rows; none if binary.
    `num_rows_in` are the rows of the corpus: each is in a part, left out or in quarantine.
    `num_left_out` counts good rows that are in no part, by reason; `quarantine` counts bad rows by
    reason. `data_fingerprint` depends on the rows' content, not on files or order. `cut_times` are
    the first moments of validation, calibration and test in a time split. `deidentified` says what
    removed identifiers from the texts and how many of each type, if anything did. `reused` says
    that a finished folder was found, and is not stored.
    """

    uri: str
    task: str
    corpus: Corpus
    config: SplitConfig
    kind: SplitKind
    signature: Signature
    label: str
    num_rows: Mapping[str, int]
    num_positives: Mapping[str, int]
    fingerprints: Mapping[str, str]
    num_left_out: Mapping[str, int]
    quarantine: Mapping[str, int]
    findings: tuple[Finding, ...]
    data_fingerprint: str
    code_fingerprint: str
    protected: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    synthetic: bool = False
    cut_times: tuple[str, ...] = ()
    labels: LabelRule = BINARY
    classes: tuple[str, ...] = ()
    num_rows_in: int = 0
    deidentified: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `splits_from_json` reads back."""
        content = dataclasses.asdict(self)
        del content["reused"]
        return content

    def files(self, part: Part) -> list[str]:
        """The URIs of a part's Parquet files, in the order of their first rows."""
        return parquet_files(f"{self.uri}/{_valid_part(part)}")

    def dataset(self, part: Part) -> Dataset:
        """A part as a Ray Dataset of typed columns, label and `__row`."""
        from spt_core.data.read import read_files, read_windows

        return (read_windows if _is_series(self.signature) else read_files)(self.files(part))

    def table(self, part: Part, limit: int | None = None) -> pa.Table:
        """A part in memory; at most `limit` rows, from all over it, when given."""
        return sampled_table(self.files(part), limit, run_rows=_run_rows(self.signature))

    def quarantined(self) -> pa.Table:
        """Row number, reason and original row (JSON) of every bad row."""
        return table_of([f"{self.uri}/quarantine.parquet"])

    def evaluation_set(self) -> EvaluationSet:
        """The test part, frozen."""
        return EvaluationSet(
            uri=f"{self.uri}/test",
            task=self.task,
            num_rows=self.num_rows["test"],
            num_positives=self.num_positives["test"],
            fingerprint=self.fingerprints["test"],
            label=self.label,
            signature=self.signature,
            protected=self.protected,
            entities=self.entities,
            synthetic=self.synthetic,
        )


class RefitSplits(Splits):
    """The same splits, of which a last training has every row but those of the test.

    The other parts are what they were; models of these rows cannot be judged by them any more.
    """

    __slots__ = ()

    def files(self, part: Part) -> list[str]:
        """Those of validation and calibration are of training too."""
        parts: tuple[Part, ...] = REFIT_PARTS if part == "train" else (part,)
        return [uri for each in parts for uri in Splits.files(self, each)]


def refit_splits(splits: Splits) -> RefitSplits:
    """The splits of a last training; the test stays the frozen rows of later comparisons."""
    fields = {f.name: getattr(splits, f.name) for f in dataclasses.fields(splits)}
    own = RefitSplits(**fields)
    sums = {
        name: {**of_parts, "train": sum(of_parts[part] for part in REFIT_PARTS)}
        for name, of_parts in (
            ("num_rows", splits.num_rows),
            ("num_positives", splits.num_positives),
        )
    }
    fingerprint = "-".join(splits.fingerprints[part] for part in REFIT_PARTS)
    fingerprints = {**splits.fingerprints, "train": fingerprint}
    return dataclasses.replace(own, **sums, fingerprints=fingerprints)


def load_splits(uri: str) -> Splits:
    """The Splits of a finished folder."""
    return splits_from_json(read_manifest(uri))


def splits_from_json(content: Mapping[str, Any]) -> Splits:
    """The Splits that `to_json` wrote."""
    return from_plain(Splits, content)


def evaluation_set_from_json(content: Mapping[str, Any]) -> EvaluationSet:
    """The EvaluationSet that `to_json` wrote."""
    return from_plain(EvaluationSet, content)


def table_of(uris: Sequence[str], limit: int | None = None) -> pa.Table:
    """Parquet files in memory; the first `limit` rows when given."""
    tables: list[pa.Table] = []
    left = math.inf if limit is None else limit
    for uri in uris:
        file = _opened(uri)
        if left >= file.metadata.num_rows:
            tables.append(unpacked(file.read()))
        elif READINGS in file.schema_arrow.names:
            tables.append(unpacked(file.read(), np.arange(int(left))))
        else:
            batches: list[pa.RecordBatch] = []
            for batch in file.iter_batches(batch_size=min(int(left) or 1, formats.BATCH_ROWS)):
                if sum(b.num_rows for b in batches) >= left:
                    break
                batches.append(batch)
            tables.append(pa.Table.from_batches(batches, file.schema_arrow).slice(0, int(left)))
        left -= tables[-1].num_rows
        if left <= 0:
            break
    return pa.concat_tables(tables)


def sampled_table(
    uris: Sequence[str],
    limit: int | None = None,
    *,
    columns: Sequence[str] | None = None,
    run_rows: int = 1,
) -> pa.Table:
    """Parquet files in memory; at most `limit` rows, from all over them, when given.

    The first rows of a corpus that is sorted are of one class, unit or month: `sampled_places` says
    which are taken. They are read a batch at a time, those of large files too.
    """
    names = None if columns is None else list(columns)
    total = sum(_opened(uri).metadata.num_rows for uri in uris)
    if limit is None or limit >= total:
        return pa.concat_tables([unpacked(_opened(uri).read(columns=names)) for uri in uris])
    places, start = sampled_places(total, limit, run_rows=run_rows), 0
    tables: list[pa.Table] = []
    for uri in uris:
        file = _opened(uri)
        if READINGS in file.schema_arrow.names:
            low, high = np.searchsorted(places, (start, start + file.metadata.num_rows))
            if low < high:
                tables.append(unpacked(file.read(columns=names), places[low:high] - start))
            start += file.metadata.num_rows
            continue
        for batch in file.iter_batches(batch_size=SAMPLE_BATCH_ROWS, columns=names):
            low, high = np.searchsorted(places, (start, start + batch.num_rows))
            chosen = pa.array(places[low:high] - start)
            tables.append(pa.Table.from_batches([batch]).take(chosen))
            start += batch.num_rows
    return pa.concat_tables(tables)


def sampled_places(num_rows: int, limit: int, *, run_rows: int = 1) -> NDArray[np.int64]:
    """Which of rows make a sample of at most `limit`, ascending; the same ones each time.

    The rows are cut into equal stretches, and of each `run_rows` in a row are drawn: every part of
    them is there by its size, and no period of theirs meets the sample's own.
    """
    if limit >= num_rows:
        return np.arange(num_rows)
    run_rows = max(min(run_rows, limit), 1)
    edges = np.linspace(0, num_rows, limit // run_rows + 1).astype(np.int64)
    draw = np.random.default_rng(0)
    starts = draw.integers(edges[:-1], edges[1:] - run_rows, endpoint=True)
    return (starts[:, None] + np.arange(run_rows)).ravel()


def _opened(uri: str) -> pq.ParquetFile:
    files, path = filesystem(uri)
    return pq.ParquetFile(path, filesystem=files)


def _run_rows(signature: Signature) -> int:
    """How many rows of a sample follow each other: alarms are told by the windows beside them."""
    return SERIES_RUN_ROWS if _is_series(signature) else 1


def _is_series(signature: Signature) -> bool:
    return any(field.kind == "sequence" for field in signature.fields)


def _valid_part(part: Part) -> Part:
    if part not in PARTS:
        raise InputError(f"a part is one of {PARTS}, however: {part!r}")
    return part
