"""Readings without a label end no window, and are in the windows of others."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data.conform import conform
from spt_core.data.corpus import EVENTS, ROW, Roles
from spt_core.data.infer import columns_of
from spt_core.data.labels import BINARY
from spt_core.data.partition import UNLABELLED, Written, write_parts
from spt_core.data.readings import cutting_of, paced
from spt_core.data.sampling import sample
from spt_core.data.series import NO_WINDOW, cut
from spt_core.data.sources import open_corpus
from spt_core.data.split_plan import partition_of
from spt_core.data.splits import SplitConfig
from spt_core.data.sufficiency import require_classes
from spt_core.errors import InputError
from spt_core.task import find

LIFE = find("manufacturing/predictive_maintenance")
DEMAND = find("manufacturing/supply_chain")
INCIDENTS = find("technology/performance_monitoring")
NUM_UNITS, NUM_STEPS = 20, 40
CONFIG = SplitConfig(kind="group", window_steps=10)


def dealt(of, task, tmp_path, config=CONFIG, **roles):
    """Windows [N], one for each good reading; what was written of them; the bad readings."""
    corpus = open_corpus(task, of, storage=str(tmp_path / "storage"), roles=Roles(**roles))
    sampled = sample(corpus, 20_000)
    columns = paced(task, columns_of(sampled, corpus, task), sampled, corpus, config)
    raw = pq.read_table([uri.removeprefix("file://") for uri in corpus.uris])
    raw = raw.append_column(ROW, pa.array(range(raw.num_rows)))
    good, bad = conform(raw, columns.as_read, label=corpus.label, labels=columns.labels)
    windows = cut(good, cutting_of(corpus, columns, config))
    folder = str(tmp_path / "split")
    partition = partition_of(task, corpus, columns, config, "group", folder, sampled)
    written = Written(max_categories=10)
    written.add(json.loads(write_parts(windows, partition)["written"][0].as_py()))
    assert written.num_rows.total() + written.left_out.total() + bad.num_rows == raw.num_rows
    return windows, written, bad


def long_table(label, **more):
    draw = np.random.default_rng(0)
    steps = np.tile(np.arange(NUM_STEPS), NUM_UNITS)
    return pa.table(
        {
            "machine": np.repeat([f"m{unit:02}" for unit in range(NUM_UNITS)], NUM_STEPS).tolist(),
            "cycle": steps,
            "heat": draw.normal(size=len(steps)),
            "vibration": draw.normal(size=len(steps)),
            **more,
            **label,
        }
    )


def every(nth):
    """The life left of each unit at every nth reading, ending with its last one."""
    left = np.tile(np.arange(NUM_STEPS, 0, -1.0), NUM_UNITS) - 1
    return {"remaining_useful_life": pa.array(left, mask=left % nth != 0)}


@pytest.mark.parametrize("nth", [1, 2, 10])
def test_windows_end_at_labelled_readings_and_hold_all_others(tmp_path, nth):
    windows, written, bad = dealt(long_table(every(nth)), LIFE, tmp_path)
    labels = windows["remaining_useful_life"].to_numpy()
    is_window = np.asarray(windows["readings"].is_valid())
    ends = np.tile(np.arange(NUM_STEPS) >= 9, NUM_UNITS)  # a whole window lies before
    assert (is_window == (ends & np.isfinite(labels))).all()
    cells = windows["readings"].combine_chunks().drop_null().flatten().flatten()
    assert cells.null_count == 0
    assert bad.num_rows == 0
    assert written.num_rows.total() == is_window.sum()
    unlabelled = NUM_UNITS * (NUM_STEPS - NUM_STEPS // nth)
    assert written.left_out[UNLABELLED] == unlabelled
    assert written.left_out[NO_WINDOW] == len(labels) - unlabelled - is_window.sum()


def test_a_line_s_one_label_is_that_of_the_window_that_ends_with_it(tmp_path):
    draw = np.random.default_rng(0)
    lines = [
        {
            "readings": [{"vibration": v, "heat": h} for v, h in draw.normal(size=(40, 2))],
            "remaining_useful_life": 31 + row,
        }
        for row in range(80)
    ]
    (tmp_path / "units.jsonl").write_text("\n".join(map(json.dumps, lines)))
    windows, written, bad = dealt(tmp_path / "units.jsonl", LIFE, tmp_path)
    there = windows.filter(windows["readings"].is_valid())
    assert sorted(there["remaining_useful_life"].to_pylist()) == list(range(31, 111))
    last = {row["remaining_useful_life"]: row["readings"][-1] for row in there.to_pylist()}
    end = lines[5]["readings"][-1]
    assert last[36] == pytest.approx([end["vibration"], end["heat"]], rel=1e-6)
    assert (written.num_rows.total(), bad.num_rows) == (80, 0)
    assert written.left_out == {UNLABELLED: 80 * 39}


def test_a_label_that_is_no_number_stays_a_bad_row(tmp_path):
    labels = [str(left) for left in every(1)["remaining_useful_life"].to_pylist()]
    labels[30], labels[31] = "soon", ""
    of = long_table({"remaining_useful_life": labels})
    _, written, bad = dealt(of, LIFE, tmp_path)
    assert bad[ROW].to_pylist() == [30]
    assert bad["reason"][0].as_py() == ("the label 'remaining_useful_life' must be a finite number")
    assert written.left_out[UNLABELLED] == 1


def test_a_reading_without_a_label_may_be_anomalous_in_the_windows_of_others(tmp_path):
    flags = np.zeros(NUM_UNITS * NUM_STEPS)
    flags[5::NUM_STEPS] = 1.0
    missing = np.zeros(len(flags), bool)
    missing[20] = True
    of = long_table({"is_incident": pa.array(flags, mask=missing)})
    roles = {"time": "cycle", "group": "machine", "label": "is_incident"}
    windows, written, bad = dealt(of, INCIDENTS, tmp_path, **roles)
    events = windows.sort_by("machine")[EVENTS].to_pylist()[:NUM_STEPS]
    assert events == [0] * 9 + [1] * 6 + [0] * 6 + [1] * 9 + [0] * 10
    assert (bad.num_rows, written.left_out[UNLABELLED]) == (0, 1)


def test_a_month_without_demand_keeps_its_price_and_is_a_gap(tmp_path):
    units, months = 20, 30
    draw = np.random.default_rng(0)
    starts = (np.datetime64("2020-01", "M") + np.arange(months)).astype("datetime64[us]")
    missing = np.zeros(units * months, bool)
    missing[20] = True
    of = pa.table(
        {
            "part": np.repeat([f"p{unit:02}" for unit in range(units)], months).tolist(),
            "month": np.tile(starts, units),
            "price": np.tile(np.arange(months) + 1.0, units) + draw.random(units * months),
            "demand": pa.array(draw.integers(1, 99, units * months) * 1.0, mask=missing),
        }
    )
    config = SplitConfig(kind="group", window_steps=6, horizon_steps=2)
    windows, _, bad = dealt(of, DEMAND, tmp_path, config, time="month", group="part")
    name = DEMAND.subject.name
    first = windows.sort_by([("part", "ascending"), ("month", "ascending")]).slice(0, months)
    is_window = [window is not None for window in first[name].to_pylist()]
    # A whole window before, and both months to come known.
    assert is_window == [5 <= month < 28 and month not in (18, 19) for month in range(months)]
    of_gap = first[name][20].as_py()[5]  # at whose end only the demand is missing
    shown = of.slice(20, 1).to_pylist()[0]
    assert of_gap[:2] == [pytest.approx(shown["price"]), None]
    assert bad.num_rows == 0


def test_a_corpus_without_a_label_is_refused_with_what_was_left_out(tmp_path):
    none = {"remaining_useful_life": pa.nulls(NUM_UNITS * NUM_STEPS, pa.float64())}
    _, written, _ = dealt(long_table(none), LIFE, tmp_path)
    message = "it has none; 800 are left out, most: a reading without a label, .* \\(800\\)"
    with pytest.raises(InputError, match=message):
        require_classes("remaining_useful_life", BINARY, written, {})
