"""Give a base tokens for a domain's words: python -m jobs.extend_vocabulary INDUSTRY/TASK ...

Words are mined from the training texts, and taken from lists:
--set vocabulary.term_lists=terms.txt,names.csv
The extension and its base are compared on up to 20,000 validation texts; it is kept only if bits
per byte and the task's metric are no worse than vocabulary.gate allows. For the metric both are
fine-tuned on vocabulary.score_rows training rows and measured on as many validation rows (half of
them with a label, where a text may have several). Runs in this process, without workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.fitting import prepared
from spt_core.data import formats
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.text.config import TextConfig
from spt_core.task import Head
from spt_core.vocabulary.raw_text import FileTexts

if TYPE_CHECKING:
    from spt_core.vocabulary import Extension
    from spt_core.vocabulary.score import TaskScore
    from spt_core.vocabulary.study import Study


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> extension -> before and after, and the base to use from now on."""
    run = read_run(parser("extend_vocabulary", __doc__ or "").parse_args(arguments))
    network = run.config.training.network
    if not isinstance(network, TextConfig):
        raise InputError(
            f"a vocabulary is of a task on text, however: {run.task.path} is on tables"
        )
    with started(run):
        splits = prepared(run)
        texts = FileTexts(splits.files("train"), "parquet", run.task.text_field.name)
        extension = extended(run, network.base, splits, texts)
        comparison = compared(run, splits, extension, texts)
    show(run, comparison)
    run.screen.result(comparison.facts(), comparison.base.uri)
    return 0


def extended(run: Run, base: str, splits: Splits, texts: FileTexts) -> Extension:
    """Training texts and lists of terms -> an extended base."""
    from spt_core.vocabulary import DomainVocabularyManager  # torch
    from spt_core.vocabulary.terms import read_terms

    config, limit = run.config.vocabulary, run.config.training.domain_vocabulary_size
    extension_config = dataclasses.replace(
        config.extension, max_new_tokens=min(limit, config.extension.max_new_tokens)
    )
    with run.screen.stage("extend") as stage:
        stage.say("mining words and fitting their embeddings")
        terms = [term for uri in config.term_lists for term in read_terms(uri)]
        extension = DomainVocabularyManager(
            base, run.settings.storage, config=extension_config, licences=splits.licences
        ).extend_from_texts(
            industry=run.task.industry,
            texts=texts,
            fingerprint=splits.fingerprints["train"],
            new_terms=terms,
            fresh=run.fresh,
        )
        stage.say(
            f"{len(extension.added):,} tokens added, {len(extension.skipped):,} terms skipped"
        )
    return extension


def compared(run: Run, splits: Splits, extension: Extension, texts: FileTexts) -> Study:
    """The extension beside its base."""
    from spt_core.families.text.teaching import HELD_OUT_TEXTS  # torch
    from spt_core.vocabulary.study import study

    config = run.config.vocabulary
    held_out = drawn(splits, "validation", HELD_OUT_TEXTS)[run.task.text_field.name].to_pylist()
    with run.screen.stage("compare") as stage:
        stage.say("training both bases on the same texts")

        def on_step(metrics: Mapping[str, float]) -> None:
            step, total = int(metrics["step"]), config.training.num_steps
            stage.advance(
                step, total, f"step {step} of {total}, {metrics['loss']:.2f} bits a token"
            )

        def on_metrics(metrics: Mapping[str, float]) -> None:
            stage.say(f"fine-tuning for {run.task.metric}, step {int(metrics['step'])}")

        comparison = study(
            extension,
            texts,
            held_out,
            score=task_score(run, splits, on_metrics),
            fingerprint=splits.fingerprints["train"],
            storage=run.settings.storage,
            licences=splits.licences,
            training=config.training,
            gate=config.gate,
            fresh=run.fresh,
            on_step=on_step,
        )
        stage.say(
            "kept"
            if comparison.verdict.kept
            else "not kept: " + "; ".join(comparison.verdict.reasons)
        )
    return comparison


def task_score(
    run: Run, splits: Splits, on_metrics: Callable[[Mapping[str, float]], None]
) -> TaskScore:
    """The task's metric after fine-tuning on some training rows, on as many validation rows."""
    from spt_core.families.text.teaching import class_weights  # torch
    from spt_core.vocabulary.score import TaskScore

    config, training = run.config.vocabulary, run.config.training
    return TaskScore(
        task=run.task,
        train=scored(splits, "train", run.task.head, config.score_rows),
        held_out=scored(splits, "validation", run.task.head, config.score_rows),
        label=splits.label,
        classes=splits.classes,
        config=dataclasses.replace(training, num_epochs=config.score_epochs),
        class_weights=class_weights(run.task, splits, training),
        num_seeds=config.score_seeds,
        on_metrics=on_metrics,
    )


def drawn(splits: Splits, part: Part, limit: int) -> pa.Table:
    """Up to `limit` rows of a part, drawn at random, in their order."""
    chosen = np.random.default_rng(0).permutation(splits.num_rows[part])[:limit]
    return taken(splits, part, np.sort(chosen))


def scored(splits: Splits, part: Part, head: Head, limit: int) -> pa.Table:
    """Up to `limit` rows of a part for the task's metric, in their order."""
    from spt_core.vocabulary.score import drawn_rows  # torch

    labels = [v for table in tables(splits, part) for v in table[splits.label].to_pylist()]
    return taken(splits, part, drawn_rows(labels, head, limit))


def taken(splits: Splits, part: Part, chosen: NDArray[np.int64]) -> pa.Table:
    """The rows of a part with these numbers, which ascend."""
    chunks: list[pa.Table] = []
    row = 0
    for table in tables(splits, part):
        end = row + table.num_rows
        chunks.append(table.take(chosen[(chosen >= row) & (chosen < end)] - row))
        row = end
    return pa.concat_tables(chunks)


def tables(splits: Splits, part: Part) -> Iterator[pa.Table]:
    """A part, some thousand rows at a time."""
    for uri in splits.files(part):
        for raw in formats.batches(formats.Fragment(uri=uri), "parquet"):
            yield raw.table


def show(run: Run, comparison: Study) -> None:
    """The before-and-after table, for a person."""
    saved, bits = comparison.savings, comparison.bits
    rows = [
        ("tokens per word", *(f"{value:.3f}" for value in saved.tokens_per_word)),
        ("continuation pieces", *(f"{value:,}" for value in saved.continuations)),
        ("tokens saved by phrases", "", f"{saved.saved_by_phrases:.1%}"),
        ("bits per byte, both trained alike", f"{bits.before:.4f}", f"{bits.after:.4f}"),
        ("  difference, 95 % interval", "", f"{bits.low:+.4f} to {bits.high:+.4f}"),
        (
            f"{comparison.metric}, both fine-tuned alike",
            *(f"{value:.4f}" for value in comparison.score),
        ),
        ("size, MB", *(f"{size / 1e6:.1f}" for size in comparison.size_bytes)),
        ("characters a second", *(f"{speed:,.0f}" for speed in comparison.speed)),
    ]
    run.screen.table(
        f"{run.task.path}: vocabulary, on {len(comparison.extension.added):,} tokens added; "
        f"{saved.continuations_saved:.1%} of continuation pieces saved",
        ["held-out texts", "before", "after"],
        [list(row) for row in rows],
    )
    field, num_steps = "--set training.network.base", run.config.vocabulary.training.num_steps
    run.screen.say(f"  train with it: {field}={comparison.base.uri}")
    run.screen.say(
        f"  or with what {num_steps} steps on the training texts made of it (new rows first, then "
        f"all), whose {comparison.metric} was not measured: {field}={comparison.adapted_base.uri}"
    )


if __name__ == "__main__":
    call(main)
