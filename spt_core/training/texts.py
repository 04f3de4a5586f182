"""The teacher of a text task: a pretrained encoder, fine-tuned with the head that the task needs.

Splits -> tokens, once (Ray Data) -> Ray Train -> calibration -> ModelArtifact
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from scipy.sparse import csr_matrix, vstack
from scipy.special import expit, softmax

from spt_core.answering.evidence import rank_probabilities
from spt_core.artifacts import as_uri, filesystem, has_manifest, load_artifact, remove
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.data.tokenizing import encode_rows, targets_of, text_encoder, tokenize_batch
from spt_core.errors import InputError
from spt_core.metrics import HEAD_METRICS, outcomes
from spt_core.model import SpecializedModel
from spt_core.models.bases import Base, find_base, trimmed_base
from spt_core.models.ensemble import WEIGHTS
from spt_core.models.label_calibration import fit_label_calibration
from spt_core.models.text import TEXT, TextConfig, TextNetwork, text_facts
from spt_core.models.text_scores import score_texts
from spt_core.models.wide import Wide
from spt_core.task import Task, find
from spt_core.tokens import EncodedText, TextEncoder, open_tokenizer
from spt_core.training.config import TrainingConfig
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network, run_digest, write_artifact
from spt_core.training.progress import OnMetrics
from spt_core.training.token_shards import STEP_WINDOWS
from spt_core.training.wide import SHARES, WIDE_TEXTS, fitted_votes, token_counts

TOKENIZER_FILE = "tokenizer.json"
HELD_OUT_TEXTS = 20_000
FACT_TEXTS = 2_000
SCORED_TEXTS = 500  # whose windows are held at a time
NUM_LONG = "num_long_training_texts"


class Vocabulary(NamedTuple):
    """A tokenizer with the sizes of the windows that it fills."""

    tokenizer: bytes
    max_tokens: int
    overlap: int

    def encoder(self) -> TextEncoder:
        """The encoder, built once per process."""
        return text_encoder(*self)


def train_text(
    splits: Splits, config: TrainingConfig, *, fresh: bool, on_metrics: OnMetrics | None
) -> SpecializedModel:
    """The teacher; an unfinished run of the same content resumes, a finished one is kept."""
    task, network = find(splits.task), _text_config(config)
    root = as_uri(config.output_dir)
    base = find_base(network.base, root)
    name = f"teacher-{run_digest(config, splits, splits.signature, base.files)}"
    uri = f"{root}/{splits.task}/{config.model_name}/{name}"
    if fresh:  # what is finished stays until its successor is: a version may be served from it
        remove(f"{root}/runs/{name}")
    elif has_manifest(uri):
        return SpecializedModel(load_artifact(uri), reused=True)
    base = _trimmed(base, splits, task, config)
    words = Vocabulary(base.tokenizer, network.max_tokens, network.window_overlap)
    weights = class_weights(task, splits, config)
    facts = {**facts_of(task, splits, network, base), "class_weights": weights}
    run = TrainingRun(
        signature=splits.signature,
        role="teacher",
        config=config,
        facts=facts,
        num_rows=splits.num_rows["train"],
        head=task.head,
        mean_tokens=mean_tokens(splits, task, words),
    )
    rows = token_dataset(splits, "train", task, words, facts, weights)
    trained = fit_network(
        run,
        rows,
        validation_tokens(splits, task, words, facts, config),
        name=name,
        on_metrics=on_metrics,
    )
    files, metrics = finish_text(run, task, splits, words, trained)
    metrics = {**metrics, NUM_LONG: float(num_long(rows))}
    artifact = write_artifact(uri, splits, run, files, metrics, licences=base.licences)
    return SpecializedModel(artifact)


def facts_of(task: Task, splits: Splits, config: TextConfig, base: Base) -> dict[str, Any]:
    """What the networks of a task need to know of its base and its training rows."""
    encoder = text_encoder(base.tokenizer, config.max_tokens, config.window_overlap)
    center, spread = 0.0, 1.0
    if task.head == "regression":
        labels = _rows(splits, "train", splits.label)
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


def token_dataset(
    splits: Splits,
    part: Part,
    task: Task,
    words: Vocabulary,
    facts: Mapping[str, Any],
    weights: Mapping[str, float] | None = None,
) -> ray.data.Dataset:
    """A part as token ids and targets, made once and kept by Ray Data."""
    spans = task.spans_field
    rows = splits.dataset(part).map_batches(
        tokenize_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        fn_kwargs={
            "tokenizer": words.tokenizer,
            "sizes": (words.max_tokens, words.overlap),
            "facts": json.dumps(facts),
            "text": task.text_field.name,
            "spans": None if spans is None else spans.name,
            "label": splits.label,
            "class_weights": dict(weights or {}),
        },
    )
    return kept_in_order(rows)


def kept_in_order(rows: ray.data.Dataset) -> ray.data.Dataset:
    """The rows, made once and kept by Ray Data."""
    # The order of rows is part of what a seed promises; each read has a context of its own.
    rows.context.execution_options.preserve_order = True
    return rows.materialize()


def validation_tokens(
    splits: Splits,
    task: Task,
    words: Vocabulary,
    facts: Mapping[str, Any],
    config: TrainingConfig,
) -> ray.data.Dataset | None:
    """The validation rows as tokens, unless the run never evaluates."""
    if config.evaluation_strategy == "no":
        return None
    return token_dataset(splits, "validation", task, words, facts)


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
        counts.update(name for (name,) in _rows(splits, "train", splits.label))
    else:
        spans, num_pairs = task.spans_field, 0
        assert spans is not None
        for label, value in _rows(splits, "train", splits.label, spans.name):
            counts.update(name for _, _, name in json.loads(label))
            size = len(json.loads(value))
            num_pairs += size * (size - 1) // 2
        counts[str(task.negative_class)] = num_pairs - counts.total()
    total, known = sum(counts.values()), [name for name in splits.classes if counts[name] > 0]
    return {
        name: total / (len(known) * counts[name]) if name in known else 1.0
        for name in splits.classes
    }


def finish_text(
    run: TrainingRun, task: Task, splits: Splits, words: Vocabulary, weights: bytes
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Fit the wide part, calibrate on the calibration part, measure on the validation part.

    The model's files and figures.
    """
    network = TEXT.build(run.signature, run.role, run.config.network, run.facts)
    network.load_state_dict(load_weights(weights))
    if network.wide is None:
        logits, targets = held_out_scores(network, task, splits, words, "calibration", run.facts)
    else:
        logits, targets = _widened(network, network.wide, task, splits, words, run.facts)
    scale, shift = fit_label_calibration(task.head, logits, targets, _class_weights(run.facts))
    network.calibrate(torch.from_numpy(scale), torch.from_numpy(shift))
    logits, targets = held_out_scores(network, task, splits, words, "validation", run.facts)
    found = figures(task, run.facts, targets, logits * scale + shift)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    files = {WEIGHTS: save_weights(state), TOKENIZER_FILE: words.tokenizer}
    return files, {f"validation_{name}": value for name, value in found.items()}


def _widened(
    network: TextNetwork,
    wide: Wide,
    task: Task,
    splits: Splits,
    words: Vocabulary,
    facts: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the wide part on training rows, at the share of least loss on the calibration part.

    That part's logits and targets [N, K] then.
    """
    table = splits.table("train", WIDE_TEXTS)
    counts: list[csr_matrix] = []
    known: list[NDArray[np.float32]] = []
    for texts, of_texts in _with_targets(table, splits.label, task, words, facts):
        counts.append(token_counts(texts, wide, facts["special"]))
        known += of_texts
    votes, bias = fitted_votes(csr_matrix(vstack(counts)), np.concatenate(known).astype(np.float64))
    found: list[tuple[float, float]] = []
    scored: dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for share in SHARES:
        wide.put(votes, bias, share)
        logits, targets = held_out_scores(network, task, splits, words, "calibration", facts)
        scale, shift = fit_label_calibration(task.head, logits, targets)
        odds = logits * scale + shift
        found.append((float(np.mean(np.logaddexp(0.0, odds) - targets * odds)), share))
        scored[share] = logits, targets
    best = min(found)[1]
    wide.put(votes, bias, best)
    return scored[best]


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
    for texts, of_texts in _with_targets(table, splits.label, task, words, facts):
        logits += score_texts(network, words.encoder(), texts).logits
        targets += of_texts
    return np.concatenate(logits).astype(np.float64), np.concatenate(targets).astype(np.float64)


def _with_targets(
    table: pa.Table, label: str, task: Task, words: Vocabulary, facts: Mapping[str, Any]
) -> Iterator[tuple[list[EncodedText], list[NDArray[np.float32]]]]:
    """The rows' texts with their targets [items, K], so many at a time that memory holds them."""
    for start in range(0, table.num_rows, SCORED_TEXTS):
        some = table.slice(start, SCORED_TEXTS)
        texts, labels = encoded(some, task, words), some[label].to_pylist()
        yield texts, [targets_of(facts, v, text) for v, text in zip(labels, texts, strict=True)]


def encoded(table: pa.Table, task: Task, words: Vocabulary) -> list[EncodedText]:
    """The texts of rows as windows."""
    spans = task.spans_field
    return encode_rows(
        words.encoder(),
        table,
        text=task.text_field.name,
        spans=None if spans is None else spans.name,
        head=task.head,
    )


def num_long(rows: ray.data.Dataset) -> int:
    """How many texts of a token dataset have more windows than a step of training looks at."""
    batch: Any  # a table, as asked for; the signature says "any batch"
    found = 0
    for batch in rows.select_columns("lengths").iter_batches(batch_format="pyarrow"):
        sizes = pc.list_value_length(batch["lengths"])
        found += pc.sum(pc.greater(sizes, STEP_WINDOWS)).as_py() or 0
    return found


def figures(
    task: Task,
    facts: Mapping[str, Any],
    targets: NDArray[np.float64],
    logits: NDArray[np.float64],
) -> dict[str, float]:
    """The head's metrics of calibrated logits at the most probable class, or at even odds."""
    classes, given = tuple(facts["classes"]), (logits > 0).astype(np.float64)
    match task.head:
        case "regression":
            targets, probabilities = (
                values * facts["spread"] + facts["center"] for values in (targets, logits)
            )
        case "multi_label":
            probabilities = expit(logits)
        case "ordinal":  # one more class than cuts
            probabilities = np.array([rank_probabilities(cuts) for cuts in logits])
            targets = np.eye(len(classes))[targets.sum(1).astype(int)]
        case _:
            probabilities = softmax(logits, axis=1)
    if task.head not in ("regression", "multi_label"):
        given = np.eye(probabilities.shape[1])[probabilities.argmax(1)]
    if task.head in ("span", "regression"):  # logits are of tags and of the value
        classes = tuple(str(number) for number in range(logits.shape[1]))
    negative = "0" if task.head == "span" else task.negative_class
    found = outcomes(classes, targets, probabilities, given, negative_class=negative)
    return {name: metric(found) for name, metric in HEAD_METRICS[task.head].items()}


def _trimmed(base: Base, splits: Splits, task: Task, config: TrainingConfig) -> Base:
    """The base with the tokens that training texts use, at most `domain_vocabulary_size`."""
    tokenizer = open_tokenizer(base.tokenizer)
    counts: Counter[int] = Counter()
    for (texts,) in _batches(splits, "train", task.text_field.name):
        for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
            counts.update(encoded.ids)
    used = sorted(counts, key=lambda token: (-counts[token], token))
    used = used[: config.domain_vocabulary_size]
    return trimmed_base(base, used, storage=as_uri(config.output_dir))


def mean_tokens(splits: Splits, task: Task, words: Vocabulary) -> float:
    """Tokens of a training text, special ones of all its windows included."""
    texts = encoded(splits.table("train", FACT_TEXTS), task, words)
    return float(np.mean([sum(len(w.ids) for w in text.windows) for text in texts]))


def _lexicon(task: Task, splits: Splits) -> tuple[str, ...]:
    """The mentions of the training rows, lower case."""
    spans = task.spans_field
    assert spans is not None
    names = {
        text[span["start"] : span["end"]].lower()
        for text, value in _rows(splits, "train", task.text_field.name, spans.name)
        for span in json.loads(value)
    }
    return tuple(sorted(name for name in names if name.strip()))


def _rows(splits: Splits, part: Part, *names: str) -> Iterator[tuple[Any, ...]]:
    """Some columns of a part, row by row."""
    for columns in _batches(splits, part, *names):
        yield from zip(*columns, strict=True)


def _batches(splits: Splits, part: Part, *names: str) -> Iterator[list[list[Any]]]:
    """Some columns of a part, some thousand rows at a time."""
    for uri in splits.files(part):
        files, path = filesystem(uri)
        file = pq.ParquetFile(path, filesystem=files)
        for batch in file.iter_batches(batch_size=8192, columns=list(names)):
            yield [batch.column(name).to_pylist() for name in names]


def _text_config(config: TrainingConfig) -> TextConfig:
    assert isinstance(config.network, TextConfig), "the configuration has checked it"
    return config.network
