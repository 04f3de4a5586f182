import pytest

from jobs.overrides import override
from spt_core.errors import InputError
from spt_core.training.config import TrainingConfig
from spt_core.training.strategy import check_shards


@pytest.fixture
def saved_by_two(tmp_path):
    for rank in range(2):
        (tmp_path / f"optimizer-{rank}-of-2.pt").touch()
    return tmp_path


def test_a_recipe_chooses_the_strategy():
    config = override(TrainingConfig(), ["strategy=zero2", "optimizer_offload=true"])
    assert (config.strategy, config.optimizer_offload) == ("zero2", True)


def test_the_strategy_is_part_of_a_runs_identity():
    assert TrainingConfig(strategy="zero1").identity() != TrainingConfig().identity()


def test_a_sharded_optimizer_resumes_on_its_number_of_workers(saved_by_two):
    check_shards(saved_by_two, 2)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_another_number_of_workers_is_refused(saved_by_two, num_workers):
    with pytest.raises(InputError, match=f"however: {num_workers} workers found optimizer-0-of-2"):
        check_shards(saved_by_two, num_workers)


def test_a_checkpoint_that_lacks_a_workers_shard_is_refused(saved_by_two):
    (saved_by_two / "optimizer-1-of-2.pt").unlink()
    with pytest.raises(InputError, match="however: 2 workers found optimizer-0-of-2.pt;"):
        check_shards(saved_by_two, 2)
