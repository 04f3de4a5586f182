"""Every row of every public data set is in a part, left out or in quarantine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.overrides import override
from jobs.recipes import RECIPES
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.read import count_rows
from spt_core.data.splitting import split
from spt_core.task import find

DATA_HOME = os.environ.get("SPT_DATA_HOME")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        DATA_HOME is None, reason="SPT_DATA_HOME does not name the folder of public data sets"
    ),
]

# Passages and functions of more than 100,000 characters.
NUM_QUARANTINED = {"compliance-obliqa": 1, "sven": 2}


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_all_rows_of_a_public_data_set_are_accounted_for(
    local_ray: None, name: str, tmp_path: Path
) -> None:
    assert DATA_HOME is not None
    task = find(DATASETS[name].task)
    corpus = open_dataset(name, data_home=DATA_HOME, storage=str(tmp_path))
    config = override(RECIPES["default"](task), DATASETS[name].settings)
    splits = split(task, corpus, str(tmp_path), config.split)
    good = sum(splits.num_rows.values()) + sum(splits.num_left_out.values())
    assert splits.num_rows_in == good + sum(splits.quarantine.values())
    assert splits.num_rows_in == (count_rows(corpus) or splits.num_rows_in)
    assert sum(splits.quarantine.values()) == NUM_QUARANTINED.get(name, 0), splits.quarantine
    assert all(splits.num_rows.values())
