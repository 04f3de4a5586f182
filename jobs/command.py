"""What every job shares: the few flags, and the run that they describe."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Callable, Generator
from typing import Any

from cluster.checks import require_workers, room
from cluster.lifecycle import ray_session
from cluster.settings import Settings, load_settings, require_absolute
from jobs.console import Screen
from jobs.overrides import override
from jobs.recipes import RECIPES
from jobs.recipes.config import DataConfig, PipelineConfig
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.corpus import SAMPLE, Corpus, DatasetInfo, Roles
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.registry import Registry
from spt_core.signature import parse_window
from spt_core.task import Task, find


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One call of a job: what was asked for, and where it happens."""

    task: Task
    config: PipelineConfig
    settings: Settings
    screen: Screen
    arguments: argparse.Namespace

    @property
    def fresh(self) -> bool:
        """Whether finished and unfinished work of the same content is to be forgotten."""
        return self.arguments.fresh

    def corpus(self) -> Corpus:
        """The data that the flags name: a location, a public data set, or the bundled sample."""
        arguments, data, storage = self.arguments, self.config.data, self.settings.storage
        if arguments.dataset is not None:
            if self.settings.is_named:
                require_absolute(self.settings.data_home, "SPT_DATA_HOME")
            return open_dataset(
                arguments.dataset, data_home=self.settings.data_home, storage=storage
            )
        if arguments.data is None:
            return open_corpus(
                self.task,
                self.task.sample(data.sample_rows, data.sample_seed),
                storage=storage,
                info=DatasetInfo(
                    name=SAMPLE,
                    licences=("MIT (synthetic sample of this project)",),
                    synthetic=True,
                ),
            )
        if self.settings.is_named:
            require_absolute(arguments.data, "--data")
        return open_corpus(
            self.task,
            arguments.data,
            storage=storage,
            roles=Roles(
                label=arguments.label,
                time=arguments.time,
                group=arguments.group,
                entities=tuple(arguments.entity) or None,
                protected=data.protected,
                drop=data.drop,
                keep=data.keep,
                windows=tuple(parse_window(text) for text in data.windows) or None,
                positive=data.positive,
                controllable=data.controllable,
                goal=data.goal,
                types=data.types,
                gaps=data.gaps,
                required=data.required,
                weight=data.weight,
                known_in_advance=data.known_in_advance,
            ),
            info=DatasetInfo(licences=data.licences),
        )

    def registry(self) -> Registry:
        """The registry that the settings name."""
        return Registry(self.settings.database_url)


def parser(verb: str, description: str) -> argparse.ArgumentParser:
    """A parser with the shared flags; a test freezes them, new knobs are configuration fields."""
    command_line = argparse.ArgumentParser(
        prog=f"python -m jobs.{verb}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Without --data and --dataset, a bundled SYNTHETIC sample is used. The same command "
        "again\nresumes an interrupted run, and says so when it reuses a finished one. "
        "RAY_ADDRESS, or\n`ray job submit --working-dir . -- python -m jobs."
        f"{verb} ...`, runs it on a cluster.",
    )
    command_line.add_argument(
        "task", metavar="INDUSTRY/TASK", help="such as financial_services/fraud_detection"
    )
    source = command_line.add_mutually_exclusive_group()
    source.add_argument(
        "--data", metavar="URI", help="Parquet, CSV, JSONL or images: a file, folder or glob"
    )
    source.add_argument("--dataset", metavar="NAME", help="a public data set from the catalog")
    command_line.add_argument(
        "--label", metavar="COLUMN", help="what to predict (default: the task's)"
    )
    command_line.add_argument(
        "--time", metavar="COLUMN", help="when it happened: splits go by time"
    )
    command_line.add_argument(
        "--group", metavar="COLUMN", help="rows that belong together stay together"
    )
    command_line.add_argument(
        "--entity",
        metavar="COLUMN",
        action="append",
        default=[],
        help="key of cards, accounts, ...",
    )
    command_line.add_argument(
        "--name", metavar="MODEL_NAME", default="default", help="model name below the task"
    )
    command_line.add_argument(
        "--recipe",
        choices=sorted(RECIPES),
        help="whole configuration (default: default, or sample without data)",
    )
    command_line.add_argument(
        "--storage", metavar="URI", help="storage root (default: SPT_STORAGE or ./spt_storage)"
    )
    command_line.add_argument(
        "--fresh", action="store_true", help="retrain instead of reusing or resuming"
    )
    command_line.add_argument(
        "--json", action="store_true", help="the last line on stdout is one JSON object"
    )
    command_line.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any configuration field, such as training.num_epochs=3 or data.protected=sex,age",
    )
    return command_line


def read_run(
    arguments: argparse.Namespace, *, recipe: Callable[[Task], PipelineConfig] | None = None
) -> Run:
    """The run that parsed flags describe, checked before anything starts.

    `recipe` takes the place of the one that the flags name.
    """
    task = find(arguments.task)
    settings = load_settings(storage=arguments.storage)
    bundled = arguments.data is None and arguments.dataset is None
    named = RECIPES[arguments.recipe or ("sample" if bundled else "default")]
    config = (recipe or named)(task)
    if arguments.dataset is not None:
        dataset = DATASETS.get(arguments.dataset)
        if dataset is not None and dataset.task != task.path:
            raise InputError(
                f"a catalog data set is for its own task, however: {arguments.dataset} is for "
                f"{dataset.task}, not {task.path}"
            )
        if dataset is not None:
            config = override(config, dataset.settings)
    config = override(config, arguments.assignments)
    if arguments.data is None:
        _refuse_roles(arguments, config.data)
    training = dataclasses.replace(
        config.training,
        model_name=arguments.name,
        output_dir=f"{settings.storage}/models",
        trackers=settings.trackers,
        **_private(config),
    )
    student = dataclasses.replace(
        config.distillation.training,
        model_name=arguments.name,
        output_dir=training.output_dir,
        trackers=settings.trackers,
    )
    config = dataclasses.replace(
        config,
        training=training,
        distillation=dataclasses.replace(config.distillation, training=student),
    )
    return Run(
        task=task,
        config=config,
        settings=settings,
        screen=Screen(as_json=arguments.json),
        arguments=arguments,
    )


def _private(config: PipelineConfig) -> dict[str, Any]:
    """What privacy changes of the teacher's training, whose recipe stops it early."""
    if config.privacy.epsilon is None:
        return {}
    return {"privacy": config.privacy, "early_stopping_patience": None}


def _refuse_roles(arguments: argparse.Namespace, data: DataConfig) -> None:
    """The sample and the catalog's data sets know what their columns mean."""
    usual, roles = DataConfig(), ("label", "time", "group", "entity")
    given = [f"--{role}" for role in roles if getattr(arguments, role)]
    given += [
        f"data.{field.name}"
        for field in dataclasses.fields(DataConfig)
        if not field.name.startswith(("sample_", "deidentify"))
        and getattr(data, field.name) != getattr(usual, field.name)
    ]
    if given:
        source = arguments.dataset or "the bundled sample"
        raise InputError(
            f"columns are described for --data alone, however: {source} knows its own and "
            f"{', '.join(given)} is given"
        )


@contextlib.contextmanager
def started(run: Run) -> Generator[Run]:
    """The run with Ray up and the storage root held against a second run of the same kind."""
    name = f"run:{run.settings.storage}:{run.task.path}/{run.arguments.name}"
    with run.registry().lease(name), ray_session(run.settings):
        for training in (run.config.training, run.config.distillation.training):
            num_gpus = 1.0 if training.use_gpu else 0.0
            require_workers(training.num_workers, num_gpus=num_gpus, room=room(run.settings))
        yield run
