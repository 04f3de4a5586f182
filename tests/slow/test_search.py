"""Students searched on Ray Tune, and an optimization through the specification's classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import filesystem, write_manifest
from spt_core.compression.limits import Limits
from spt_core.compression.selection import LimitError
from spt_core.distillation import DistillationConfig
from spt_core.errors import InputError
from spt_core.families.tabular import space
from spt_core.optimization import (
    DomainOptimizer,
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
    SearchConfig,
)
from spt_core.optimization.search import Progress, SearchResult, search
from spt_core.task import IndustryType, find
from tests.small_runs import NUM_ROWS, SmallRun, as_file, as_list

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(300),
]
FRAUD = find("financial_services/fraud_detection")
LIMITS = Limits(latency_ms=200.0)  # a busy machine keeps it


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("rows")
    return as_file(FRAUD.sample(2 * NUM_ROWS, 3), folder), as_list(FRAUD.sample(80, 4), folder)


@pytest.fixture(scope="module")
def run(
    rows: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory, local_ray: None
) -> SmallRun:
    return SmallRun(FRAUD, tmp_path_factory.mktemp("run"), *rows)


@pytest.fixture(scope="module", autouse=True)
def _two_shapes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space, "HIDDEN", ((4,),))
        yield


@pytest.fixture(scope="module")
def distillation(run: SmallRun) -> DistillationConfig:
    return DistillationConfig(training=run.training, num_copies=1)


def searched(
    run: SmallRun, distillation: DistillationConfig, num_trials: int, limits: Limits = LIMITS
) -> tuple[SearchResult, list[Progress]]:
    seen: list[Progress] = []
    config = SearchConfig(num_trials=num_trials)
    result = search(run.teacher, run.splits, distillation, limits, config, on_progress=seen.append)
    return result, seen


def test_a_search_ends_with_the_front_and_goes_on_where_it_was(
    run: SmallRun, distillation: DistillationConfig
) -> None:
    result, seen = searched(run, distillation, 2)
    assert [p.num_done for p in seen] == [0, 0, 1, 2]  # two shapes, two trials
    own = next(trial for trial in result.trials if trial.point["learning_rate"] == 4e-3)
    assert own.point["shape"] == "8"  # the configuration's own is tried first
    assert set(result.students) <= {"8", "4"}
    best = min(trial.loss for trial in result.trials)
    assert any(trial.on_front and trial.loss == best for trial in result.trials)

    again, more = searched(run, distillation, 3)
    assert again.uri == result.uri
    assert [p.num_done for p in more] == [1, 2, 3]  # shapes were measured before
    before = {trial.uri: trial.seconds for trial in result.trials}
    after = {trial.uri: trial.seconds for trial in again.trials}
    assert len(after) == 3
    assert before.items() <= after.items()  # nothing was trained again
    table = pq.read_table(filesystem(f"{again.uri}/trials.parquet")[1])
    assert table.num_rows == 3
    assert {"shape", "learning_rate", "loss", "latency_ms", "on_front"} < set(table.column_names)

    write_manifest(again.uri, {"search": "another"})
    with pytest.raises(InputError, match="holds another one"):
        searched(run, distillation, 3)


def test_what_no_shape_keeps_is_refused_before_anything_is_trained(
    run: SmallRun, distillation: DistillationConfig
) -> None:
    with pytest.raises(LimitError, match=r"size_mb 1e-06\), however: 8 \(0\.\d+ MB"):
        searched(run, distillation, 2, Limits(size_mb=1e-6))


def test_a_target_that_no_candidate_reaches_is_refused_with_the_nearest(
    run: SmallRun, rows: tuple[Any, Any], distillation: DistillationConfig
) -> None:
    config = OptimizationConfig(
        industry=IndustryType.FINANCIAL_SERVICES,
        optimization_type=OptimizationType.ACCURACY_OPTIMIZATION,
        techniques=[OptimizationTechnique.DISTILLATION],
        target_accuracy=1.0,
        distillation=distillation,
    )
    with pytest.raises(LimitError, match=r"roc_auc 1\), however: student .*roc auc 0\.\d+"):
        DomainOptimizer(config).optimize_model(run.teacher, *rows, "roc_auc")


def test_evaluation_rows_are_asked_for(run: SmallRun, rows: tuple[Any, Any]) -> None:
    config = OptimizationConfig(
        industry=IndustryType.FINANCIAL_SERVICES,
        optimization_type=OptimizationType.ACCURACY_OPTIMIZATION,
    )
    optimizer = DomainOptimizer(config)
    with pytest.raises(InputError, match="eval_data is None"):
        optimizer.optimize_model(run.teacher, rows[0], None, "accuracy")
