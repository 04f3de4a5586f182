"""Run an industry's complete example: python -m jobs.example INDUSTRY

Its models are trained on the bundled SYNTHETIC samples (or a data set of the catalog takes the
place of one), asked, benchmarked, made small and registered as INDUSTRY/TASK/example. The file that
runs is industries/INDUSTRY/example.py: the pattern for an industry of your own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from cluster.lifecycle import ray_session
from cluster.settings import Settings, load_settings
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.task import IndustryType

INDUSTRIES = [industry.value for industry in IndustryType]


def main(arguments: Sequence[str] | None = None) -> int:
    """Steps told on standard error, and what came of them."""
    args = _parser().parse_args(arguments)
    settings, screen = load_settings(storage=args.storage), Screen(as_json=args.json)
    example = _example(IndustryType(args.industry), _config(args, settings), screen.say)
    with ray_session(settings):
        outcome = example.run_complete_training_pipeline()
    seconds = sum(step["seconds"] for step in outcome["steps"])
    versions = "\n".join(outcome["versions"])
    screen.result(outcome, f"{versions}\n{len(outcome['steps'])} steps in {seconds:.0f} s")
    return 0


def _example(industry: IndustryType, config: Any, tell: Callable[[str], None]) -> Any:
    """The industry's example; each brings what trains, which --help need not wait for."""
    match industry:
        case IndustryType.FINANCIAL_SERVICES:
            from industries.financial_services.example import FinancialServicesTrainingExample

            return FinancialServicesTrainingExample(config, tell=tell)
        case IndustryType.HEALTHCARE:
            from industries.healthcare.example import HealthcareTrainingExample

            return HealthcareTrainingExample(config, tell=tell)
        case IndustryType.MANUFACTURING:
            from industries.manufacturing.example import ManufacturingTrainingExample

            return ManufacturingTrainingExample(config, tell=tell)
        case IndustryType.TECHNOLOGY:
            from industries.technology.example import TechnologyTrainingExample

            return TechnologyTrainingExample(config, tell=tell)
        case IndustryType.INSURANCE:
            from industries.insurance.example import InsuranceTrainingExample

            return InsuranceTrainingExample(config, tell=tell)


def _config(args: argparse.Namespace, settings: Settings) -> Any:
    from spt_core.examples import ExampleConfig, brief

    return ExampleConfig(
        storage=settings.storage,
        database_url=settings.database_url,
        datasets=tuple(args.dataset),
        data_home=settings.data_home,
        recipe=brief if args.recipe is None else _recipe(args.recipe, args.dataset),
    )


def _recipe(name: str, datasets: Sequence[str]) -> Any:
    """A recipe of the jobs, as each data set asks for it."""
    from jobs.overrides import override
    from jobs.recipes import RECIPES
    from spt_core.data.catalog import DATASETS
    from spt_core.examples import TaskConfig
    from spt_core.task import Task

    def recipe(task: Task) -> TaskConfig:
        config = RECIPES[name](task)
        for dataset in datasets:
            if DATASETS[dataset].task == task.path:
                config = override(config, DATASETS[dataset].settings)
        return TaskConfig(
            num_rows=config.data.sample_rows,
            split=config.split,
            training=config.training,
            distillation=config.distillation,
            benchmark=config.benchmark,
        )

    return recipe


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.example",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("industry", metavar="INDUSTRY", choices=INDUSTRIES, help=_names())
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        action="append",
        default=[],
        help="a public data set of the catalog in the place of its task's sample; repeatable",
    )
    parser.add_argument(
        "--recipe",
        choices=["default", "sample", "smoke"],
        help="how each task is trained (default: briefly, minutes for all of them)",
    )
    parser.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _names() -> str:
    return ", ".join(INDUSTRIES)


if __name__ == "__main__":
    call(main)
