"""Small trainings of tables with Ray: a teacher and its student in seconds, of little quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from spt_core.data.splits import load_splits
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.families.tabular.config import TabularConfig
from spt_core.model import SpecializedModel
from spt_core.task import Task
from spt_core.training import SpecializedModelTrainer, TrainingConfig

NUM_ROWS = 200
NETWORK = TabularConfig(
    num_bins=4, student_hidden=(8,), teacher_members=2, teacher_width=8, booster_trials=1
)


def config_of(task: Task, folder: Path) -> TrainingConfig:
    return TrainingConfig(
        task=task.path,
        industry=task.industry,
        network=NETWORK,
        num_epochs=1,
        batch_size=64,
        learning_rate=4e-3,
        output_dir=str(folder),
    )


def as_file(table: pa.Table, folder: Path) -> str:
    file = folder / "rows.csv"
    table.to_pandas().to_csv(file, index=False)
    return str(file)


def as_frame(table: pa.Table, folder: Path) -> Any:
    return table.to_pandas()


def as_list(table: pa.Table, folder: Path) -> Any:
    return table.to_pylist()


def as_dataset(table: pa.Table, folder: Path) -> Any:
    import ray.data  # takes seconds

    return ray.data.from_arrow(table)


def as_loader(table: pa.Table, folder: Path) -> Any:
    from torch.utils.data import DataLoader  # takes seconds

    return DataLoader(table.to_pylist(), batch_size=32, shuffle=True)


class SmallRun:
    """A teacher, what it was made from, and students that it teaches."""

    def __init__(self, task: Task, folder: Path, rows: Any, validation: Any = None) -> None:
        self.folder, self.training = folder, config_of(task, folder)
        self.teacher = SpecializedModelTrainer(self.training).train(rows, validation)
        self.splits = load_splits(self.teacher.artifact.splits)

    def student(self, **parameters: Any) -> SpecializedModel:
        config = DistillationConfig(training=self.training, num_copies=1, **parameters)
        return DistillationPipeline(config).distill(self.teacher, self.splits)
