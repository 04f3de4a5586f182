"""SpecializedModel: a trained or exported model that answers records as its task words it.

ModelArtifact | ExportedModel -> the predictor of its family + policy -> Answerer
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from spt_core.answering import Answerer
from spt_core.artifacts import FACTS, ExportedModel, ModelArtifact
from spt_core.errors import InputError
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.heads import HEADS
from spt_core.heads.base import Floats
from spt_core.policy import Policy
from spt_core.task import RuntimeName, find


class SpecializedModel:
    """What training and export return; answers to exactly the verb that its task declares.

    Opens its weights on first use. `reused` says that a finished run was found instead of trained.
    """

    def __init__(
        self,
        source: ModelArtifact | ExportedModel,
        *,
        policy: Policy | None = None,
        reused: bool = False,
    ) -> None:
        self.source = source
        self.artifact = artifact_of(source)
        self.task = find(self.artifact.task)
        self.policy = policy or default_policy(source)
        self.reused = reused
        self._answerer: Answerer | None = None

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The task's answer to one record."""
        return self.open().answer(record)

    def score(self, table: pa.Table) -> Floats:
        """One figure [B] of typed rows: a decision's probability, a value, the likeliest label's.

        NaN where a text has no pair, and for spans.
        """
        return self.open().score(table)

    def open(self) -> Answerer:
        """The answering path, its weights loaded."""
        if self._answerer is None:
            self._answerer = open_answerer(self.source, self.policy)
        return self._answerer

    def __getattr__(self, name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """The task's verb, such as `detect_fraud`."""
        task = self.__dict__.get("task")
        if task is not None and name == task.verb:
            return self.answer
        verb = "" if task is None else f"; this model answers to {task.verb!r}"
        raise AttributeError(f"SpecializedModel has no attribute {name!r}{verb}")


def open_answerer(
    source: ModelArtifact | ExportedModel, policy: Policy, *, runtime: RuntimeName = "onnx"
) -> Answerer:
    """The answering path of a model's files under a policy; InputError for one of another head.

    `runtime` is what runs an export's graph, where its family has any for GPUs.
    """
    artifact = artifact_of(source)
    task, serving = find(artifact.task), SERVING[artifact.family]
    usual = default_policy(source)
    if policy.kind != usual.kind:
        raise InputError(
            f"a {task.head} model is decided by a policy of the kind {usual.kind}, however: "
            f"{policy.kind}"
        )
    if not isinstance(source, ExportedModel):
        predictor = serving.open_checkpoint(artifact)
    elif runtime == "onnx" or artifact.family not in ON_GPU:
        predictor = serving.open(artifact, source.read)
    else:
        predictor = ON_GPU[artifact.family].open_on_gpu(source, runtime)
    return Answerer(task, predictor, policy)


def artifact_of(source: ModelArtifact | ExportedModel) -> ModelArtifact:
    """The trained model behind files of either kind."""
    return source.artifact if isinstance(source, ExportedModel) else source


def classes_of(source: ModelArtifact | ExportedModel) -> tuple[str, ...]:
    """The classes that a model tells apart; none of decisions and numbers."""
    artifact = artifact_of(source)
    if artifact.classes or FACTS not in source.files:
        return artifact.classes
    # Artifacts of before they recorded their classes have them in their facts alone.
    return tuple(json.loads(source.read(FACTS)).get("classes", ()))


def default_policy(source: ModelArtifact | ExportedModel) -> Policy:
    """What holds before held-out rows say more: stated costs alone, or even odds for each label."""
    task = find(artifact_of(source).task)
    return HEADS[task.head].default_policy(task, classes_of(source))
