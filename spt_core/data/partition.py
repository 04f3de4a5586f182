"""Which part a row belongs to, and the worker's side of writing it: rows -> Parquet files, facts.

Two rows are identical if all that was read of them is: their `__hash`, without the label. It also
leaves out what always tells the parts apart, the time of a time split or the key of a group split;
in a time split it has the windows' counts and label rates instead.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem
from spt_core.data.corpus import FROM, HASH, ROW, UNTIL
from spt_core.data.hashing import Hashes, column_hashes, combine, named_hashes, row_hashes, uniform
from spt_core.data.labels import BINARY, LabelRule, class_counts, num_saying
from spt_core.data.packing import packed
from spt_core.data.rewriting import pseudonyms
from spt_core.data.series import NO_WINDOW
from spt_core.errors import InputError

Part = Literal["train", "validation", "calibration", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
GAP = "label delay"
HISTORY = "history"
MAX_BUCKETS = 65_536
MAX_COUNTED_TEXTS = 1_000_000
DAY_US = 86_400_000_000
EMBARGO = "embargo: its window and label lie in two parts"
UNLABELLED = "a reading without a label, which ends no window"
_LEFT_OUT = {-1: GAP, -2: HISTORY, -3: NO_WINDOW, -4: EMBARGO, -5: UNLABELLED}
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """How rows are dealt to the parts below `folder`: by time, or by a hash of group or row.

    `cuts_us` are the first moments of the later parts, rows within `delay_us` before one of them
    and before `start_us` are left out. `identity` names the columns that rows are identical by,
    `content` those that the fingerprint covers. Rows whose `window` of readings is null, and those
    of a time split whose window or label lies in two parts, are left out. The texts of `categories`
    are counted in the training rows, and the members of the sets of `terms`. The texts of `names`
    are written as pseudonyms by `key`, and are no part of `content`: two runs have two keys.
    """

    folder: str
    label: str
    identity: tuple[str, ...]
    content: tuple[str, ...]
    categories: tuple[str, ...]
    shares: tuple[float, ...]
    seed: int
    max_categories: int
    labels: LabelRule = BINARY
    group: str | None = None
    time: str | None = None
    cuts_us: tuple[int, ...] = ()
    delay_us: int = 0
    start_us: int | None = None
    window: str | None = None
    terms: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    key: bytes = dataclasses.field(default=b"", repr=False)

    def assign(self, table: pa.Table, hashes: Hashes) -> Ints:
        """The index of each row's part in PARTS; negative when it is in none."""
        parts = self._dealt(table, hashes)
        if self.window is None:
            return parts
        if self.time is not None:
            cuts = np.array(self.cuts_us)
            ends = [np.searchsorted(cuts, table[name], side="right") for name in (FROM, UNTIL)]
            parts[(parts >= 0) & (ends[0] != ends[1])] = -4
        no_window = np.asarray(table[self.window].is_null())
        parts[no_window] = -3
        if self.labels.head != "forecasts":  # whose labels are cut of what follows
            parts[no_window & np.asarray(table[self.label].is_null())] = -5
        return parts

    def _dealt(self, table: pa.Table, hashes: Hashes) -> Ints:
        if self.time is not None:
            times = np.asarray(table[self.time].cast(pa.int64()))
            parts = np.searchsorted(np.array(self.cuts_us), times, side="right")
            for cut in self.cuts_us:
                parts[(times >= cut - self.delay_us) & (times < cut)] = -1
            if self.start_us is not None:
                parts[times < self.start_us] = -2
            return parts
        keys = column_hashes(table[self.group]) if self.group is not None else hashes
        bounds = np.cumsum(self.shares)[:-1]
        return np.searchsorted(bounds, uniform(keys, self.seed), side="right")


def write_parts(table: pa.Table, partition: Partition) -> pa.Table:
    """Write each part's rows of a block to a file of its own; one row with the facts as JSON."""
    names = dict.fromkeys((*partition.identity, *partition.content))
    named = {name: named_hashes(table, name) for name in names}
    hashes = combine([named[name] for name in partition.identity], table.num_rows)
    full = combine([named[name] for name in partition.content], table.num_rows)
    parts = partition.assign(table, hashes)
    for name in partition.names:  # dealt by what they are, so that every run deals alike
        place = table.column_names.index(name)
        table = table.set_column(place, name, pseudonyms(table[name], partition.key))
    table = table.append_column(HASH, pa.array(hashes))
    left_out = {
        reason: int((parts == index).sum())
        for index, reason in _LEFT_OUT.items()
        if (parts == index).any()
    }
    facts: dict[str, Any] = {"left_out": left_out, "parts": {}}
    for index, part in enumerate(PARTS):
        chosen = parts == index
        if not chosen.any():
            continue
        rows = table if chosen.all() else table.filter(pa.array(chosen))
        facts["parts"][part] = {
            "file": _write(rows, f"{partition.folder}/{part}"),
            "num_rows": rows.num_rows,
            "num_positives": num_saying(rows[partition.label], partition.labels),
            "classes": class_counts(rows[partition.label], partition.labels),
            "hash_sum": int(full[chosen].sum()),
        }
        if part == "train":
            facts["train"] = _train_facts(rows, partition)
    return pa.table({"written": [json.dumps(facts)]})


def _write(rows: pa.Table, folder: str) -> str:
    files, path = filesystem(folder)
    files.create_dir(path, recursive=True)
    name = f"{pc.min(rows[ROW]).as_py():014d}.parquet"
    rows = packed(rows)
    texts = [field.name for field in rows.schema if pa.types.is_large_string(field.type)]
    # Numbers hardly repeat: a dictionary would only cost time.
    pq.write_table(rows, f"{path}/{name}", filesystem=files, use_dictionary=texts)  # type: ignore[arg-type]  # takes names too
    return name


def _train_facts(rows: pa.Table, partition: Partition) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for name in partition.categories:
        counted = pc.value_counts(rows[name].combine_chunks().drop_null())
        words, counts = counted.field("values"), counted.field("counts")
        most = 10 * partition.max_categories
        if len(words) > most:
            top = pc.select_k_unstable(counts, most, [("", "descending")])
            words, counts = words.take(top), counts.take(top)
        texts[name] = [words.to_pylist(), counts.to_pylist()]
    for name in partition.terms:
        of_sets = pc.value_counts(rows[name].combine_chunks().drop_null()).to_pylist()
        members: Counter[str] = Counter()
        for entry in of_sets:
            members.update(dict.fromkeys(json.loads(entry["values"]), entry["counts"]))
        some = dict(members.most_common(10 * partition.max_categories))
        texts[name] = [[*some], [*some.values()]]
    missing = [name for name in rows.column_names if rows[name].null_count]
    return {"texts": texts, "missing": missing}


class Written:
    """The facts of all blocks together."""

    def __init__(self, *, max_categories: int) -> None:
        self.num_rows: Counter[str] = Counter()
        self.num_positives: Counter[str] = Counter()
        self.classes: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self.left_out: Counter[str] = Counter()
        self.files: dict[str, set[str]] = {part: set() for part in PARTS}
        self.missing: set[str] = set()
        self._hash_sums: Counter[str] = Counter()
        self._texts: dict[str, Counter[str]] = {}
        self._max_categories = max_categories

    def add(self, facts: Mapping[str, Any]) -> None:
        """Count one block's facts."""
        self.left_out.update(facts["left_out"])
        for part, content in facts["parts"].items():
            self.files[part].add(content["file"])
            self.num_rows[part] += content["num_rows"]
            self.num_positives[part] += content["num_positives"]
            self.classes[part].update(content["classes"])
            self._hash_sums[part] += content["hash_sum"]
        for name, (words, counts) in facts.get("train", {}).get("texts", {}).items():
            counter = self._texts.setdefault(name, Counter())
            counter.update(dict(zip(words, counts, strict=True)))
            if len(counter) > MAX_COUNTED_TEXTS:  # rare texts beyond memory are not told apart
                self._texts[name] = Counter(dict(counter.most_common(10 * self._max_categories)))
        self.missing.update(facts.get("train", {}).get("missing", ()))

    def remove(self, part: str, rows: pa.Table, partition: Partition) -> None:
        """Take rows of a part out of the counts."""
        full = row_hashes(rows, partition.content)
        self.num_rows[part] -= rows.num_rows
        self.num_positives[part] -= num_saying(rows[partition.label], partition.labels)
        self.classes[part].subtract(class_counts(rows[partition.label], partition.labels))
        self._hash_sums[part] -= int(full.sum())

    def fingerprint(self, part: str | None = None) -> str:
        """The number of rows and the sum of their hashes, of one part or of all parts."""
        parts = PARTS if part is None else (part,)
        total = sum(self._hash_sums[name] for name in parts) % 2**64
        return f"{sum(self.num_rows[name] for name in parts)}-{total:016x}"

    def categories(self, name: str, *, min_rows: int = 1) -> tuple[str, ...]:
        """The texts of a training column, or its sets' members, the most frequent first."""
        counts = self._texts.get(name, Counter())
        counts = {text: count for text, count in counts.items() if count >= min_rows}
        return tuple(sorted(counts, key=lambda text: (-counts[text], text))[: self._max_categories])


def histogram_of(table: pa.Table, time: str) -> pa.Table:
    """The times of a block as one row: a TimeHistogram in JSON."""
    histogram = TimeHistogram()
    values, counts = np.unique(
        np.asarray(table[time].cast(pa.int64()).drop_null()), return_counts=True
    )
    histogram.add(0, values, counts)
    content = [histogram.shift, histogram.buckets.tolist(), histogram.counts.tolist()]
    return pa.table({"histogram": [json.dumps(content)]})


class TimeHistogram:
    """How many rows are in each bucket of 2**shift microseconds, in bounded memory.

    The buckets widen until at most MAX_BUCKETS are in use, so that the result depends neither on
    the order of the rows nor on how they came together.
    """

    def __init__(self) -> None:
        self.shift = 0
        self.buckets: Ints = np.empty(0, np.int64)
        self.counts: Ints = np.empty(0, np.int64)

    def add(self, shift: int, buckets: Ints, counts: Ints) -> None:
        """Count `counts` rows in `buckets` of 2**shift microseconds."""
        wide = max(shift, self.shift)
        joined = [self.buckets >> (wide - self.shift), np.asarray(buckets) >> (wide - shift)]
        self.shift = wide
        self._merge(np.concatenate(joined), np.concatenate([self.counts, counts]))
        while len(self.buckets) > MAX_BUCKETS:
            self.shift += 1
            self._merge(self.buckets >> 1, self.counts)

    def _merge(self, buckets: Ints, counts: Ints) -> None:
        self.buckets, index = np.unique(buckets.astype(np.int64), return_inverse=True)
        self.counts = np.bincount(index, counts, len(self.buckets)).astype(np.int64)

    def since(self, start_us: int) -> TimeHistogram:
        """The buckets that do not begin before a moment."""
        later = TimeHistogram()
        chosen = (self.buckets << self.shift) >= start_us
        later.add(self.shift, self.buckets[chosen], self.counts[chosen])
        return later

    def first_us(self) -> int:
        """The beginning of the first bucket."""
        return int(self.buckets[0]) << self.shift

    def cuts_us(self, shares: Sequence[float]) -> tuple[int, ...]:
        """The moments at which the later parts begin, nearest to the shares."""
        if len(self.buckets) < len(shares):
            raise InputError(
                f"a time split needs at least {len(shares)} different times, however: there are "
                f"{len(self.buckets)}; choose a group or random split, or another time column"
            )
        before = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        places: list[int] = []
        for number, target in enumerate(np.cumsum(shares)[:-1] * self.counts.sum(), 1):
            nearest = int(np.abs(before - target).argmin())
            least = places[-1] + 1 if places else 1
            places.append(min(max(nearest, least), len(before) - len(shares) + number))
        return tuple(int(self.buckets[place]) << self.shift for place in places)
