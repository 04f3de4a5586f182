"""What is watched for: which publications matter to which model, and how many of them are enough.

monitoring configuration of the specification, or of the TOML file -> Monitoring, one for each model

[monitoring.financial_services]            # the industry's task on text; or "INDUSTRY/TASK[/NAME]"
keywords = ["regulation", "compliance", "capital", "risk"]
trigger_threshold = 10
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from spt_core.errors import InputError
from spt_core.registry import DEFAULT_MODEL_NAME
from spt_core.task import (
    IndustryType,
    Task,
    all_tasks,
    find,
    industry_named,
    labels_publications,
)
from spt_core.validation import validated

DAY_S = 86_400.0
HIGH_RISK, STANDARD_RISK = "high", "standard"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Monitoring:
    """What makes a publication relevant to one model, and when there are enough to retrain it.

    Args:
        model: `industry/task/model_name`.
        keywords: words or phrases; one in the text makes a publication relevant.
        terms: a vocabulary, of which two in the text do.
        min_score: the score from which a publication is relevant (see relevance.py).
        classifier: a registered text model, `industry/task/model_name@version`; "" for none.
        classifier_label: which of its labels' probability counts.
        classifier_weight: what a probability of 1 adds to the score.
        trigger_threshold: relevant publications that begin a retraining.
        max_wait_days: how long a relevant publication waits for it at most.
        max_source_share: of the threshold, what any one source can give.
        validation_required: whether a person must approve whatever comes of it.
    """

    model: str
    keywords: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    min_score: float = 1.0
    classifier: str = ""
    classifier_label: str = ""
    classifier_weight: float = 2.0
    trigger_threshold: int = 10
    max_wait_days: float = 30.0
    max_source_share: float = 0.5
    validation_required: bool = True

    def __post_init__(self) -> None:
        """Refuse what could never begin a retraining, or would always."""
        _require_text_task(self.model)
        if not (self.keywords or self.terms or self.classifier):
            raise InputError(
                f"{self.model} must be monitored by keywords, terms or a classifier, however: "
                "there are none"
            )
        if not all(text.strip() for text in (*self.keywords, *self.terms)):
            raise InputError(
                "keywords and terms must be texts that are not empty, however: "
                f"{self.keywords}, {self.terms}"
            )
        if self.trigger_threshold < 1:
            raise InputError(
                f"trigger_threshold must be at least 1, however: {self.trigger_threshold}"
            )
        if not 0 < self.max_source_share <= 1:
            raise InputError(
                f"max_source_share must be in (0, 1], however: {self.max_source_share}"
            )
        for name in ("min_score", "max_wait_days", "classifier_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be above 0, however: {value}")

    @property
    def bucket(self) -> str:
        """The ledger's name for what is retrained together."""
        return bucket_of(self.model)

    @property
    def industry(self) -> IndustryType:
        """Whose publications count."""
        return IndustryType(self.model.partition("/")[0])

    @property
    def risk_tier(self) -> str:
        """How a retraining is judged: a high risk needs a person's approval."""
        return HIGH_RISK if self.validation_required else STANDARD_RISK

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain JSON."""
        content = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}


def bucket_of(model: str) -> str:
    """`industry.task` or `industry.task.model_name`, the bucket of a model: names have no dots."""
    return model.removesuffix(f"/{DEFAULT_MODEL_NAME}").replace("/", ".")


def monitoring_for(key: str, content: Mapping[str, Any], where: str) -> Monitoring:
    """The monitoring that a table says, under an industry's or a model's name."""
    if "model" in content:
        raise InputError(f"{where}: there is no key 'model', however: the section names it")
    values = {"model": _model(key, where), **content}
    if not {"keywords", "terms", "classifier"} & set(values):
        values["keywords"] = shipped_keywords(IndustryType(key.partition("/")[0]))
    return validated(Monitoring, values, where)


def default_monitoring(industries: Iterable[IndustryType]) -> tuple[Monitoring, ...]:
    """Monitoring by the industries' own keywords, of those that have one task on text."""
    return tuple(
        Monitoring(model=f"{tasks[0].path}/{DEFAULT_MODEL_NAME}", keywords=keywords)
        for industry in sorted(set(industries))
        if len(tasks := text_tasks(industry)) == 1 and (keywords := shipped_keywords(industry))
    )


def text_tasks(industry: IndustryType) -> list[Task]:
    """The industry's tasks that publications can retrain; the one alone that it says is watched."""
    tasks = all_tasks().values()
    able = [task for task in tasks if task.industry == industry and labels_publications(task)]
    watched = getattr(_module(industry), "WATCHED", None)
    return [task for task in able if watched in (None, task.name)]


def shipped_keywords(industry: IndustryType) -> tuple[str, ...]:
    """The industry's KEYWORDS. A dynamic import: the library does not depend on industries."""
    module = _module(industry)
    return () if module is None else tuple(module.KEYWORDS)


def _module(industry: IndustryType) -> Any:
    """The industry's package; None where it has none."""
    modules = importlib.import_module("industries").INDUSTRIES
    named = {module.__name__.rpartition(".")[2]: module for module in modules}
    return named.get(industry)


def _model(key: str, where: str) -> str:
    """`industry/task/model_name` of a key that may leave out what is clear."""
    industry = industry_named(key.partition("/")[0], f"{where}: industry")
    if "/" in key:
        return key if key.count("/") == 2 else f"{key}/{DEFAULT_MODEL_NAME}"
    tasks = text_tasks(industry)
    if len(tasks) != 1:
        paths = ", ".join(task.path for task in tasks) or "none"
        raise InputError(
            f"{where}: an industry is monitored by its name if it has one task that labels whole "
            f"texts, or names the one (WATCHED), else by INDUSTRY/TASK, however: {industry} has "
            f"{paths}"
        )
    return f"{tasks[0].path}/{DEFAULT_MODEL_NAME}"


def _require_text_task(model: str) -> None:
    path, _, name = model.rpartition("/")
    if model.count("/") != 2 or not name or "." in model:
        raise InputError(f"a model is named industry/task/model_name, however: {model!r}")
    task = find(path)
    if not labels_publications(task):
        raise InputError(
            "publications can retrain models that label a whole text, however: "
            f"{path} is on {task.family} with head {task.head}"
        )
