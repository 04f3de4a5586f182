"""Corpora with a list of readings in a cell: each is the long table that it stands for."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.data.arrays import APART
from spt_core.data.corpus import ROW, Roles
from spt_core.data.formats import Fragment
from spt_core.data.infer import infer_columns
from spt_core.data.labels import BINARY
from spt_core.data.read import ReadJob, _good_rows, count_rows
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.signature import Field
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


def refused(corpus):
    assert corpus.refused is not None
    bad = pq.read_table(corpus.refused.removeprefix("file://"))
    return dict(zip(bad[ROW].to_pylist(), bad["reason"].to_pylist(), strict=True))


def labels(values=NUM_UNITS):
    return [float(n) for n in range(values)]


def test_a_row_whose_lists_differ_in_length_is_bad_and_the_others_are_read(tmp_path):
    short = [[1.0] * (NUM_STEPS - (row == 3)) for row in range(NUM_UNITS)]
    of = units(pressure=short, remaining_useful_life=labels())
    corpus, rows = opened(of, tmp_path)
    reason = (
        "the lists of a row must be of one length, however: 'pressure' is not as long as 'heat'"
    )
    assert refused(corpus) == {3: reason}
    assert rows.num_rows == (NUM_UNITS - 1) * NUM_STEPS
    assert rows[corpus.group].unique().to_pylist() == [
        f"row {n}" for n in range(NUM_UNITS) if n != 3
    ]


def test_a_row_without_a_reading_is_bad(tmp_path):
    of = units(remaining_useful_life=labels())
    for name in ("heat", "speed"):
        cells = of[name].to_pylist()
        cells[2], cells[5] = [], None
        of = of.set_column(of.column_names.index(name), name, pa.array(cells))
    corpus, rows = opened(of, tmp_path)
    reason = "a row must hold readings, however: it has no list, or an empty one"
    assert refused(corpus) == {2: reason, 5: reason}
    assert rows.num_rows == (NUM_UNITS - 2) * NUM_STEPS


def test_a_corpus_whose_rows_are_all_bad_is_refused_in_a_sentence(tmp_path):
    short = [[1.0] * (NUM_STEPS - 1)] * NUM_UNITS
    of = units(pressure=short, remaining_useful_life=labels())
    with pytest.raises(InputError, match="none of 8 does, most because the lists of a row must be"):
        opened(of, tmp_path)
    assert not list((tmp_path / "storage" / "corpora").glob(".*"))


def lines_of(*rows, values=(1.0, 2.0, 3.0)):
    """JSON lines: good rows, between which stand those that are given, by their number."""
    given = dict(rows)
    good = ({"heat": list(values), "speed": [0.5, n, 2], "label": 1.0 * n} for n in range(12))
    return "".join(f"{given.get(number, json.dumps(row))}\n" for number, row in enumerate(good))


def opened_lines(text, tmp_path):
    (tmp_path / "units.jsonl").write_text(text)
    return opened(tmp_path / "units.jsonl", tmp_path, label="label")


def test_a_line_that_cannot_be_read_is_bad_and_keeps_its_number(tmp_path):
    corpus, rows = opened_lines(lines_of((0, "{oops"), (7, "[1, 2]")), tmp_path)
    assert refused(corpus) == dict.fromkeys((0, 7), "a line must be one JSON object")
    assert rows.num_rows == 10 * 3
    assert rows[corpus.group][0].as_py() == "row 1"


@pytest.mark.parametrize("cell", ['"broken"', "7", "true"])
def test_a_cell_that_is_no_list_among_lists_makes_its_row_bad(tmp_path, cell):
    line = f'{{"heat": {cell}, "speed": [1, 2, 3], "label": 5.0}}'
    corpus, rows = opened_lines(lines_of((4, line)), tmp_path)
    assert refused(corpus) == {4: "'heat' must hold a list of readings, as in other rows"}
    assert rows["heat"].to_pylist()[:3] == [1.0, 2.0, 3.0]


def test_an_element_of_another_type_is_a_reading_as_it_came(tmp_path):
    line = '{"heat": [1.5, "n/a", 3], "speed": [1, 2, 3], "label": 5.0}'
    corpus, rows = opened_lines(lines_of((4, line)), tmp_path)
    assert refused(corpus) == {}
    assert rows["heat"].to_pylist()[12:15] == ["1.5", "n/a", "3"]
    (field,) = infer_columns(corpus, LIFE).features
    assert field.shape.channels == ("heat", "speed")


def test_objects_with_another_element_among_them_make_their_row_bad(tmp_path):
    good = [{"readings": [{"heat": n, "speed": 2.5}] * 3, "label": 1.0 * n} for n in range(9)]
    bad = {"readings": [{"heat": 1, "speed": "fast"}, 3, {"heat": 2}], "label": 2.0}
    text = "".join(f"{json.dumps(row)}\n" for row in [*good[:4], bad, *good[4:]])
    corpus, rows = opened_lines(text, tmp_path)
    assert refused(corpus) == {4: "'readings' must hold a list of readings, as in other rows"}
    assert rows["heat"].to_pylist()[-1] == 8
    assert rows.num_rows == 27


def test_later_rows_may_be_of_other_types_and_have_more_channels(tmp_path):
    for name, columns in (("a", {}), ("b", {"pressure": [[1.0] * NUM_STEPS] * NUM_UNITS})):
        table = clocked(remaining_useful_life=[list(range(NUM_STEPS))] * NUM_UNITS, **columns)
        if name == "a":
            whole = pa.array([list(range(NUM_STEPS))] * NUM_UNITS)
            table = table.set_column(table.column_names.index("heat"), "heat", whole)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    corpus = open_corpus(LIFE, str(tmp_path / "*.parquet"), storage=str(tmp_path / "storage"))
    assert [uri.rsplit("/", 1)[-1] for uri in corpus.uris] == [
        "rows-000000.parquet",
        "rows-000001.parquet",
    ]
    assert corpus.columns["heat"] == 2
    assert corpus.columns["pressure"] == 1


def test_bad_rows_of_arrays_are_counted_and_quarantined_like_others(tmp_path):
    corpus, rows = opened_lines(lines_of((0, "{oops"), (7, "[1, 2]")), tmp_path)
    assert count_rows(corpus) == rows.num_rows + 2
    (uri,) = corpus.uris
    fields = (Field(name="heat", kind="number"), Field(name="label", kind="number"))
    job = ReadJob(
        format="parquet",
        fields=fields,
        label=None,
        labels=BINARY,
        positive=None,
        quarantine=str(tmp_path / "quarantine"),
        columns=None,
        required=("label",),
        gaps=frozenset(),
        time=None,
        refused=corpus.refused,
    )
    good = pa.concat_tables(_good_rows(Fragment(uri=uri), job))
    bad = pq.read_table(tmp_path / "quarantine")
    assert good.num_rows + bad.num_rows == count_rows(corpus)
    assert bad[ROW].to_pylist()[:2] == [0, 7]
    assert bad["record"].to_pylist()[:2] == ["{oops", "[1, 2]"]


def lines(*rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def objects(num_rows, **more):
    """Rows with a list of objects of 3 readings each, whose vib and temp are told apart."""
    readings = [{"vib": n + 0.5, "temp": n} for n in range(3)]
    return [{"pump": f"p{row}", "readings": readings, **more} for row in range(num_rows)]


OF_LISTS = {"pump": "x", "readings": {"vib": [7.5, 8, 9], "temp": [7, None, 9]}}


@pytest.mark.parametrize("place", [0, 4, 20])
def test_lists_of_objects_and_objects_of_lists_in_one_file_are_all_read(tmp_path, place):
    rows = objects(20, label=[3, 2, 1])
    rows.insert(place, {**OF_LISTS, "label": [6, 5, 4]})
    corpus, read = opened_lines(lines(*rows), tmp_path)
    assert refused(corpus) == {}
    assert read.num_rows == 63
    of_x = slice(3 * place, 3 * place + 3)
    for name, own, others in (
        ("vib", [7.5, 8, 9], [0.5, 1.5, 2.5]),
        ("temp", [7, None, 9], [0, 1, 2]),
        ("label", [6, 5, 4], [3, 2, 1]),
    ):
        values = read[name].to_pylist()
        assert values[of_x] == own
        del values[of_x]
        assert values == others * 20


def test_rows_of_both_forms_may_have_one_label_each(tmp_path):
    rows = [*objects(20, label=31.0), {**OF_LISTS, "label": 8.0}]
    corpus, read = opened_lines(lines(*rows), tmp_path)
    assert refused(corpus) == {}
    assert read["label"].to_pylist() == [None, None, 31.0] * 20 + [None, None, 8.0]
    assert read["vib"].null_count == 0


def test_a_channel_may_lie_in_some_rows_objects_and_beside_those_of_others(tmp_path):
    inside = {"readings": [{"vib": 1.5, "temp": 2}, {"vib": 2.5, "temp": 3}], "label": 1.0}
    beside = {"readings": [{"vib": 3.5}, {"vib": 4.5}], "temp": [4.5, 5.5], "label": 2.0}
    corpus, read = opened_lines(lines(inside, beside, inside), tmp_path)
    assert refused(corpus) == {}
    assert read["temp"].to_pylist() == [2, 3, 4.5, 5.5, 2, 3]


def test_a_value_of_a_row_with_the_name_of_a_sensor_makes_it_bad_by_name(tmp_path):
    rows = [*objects(6, label=1.0), *objects(1, label=2.0, temp=20.0), {**OF_LISTS, "label": 3.0}]
    rows.append({**rows[-1], "temp": 20.0})
    corpus, read = opened_lines(lines(*rows), tmp_path)
    reason = "a row must hold one 'temp', however: {} both have one; rename one of them"
    assert refused(corpus) == {
        6: reason.format("'readings' and 'temp'"),
        8: reason.format("'temp' and 'readings.temp'"),
    }
    assert read["temp"].to_pylist() == [0, 1, 2] * 6 + [7, None, 9]


def test_a_corpus_whose_rows_all_hold_a_name_twice_is_refused_by_that_name(tmp_path):
    with pytest.raises(InputError, match="none of 20 does, most because a row must hold one 'temp"):
        opened_lines(lines(*objects(20, label=1.0, temp=20.0)), tmp_path)


def test_one_value_among_lists_of_other_rows_is_no_list(tmp_path):
    ambient = {"readings": [{"vib": 3.5}, {"vib": 4.5}], "temp": 20.0, "label": 2.0}
    corpus, _ = opened_lines(
        lines(*objects(2, label=1.0), *objects(1, label=3.0), ambient), tmp_path
    )
    assert refused(corpus) == {3: "'temp' must hold a list of readings, as in other rows"}


def test_one_time_for_many_readings_is_refused(tmp_path):
    of = units(cycle=list(range(NUM_UNITS)), remaining_useful_life=[1.0] * NUM_UNITS)
    with pytest.raises(InputError, match="must be a list as they are, however: 'cycle'"):
        opened(of, tmp_path)


def test_the_same_corpus_is_unrolled_once(tmp_path):
    of = clocked(remaining_useful_life=[list(range(NUM_STEPS))] * NUM_UNITS)
    pq.write_table(of, tmp_path / "units.parquet")
    first, _ = opened(tmp_path / "units.parquet", tmp_path)
    again, _ = opened(tmp_path / "units.parquet", tmp_path)
    assert first.uris == again.uris
    assert first.identity == again.identity
