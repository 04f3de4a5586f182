"""Embeddings of new tokens: from their pieces, then from the contexts that they stand in.

`from_pieces` gives a new token the mean of its pieces. `fit_to_contexts` then moves the new rows
alone, until the encoder says of texts in new tokens what it says of them in old ones: the hidden
states of each word are to be the same. As token distillation (Dobler, Elliott and de Melo, "Token
Distillation: Attention-aware Input Embeddings For New Tokens", 2025), on the last layer. It needs
no head and no labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spt_core.families.text.bases import Base, build_encoder, embedding_name
from spt_core.families.text.reading import open_tokenizer, padded
from spt_core.families.text.tokenizer_edits import Addition
from spt_core.vocabulary.alignment import Aligned, aligned, parts
from spt_core.vocabulary.mining import pieces_of
from spt_core.vocabulary.raw_text import PADS, token_of

_TEXTS_PER_TOKEN = 20
_MAX_TOKENS = 128
_BLOCK_PARTS = 20_000


def from_pieces(base: Base, content: bytes, additions: Sequence[Addition]) -> dict[str, Tensor]:
    """The base's weights with a row for each new token of the tokenizer: its pieces' mean."""
    weights = base.weights()
    name = embedding_name(weights)
    old, new = open_tokenizer(base.tokenizer), open_tokenizer(content)
    ids = old.get_vocab(with_added_tokens=True)
    pieces_by_token = {addition.token: addition.pieces for addition in additions}
    rows = weights[name][: len(ids)]
    new_tokens = sorted((number, t) for t, number in new.get_vocab().items() if number >= len(ids))

    def old_pieces(token: str) -> list[int]:
        if token in ids:
            return [ids[token]]
        pieces = pieces_by_token.get(token) or pieces_of(old, token)  # a phrase may be of new words
        return [number for piece in pieces for number in old_pieces(piece)]

    means = [rows[old_pieces(token)].float().mean(0) for _, token in new_tokens]
    weights[name] = torch.cat([rows, *(mean.to(rows.dtype).unsqueeze(0) for mean in means)])
    return weights


def fit_to_contexts(
    base: Base,
    content: bytes,
    weights: Mapping[str, Tensor],
    texts: Iterable[str],
    *,
    num_steps: int,
    rate: float = 2e-3,
    batch_size: int = 32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The weights with new rows that say in these texts what their pieces said."""
    chosen = _contexts(base, content, texts, seed)
    name = embedding_name(weights)
    num_old = open_tokenizer(base.tokenizer).get_vocab_size(with_added_tokens=True)
    if not chosen or num_steps == 0 or len(weights[name]) == num_old:
        return dict(weights)
    teacher = build_encoder(base.config).eval().requires_grad_(False)
    teacher.load_state_dict(base.weights())
    old = weights[name][:num_old].float()
    new = nn.Parameter(weights[name][num_old:].float().clone())
    optimizer = torch.optim.Adam([new], lr=rate)
    pad = token_of(open_tokenizer(base.tokenizer), PADS)
    tokenizers = open_tokenizer(base.tokenizer), open_tokenizer(content)
    room = _room(base)
    order = np.random.default_rng(seed)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / num_steps)
        drawn = [chosen[i] for i in order.integers(0, len(chosen), batch_size)]
        some = aligned(*tokenizers, drawn, max_tokens=room)
        with torch.no_grad():
            target = _states(teacher, old, [item.before for item in some], pad)
        output = _states(teacher, torch.cat([old, new]), [item.after for item in some], pad)
        loss = _distance(target, output, some)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    embeddings = torch.cat([old, new.detach()]).to(weights[name].dtype)
    return {**weights, name: embeddings}


def _contexts(base: Base, content: bytes, texts: Iterable[str], seed: int) -> list[str]:
    """Parts of the texts that hold new tokens, up to a number for each token.

    Read in blocks, each shuffled, until every token has its parts.
    """
    after = open_tokenizer(content)
    after.enable_truncation(_room(base))
    first_new = open_tokenizer(base.tokenizer).get_vocab_size(with_added_tokens=True)
    size = after.get_vocab_size(with_added_tokens=True)
    quotas = dict.fromkeys(range(first_new, size), _TEXTS_PER_TOKEN)
    every = (part for text in texts for part in parts(text) if part.strip())
    order = np.random.default_rng(seed)
    chosen: list[str] = []
    while quotas and (block := list(itertools.islice(every, _BLOCK_PARTS))):
        block = [block[i] for i in order.permutation(len(block))]
        for part, encoding in zip(block, after.encode_batch(block), strict=True):
            new = quotas.keys() & encoding.ids
            if new:
                chosen.append(part)
            for number in new:
                quotas[number] -= 1
                if not quotas[number]:
                    del quotas[number]
    return chosen


def _room(base: Base) -> int:
    return min(_MAX_TOKENS, base.config.get("max_position_embeddings", _MAX_TOKENS))


def _states(encoder: nn.Module, table: Tensor, ids: list[list[int]], pad: int) -> Tensor:
    features = torch.from_numpy(padded(ids, pad))
    return encoder(
        inputs_embeds=functional.embedding(features, table),
        attention_mask=(features != pad).long(),
    ).last_hidden_state


def _distance(target: Tensor, output: Tensor, some: Sequence[Aligned]) -> Tensor:
    """Mean squared difference of the units' states [U, H], in units of their variance."""
    before = _unit_means(target, [[unit.before for unit in item.units] for item in some])
    after = _unit_means(output, [[unit.after for unit in item.units] for item in some])
    return (before - after).square().mean() / before.var().clamp_min(1e-6)


def _unit_means(states: Tensor, spans: list[list[tuple[int, int]]]) -> Tensor:
    """The mean state [U, H] of each span of tokens of [B, T, H]."""
    flat = states.flatten(0, 1)
    width = states.shape[1]
    bounds = [(b * width + i, b * width + j) for b, row in enumerate(spans) for i, j in row]
    owner = torch.tensor([u for u, (i, j) in enumerate(bounds) for _ in range(i, j)])
    at = torch.tensor([place for i, j in bounds for place in range(i, j)])
    total = torch.zeros(len(bounds), states.shape[2]).index_add(0, owner, flat[at])
    return total / torch.bincount(owner, minlength=len(bounds)).unsqueeze(1)
