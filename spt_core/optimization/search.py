"""Students of many sizes and rates, searched on Ray Tune for least loss and least latency.

shapes measured with random weights -> those within limits -> trials, a student each -> the front

A finished trial is a student in storage and a line in the search's folder. A killed driver hands
these to the next one's sampler as they are, so nothing is read back but JSON and Parquet.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from ray import tune
from ray.exceptions import RayError
from ray.tune.search.optuna import OptunaSearch

from spt_core.artifacts import (
    as_uri,
    code_fingerprint,
    digest,
    exists,
    filesystem,
    has_manifest,
    load_artifact,
    read_bytes,
    read_manifest,
    remove,
    write_bytes,
    write_manifest,
)
from spt_core.compression.drafts import draft_points, fits
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint
from spt_core.compression.selection import LimitError, limits_sentence
from spt_core.data.read import original_error
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.distillation.pipeline import cross_fitted
from spt_core.errors import InputError
from spt_core.families.space import SHAPE, Point, Space
from spt_core.families.training import TRAINING
from spt_core.fitting.in_process import fit_in_process
from spt_core.fitting.lesson import StudentSizeError
from spt_core.fitting.worker import give_way
from spt_core.heads import validation_loss
from spt_core.model import SpecializedModel
from spt_core.optimization.config import SearchConfig
from spt_core.task import find

MAX_FAILURES = 2  # of a trial whose process dies
NUM_RANDOM = 6  # trials before the sampler learns from them
_OBJECTIVES = ("loss", "latency_ms")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A student that was trained: where it stands, what it takes, and what it is worth.

    `loss` and `metric` are those on validation rows, `latency_ms` and `size_mb` those of its shape
    with random weights. `on_front`: no other is better in one of loss, latency and size and as good
    in the others.
    """

    point: Point
    loss: float
    metric: float
    latency_ms: float
    size_mb: float
    uri: str
    seconds: float
    on_front: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What a search came to: all finished trials, and the students of the front by their shape.

    `left_out` says of a shape why nothing was trained of it. `trials.parquet` in the folder `uri`
    holds the trials.
    """

    uri: str
    trials: list[Trial]
    students: Mapping[str, SpecializedModel]
    left_out: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a search is."""

    num_done: int
    num_trials: int
    best_loss: float
    what: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """Everything that a trial needs to know."""

    teacher: SpecializedModel
    splits: Splits
    config: DistillationConfig
    space: Space
    shapes: Mapping[str, FrontPoint]
    uri: str
    rows: Any  # the actor that has rows labelled
    num_threads: int

    def pipeline(self, point: Point) -> DistillationPipeline:
        training = self.space.configured(self.config.training, point)
        return DistillationPipeline(dataclasses.replace(self.config, training=training))

    def soft(self, point: Point) -> str:
        return _soft(self.uri, self.space, point[SHAPE])


def search(
    teacher: SpecializedModel,
    splits: Splits,
    distillation: DistillationConfig,
    limits: Limits,
    config: SearchConfig,
    *,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """The students of the front within limits; a search of the same content goes on.

    LimitError where no shape keeps the limits, whatever it learns: it says what each would take.

    Args:
        teacher: of all students.
        splits: its own.
        distillation: how the first student is made; others differ from it as the family's space
            says. A share of the teacher's metric that it asks for is asked of none.
        limits: of latency, size, memory and throughput, which decide what is trained at all.
        config: how many, how long.
        fresh: forget an earlier search of the same content.
        on_progress: called when a shape was measured, and when a trial ends.
    """
    start = time.monotonic()
    distillation = dataclasses.replace(distillation, target_accuracy=None)
    lesson = DistillationPipeline(distillation).lesson(teacher, splits)
    distillation = dataclasses.replace(distillation, training=lesson.training)
    space = TRAINING[lesson.training.family].space(lesson.training, teacher.artifact)
    identity = [
        lesson.training.identity(),
        lesson.identity,
        splits.fingerprints,
        code_fingerprint(),
        dataclasses.asdict(limits),
        [config.sampler, config.seed],
    ]
    uri = f"{as_uri(lesson.training.output_dir)}/searches/{digest(identity)}"
    if fresh:
        remove(uri)
    _begin(uri, digest(identity))
    report = on_progress or _ignore
    shapes, left_out = _measured_shapes(
        teacher, splits, distillation, space, limits, uri, config.num_trials, report
    )
    measured_minutes = (time.monotonic() - start) / 60
    cross_fitted(lesson, on_fold=functools.partial(_on_fold, report, config.num_trials))
    num_cpus = max(int(ray.cluster_resources().get("CPU", 1.0)), 1)
    at_once = num_cpus if space.shares_rows else max(num_cpus // 2, 1)
    work = _Work(
        teacher=teacher,
        splits=splits,
        config=distillation,
        space=space,
        shapes=shapes,
        uri=uri,
        rows=_LabelledRows.remote(),  # type: ignore[attr-defined]  # ray's decorator has no types
        num_threads=max(num_cpus // at_once, 1),
    )
    try:
        for _ in range(MAX_FAILURES):
            if not _tune(work, config, at_once, start, report):
                break
        else:
            for error in _tune(work, config, at_once, start, report):
                raise error
    finally:
        ray.kill(work.rows)
    trials = _with_front(_finished(uri))
    if not trials:
        raise InputError(
            "a search needs time for a trial at least, however: none ended within "
            f"{config.budget_minutes} minutes, {measured_minutes:.1f} of which measured shapes; "
            "that is kept, and the same command goes on from there"
        )
    _write_table(uri, trials)
    front = sorted((t for t in trials if t.on_front), key=lambda trial: trial.loss)
    students = {
        trial.point[SHAPE]: SpecializedModel(load_artifact(trial.uri))
        for trial in front[: config.max_students]
    }
    if len(trials) >= config.num_trials:  # it is not going on: what the teacher said may go
        for shape in shapes:
            remove(_soft(uri, space, shape))
    return SearchResult(uri=uri, trials=trials, students=students, left_out=left_out)


def _ignore(progress: Progress) -> None:
    del progress


def _on_fold(
    report: Callable[[Progress], None], num_trials: int, number: int, num_folds: int
) -> None:
    what = f"the teacher of fold {number} of {num_folds}"
    report(Progress(num_done=0, num_trials=num_trials, best_loss=math.nan, what=what))


def _begin(uri: str, identity: str) -> None:
    """The folder of a search, refused where it holds another one."""
    if not has_manifest(uri):
        write_manifest(uri, {"search": identity})
    elif read_manifest(uri).get("search") != identity:
        raise InputError(
            f"a search goes on in a folder of its own, however: {uri} holds another one"
        )


def _soft(uri: str, space: Space, shape: str) -> str:
    return f"{uri}/soft" if space.shares_rows else f"{uri}/soft-{digest(shape)}"


def _measured_shapes(
    teacher: SpecializedModel,
    splits: Splits,
    config: DistillationConfig,
    space: Space,
    limits: Limits,
    uri: str,
    num_trials: int,
    report: Callable[[Progress], None],
) -> tuple[dict[str, FrontPoint], dict[str, str]]:
    """What each shape takes that keeps the limits, and why others do not.

    Before any trial, in a process that does nothing else, and once for a search: of a shape's
    variants the one that fits.
    """
    file = f"{uri}/shapes.json"
    if exists(file):
        content = json.loads(read_bytes(file))
        return {n: FrontPoint(**p) for n, p in content["kept"].items()}, content["left_out"]
    kept: dict[str, FrontPoint] = {}
    left_out: dict[str, str] = {}
    missed: list[FrontPoint] = []
    for number, shape in enumerate(space.shapes):
        report(
            Progress(
                num_done=0,
                num_trials=num_trials,
                best_loss=math.nan,
                what=f"measuring shape {number + 1} of {len(space.shapes)}: {shape}",
            )
        )
        training = space.configured(config.training, {SHAPE: shape})
        pipeline = DistillationPipeline(dataclasses.replace(config, training=training))
        lesson = pipeline.lesson(teacher, splits, soft=_soft(uri, space, shape))
        try:
            points = draft_points(lesson, shape, f"{uri}/shapes/{digest(shape)}", limits)
        except StudentSizeError as error:
            left_out[shape] = str(error)
            continue
        if fits(points):
            kept[shape] = next(point for point in points if not point.refusal)
        else:
            missed += points
            left_out[shape] = points[-1].refusal
    if not kept:
        if missed:
            raise LimitError(limits_sentence(missed, limits, find(splits.task)))
        raise InputError(next(iter(left_out.values())))
    content = {"kept": {n: p.to_json() for n, p in kept.items()}, "left_out": left_out}
    write_bytes(file, json.dumps(content).encode())
    remove(f"{uri}/shapes")
    return kept, left_out


def _tune(
    work: _Work,
    config: SearchConfig,
    at_once: int,
    start: float,
    report: Callable[[Progress], None],
) -> list[RayError]:
    """Trials until there are as many as asked for, or the time is up.

    What is returned are the ends of processes that Tune did not begin again, as it does not where
    one dies between two trials; what a trial itself raises is raised.
    """
    finished = _finished(work.uri)
    if len(finished) >= config.num_trials:
        return []
    left_s = None
    if config.budget_minutes is not None:
        left_s = config.budget_minutes * 60 - (time.monotonic() - start)
        if left_s <= 0:
            return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    files, folder = filesystem(f"{work.uri}/tune")
    if isinstance(files, pafs.LocalFileSystem):
        Path(folder).mkdir(parents=True, exist_ok=True)
    training = work.config.training
    resources = {"CPU": 0.25, **({"GPU": 1} if training.use_gpu else {})}  # the rest reads rows
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_StudentTrial, work=work), resources),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                _distributions(work),
                metric=list(_OBJECTIVES),
                mode=["min"] * len(_OBJECTIVES),
                # The seed moves on with the trials: the same one would draw the same points.
                sampler=_sampler(config, config.seed + len(finished)),
                # Those that are finished are answered from storage.
                points_to_evaluate=_points(work, finished),
            ),
            num_samples=config.num_trials,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            time_budget_s=left_s,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=folder,
            storage_filesystem=files,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[_Watcher(config.num_trials, report)],
        ),
    )
    results = tuner.fit()
    remove(f"{work.uri}/tune")
    lost: list[RayError] = []
    for error in results.errors:
        cause = original_error(error) or error
        if not isinstance(cause, RayError):
            raise cause
        lost.append(cause)
    return lost


def _points(work: _Work, finished: Sequence[Trial]) -> list[dict[str, Any]]:
    """The first shape's own configuration, then what earlier drivers finished."""
    first = {**work.space.start(work.config.training), SHAPE: next(iter(work.shapes))}
    return [first, *(dict(t.point) for t in finished if dict(t.point) != first)]


def _distributions(work: _Work) -> dict[str, BaseDistribution]:
    ranges = {r.name: FloatDistribution(r.low, r.high, log=r.is_log) for r in work.space.ranges}
    return {SHAPE: CategoricalDistribution(list(work.shapes)), **ranges}


def _sampler(config: SearchConfig, seed: int) -> optuna.samplers.BaseSampler:
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            constant_liar=True,  # of what trains beside it, nothing good is expected
            n_startup_trials=NUM_RANDOM,
        )


@ray.remote(num_cpus=0)
class _LabelledRows:
    """Has the teacher label the rows of a shape, once, whoever asks."""

    def __init__(self) -> None:
        give_way()

    def ready(self, work: _Work, point: Point) -> None:
        lesson = work.pipeline(point).lesson(work.teacher, work.splits, soft=work.soft(point))
        lesson = cross_fitted(lesson)
        if not has_manifest(work.soft(point)):
            TRAINING[lesson.training.family].distill(lesson).prepare("search")


class _StudentTrial(tune.Trainable):
    """One student after the other in one process."""

    def setup(self, config: dict[str, Any], work: _Work) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # with_parameters adds it
        give_way()
        self._work, self._point = work, config
        torch.set_num_threads(work.num_threads)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._point = new_config
        return True

    def step(self) -> dict[str, Any]:
        """The whole training: a student of seconds is not stopped in between."""
        trial = _trained(self._work, dict(self._point))
        return {"loss": trial.loss, "latency_ms": trial.latency_ms, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: what a trial made is in storage when it ends."""


def _trained(work: _Work, point: Point) -> Trial:
    line = _line(work.uri, point)
    if exists(line):
        return Trial(**json.loads(read_bytes(line)))
    start = time.monotonic()
    ray.get(work.rows.ready.remote(work, point), timeout=None)
    student = work.pipeline(point).distill(
        work.teacher, work.splits, soft=work.soft(point), fit=fit_in_process
    )
    task, metrics = find(work.splits.task), student.artifact.metrics
    shape = work.shapes[point[SHAPE]]
    trial = Trial(
        point=point,
        loss=validation_loss(task, metrics),
        metric=metrics[f"validation_{task.metric}"],
        latency_ms=shape.latency_ms["p50"],
        size_mb=shape.size_mb,
        uri=student.artifact.uri,
        seconds=time.monotonic() - start,
    )
    write_bytes(line, json.dumps(dataclasses.asdict(trial)).encode())
    return trial


def _line(uri: str, point: Point) -> str:
    return f"{uri}/trials/{digest(point)}.json"


def _finished(uri: str) -> list[Trial]:
    """The trials that ended, in the order of their ends."""
    files, folder = filesystem(f"{uri}/trials")
    if files.get_file_info(folder).type == pafs.FileType.NotFound:
        return []
    infos = files.get_file_info(pafs.FileSelector(folder))
    names = [info for info in infos if info.base_name.endswith(".json")]
    names.sort(key=lambda info: (info.mtime_ns or 0, info.base_name))
    return [Trial(**json.loads(read_bytes(f"{uri}/trials/{info.base_name}"))) for info in names]


def _with_front(trials: Sequence[Trial]) -> list[Trial]:
    return [
        dataclasses.replace(trial, on_front=not any(_dominates(o, trial) for o in trials))
        for trial in trials
    ]


def _dominates(other: Trial, trial: Trial) -> bool:
    figures = [(t.loss, t.latency_ms, t.size_mb) for t in (other, trial)]
    return figures[0] != figures[1] and all(a <= b for a, b in zip(*figures, strict=True))


def _write_table(uri: str, trials: Sequence[Trial]) -> None:
    rows = [{**dataclasses.asdict(trial), **trial.point} for trial in trials]
    table = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "point"} for row in rows])
    files, path = filesystem(f"{uri}/trials.parquet")
    pq.write_table(table, path, filesystem=files)


class _Watcher(tune.Callback):
    """Tells of each trial that ends."""

    def __init__(self, num_trials: int, report: Callable[[Progress], None]) -> None:
        self._num_trials, self._report = num_trials, report
        self._num_done, self._best = 0, math.inf

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune stores its callbacks for a restart that is not wanted of it."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's call."""
        del iteration, trials, info
        self._num_done += 1
        loss = trial.last_result["loss"]
        self._best = min(self._best, loss)
        self._report(
            Progress(
                num_done=self._num_done,
                num_trials=self._num_trials,
                best_loss=self._best,
                what=f"{trial.config[SHAPE]}: loss {loss:.4f}",
            )
        )
