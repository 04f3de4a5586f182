"""The task's own score of a base: fine-tuned with the task's head, measured with its metric.

rows + TrainingConfig -> TaskScore; TaskScore(base) -> task.metric of held-out rows. No Ray here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from spt_core.answering import Answerer
from spt_core.families.text.bases import Base
from spt_core.families.text.checkpoint import CheckpointTextRuntime
from spt_core.families.text.encoding import tokenize_batch
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork, num_logits_of, text_facts
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.rows import TokenShard
from spt_core.families.text.serving import TextPredictor
from spt_core.families.text.token_rows import token_rows
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.heads import HEADS, metric_of
from spt_core.signature import Signature
from spt_core.task import Head, Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """The task's metric of a base after fine-tuning on `train`, on `held_out`: `score(base)`.

    Both are typed rows with the task's fields, the column `label` and `__row`. Every base gets the
    same rows, seeds and number of steps. The figure is the mean over `num_seeds` trainings: on few
    rows a seed changes more than an extension does. Batches hold texts of about one length, so that
    which rows meet in a batch depends on the tokenizer; so do the head's first weights. The most
    probable class is given. Several labels have thresholds, fitted on the rows that train: so short
    a training gives hardly any label even odds, and a figure of 0 could not fall.
    """

    task: Task
    train: pa.Table
    held_out: pa.Table
    label: str
    classes: tuple[str, ...]
    config: TrainingConfig
    class_weights: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    num_seeds: int = 1
    on_metrics: Callable[[Mapping[str, float]], None] | None = None

    @property
    def metric(self) -> str:
        """The name of the figure."""
        return self.task.metric

    def __call__(self, base: Base) -> float:
        """The figure of a base."""
        return float(np.mean([self._figure(base, seed) for seed in self._seeds]))

    @property
    def _seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.num_seeds)

    def _figure(self, base: Base, seed: int) -> float:
        task, sizes = self.task, self.config.network
        encoder = TextEncoder(
            base.tokenizer, max_tokens=sizes.max_tokens, overlap=sizes.window_overlap
        )
        facts = self._facts(base, encoder)
        network = TextNetwork(sizes, facts)
        network.load_state_dict(self._fine_tuned(base, encoder, facts, seed))
        if self.class_weights:  # they say what training was to see, not how often classes are
            weights = torch.tensor([self.class_weights[name] for name in self.classes])
            network.calibrate(torch.ones_like(weights), -weights.log())
        head = HEADS[task.head]
        runtime = CheckpointTextRuntime(network.eval())
        predictor = TextPredictor(self._signature, runtime, words=encoder, facts=facts)
        answerer = Answerer(task, predictor, head.default_policy(task, self.classes))
        if task.head == "multi_label":
            answerer.policy = head.policy(task, answerer.outcomes(self.train, self.label))
        return metric_of(task)(answerer.outcomes(self.held_out, self.label))

    @property
    def _signature(self) -> Signature:
        return Signature(fields=self.task.fields)

    def _facts(self, base: Base, encoder: TextEncoder) -> dict[str, Any]:
        center, spread = 0.0, 1.0
        if self.task.head == "regression":
            values = np.asarray(self.train[self.label], np.float64)
            center, spread = float(values.mean()), float(values.std()) or 1.0
        return text_facts(
            self.config.network,
            encoder=base.config,
            base=base.uri,
            head=self.task.head,
            classes=self.classes,
            pad=encoder.pad,
            special=(encoder.prefix, encoder.suffix),
            unknown=encoder.unknown,
            negative_class=self.task.negative_class,
            center=center,
            spread=spread,
        )

    def _fine_tuned(
        self, base: Base, encoder: TextEncoder, facts: Mapping[str, Any], seed: int
    ) -> dict[str, Tensor]:
        """The weights after the last step."""
        task, config = self.task, dataclasses.replace(self.config, seed=seed)
        spans = task.spans_field
        encoded = tokenize_batch(
            self.train,
            tokenizer=base.tokenizer,
            sizes=(config.network.max_tokens, config.network.window_overlap),
            facts=json.dumps(facts),
            text=task.text_field.name,
            spans=None if spans is None else spans.name,
            label=self.label,
            class_weights=self.class_weights,
        )
        columns = {name: encoded[name].to_numpy() for name in encoded.column_names}
        rows = token_rows(columns, num_logits_of(task.head, len(self.classes)))
        run = TrainingRun(
            learner=LEARNER,
            signature=self._signature,
            role="teacher",
            config=_in_this_process(config),
            facts=facts,
            num_rows=len(rows),
            row_bytes=0,  # they are here already
            scoring_rows=2 * config.batch_size,
            head=task.head,
        )
        weights: dict[str, Tensor] = {}

        def report(metrics: Mapping[str, float], folder: Path | None) -> None:
            if folder is not None:
                weights.update(load_file(folder / BEST))
            elif self.on_metrics is not None:
                self.on_metrics(metrics)

        shard = TokenShard(rows, pad=encoder.pad, seed=config.seed)
        fit(run, shard, None, report=report, resume=None)
        return weights


def drawn_rows(labels: Sequence[Any], head: Head, limit: int) -> NDArray[np.int64]:
    """Numbers of up to `limit` rows, drawn at random, in their order.

    Where a text may have several labels, half of the rows have one, as far as there are so many:
    mostly few have, and a figure of a handful of them tells no two bases apart. It is then higher
    than on the task's own rows.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    if head != "multi_label":
        return np.sort(order[:limit])
    has_label = np.array([bool(json.loads(value)) for value in labels], bool)[order]
    labelled, others = order[has_label], order[~has_label]
    labelled = labelled[: max(limit - limit // 2, limit - len(others))]
    return np.sort(np.concatenate([labelled, others[: limit - len(labelled)]]))


def _in_this_process(config: TrainingConfig) -> TrainingConfig:
    """The configuration of one process that evaluates nothing on the way and keeps its end."""
    return dataclasses.replace(
        config,
        evaluation_strategy="no",
        save_strategy="no",
        strategy="data_parallel",
        optimizer_offload=False,
        use_gpu=torch.cuda.is_available(),
    )
