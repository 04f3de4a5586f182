"""SpecializedModel: a trained or exported model that answers records as its task words it.

ModelArtifact | ExportedModel -> runtime + policy -> the answerer of its family
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering.tabular import Answerer
from spt_core.answering.text import TextAnswerer
from spt_core.artifacts import ExportedModel, ModelArtifact
from spt_core.policy import DecisionPolicy, LabelPolicy, Policy, fit_policy
from spt_core.runtime.base import Runtime, TextRuntime
from spt_core.runtime.onnx import EXPLAIN_GRAPH, SCORE_GRAPH, OnnxRuntime
from spt_core.runtime.text import FACTS, GRAPH, TOKENIZER, OnnxTextRuntime
from spt_core.task import Task, find
from spt_core.tokens import TextEncoder

AnyAnswerer = Answerer | TextAnswerer


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
        self.policy = policy or default_policy(self.task, classes_of(source))
        self.reused = reused
        self._answerer: AnyAnswerer | None = None

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The task's answer to one record."""
        return self.open().answer(record)

    def score(self, table: pa.Table) -> NDArray[np.floating[Any]]:
        """One figure [B] of typed rows: the calibrated probability of a binary decision.

        Of texts, the value or the probability of the likeliest label (TextAnswerer.headline).
        """
        return self.open().score(table)

    def open(self) -> AnyAnswerer:
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


def open_answerer(source: ModelArtifact | ExportedModel, policy: Policy) -> AnyAnswerer:
    """The answering path of a model's files under a policy."""
    artifact = artifact_of(source)
    task = find(artifact.task)
    if artifact.family == "text":
        assert isinstance(policy, LabelPolicy), "decisions of texts are by label"
        network = artifact.config["network"]
        return TextAnswerer(
            task,
            artifact.signature,
            open_text_runtime(source),
            policy,
            words=TextEncoder(
                source.read(TOKENIZER),
                max_tokens=network["max_tokens"],
                overlap=network["window_overlap"],
            ),
            facts=json.loads(source.read(FACTS)),
        )
    assert isinstance(policy, DecisionPolicy), "decisions of tables are by costs"
    return Answerer(task, artifact.signature, open_runtime(source), policy)


def open_runtime(source: ModelArtifact | ExportedModel) -> Runtime:
    """The runtime for a tabular model's files."""
    if isinstance(source, ExportedModel):
        # Only here: training workers import this module too, and have no use for a compiler.
        from spt_core.runtime.kernel import KERNEL, KernelRuntime, kernel_from_bytes

        batches = OnnxRuntime(source.read(SCORE_GRAPH), source.read(EXPLAIN_GRAPH))
        return KernelRuntime(kernel_from_bytes(source.read(KERNEL)), batches)
    # Only here: a serving replica would pay seconds and 300 MB for a torch that it never uses.
    from spt_core.runtime.pytorch import StudentRuntime, TeacherRuntime

    return TeacherRuntime(source) if source.role == "teacher" else StudentRuntime(source)


def open_text_runtime(source: ModelArtifact | ExportedModel) -> TextRuntime:
    """The runtime for a text model's files."""
    if isinstance(source, ExportedModel):
        return OnnxTextRuntime(source.read(GRAPH))
    from spt_core.runtime.pytorch_text import CheckpointTextRuntime, open_network  # torch, as above

    return CheckpointTextRuntime(open_network(source))


def artifact_of(source: ModelArtifact | ExportedModel) -> ModelArtifact:
    """The trained model behind files of either kind."""
    return source.artifact if isinstance(source, ExportedModel) else source


def classes_of(source: ModelArtifact | ExportedModel) -> tuple[str, ...]:
    """The classes that a text model tells apart; none for a table's binary decision."""
    if artifact_of(source).family != "text":
        return ()
    return tuple(json.loads(source.read(FACTS))["classes"])


def default_policy(task: Task, classes: Sequence[str] = ()) -> Policy:
    """What holds before held-out rows say more: stated costs alone, or even odds for each label."""
    if task.head != "binary":
        several = task.head == "multi_label"
        thresholds = dict.fromkeys(classes or task.classes, 0.5) if several else {}
        return LabelPolicy(thresholds=thresholds, most_probable=not several)
    assert task.costs is not None, "a binary task states them"
    return fit_policy(
        task.costs,
        np.empty(0),
        reason_codes=task.reason_codes,
        conditions=task.conditions,
    )
