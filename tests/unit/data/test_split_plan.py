"""How few groups are dealt: each part gets some, and many are dealt as they always were."""

from __future__ import annotations

import pyarrow as pa
import pytest

from spt_core.data.hashing import column_hashes, uniform
from spt_core.data.infer import Columns
from spt_core.data.partition import Partition
from spt_core.data.sampling import sample_of
from spt_core.data.split_plan import _seed_of_groups
from spt_core.errors import InputError
from spt_core.signature import Field

SHARES = (0.6, 0.15, 0.1, 0.15)
SITE = Field(name="site", kind="entity")


def seed_of(groups: list[str], rows_each: int = 10, seed: int = 0) -> int:
    partition = Partition(
        folder="",
        label="label",
        identity=(),
        content=(),
        categories=(),
        shares=SHARES,
        seed=seed,
        max_categories=10,
        group="site",
    )
    columns = Columns(features=(), carried=(SITE,), findings=())
    return _seed_of_groups(sample_of(pa.table({"site": groups * rows_each})), columns, partition)


def parts_of(groups: list[str], seed: int) -> list[int]:
    share = uniform(column_hashes(pa.chunked_array([pa.array(groups, pa.large_string())])), seed)
    bounds = (0.6, 0.75, 0.85)
    return [sum(value > bound for bound in bounds) for value in share.tolist()]


@pytest.mark.parametrize("num_groups", [4, 5, 7, 11, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_groups_leave_no_part_without_any(num_groups: int, seed: int) -> None:
    groups = [f"plant {number}" for number in range(num_groups)]
    chosen = seed_of(groups, seed=seed)
    assert set(parts_of(groups, chosen)) == {0, 1, 2, 3}
    assert parts_of(groups, chosen).count(0) == max(
        parts_of(groups, chosen).count(n) for n in (0, 1, 2, 3)
    )


def test_groups_that_reach_every_part_are_dealt_by_the_seed_that_was_asked_for() -> None:
    groups = [f"plant {number}" for number in range(40)]
    assert set(parts_of(groups, 3)) == {0, 1, 2, 3}
    assert seed_of(groups, seed=3) == 3
    assert seed_of([f"plant {number}" for number in range(200)], seed=0) == 0


def test_fewer_groups_than_parts_are_refused() -> None:
    fact = "each of its 4 parts, however: 'site' has 3; choose a random or time split"
    with pytest.raises(InputError, match=fact):
        seed_of(["a", "b", "c"])
