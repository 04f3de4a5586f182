"""Tiny text networks trained on Ray Train, whose data are made here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray.data
import torch

from spt_core.families.text.bases import store_base
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.ray_train import fit_network
from spt_core.signature import Field, Signature
from tests.tiny_models import TEXT_CONFIG, tiny_text_facts, tiny_tokenizer

CLASSES = tuple(f"class{number}" for number in range(40))
CONFIG = TrainingConfig(
    family="text",
    num_epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    evaluation_strategy="epoch",
    gradient_accumulation_steps=2,
    num_workers=2,
    use_mixed_precision=False,  # strategies are compared to the last digits of fp32
    network=dataclasses.replace(TEXT_CONFIG, dropout=0.1),
)
NUM_TEXTS = 88  # 44 a worker: 5.5 batches of 8, 2.75 steps of 2 batches
NUM_VALIDATION_TEXTS = 32


def tiny_run(folder: Path, config: TrainingConfig) -> TrainingRun:
    """A run of one layer, 32 wide, with 40 labels; its pretrained base is random."""
    facts = tiny_text_facts("multi_label", CLASSES, tiny_tokenizer())
    torch.manual_seed(0)
    start = TextNetwork(TEXT_CONFIG, facts).encoder.state_dict()
    base = store_base("tiny", facts["encoder"], tiny_tokenizer(), start, storage=str(folder))
    return TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(Field(name="text", kind="text"),)),
        role="teacher",
        config=config,
        facts={**facts, "base": base.uri},
        num_rows=NUM_TEXTS,
        row_bytes=1000,
        scoring_rows=2 * config.batch_size,
        head="multi_label",
    )


def tiny_rows(num_texts: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Texts of random tokens as a shard takes them; their labels are told by their tokens."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(num_texts):
        tokens = draw.integers(5, 60, draw.integers(4, 20))
        targets = np.isin(np.arange(5, 5 + len(CLASSES)), tokens).astype(np.float32)
        rows.append(
            {
                "ids": np.array([2, *tokens, 3], np.int32),
                "lengths": np.array([len(tokens) + 2], np.int32),
                "targets": targets,
                "weights": np.ones(1, np.float32),
                "pairs": np.empty(0, np.int32),
            }
        )
    return rows


def tiny_dataset(num_texts: int, seed: int) -> ray.data.Dataset:
    """The same for Ray."""
    return ray.data.from_arrow(pa.Table.from_pylist(tiny_rows(num_texts, seed)))


def train_tiny(
    folder: Path, config: TrainingConfig, name: str
) -> tuple[bytes, list[dict[str, float]]]:
    """The weights that a run ends with, and what its main worker reported."""
    config = dataclasses.replace(config, output_dir=str(folder))
    reports: list[dict[str, float]] = []
    fitted = fit_network(
        tiny_run(folder, config),
        tiny_dataset(NUM_TEXTS, 1),
        tiny_dataset(NUM_VALIDATION_TEXTS, 2),
        name=name,
        on_metrics=lambda metrics: reports.append(dict(metrics)),
    )
    return fitted.weights, reports
