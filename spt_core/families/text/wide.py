"""The wide part of a text network: what tokens and pairs of neighbors say whatever is around them.

The linear half of Cheng et al., "Wide & Deep Learning for Recommender Systems" (DLRS 2016): it
remembers phrases that decide, of which a fine-tuned encoder forgets the rare ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FACTOR = 7919  # a prime, so that pairs spread over the table


class Wide(nn.Module):
    """A vote for each class by every token and by every pair of neighbors.

    Pairs share a table of `num_buckets` rows (Weinberger et al., "Feature Hashing for Large Scale
    Multitask Learning", ICML 2009). A window's votes are summed and divided by the square root of
    its number of tokens. All votes are zero until `fitted` ones are put in.
    """

    token: Tensor
    pair: Tensor
    bias: Tensor

    def __init__(self, num_tokens: int, num_buckets: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("token", torch.zeros(num_tokens, num_classes))
        self.register_buffer("pair", torch.zeros(num_buckets, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [W, K] and each token's share of them [W, T, K] of ids and mask [W, T].

        The vote of a pair is shared equally by its two tokens.
        """
        own = functional.embedding(ids, self.token) * mask.unsqueeze(2)
        are_both = mask[:, :-1] & mask[:, 1:]
        rows = buckets(ids[:, :-1], ids[:, 1:], len(self.pair))
        pairs = functional.embedding(rows, self.pair)
        half = pairs * are_both.unsqueeze(2) / 2
        shares = own + functional.pad(half, (0, 0, 0, 1)) + functional.pad(half, (0, 0, 1, 0))
        shares = shares / mask.sum(1).clamp_min(1).sqrt()[:, None, None]
        return shares.sum(1) + self.bias, shares

    @torch.no_grad()
    def put(self, votes: Tensor, bias: Tensor, share: float) -> None:
        """Votes of tokens, then of buckets [V + M, K], and the bias [K], times `share`."""
        self.token.copy_(votes[: len(self.token)] * share)
        self.pair.copy_(votes[len(self.token) :] * share)
        self.bias.copy_(bias * share)


def buckets(first: Any, second: Any, num_buckets: int) -> Any:
    """The table's row of each pair of ids, arrays or tensors of int64."""
    return (first * _FACTOR + second) % num_buckets
