"""Phrases that are named as reasons carry the answer of a model that has learned something."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spt_core.answering import Answerer
from spt_core.families.text.checkpoint import CheckpointTextRuntime
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.serving import TextPredictor
from spt_core.fitting.losses import labelwise_cross_entropy
from spt_core.heads import HEADS
from spt_core.signature import Signature
from spt_core.task import find
from tests.deletion import deletion
from tests.tiny_models import (
    COMPLIANCE,
    tiny_text_facts,
    tiny_text_network,
    tiny_tokenizer,
)

CLASSES = ("a", "ch", "cr", "j", "law", "ltd", "pinc", "ter", "use")


@pytest.fixture(scope="module")
def learned():
    """A tiny model that has seen the bundled sample of risky clauses for a moment."""
    torch.set_num_threads(1)
    task = find(COMPLIANCE)
    sample = task.sample(1500, 0)
    texts, labels = sample["text"].to_pylist(), sample[task.label].to_pylist()
    tokenizer = tiny_tokenizer(texts, size=600)
    facts = tiny_text_facts("multi_label", CLASSES, tokenizer)
    network = tiny_text_network(facts)
    network.calibrate(torch.ones(9), torch.zeros(9))
    words = TextEncoder(tokenizer, max_tokens=40, overlap=4)
    targets = torch.tensor([[float(c in json.loads(v)) for c in CLASSES] for v in labels])
    encoded = words.encode(texts)
    rate = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for start in range(0, 3 * 1500, 50):
        at = np.arange(start, start + 50) % 1500
        batch = words.batch([encoded[i] for i in at])
        logits = network(*(torch.from_numpy(part) for part in batch))
        loss = labelwise_cross_entropy(logits, targets[at], torch.ones(50))
        rate.zero_grad()
        loss.backward()
        rate.step()
    predictor = TextPredictor(
        Signature(fields=task.fields),
        CheckpointTextRuntime(network.eval()),
        words=words,
        facts=facts,
    )
    return Answerer(task, predictor, HEADS[task.head].default_policy(task, CLASSES))


@pytest.mark.slow
def test_deleting_the_evidence_lowers_the_odds_more_than_deleting_other_words(learned):
    texts = learned.task.sample(300, 1)["text"].to_pylist()
    risky = [text for text in texts if learned.judge({"text": text}).scores[0].is_given]
    assert len(risky) > 50
    found = deletion(learned, risky[:30], num_draws=3)
    assert len(found.named) > 20
    assert found.ratio > 3
    assert (found.named > found.random).mean() > 0.8
