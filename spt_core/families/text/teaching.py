"""The teacher of a text task: a pretrained encoder, fine-tuned with the head that the task needs.

Splits -> tokens, once (Ray Data) -> Ray Train -> calibration -> files
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from spt_core.artifacts import WEIGHTS, ModelArtifact, Role, as_uri
from spt_core.data.partition import Part
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.text.bases import Base, find_base, trimmed_base
from spt_core.families.text.config import TextConfig
from spt_core.families.text.encoding import text_encoder
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork, text_facts
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.rows import (
    STEP_WINDOWS,
    Vocabulary,
    column_batches,
    column_rows,
    mean_tokens,
    num_long,
    token_dataset,
    with_targets,
)
from spt_core.families.text.scores import score_texts
from spt_core.families.text.serving import TOKENIZER
from spt_core.families.text.votes import SHARES, WIDE_TEXTS, fitted_votes, token_counts
from spt_core.families.text.wide import Wide
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.heads import HEADS
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.heads.outcomes import values_of
from spt_core.signature import Signature
from spt_core.task import Task, find

HELD_OUT_TEXTS = 20_000
NUM_LONG = "num_long_training_texts"
WIDE_SHARE = "wide_share"  # of the wide part's votes, among a model's figures


class TextTeaching:
    """The FitPlan of a teacher."""

    role: Role = "teacher"
    scratch: Sequence[str] = ()

    def __init__(
        self, splits: Splits, config: TrainingConfig, twin: ModelArtifact | None = None
    ) -> None:
        self._splits, self._config, self._task = splits, config, find(splits.task)
        self._twin = twin
        self._base = find_base(_network(config).base, as_uri(config.output_dir))
        self.identity: Sequence[Any] = [
            splits.signature.to_json(),
            self._base.files,
            *([twin.files] if twin else []),
        ]

    def prepare(self, name: str) -> TrainingRun:
        """The base without tokens that the texts never use, and facts of the training rows."""
        del name
        splits, config, task, network = self._splits, self._config, self._task, self._config.network
        base = _trimmed(self._base, splits, task, config)
        self._words = Vocabulary(base.tokenizer, network.max_tokens, network.window_overlap)
        self._weights = class_weights(task, splits, config)
        facts = {**facts_of(task, splits, network, base), "class_weights": self._weights}
        self._run = text_run(self.role, task, splits, splits.signature, self._words, config, facts)
        self._train = token_dataset(splits, "train", task, self._words, facts, self._weights)
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """Token ids and targets."""
        if part == "train":
            return self._train
        return token_dataset(self._splits, part, self._task, self._words, self._run.facts)

    def finish(self, weights: bytes) -> Trained:
        """Calibrated on the calibration part."""
        files, metrics = finish_text(
            self._run, self._task, self._splits, self._words, weights, self._twin
        )
        long = num_long(self._train)
        notes = (
            (
                f"{long:,} texts have more than {STEP_WINDOWS} windows; a step of training looks "
                "at as many of each, drawn anew every epoch",
            )
            if long
            else ()
        )
        return Trained(files, {**metrics, NUM_LONG: float(long)}, self._base.licences, notes)


def text_run(
    role: Role,
    task: Task,
    splits: Splits,
    signature: Signature,
    words: Vocabulary,
    config: TrainingConfig,
    facts: Mapping[str, Any],
    *,
    num_rows: int | None = None,
    temperature: float = 1.0,
    state_weight: float = 0.0,
) -> TrainingRun:
    """The run of a text network; `num_rows` are the training rows of the splits unless told."""
    num_tokens = mean_tokens(splits, task, words)
    row_bytes = 4 * num_tokens + 1000  # six small arrays, each an object of its own
    if role == "student":  # its teacher's token state of each window comes along
        num_windows = 1 + num_tokens / config.network.max_tokens
        row_bytes += 4 * num_windows * facts["encoder"]["hidden_size"]
    return TrainingRun(
        learner=LEARNER,
        signature=signature,
        role=role,
        config=config,
        facts=facts,
        num_rows=splits.num_rows["train"] if num_rows is None else num_rows,
        row_bytes=int(row_bytes),
        scoring_rows=2 * config.batch_size,
        head=task.head,
        temperature=temperature,
        state_weight=state_weight,
    )


def facts_of(task: Task, splits: Splits, config: TextConfig, base: Base) -> dict[str, Any]:
    """What the networks of a task need to know of its base and its training rows."""
    encoder = text_encoder(base.tokenizer, config.max_tokens, config.window_overlap)
    center, spread = 0.0, 1.0
    if task.head == "regression":
        labels = column_rows(splits, "train", splits.label)
        values = np.fromiter((value for (value,) in labels), np.float64)
        center, spread = float(values.mean()), float(values.std()) or 1.0
    return text_facts(
        config,
        encoder=base.config,
        base=base.uri,
        head=task.head,
        classes=splits.classes,
        pad=encoder.pad,
        special=(encoder.prefix, encoder.suffix),
        unknown=encoder.unknown,
        negative_class=task.negative_class,
        lexicon=_lexicon(task, splits) if task.head == "pair" else (),
        center=center,
        spread=spread,
        wide_buckets=config.wide_buckets if task.head == "multi_label" else 0,
    )


def class_weights(task: Task, splits: Splits, config: TrainingConfig) -> dict[str, float]:
    """The weight of each class' items; empty when all weigh the same."""
    if config.class_weighting == "none":
        return {}
    if task.head not in ("single_label", "pair"):
        raise InputError(
            "class_weighting must be none for heads whose classes stand for themselves, however: "
            f"{task.path} has the head {task.head!r}"
        )
    counts: Counter[str] = Counter()
    if task.head == "single_label":
        counts.update(name for (name,) in column_rows(splits, "train", splits.label))
    else:
        spans, num_pairs = task.spans_field, 0
        assert spans is not None
        for label, value in column_rows(splits, "train", splits.label, spans.name):
            counts.update(name for _, _, name in json.loads(label))
            size = len(json.loads(value))
            num_pairs += size * (size - 1) // 2
        counts[str(task.negative_class)] = num_pairs - counts.total()
    total, present = sum(counts.values()), [name for name in splits.classes if counts[name] > 0]
    return {
        name: total / (len(present) * counts[name]) if name in present else 1.0
        for name in splits.classes
    }


def finish_text(
    run: TrainingRun,
    task: Task,
    splits: Splits,
    words: Vocabulary,
    weights: bytes,
    twin: ModelArtifact | None = None,
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Fit the wide part, calibrate on the calibration part, measure on the validation part.

    The model's files and figures; with a twin calibration, the wide part's share and figures are
    its own: every row that could fit them has trained this model.
    """
    network = LEARNER.network(run)
    network.load_state_dict(load_weights(weights))
    if twin is not None:
        return _finished_like(twin, network, task, splits, words, run.facts), dict(twin.metrics)
    share = 0.0
    if network.wide is None:
        logits, targets = held_out_scores(network, task, splits, words, "calibration", run.facts)
    else:
        logits, targets, share = _widened(network, network.wide, task, splits, words, run.facts)
    scale, shift = fit_label_calibration(task.head, logits, targets, _class_weights(run.facts))
    network.calibrate(torch.from_numpy(scale), torch.from_numpy(shift))
    logits, targets = held_out_scores(network, task, splits, words, "validation", run.facts)
    metrics = figures(task, run.facts, targets, logits * scale + shift)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    files = {WEIGHTS: save_weights(state), TOKENIZER: words.tokenizer}
    figures_of = {f"validation_{name}": value for name, value in metrics.items()}
    return files, {**figures_of, **({} if network.wide is None else {WIDE_SHARE: share})}


def _finished_like(
    twin: ModelArtifact,
    network: TextNetwork,
    task: Task,
    splits: Splits,
    words: Vocabulary,
    facts: Mapping[str, Any],
) -> dict[str, bytes]:
    own = load_weights(twin.read(WEIGHTS))
    if network.wide is not None:
        votes, bias = _votes(network.wide, task, splits, words, facts)
        network.wide.put(votes, bias, twin.metrics[WIDE_SHARE])
    network.calibrate(own["scale"], own["shift"])
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {WEIGHTS: save_weights(state), TOKENIZER: words.tokenizer}


def _votes(
    wide: Wide, task: Task, splits: Splits, words: Vocabulary, facts: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """What tokens and pairs of them say of the classes, by training rows."""
    table = splits.table("train", WIDE_TEXTS)
    counts: list[csr_matrix] = []
    row_targets: list[NDArray[np.float32]] = []
    for texts, of_texts in with_targets(table, splits.label, task, words, facts):
        counts.append(token_counts(texts, wide, facts["special"]))
        row_targets += of_texts
    return fitted_votes(csr_matrix(vstack(counts)), np.concatenate(row_targets).astype(np.float64))


def _widened(
    network: TextNetwork,
    wide: Wide,
    task: Task,
    splits: Splits,
    words: Vocabulary,
    facts: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit the wide part on training rows, at the share of least loss on the calibration part.

    That part's logits and targets [N, K] then, and the share.
    """
    votes, bias = _votes(wide, task, splits, words, facts)
    losses: list[tuple[float, float]] = []
    scored: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for share in SHARES:
        wide.put(votes, bias, share)
        logits, targets = held_out_scores(network, task, splits, words, "calibration", facts)
        scale, shift = fit_label_calibration(task.head, logits, targets)
        odds = logits * scale + shift
        losses.append((float(np.mean(np.logaddexp(0.0, odds) - targets * odds)), share))
        scored[share] = logits, targets
    best = min(losses)[1]
    wide.put(votes, bias, best)
    return *scored[best], best


def _class_weights(facts: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """The weights [K] that the classes had in training, if they had any."""
    weights = facts.get("class_weights")  # models of before they were recorded lack them
    return np.array([weights[name] for name in facts["classes"]]) if weights else None


def held_out_scores(
    network: TextNetwork,
    task: Task,
    splits: Splits,
    words: Vocabulary,
    part: Part,
    facts: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Uncalibrated logits and targets [N, K] of a part."""
    table = splits.table(part, HELD_OUT_TEXTS)
    logits: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    for texts, of_texts in with_targets(table, splits.label, task, words, facts):
        logits += score_texts(network, words.encoder(), texts).logits
        targets += of_texts
    return np.concatenate(logits).astype(np.float64), np.concatenate(targets).astype(np.float64)


def figures(
    task: Task,
    facts: Mapping[str, Any],
    targets: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> dict[str, float]:
    """The head's metrics of calibrated logits, without a policy that was fitted."""
    head = HEADS[task.head]
    if task.head == "regression":
        targets, logits = (v * facts["spread"] + facts["center"] for v in (targets, logits))
    of = head.fitted(task, tuple(facts["classes"]), targets, logits)
    return values_of(head.metrics, of)


def _trimmed(base: Base, splits: Splits, task: Task, config: TrainingConfig) -> Base:
    """The base with the tokens that training texts use, at most `domain_vocabulary_size`."""
    tokenizer = open_tokenizer(base.tokenizer)
    counts: Counter[int] = Counter()
    for (texts,) in column_batches(splits, "train", task.text_field.name):
        for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
            counts.update(encoded.ids)
    used = sorted(counts, key=lambda token: (-counts[token], token))
    used = used[: config.domain_vocabulary_size]
    return trimmed_base(base, used, storage=as_uri(config.output_dir))


def _lexicon(task: Task, splits: Splits) -> tuple[str, ...]:
    """The mentions of the training rows, lower case."""
    spans = task.spans_field
    assert spans is not None
    names = {
        text[span["start"] : span["end"]].lower()
        for text, value in column_rows(splits, "train", task.text_field.name, spans.name)
        for span in json.loads(value)
    }
    return tuple(sorted(name for name in names if name.strip()))


def _network(config: TrainingConfig) -> TextConfig:
    assert isinstance(config.network, TextConfig), "the configuration has checked it"
    return config.network
