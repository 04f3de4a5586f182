"""Text family: a Hugging Face encoder with a head that says which tokens its answer rests on.

features [W, T] (ids of windows) -> encoder -> hidden [W, T, H] -> head -> logits [N, K]

N counts texts, or pairs of mentions, or tokens; K classes. The score of a class is a sum over
tokens, so that a token's share of it is read off and needs no further pass.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from spt_core.errors import InputError
from spt_core.families.text.bases import build_encoder
from spt_core.families.text.config import TextConfig
from spt_core.families.text.wide import Wide
from spt_core.task import Head

MASKED = -1e9
PAIR_TOKENS = 131_072  # that pairs look at in one go; each looks at all tokens of its window


class LabelAttention(nn.Module):
    """Each class weighs the tokens in its own way and sums their votes.

    As the per-label attention of Mullenbach et al., "Explainable Prediction of Medical Codes from
    Clinical Text" (NAACL 2018). It starts as the plain mean over tokens.
    """

    def __init__(self, hidden_size: int, num_classes: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(num_classes, hidden_size))
        self.vote = nn.Linear(hidden_size, num_classes)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [W, K] and each token's share of them [W, T, K] of hidden [W, T, H]."""
        scores = functional.linear(hidden, self.query)
        scores = scores.masked_fill(~mask.unsqueeze(2), MASKED)
        votes = functional.linear(hidden, self.vote.weight)
        shares = scores.softmax(1) * votes
        return shares.sum(1) + self.vote.bias, shares


class PairAttention(nn.Module):
    """Label attention whose queries depend on the two mentions, plus their own vote.

    All pairs of a text share one pass of the encoder: instead of marking two mentions in the text,
    a pair reads the states of their tokens (Zhong and Chen, "A Frustratingly Easy Approach for
    Entity and Relation Extraction", NAACL 2021, section 4.3, for what that saves and costs).
    """

    def __init__(self, hidden_size: int, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.joint = nn.Linear(4 * hidden_size, width)
        self.to_query = nn.Linear(width, hidden_size)
        self.query = nn.Parameter(torch.zeros(num_classes, hidden_size))
        self.vote = nn.Linear(hidden_size, num_classes)
        self.pair_vote = nn.Linear(width, num_classes)
        self._dropout = dropout

    def forward(self, hidden: Tensor, mask: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [P, K] and token shares [P, T, K] of hidden [W, T, H] and pairs [P, 5]."""
        window = pairs[:, 0]
        votes = functional.linear(hidden, self.vote.weight)
        # The one [P, T, H], in the precision of products, as they would cast it again and again.
        states = hidden.to(votes.dtype).index_select(0, window)
        at = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)
        spans = torch.stack(
            [
                (at >= pairs[:, 1:2]) & (at <= pairs[:, 2:3]),
                (at >= pairs[:, 3:4]) & (at <= pairs[:, 4:5]),
                (at > pairs[:, 2:3]) & (at < pairs[:, 3:4]),
            ],
            1,
        )
        first, second, between = _means_of(states, spans).unbind(1)
        joint = torch.cat([first, second, first * second, between], 1)
        joint = functional.gelu(self.joint(joint))
        joint = functional.dropout(joint, self._dropout, self.training)
        scores = functional.linear(hidden, self.query).index_select(0, window)
        scores = scores + torch.bmm(states, self.to_query(joint).unsqueeze(2)) * (
            1.0 / math.sqrt(hidden.shape[2])
        )
        scores = scores.masked_fill(~mask.index_select(0, window).unsqueeze(2), MASKED)
        shares = scores.softmax(1) * votes.index_select(0, window)
        return shares.sum(1) + self.vote.bias + self.pair_vote(joint), shares


class TextNetwork(nn.Module):
    """An encoder and a head; teacher and student alike.

    The calibration is in the graph: `explain` gives logits * scale + shift, whose softmax (one
    class per item) or sigmoid (each class for itself) are probabilities. It is fitted on the logits
    of whole texts: those of windows are pooled as they were before `scale` multiplied them.
    """

    scale: Tensor
    shift: Tensor
    special: Tensor

    def __init__(self, config: TextConfig, facts: Mapping[str, Any]) -> None:
        super().__init__()
        encoder: dict[str, Any] = {
            **facts["encoder"],
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": 0.0,
            "mlp_dropout": config.dropout,
            "attention_dropout": 0.0,
        }
        self.head: Head = facts["head"]
        self.encoder = build_encoder(encoder)
        if config.gradient_checkpointing:
            self.encoder.gradient_checkpointing_enable()  # type: ignore[operator]  # of the library
        size, num_logits = encoder["hidden_size"], num_logits_of(self.head, len(facts["classes"]))
        if self.head == "pair":
            self.classifier: nn.Module = PairAttention(
                size, num_logits, config.pair_width, config.dropout
            )
        elif self.head == "span":
            self.classifier = nn.Linear(size, num_logits)
        elif self.head == "ordinal":
            self.classifier = LabelAttention(size, 1)
            self.cuts = nn.Parameter(torch.linspace(-1.0, 1.0, num_logits))
        else:
            self.classifier = LabelAttention(size, num_logits)
        num_buckets = facts.get("wide_buckets", 0)  # models of before it was there lack it
        self.wide = Wide(encoder["vocab_size"], num_buckets, num_logits) if num_buckets else None
        self._dropout = config.dropout
        self._pad: int = facts["pad"]
        self.register_buffer("special", torch.tensor(facts["special"]), persistent=False)
        self.register_buffer("scale", torch.ones(num_logits))
        self.register_buffer("shift", torch.zeros(num_logits))

    def forward(
        self, features: Tensor, owner: Tensor, pairs: Tensor, with_state: bool = False
    ) -> Any:  # a Tensor, or two
        """Uncalibrated logits [N, K]; `with_state` adds the mean token state of windows [W, H]."""
        hidden, mask = self.hidden(features)
        seen = functional.dropout(hidden, self._dropout, self.training)
        if self.head == "pair":
            logits = self._pair_logits(seen, mask, pairs)
        else:
            logits, _ = self._classify(features, seen, mask, None)
            logits = logits[mask] if self.head == "span" else pooled(logits, owner)
        return (logits, _means_of(hidden, mask.unsqueeze(1)).squeeze(1)) if with_state else logits

    def hidden(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states [W, T, H], and which tokens are of the text [W, T]."""
        attended = features != self._pad
        hidden = self.encoder(input_ids=features, attention_mask=attended.long()).last_hidden_state
        of_text = (features.unsqueeze(2) != self.special).all(2)
        return hidden, of_text

    def explain(
        self, features: Tensor, pairs: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Calibrated logits of windows [W, K] or pairs [P, K], the tokens' shares, the scale [K].

        Shares are [W, T, K] or [P, T, K]; for the span head the logits are [W, T, K] themselves.
        """
        hidden, mask = self.hidden(features)
        logits, shares = self._classify(features, hidden, mask, pairs)
        return logits * self.scale + self.shift, shares * self.scale, self.scale

    @torch.no_grad()
    def calibrate(self, scale: Tensor, shift: Tensor) -> None:
        """Put a calibration into the graph: `scale` and `shift` [K]."""
        self.scale.copy_(scale)
        self.shift.copy_(shift)

    def _pair_logits(self, hidden: Tensor, mask: Tensor, pairs: Tensor) -> Tensor:
        """Logits [P, K]; many pairs in parts, which the backward pass computes once more."""
        size = max(PAIR_TOKENS // hidden.shape[1], 1)
        if len(pairs) <= size:
            return self.classifier(hidden, mask, pairs)[0]
        parts = [
            checkpoint(self.classifier, hidden, mask, part, use_reentrant=False)
            for part in pairs.split(size)
        ]
        return torch.cat([logits for logits, _ in parts])

    def _classify(
        self, features: Tensor, hidden: Tensor, mask: Tensor, pairs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.head == "span":
            logits = self.classifier(hidden)
            return logits, logits
        if self.head == "pair":
            return self.classifier(hidden, mask, pairs)
        logits, shares = self.classifier(hidden, mask)
        if self.head == "ordinal":
            return logits - self.cuts, shares.expand(-1, -1, len(self.cuts))
        if self.wide is None or self.training:  # it is fitted afterwards
            return logits, shares
        wide_logits, wide_shares = self.wide(features, mask)
        return logits + wide_logits, shares + wide_shares


def text_facts(
    config: TextConfig,
    *,
    encoder: Mapping[str, Any],
    base: str,
    head: Head,
    classes: tuple[str, ...],
    pad: int,
    special: tuple[int, ...],
    unknown: int = 0,
    negative_class: str | None = None,
    lexicon: tuple[str, ...] = (),
    center: float = 0.0,
    spread: float = 1.0,
    wide_buckets: int = 0,
) -> dict[str, Any]:
    """What a text network needs to know; a JSON object.

    `lexicon` are the mentions of the training rows (pair head), `center` and `spread` the mean and
    standard deviation of the training labels (regression), `base` the URI of the Base whose weights
    training starts from, `wide_buckets` the pairs' table of the wide part, of which 0 is none.
    """
    if config.max_tokens > encoder.get("max_position_embeddings", config.max_tokens):
        raise InputError(
            f"a window must fit the encoder, however: {config.max_tokens=} and the base takes "
            f"{encoder['max_position_embeddings']}"
        )
    content = {
        "head": head,
        "classes": list(classes),
        "negative_class": negative_class,
        "encoder": dict(encoder),
        "base": base,
        "pad": pad,
        "special": sorted({pad, *special}),
        "unknown": unknown,
        "lexicon": list(lexicon),
        "center": center,
        "spread": spread,
        "wide_buckets": wide_buckets,
    }
    return json.loads(json.dumps(content))


def num_logits_of(head: Head, num_classes: int) -> int:
    """How many logits K a head of that many classes has; span classes have a B and an I each."""
    return {"ordinal": num_classes - 1, "span": 2 * num_classes + 1, "regression": 1}.get(
        head, num_classes
    )


def pooled(logits: Tensor, owner: Tensor) -> Tensor:
    """Logits [N, K] of texts from those of their windows [W, K]: a smooth maximum.

    log of the mean of exp, so that one window is itself and a strong window outweighs many weak.
    """
    num_texts = int(owner[-1]) + 1 if len(owner) else 0
    if num_texts == len(owner):
        return logits
    at = owner.unsqueeze(1).expand_as(logits)
    empty = torch.zeros(num_texts, logits.shape[1], dtype=logits.dtype, device=logits.device)
    top = empty.scatter_reduce(0, at, logits.detach(), "amax", include_self=False)
    total = empty.scatter_add(0, at, (logits - top[owner]).exp())
    counts = torch.bincount(owner, minlength=num_texts).unsqueeze(1)
    return top + (total / counts).log()


def _means_of(states: Tensor, spans: Tensor) -> Tensor:
    """Mean states [P, S, H] of the tokens in spans [P, S, T] of [P, T, H]; zeros for empty ones."""
    share = spans.to(states.dtype)
    return torch.bmm(share / share.sum(2, keepdim=True).clamp_min(1.0), states)
