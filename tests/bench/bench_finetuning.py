"""Fine-tuning throughput beside the Hugging Face Trainer: python -m tests.bench.bench_finetuning

SPT_DATA_HOME=... python -m tests.bench.bench_finetuning [--rounds 5] [--texts 1000] [--bf16]
    [--score [--epochs 2]] [--ray 5] [--threads 2]

The same sentences of terms of service, the same packaged MiniLM, batch size, learning rate and
number of epochs, nothing frozen, fp32 or (`--bf16`) both in bf16. Trainer pads each batch to its
longest text (its usual collator), and once more with texts grouped by length. Ours is the product's
loop on the product's batches; with a vocabulary trimmed to the tokens in use as a line of its own.
Rounds alternate in one process; what is timed is training alone. `--score` trains each once on all
texts of 32 documents and compares F1 on the other 8. `--ray 5` compares steps a second through Ray
Train with the bare loop, five times in turn. `--threads` is what torch computes with, in Ray's
worker too; one thread on two processors leaves the other to Ray's own processes. Writes
bench_results/finetuning.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.resources
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging as library

from cluster.lifecycle import ray_session
from cluster.settings import load_settings
from spt_core.data.catalog import open_dataset
from spt_core.families.text.bases import PACKAGED, find_base, trimmed_base
from spt_core.families.text.config import DEFAULT_BASE, TextConfig
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork, text_facts
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.rows import TokenShard
from spt_core.families.text.scores import score_texts
from spt_core.families.text.token_rows import TokenRow
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.ray_train import fit_network
from spt_core.signature import Field, Signature
from spt_core.task import find
from tests.bench import protocol

TASK = find("financial_services/regulatory_compliance")
MAX_TOKENS, BATCH, RATE = 128, 16, 5e-5
SIGNATURE = Signature(fields=(Field(name="text", kind="text"),))


class Texts(NamedTuple):
    """Sentences, whether each is unfair, and their documents."""

    texts: list[str]
    labels: np.ndarray
    documents: np.ndarray

    def take(self, rows: np.ndarray) -> Texts:
        """Some of them."""
        return Texts([self.texts[i] for i in rows], self.labels[rows], self.documents[rows])


class Start(NamedTuple):
    """What our loop starts from: facts of the network and the encoder of its texts."""

    facts: dict[str, Any]
    encoder: TextEncoder
    config: TextConfig


def corpus(storage: str) -> Texts:
    """All sentences of the terms of service."""
    with ray_session(load_settings(storage=storage)):
        opened = open_dataset(
            "compliance-unfair-tos", data_home=load_settings().data_home, storage=storage
        )
        table, _ = protocol.typed_rows(TASK, opened, storage)
    labels = np.array([value != "[]" for value in table[opened.label].to_pylist()])
    documents = np.array(table[opened.group].to_pylist())
    return Texts(table[TASK.text_field.name].to_pylist(), labels, documents)


def start(texts: Texts, storage: str, *, trim: bool) -> Start:
    """The packaged MiniLM, whole or with the tokens of these texts."""
    base = find_base(DEFAULT_BASE, storage)
    config = TextConfig(max_tokens=MAX_TOKENS, window_overlap=0, layer_decay=1.0, head_rate=1.0)
    if trim:
        encoder = TextEncoder(base.tokenizer, max_tokens=MAX_TOKENS, overlap=0)
        used = {t for e in encoder.encode(texts.texts) for w in e.windows for t in w.ids}
        base = trimmed_base(base, used, storage=storage)
    encoder = TextEncoder(base.tokenizer, max_tokens=MAX_TOKENS, overlap=0)
    facts = text_facts(
        config,
        encoder=base.config,
        base=base.uri,
        head="single_label",
        classes=("fair", "unfair"),
        pad=encoder.pad,
        special=(encoder.prefix, encoder.suffix),
    )
    return Start(facts, encoder, config)


def rows_of(begun: Start, texts: Texts) -> list[TokenRow]:
    """The texts as our loop takes them, cut at MAX_TOKENS like Trainer's."""
    found: list[TokenRow] = []
    for text, label in zip(begun.encoder.encode(texts.texts), texts.labels, strict=True):
        ids = text.windows[0].ids
        found.append(
            TokenRow(
                np.array(ids, np.int32),
                np.array([len(ids)], np.int32),
                np.eye(2, dtype=np.float32)[[int(label)]],
                np.ones(1, np.float32),
                np.empty((0, 5), np.int32),
                np.empty((1, 0), np.float32),
            )
        )
    return found


def run_of(begun: Start, num_rows: int, num_epochs: int, *, is_bf16: bool) -> TrainingRun:
    """One training of ours."""
    config = TrainingConfig(
        family="text",
        num_epochs=num_epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        evaluation_strategy="no",
        save_strategy="no",
        logging_steps=10,
        use_mixed_precision=is_bf16,
        network=begun.config,
    )
    return TrainingRun(
        learner=LEARNER,
        signature=SIGNATURE,
        role="teacher",
        config=config,
        facts=begun.facts,
        num_rows=num_rows,
        row_bytes=1000,
        scoring_rows=2 * BATCH,
        head="single_label",
    )


def ours(
    begun: Start, texts: Texts, num_epochs: int, *, is_bf16: bool
) -> tuple[float, Callable[[Texts], np.ndarray]]:
    """Seconds of training, and what answers then."""
    rows = rows_of(begun, texts)
    run = run_of(begun, len(rows), num_epochs, is_bf16=is_bf16)
    kept: dict[str, Any] = {}

    def report(metrics: Any, checkpoint: Path | None) -> None:
        if checkpoint is not None:
            kept.update(load_file(checkpoint / BEST))

    begin = time.perf_counter()
    fit(run, TokenShard(rows, pad=begun.encoder.pad, seed=0), None, report=report, resume=None)
    seconds = time.perf_counter() - begin
    network = TextNetwork(begun.config, begun.facts)
    network.load_state_dict(kept)

    def answer(held_out: Texts) -> np.ndarray:
        encoded = [e._replace(windows=e.windows[:1]) for e in begun.encoder.encode(held_out.texts)]
        return np.concatenate(score_texts(network, begun.encoder, encoded).logits).argmax(1)

    return seconds, answer


def trainer(
    texts: Texts, num_epochs: int, *, grouped: bool, is_bf16: bool
) -> tuple[float, Callable[[Texts], np.ndarray]]:
    """Seconds of Hugging Face's Trainer, and what answers then."""
    package, inside = PACKAGED[DEFAULT_BASE]
    folder = Path(str(importlib.resources.files(package))) / inside
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)

    def items(of: Texts) -> list[dict[str, Any]]:
        ids = tokenizer(of.texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return [
            {"input_ids": i, "attention_mask": [1] * len(i), "labels": int(label)}
            for i, label in zip(ids, of.labels, strict=True)
        ]

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            num_train_epochs=num_epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            learning_rate=RATE,
            weight_decay=0.01,
            warmup_steps=0.1,
            lr_scheduler_type="cosine",
            use_cpu=True,
            bf16=is_bf16,
            report_to=[],
            save_strategy="no",
            logging_steps=10_000,
            disable_tqdm=True,
            seed=0,
            train_sampling_strategy="group_by_length" if grouped else "random",
        )
        made = Trainer(
            model=model,
            args=arguments,
            train_dataset=items(texts),  # type: ignore[arg-type]  # a list of items does
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        begin = time.perf_counter()
        made.train()
        seconds = time.perf_counter() - begin

    def answer(held_out: Texts) -> np.ndarray:
        found = made.predict(items(held_out))  # type: ignore[arg-type]
        return np.asarray(found.predictions).argmax(1)

    return seconds, answer


def through_ray(
    begun: Start, texts: Texts, storage: str, *, is_bf16: bool, num_threads: int
) -> dict[str, float]:
    """Steps a second between the first and the last report, through Ray Train and bare."""
    import ray.data

    rows = rows_of(begun, texts)
    table = [
        {
            name: np.ravel(getattr(row, name)).tolist()
            for name in TokenRow._fields
            if name != "states"
        }
        for row in rows
    ]
    run = run_of(begun, len(rows), 2, is_bf16=is_bf16)
    run = dataclasses.replace(
        run, config=dataclasses.replace(run.config, output_dir=f"{storage}/models")
    )
    seen: dict[str, list[tuple[float, float]]] = {"ray": [], "bare": []}

    def note(name: str) -> Callable[[Any], None]:
        return lambda metrics: seen[name].append((time.perf_counter(), metrics.get("step", 0.0)))

    processors = {"CPU": float(num_threads)}  # a worker alone computes with as many threads
    with (
        ray_session(load_settings(storage=storage)),
        mock.patch("ray.cluster_resources", return_value=processors),
    ):
        fit_network(
            run, ray.data.from_items(table), None, name=f"bench-{time.time_ns()}",
            on_metrics=note("ray"),
        )  # fmt: skip
    bare = note("bare")
    fit(
        run,
        TokenShard(rows, pad=begun.encoder.pad, seed=0),
        None,
        report=lambda metrics, _folder: bare(metrics),
        resume=None,
    )
    rates: dict[str, float] = {}
    for name, points in seen.items():
        steps = [(at, step) for at, step in points if step]
        rates[name] = (steps[-1][1] - steps[0][1]) / (steps[-1][0] - steps[0][0])
    return {**rates, "ratio": rates["ray"] / rates["bare"]}


def main() -> None:
    """Alternate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--ray", type=int, default=0, help="how many times")
    parser.add_argument("--epochs", type=int, default=2, help="of --score")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    library.set_verbosity_error()
    library.disable_progress_bar()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as storage:
        everything = corpus(storage)
        draw = np.random.default_rng(0)
        some = everything.take(draw.permutation(len(everything.texts))[: asked.texts])
        plain, small = (start(everything, storage, trim=trim) for trim in (False, True))
        kinds: dict[str, Callable[[Texts, int], Any]] = {
            "trainer, dynamic padding": lambda t, n: trainer(
                t, n, grouped=False, is_bf16=asked.bf16
            ),
            "trainer, grouped by length": lambda t, n: trainer(
                t, n, grouped=True, is_bf16=asked.bf16
            ),
            "ours": lambda t, n: ours(plain, t, n, is_bf16=asked.bf16),
            "ours, trimmed vocabulary": lambda t, n: ours(small, t, n, is_bf16=asked.bf16),
        }
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(asked.rounds):
            for name, train in kinds.items():
                seconds[name].append(train(some, 1)[0])
                protocol.say(f"round {number + 1}, {name}: {seconds[name][-1]:.1f} s")
        result: dict[str, Any] = {"config": vars(asked), "seconds": seconds, "ratios": {}}
        for baseline in list(kinds)[:2]:
            for name in list(kinds)[2:]:
                ratios = np.array(seconds[baseline]) / np.array(seconds[name])
                if len(ratios):
                    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
                    result["ratios"][f"{name} / {baseline}"] = [low, middle, high]
        if asked.score:
            held = np.isin(
                everything.documents, draw.permutation(np.unique(everything.documents))[:8]
            )
            train_rows, test_rows = np.flatnonzero(~held), np.flatnonzero(held)
            test = everything.take(test_rows)
            result["score"] = {}
            for name, train in kinds.items():
                given = train(everything.take(train_rows), asked.epochs)[1](test)
                result["score"][name] = float(f1_score(test.labels, given))
                protocol.say(f"{name}: F1 {result['score'][name]:.3f}")
        result["ray"] = []
        for _ in range(asked.ray):
            result["ray"].append(
                through_ray(plain, some, storage, is_bf16=asked.bf16, num_threads=asked.threads)
            )
            protocol.say(f"Ray Train: {result['ray'][-1]}")
    Path("bench_results").mkdir(exist_ok=True)
    protocol.finish("finetuning", result)


if __name__ == "__main__":
    main()
