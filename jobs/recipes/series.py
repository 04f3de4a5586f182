"""Recipes of series."""

from __future__ import annotations

import dataclasses

from jobs.recipes.config import DataConfig, PipelineConfig, resized
from spt_core.benchmark import BenchmarkConfig
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.families.series.config import NUMBER_WIDTH, SeriesConfig
from spt_core.task import Task
from spt_core.training import TrainingConfig


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores.

    On the official test of C-MAPSS FD001 (lives capped at 125) a student of 32 hidden units has an
    RMSE of 13.2 to 14.0 cycles, 13.6 in the mean of four seeds (tests/bench/bench_series.py), its
    teacher 12.4 to 12.5. Of a number it has 64 now: on the 15 engines that are held out of training
    its RMSE falls from 12.32 to 12.10, and on the official test from 13.24 to 12.55 (one seed; its
    teacher's are 11.44 and 12.51). On the last six months of carparts-demand its scaled quantile
    loss is 0.426 (three seeds). With smoothing and levels fitted on the same two origins,
    in-sample quantiles and SBA have 0.430, Croston and LightGBM (Tweedie) 0.431, TSB 0.432: the
    student is about one percent ahead (bench_series carparts). Of the SYNTHETIC sample its loss is
    0.249 with promotions known in advance, 0.259 without and 0.260 without the season either
    (bench_series planned, one seed). Of the seven files of NAB's realKnownCause the served student
    has a mean VUS-PR of 0.311, an isolation forest 0.292, windowed PCA 0.272, a random score 0.130
    (bench_series nab). Static INT8 is not tried: a student of 30 steps and 17 channels takes 127 us
    in full precision and 163 in INT8, one of 100 and 38 takes 320 and 660 (CPU time of a window,
    one thread), and is hardly smaller.
    """
    is_number = task.head == "regression"
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        family="series",
        model_name="default",
        network=SeriesConfig(student_width=NUMBER_WIDTH) if is_number else SeriesConfig(),
        num_epochs=12,
        batch_size=128,
        learning_rate=2e-3,
        warmup_ratio=0.1,
        weight_decay=1e-3,
        save_strategy="epoch",
        evaluation_strategy="epoch",
        early_stopping_patience=5,
    )
    student = dataclasses.replace(training, num_epochs=15, batch_size=256, learning_rate=6e-3)
    return PipelineConfig(
        data=DataConfig(),
        split=_split(task),
        training=training,
        distillation=DistillationConfig(training=student, num_copies=3, num_steps=0),
        benchmark=BenchmarkConfig(num_calls=1000),
    )


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes."""
    return resized(
        default(task),
        SeriesConfig(teacher_members=1, booster_trees=150),
        num_epochs=6,
        data=DataConfig(sample_rows=12_000),
        num_copies=2,
        benchmark=BenchmarkConfig(num_trials=2, num_resamples=100, num_calls=500),
        num_trials=4,
    )


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well."""
    network = SeriesConfig(
        teacher_members=1,
        teacher_filters=16,  # no smaller than the student of a window of 250 steps
        teacher_blocks=2,
        booster_trees=10,
        student_kernels=(3,),
        student_filters=1,
        student_width=4,
        components=3,
    )
    config = default(task)
    split = SplitConfig(train=0.35, validation=0.15, calibration=0.35, test=0.15)
    if task.head != "forecasts":  # whose parts are as short as may be
        config = dataclasses.replace(config, split=split)
    return resized(
        config,
        network,
        num_epochs=1,
        data=DataConfig(sample_rows=6000),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=100),
        num_trials=2,
    )


def _split(task: Task) -> SplitConfig:
    """Shares that leave each part enough of what it is for.

    An interval's margin asks for nine units that trained nothing, and units are few. A forecast's
    part must hold a whole horizon: 7 of the sample's 45 months.
    """
    if task.head == "forecasts":
        return SplitConfig(train=0.52, validation=0.16, calibration=0.16, test=0.16)
    return SplitConfig(train=0.55, validation=0.15, calibration=0.15, test=0.15)
