"""Corpora with a list of readings in a cell: each is the long table that it stands for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data.arrays import APART
from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.task import find

LIFE = find("manufacturing/predictive_maintenance")
DEMAND = find("manufacturing/supply_chain")
NUM_UNITS, NUM_STEPS = 8, 40


def units(**columns):
    """Lists of readings whose cells are all unlike, a row a unit."""
    draw = np.random.default_rng(0)
    lists = {name: draw.normal(size=(NUM_UNITS, NUM_STEPS)).tolist() for name in ("heat", "speed")}
    return pa.table({**lists, **columns})


def opened(of, tmp_path, task=LIFE, **roles):
    corpus = open_corpus(task, of, storage=str(tmp_path / "storage"), roles=Roles(**roles))
    (uri,) = corpus.uris
    return corpus, pq.read_table(uri.removeprefix("file://"))


def clocked(**columns):
    cycles = [list(range(1, NUM_STEPS + 1))] * NUM_UNITS
    names = [f"m{number}" for number in range(NUM_UNITS)]
    return units(machine=names, cycle=cycles, **columns)


def test_a_unit_s_lists_are_its_readings_in_order(tmp_path):
    life = [list(range(NUM_STEPS, 0, -1))] * NUM_UNITS
    of = clocked(remaining_useful_life=life)
    corpus, rows = opened(of, tmp_path)
    assert rows.num_rows == NUM_UNITS * NUM_STEPS
    assert rows["heat"].to_pylist() == np.array(of["heat"].to_pylist()).ravel().tolist()
    assert rows["machine"].to_pylist()[NUM_STEPS - 1 : NUM_STEPS + 1] == ["m0", "m1"]
    assert (corpus.time, corpus.group) == ("cycle", "machine")


def test_a_window_s_one_label_is_that_of_its_last_reading(tmp_path):
    of = units(remaining_useful_life=[float(n) for n in range(NUM_UNITS)])
    corpus, rows = opened(of, tmp_path)
    label = rows["remaining_useful_life"].to_pylist()
    assert [v for v in label if v is not None] == list(range(NUM_UNITS))
    assert label[NUM_STEPS - 1] == 0
    assert len(set(rows[corpus.group].to_pylist())) == NUM_UNITS
    assert rows[corpus.time].to_pylist()[:3] == [0, 1, 2]


def test_windows_of_one_unit_never_touch(tmp_path):
    names = ["m0", "m0", *(f"m{n}" for n in range(2, NUM_UNITS))]
    of = units(machine=names, remaining_useful_life=np.arange(NUM_UNITS) * 1.0)
    _, rows = opened(of, tmp_path)
    clock = rows["cycle"].to_pylist()
    assert clock[NUM_STEPS] - clock[NUM_STEPS - 1] > APART / 2


def test_jsonl_as_requests_are_written_is_the_same_corpus(tmp_path):
    of = clocked(remaining_useful_life=[list(range(NUM_STEPS, 0, -1))] * NUM_UNITS)
    lines = []
    for row in of.to_pylist():
        lists = [name for name in row if name != "machine"]
        readings = [
            dict(zip(lists, v, strict=True)) for v in zip(*map(row.get, lists), strict=True)
        ]
        lines.append(json.dumps({"machine": row["machine"], "readings": readings}))
    (tmp_path / "units.jsonl").write_text("\n".join(lines))
    _, expected = opened(of, tmp_path)
    _, rows = opened(tmp_path / "units.jsonl", tmp_path)
    for name in ("machine", "cycle", "heat", "speed"):
        assert rows[name].to_pylist() == expected[name].to_pylist()


def test_a_channel_that_a_unit_lacks_is_one_of_gaps(tmp_path):
    lists = [None, *[[float(n)] * NUM_STEPS for n in range(1, NUM_UNITS)]]
    of = clocked(pressure=lists, remaining_useful_life=[list(range(NUM_STEPS))] * NUM_UNITS)
    _, rows = opened(of, tmp_path)
    pressure = rows["pressure"].to_pylist()
    assert pressure[:NUM_STEPS] == [None] * NUM_STEPS
    assert pressure[NUM_STEPS:][:2] == [1.0, 1.0]


def test_lists_of_other_lengths_are_refused(tmp_path):
    short = [[1.0] * (NUM_STEPS - (row == 3)) for row in range(NUM_UNITS)]
    of = units(pressure=short, remaining_useful_life=[1.0] * NUM_UNITS)
    with pytest.raises(InputError, match="one length, however: 'pressure' of row 3 .* has 39"):
        opened(of, tmp_path)


def test_one_time_for_many_readings_is_refused(tmp_path):
    of = units(cycle=list(range(NUM_UNITS)), remaining_useful_life=[1.0] * NUM_UNITS)
    with pytest.raises(InputError, match="must be a list as they are, however: 'cycle'"):
        opened(of, tmp_path)


def test_a_line_that_cannot_be_read_is_named(tmp_path):
    good = json.dumps({"heat": [1.0, 2.0], "remaining_useful_life": 1.0})
    (tmp_path / "units.jsonl").write_text(f"{good}\n{{oops\n")
    with pytest.raises(InputError, match="row 1 of .*units.jsonl"):
        opened(tmp_path / "units.jsonl", tmp_path)


def test_the_same_corpus_is_unrolled_once(tmp_path):
    of = clocked(remaining_useful_life=[list(range(NUM_STEPS))] * NUM_UNITS)
    pq.write_table(of, tmp_path / "units.parquet")
    first, _ = opened(tmp_path / "units.parquet", tmp_path)
    again, _ = opened(tmp_path / "units.parquet", tmp_path)
    assert first.uris == again.uris
    assert first.identity == again.identity
