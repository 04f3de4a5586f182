import numpy as np
import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.text.config import TextConfig
from spt_core.families.text.learner import LEARNER, LOSSES
from spt_core.families.text.network import num_logits_of, pooled, text_facts
from spt_core.families.text.reading import Mention, TextEncoder
from spt_core.families.text.scores import WindowedText, score_texts, score_windows
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Field, Signature
from tests.tiny_models import TEXTS, tiny_text_facts, tiny_text_network, tiny_tokenizer

HEADS = ["single_label", "multi_label", "ordinal", "pair", "span", "regression"]
CLASSES = ("none", "low", "high")
LONG = " ".join(TEXTS * 6)
each_head = pytest.mark.parametrize("head", HEADS)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def network_of(head, tokenizer, seed=0):
    negative = "none" if head == "pair" else None
    facts = tiny_text_facts(head, CLASSES, tokenizer, negative_class=negative)
    return tiny_text_network(facts, seed=seed)


def encoded(head, tokenizer, texts):
    encoder = TextEncoder(tokenizer, max_tokens=24, overlap=4)
    if head == "pair":
        return encoder, [encoder.encode_pairs(t, [Mention(0, 4), Mention(6, 12)]) for t in texts]
    return encoder, encoder.encode(texts)


@each_head
def test_a_text_scores_alone_as_among_others(head, tokenizer):
    network = network_of(head, tokenizer)
    encoder, texts = encoded(head, tokenizer, [*TEXTS, LONG])
    together = score_texts(network, encoder, texts).logits
    alone = [score_texts(network, encoder, [text]).logits[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.shape == other.shape
        assert one.shape[1] == num_logits_of(head, len(CLASSES))
        assert np.abs(one - other).max() < 1e-4


def pairs_of(text):
    """Pairs [P, 5] of some tokens of every window, the later windows first."""
    numbers = range(len(text.windows))[::-1]
    return np.array([(n, 1, end, 3, 4) for n in numbers for end in (1, 2)], np.int64)


@each_head
def test_passes_are_small_whatever_a_text_s_length(head, tokenizer, monkeypatch):
    network = network_of(head, tokenizer)
    encoder = TextEncoder(tokenizer, max_tokens=24, overlap=4)
    texts = encoder.encode([*TEXTS, LONG])
    rows = [WindowedText([w.ids for w in text.windows], pairs_of(text)) for text in texts]
    monkeypatch.setattr("spt_core.families.text.scores.PASS_WINDOWS", 3)
    monkeypatch.setattr("spt_core.families.text.scores.PASS_TOKENS", 50)
    shapes = []
    network.encoder.register_forward_pre_hook(
        lambda _, args, given: shapes.append(given["input_ids"].shape), with_kwargs=True
    )
    scores = score_windows(network, rows, encoder.pad)
    assert max(shape[0] for shape in shapes) <= 3
    assert max(shape.numel() for shape in shapes) <= 50
    for text, row, *found in zip(texts, rows, scores.logits, scores.states, strict=True):
        features, owner, _ = (torch.from_numpy(array) for array in encoder.batch([text]))
        with torch.no_grad():
            wanted = network(features, owner, torch.from_numpy(row.pairs), with_state=True)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


def test_many_pairs_are_looked_at_in_parts(tokenizer, monkeypatch):
    network = network_of("pair", tokenizer).train()
    encoder = TextEncoder(tokenizer, max_tokens=24, overlap=4)
    (text,) = encoder.encode([LONG])
    features, owner, _ = (torch.from_numpy(array) for array in encoder.batch([text]))
    pairs, seen = torch.from_numpy(pairs_of(text)), []
    network.classifier.register_forward_pre_hook(lambda _, args: seen.append(len(args[2])))

    def scored():
        network.zero_grad()
        logits = network(features, owner, pairs)
        logits.square().sum().backward()
        return [logits.detach(), *(p.grad.clone() for p in network.parameters())]

    whole = scored()
    monkeypatch.setattr("spt_core.families.text.network.PAIR_TOKENS", 5 * features.shape[1])
    parts = scored()
    assert seen[0] == len(pairs) > 5 == max(seen[1:])
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@each_head
def test_every_parameter_learns(head, tokenizer):
    network = network_of(head, tokenizer).train()
    encoder, texts = encoded(head, tokenizer, TEXTS)
    inputs = [torch.from_numpy(array) for array in encoder.batch(texts)]
    logits, states = network(*inputs, with_state=True)
    targets = torch.rand_like(logits).softmax(1)
    (LOSSES[head](logits, targets, torch.ones(len(logits))) + states.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("head", ["single_label", "multi_label", "regression"])
@torch.no_grad()
def test_the_tokens_shares_add_up_to_the_score(head, tokenizer):
    network = network_of(head, tokenizer)
    encoder, texts = encoded(head, tokenizer, TEXTS)
    features = torch.from_numpy(encoder.batch(texts).features)
    logits, shares, _ = network.explain(features)
    bias = network.classifier.vote.bias * network.scale + network.shift
    assert torch.allclose(shares.sum(1) + bias, logits, atol=1e-5)
    special = torch.isin(features, network.special)
    assert shares[special].abs().max() == 0.0


def test_windows_join_as_a_smooth_maximum():
    logits = torch.tensor([[0.0, 1.0], [4.0, 1.0], [2.0, 3.0]])
    found = pooled(logits, torch.tensor([0, 0, 1]))
    assert found[1].tolist() == [2.0, 3.0]
    assert 4.0 - np.log(2) < found[0, 0] < 4.0
    assert found[0, 1] == pytest.approx(1.0)


def test_the_layers_above_learn_faster():
    run = TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(Field(name="text", kind="text"),)),
        role="teacher",
        config=TrainingConfig(family="text", network=TextConfig(layer_decay=0.5, head_rate=8.0)),
        facts={"encoder": {"num_hidden_layers": 2}},
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
    )
    names = ("classifier.query", "encoder.encoder.layer.1.x", "encoder.encoder.layer.0.x")
    rates = [LEARNER.rate(name, run) for name in names]
    assert rates == [8.0, 1.0, 0.5]
    assert LEARNER.rate("encoder.embeddings.word_embeddings.weight", run) == 0.25


@pytest.mark.parametrize(
    "sizes", [{"max_tokens": 10, "window_overlap": 8}, {"dropout": 1.0}, {"student_layers": 0}]
)
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(InputError, match="however"):
        TextConfig(**sizes)


def test_a_window_longer_than_the_encoder_takes_is_refused(tokenizer):
    with pytest.raises(InputError, match="takes 64"):
        text_facts(
            TextConfig(max_tokens=128),
            encoder={"max_position_embeddings": 64},
            base="",
            head="single_label",
            classes=CLASSES,
            pad=0,
            special=(),
        )
