import dataclasses

import pytest

from spt_core.data.corpus import ROW
from spt_core.data.fewer import with_share
from spt_core.task import find
from tests.table_transfers import table_splits


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return table_splits(find("insurance/claims_fraud"), tmp_path_factory.mktemp("fewer"))


def numbers(splits, part="train"):
    return splits.table(part)[ROW].to_pylist()


def test_smaller_shares_lie_within_larger_ones_and_other_parts_stay(splits):
    half, quarter = with_share(splits, 0.5), with_share(splits, 0.25)
    assert (half.num_rows["train"], quarter.num_rows["train"]) == (100, 50)
    assert set(numbers(quarter)) < set(numbers(half)) < set(numbers(splits))
    assert numbers(half, "validation") == numbers(splits, "validation")
    assert sum(half.table("train")[half.label].to_pylist()) == half.num_positives["train"]


def test_fewer_rows_are_other_rows_to_whoever_names_a_run(splits):
    half = with_share(splits, 0.5)
    assert half.uri != splits.uri
    assert half.fingerprints["train"] != splits.fingerprints["train"]
    assert with_share(splits, 0.5) == half


def test_in_time_the_last_rows_are_kept(splits):
    timed = dataclasses.replace(splits, kind="time", uri=splits.uri)
    assert numbers(with_share(timed, 0.1)) == list(range(180, 200))
