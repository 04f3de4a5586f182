"""What the complete examples of the industries share: sizes, where things are kept, what is told.

task -> Splits -> teacher -> student -> export -> policy -> report -> version: `ExampleRun.trained`
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
import time
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, final

from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite, BenchmarkTask
from spt_core.compression.selection import LimitError
from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.ledger import Item
from spt_core.continuous.relevance import Relevance
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.corpus import SAMPLE, Corpus, DatasetInfo
from spt_core.data.sources import open_corpus
from spt_core.data.splits import SplitConfig, Splits
from spt_core.data.splitting import split
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.distillation.targets import TargetResult
from spt_core.errors import InputError, NotFoundError, QualityError, nearest
from spt_core.export import export
from spt_core.families.image.config import ImageConfig
from spt_core.families.series.config import SeriesConfig
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.text.config import TextConfig
from spt_core.model import SpecializedModel
from spt_core.optimization import (
    DomainOptimizer,
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
)
from spt_core.registry import ModelVersion, Registry
from spt_core.scoring import fitted_policy
from spt_core.task import Family, IndustryType, Task, example_record, find
from spt_core.training import SpecializedModelTrainer, TrainingConfig
from spt_core.transfer import DomainTransferTrainer
from spt_core.transfer.plan import TRANSFER
from spt_core.validation import parsed

MODEL_NAME = "example"
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """How one task of an example is trained, on how many rows of its sample."""

    num_rows: int
    split: SplitConfig
    training: TrainingConfig
    distillation: DistillationConfig
    benchmark: BenchmarkConfig


Recipe = Callable[[Task], TaskConfig]


class _Size(NamedTuple):
    """Rows of a family's samples, and what is trained on them."""

    num_rows: int
    num_epochs: int
    batch_size: int
    teacher_rate: float
    student_rate: float
    num_copies: int
    network: Any


_SIZES: Mapping[Family, _Size] = {
    "tabular": _Size(8000, 4, 512, 4e-3, 5e-3, 2, TabularConfig(booster_trials=1)),
    "text": _Size(400, 2, 16, 2e-4, 8e-4, 1, TextConfig(max_tokens=64, window_overlap=8)),
    "image": _Size(500, 4, 16, 1e-3, 2e-3, 2, ImageConfig(size_px=64)),
    "series": _Size(8000, 3, 128, 2e-3, 6e-3, 1, SeriesConfig(teacher_members=1, booster_trees=60)),
}
_MEASURED = BenchmarkConfig(
    num_trials=0, num_resamples=100, num_calls=300, reasoning_rows=100, altered_rows=300
)
# Of series, parts must hold whole units, of which an interval of 90 % asks for nine that trained
# nothing: a quarter of the sample's 60 machines. Parts of forecasts hold a whole horizon.
_SPLITS: Mapping[str, SplitConfig] = {
    "series": SplitConfig(train=0.45, validation=0.15, calibration=0.25, test=0.15),
    "forecasts": SplitConfig(train=0.52, validation=0.16, calibration=0.16, test=0.16),
}


def brief(task: Task) -> TaskConfig:
    """Minutes on two cores for all of an industry: enough to see each step do something."""
    size = _SIZES[task.family]
    training = TrainingConfig(
        model_name=MODEL_NAME,
        task=task.path,
        industry=task.industry,
        family=task.family,
        network=size.network,
        num_epochs=size.num_epochs,
        batch_size=size.batch_size,
        learning_rate=size.teacher_rate,
        evaluation_strategy="epoch" if task.family in ("tabular", "series") else "no",
    )
    student = dataclasses.replace(training, batch_size=64, learning_rate=size.student_rate)
    if task.family in ("tabular", "series"):
        student = dataclasses.replace(student, batch_size=size.batch_size)
    split_config = _SPLITS.get(task.head) or _SPLITS.get(task.family) or SplitConfig()
    return TaskConfig(
        num_rows=size.num_rows,
        split=split_config,
        training=training,
        distillation=DistillationConfig(training=student, num_copies=size.num_copies),
        benchmark=_MEASURED,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleConfig:
    """Where an example keeps things, and what it is trained on.

    Attributes:
        storage: storage root; the registry is `spt.db` in it unless `database_url` says otherwise.
        database_url: SQLite or Postgres.
        datasets: names of the catalog's data sets, which take the place of their tasks' samples.
        data_home: the folder of the catalog's files.
        recipe: how each task is trained.
    """

    storage: str = "spt_storage"
    database_url: str = ""
    datasets: tuple[str, ...] = ()
    data_home: str = "data"
    recipe: Recipe = brief

    def __post_init__(self) -> None:
        """Refuse data sets that nobody knows."""
        for name in self.datasets:
            if name not in DATASETS:
                raise NotFoundError(
                    f"no public data set is named {name!r}; {nearest(name, DATASETS)}"
                )


class Trained(NamedTuple):
    """A task's model on every step of its way: what it was made from, and what is served."""

    task: Task
    splits: Splits
    teacher: SpecializedModel
    model: SpecializedModel
    version: ModelVersion


@final
class ExampleRun:
    """One call of a complete example: its steps in order, and what came of each.

    `tell` gets a line for each thing that a person would like to know; to standard error unless
    somebody else takes them.
    """

    def __init__(
        self,
        industry: IndustryType,
        config: ExampleConfig | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.industry, self.config = industry, config or ExampleConfig()
        self.tell = tell or _to_standard_error
        self.storage = as_uri(self.config.storage)
        self._steps: list[dict[str, Any]] = []
        self._benchmarks: dict[str, Any] = {}
        for name in self.config.datasets:
            if find(DATASETS[name].task).industry != industry:
                raise InputError(
                    f"a data set must be of the example's industry, however: {name} is of "
                    f"{DATASETS[name].task}, not of {industry}"
                )

    @property
    def registry(self) -> Registry:
        """Where versions are registered."""
        local = f"sqlite:///{self.storage.removeprefix('file://')}/spt.db"
        return Registry(self.config.database_url or local)

    @contextlib.contextmanager
    def step(self, title: str) -> Generator[None]:
        """A step of the story, told and timed."""
        self.tell(f"== {title}")
        start = time.monotonic()
        yield
        seconds = round(time.monotonic() - start, 1)
        self._steps.append({"step": title, "seconds": seconds})
        self.tell(f"  {seconds:.0f} s")

    def outcome(self) -> dict[str, Any]:
        """The steps with their seconds, the versions, and the benchmarks' results, as JSON."""
        names = [n for n in self.registry.names() if n.startswith(f"{self.industry}/")]
        versions = [
            self.registry.versions(n)[-1].ref for n in names if n.endswith(f"/{MODEL_NAME}")
        ]
        return {"steps": self._steps, "versions": versions, "benchmarks": self._benchmarks}

    def training(self, path: str) -> TrainingConfig:
        """A task's training, whose models are kept below the storage root."""
        config = self.config.recipe(find(path)).training
        return dataclasses.replace(
            config, model_name=MODEL_NAME, output_dir=f"{self.storage}/models"
        )

    def distillation(self, path: str) -> DistillationConfig:
        """How the task's students are made."""
        config = self.config.recipe(find(path)).distillation
        training = dataclasses.replace(
            config.training, model_name=MODEL_NAME, output_dir=f"{self.storage}/models"
        )
        return dataclasses.replace(config, training=training)

    def _distillation_of(self, teacher: SpecializedModel) -> DistillationConfig:
        """The same of a teacher; a transferred one teaches alone, for folds' have no source."""
        config = self.distillation(teacher.artifact.task)
        if TRANSFER not in teacher.artifact.files:
            return config
        return dataclasses.replace(config, num_folds=0)

    def splits(self, path: str) -> Splits:
        """The task's rows in four parts: of a data set that is configured, or of its sample."""
        task = find(path)
        config = self.config.recipe(task)
        corpus, settings = self._corpus(task, config.num_rows)
        return split(task, corpus, self.storage, _split(config.split, settings))

    def trained(self, path: str) -> Trained:
        """Rows -> teacher -> student -> what is served, measured and registered."""
        splits = self.splits(path)
        return self._served(splits, SpecializedModelTrainer(self.training(path)).train(splits))

    def _served(self, splits: Splits, teacher: SpecializedModel) -> Trained:
        """Teacher -> student -> what is served, measured and registered."""
        task = find(splits.task)
        config = self.config.recipe(task)
        student = DistillationPipeline(self._distillation_of(teacher)).distill(teacher, splits)
        exported = export(student.artifact)
        model = SpecializedModel(exported, policy=fitted_policy(exported, splits))
        alone = dataclasses.replace(config.benchmark, num_trials=0)  # baselines: jobs.benchmark
        report = BenchmarkSuite(alone).run(
            exported, splits.evaluation_set(), policy=model.policy, splits=splits
        )
        version = self.registry.add(
            exported, model.policy, report.to_json(), created_by=f"the {self.industry} example"
        )
        figure = report.quality[MODEL_NAME][task.metric]
        self.tell(
            f"{version.ref}: {task.metric.replace('_', ' ')} {figure['value']:.3f} "
            f"[{figure['low']:.3f}, {figure['high']:.3f}] on {report.num_rows:,} held-out rows"
            f"{' of a SYNTHETIC sample' if report.synthetic else ''}"
        )
        return Trained(task, splits, teacher, model, version)

    def told(self, trained: Trained, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The model's answer to a record, or to its task's example where it takes those fields."""
        asked = record or example_record(trained.task, trained.model.artifact.signature)
        answer = trained.model.answer(asked)
        self.tell(f"model.{trained.task.verb}(...) -> {_short(answer)}")
        return answer

    def benchmarked(self, trained: Trained, *customs: BenchmarkTask) -> dict[str, Any]:
        """All benchmarks of a model, those of the industry's own cases among them."""
        suite = BenchmarkSuite(self.config.recipe(trained.task).benchmark)
        for custom in customs:
            suite.add_custom_benchmark(self.industry, custom)
        result = suite.run_comprehensive_benchmark(
            model=trained.model, model_name=trained.version.ref, industries=[self.industry]
        )
        self._benchmarks[trained.task.path] = result
        self.tell(f"overall accuracy: {result['overall_summary']['overall_accuracy']:.3f}")
        for one in result["benchmarks"]:
            score = one["not_measured"] and f"not measured, because {one['not_measured']}"
            if not score:
                score = "figures alone" if one["score"] is None else f"{one['score']:.3f}"
            self.tell(f"  {one['name']}: {score}")
        return result

    def watching(
        self,
        monitoring_config: Mapping[str, Any],
        cicd_config: Mapping[str, Any] | None = None,
        publications: Sequence[str] = (),
    ) -> ContinuousTrainingPipeline:
        """What watches the industry's publications, and how relevant it finds some (no network)."""
        pipeline = ContinuousTrainingPipeline(
            monitoring_config,
            cicd_config=cicd_config,
            options=WatchOptions(
                storage=self.config.storage, database_url=self.config.database_url
            ),
        )
        names = ", ".join(source.name for source in pipeline.sources)
        self.tell(f"{names} are watched by `python -m jobs.watch run`")
        for monitoring in pipeline.monitoring:
            self.tell(
                f"{monitoring.trigger_threshold} relevant publications begin a retraining of "
                f"{monitoring.model}"
            )
        if not pipeline.monitoring:
            self.tell(f"no model of {self.industry} learns from publications: people read them")
        relevance = Relevance(pipeline.monitoring, {})
        for title in publications:
            sha = hashlib.sha256(title.encode()).hexdigest()
            item = Item(source_id="example", item_key=sha[:16], content_sha=sha, title=title)
            for score in relevance.scores(item, self.industry):
                names = ", ".join(reason.name for reason in score.reasons) or "nothing"
                verdict = "relevant" if score.is_relevant else "not relevant"
                self.tell(f"  {title!r}: {verdict} ({names})")
        return pipeline

    def targeted(
        self, trained: Trained, targets: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, TargetResult]:
        """A student for each place where one is to run, or why there is none."""
        results = DistillationPipeline(
            self._distillation_of(trained.teacher)
        ).run_comprehensive_distillation(trained.teacher, trained.splits, None, targets)
        for name, result in results.items():
            model = result.exported
            size = f"{model.size_bytes / 1e6:.2f} MB" if model else f"refused: {result.refusal}"
            self.tell(f"  {name}: {size}")
        return results

    def transferred(self, source: Trained, path: str) -> Trained:
        """Another task's model whose teacher begins with what the source's learnt, if that helps.

        The better of it and one from scratch goes the way of every other model.
        """
        task, splits = find(path), self.splits(path)
        trainer = DomainTransferTrainer(training=self.training(path), task=path)
        teacher = trainer.transfer_between_domains(
            source_model=source.teacher,
            source_domain=source.task.industry,
            target_domain=task.industry,
            target_data=splits,
        )
        self.tell(f"{source.task.path} -> {path}: {'; '.join(teacher.artifact.notes)}")
        return self._served(splits, teacher)

    def optimized(self, trained: Trained, aim: OptimizationType, metric: str) -> bool:
        """Whether a model keeps what the aim demands; it is told, or why there is none."""
        config = OptimizationConfig(
            industry=self.industry,
            optimization_type=aim,
            techniques=[
                OptimizationTechnique.DISTILLATION,
                OptimizationTechnique.CALIBRATION,
                OptimizationTechnique.THRESHOLD_TUNING,
            ],
            distillation=self._distillation_of(trained.teacher),
        )
        try:
            _, result = DomainOptimizer(config).optimize_model(
                trained.teacher, trained.splits, None, metric
            )
        except (LimitError, QualityError) as error:
            self.tell(f"  {aim}: nothing may be served: {error}")
            return False
        chosen = next(point for point in result.front if point.chosen)
        self.tell(
            f"  {aim}: {chosen.name}, {metric.replace('_', ' ')} {result.after[metric]:.3f} on "
            f"validation rows, {chosen.size_mb:.2f} MB, {chosen.latency_ms['p50']:.3f} ms"
        )
        return True

    def _corpus(self, task: Task, num_rows: int) -> tuple[Corpus, tuple[str, ...]]:
        """The task's rows, and what their data set asks of the splits."""
        for name in self.config.datasets:
            dataset = DATASETS[name]
            if dataset.task == task.path:
                corpus = open_dataset(name, data_home=self.config.data_home, storage=self.storage)
                return corpus, dataset.settings
        info = DatasetInfo(
            name=SAMPLE, licences=("MIT (synthetic sample of this project)",), synthetic=True
        )
        rows = task.sample(num_rows, 0)
        return open_corpus(task, rows, storage=self.storage, info=info), ()


def _split(config: SplitConfig, settings: Sequence[str]) -> SplitConfig:
    """The split as a data set asks for it; what it asks of trainings is the recipe's matter."""
    hints, changes = typing.get_type_hints(SplitConfig), dict[str, Any]()
    for setting in settings:
        path, _, text = setting.partition("=")
        group, _, name = path.partition(".")
        if group == "split":
            changes[name] = parsed(hints[name], text, path)
    return dataclasses.replace(config, **changes)


def _short(answer: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in answer.items())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _to_standard_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")
