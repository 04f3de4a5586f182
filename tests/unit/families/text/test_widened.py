"""The share of the wide part is what calibration rows ask for."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load, save

from spt_core.families.text.learner import LEARNER
from spt_core.families.text.rows import Vocabulary
from spt_core.families.text.teaching import finish_text
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Signature
from tests.tiny_models import (
    TEXT_CONFIG,
    text_task,
    tiny_text_facts,
    tiny_text_network,
    tiny_tokenizer,
)

LABELS = ("loss", "fee")
WORDS = [*LABELS, "gain", "covered", "notice", "claim"]


def rows(seed, is_named):
    """Texts of four words; a label is named by its word, or by the want of it."""
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, 4)) for _ in range(200)]
    labels = [[name for name in LABELS if (name in text) is is_named] for text in texts]
    return pa.table({"text": texts, "label": [json.dumps(names) for names in labels]})


@pytest.mark.parametrize("is_used", [True, False])
def test_the_wide_part_is_used_where_calibration_rows_ask_for_it(is_used):
    held_out = rows(1, is_used)
    parts = {"train": rows(0, True), "calibration": held_out, "validation": held_out}
    splits = SimpleNamespace(table=lambda part, *_: parts[part], label="label")
    tokenizer = tiny_tokenizer(WORDS * 10)
    facts = tiny_text_facts("multi_label", LABELS, tokenizer, wide_buckets=61)
    task = text_task("multi_label")
    run = TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=task.fields),
        role="student",
        config=TrainingConfig(family="text", network=TEXT_CONFIG),
        facts=facts,
        num_rows=200,
        row_bytes=1000,
        scoring_rows=64,
        head=task.head,
    )
    weights = save(tiny_text_network(facts).state_dict())
    files, metrics = finish_text(run, task, splits, Vocabulary(tokenizer, 24, 4), weights)
    votes = load(files["network.safetensors"])["wide.token"]
    assert bool(votes.any()) is is_used
    assert (metrics["validation_micro_f1"] > 0.95) is is_used
