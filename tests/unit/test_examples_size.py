"""Whether the complete examples have rows enough for what they promise."""

import pyarrow.compute as pc
import pytest

from spt_core.examples import brief
from spt_core.task import find

MAINTENANCE = "manufacturing/predictive_maintenance"
NEEDED = 9  # machines that trained nothing, for an interval of 90 %
MARGIN = 1.3  # as machines are dealt to the parts by their names


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_factories_sample_has_machines_enough_for_its_intervals(seed: int) -> None:
    task = find(MAINTENANCE)
    config = brief(task)
    num_machines = pc.count_distinct(task.sample(config.num_rows, seed)["machine"]).as_py()
    assert num_machines * config.split.calibration >= NEEDED * MARGIN
