"""A teacher of texts that begins with one of other texts: its encoder becomes the base.

source's encoder + the vocabulary that its base had -> Base -> the target's first weights

A teacher keeps only the tokens that its texts use. The target's texts use others: those begin with
the rows that the base of before has for them, all others with what the source's training made.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors.torch import load as load_weights
from torch import Tensor, nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, as_uri, has_manifest
from spt_core.data.splits import Splits
from spt_core.families.carrying import (
    EMBEDDING,
    ENCODER,
    HEAD,
    Begun,
    class_rows,
    put_rows,
    require_no_columns,
    whole,
)
from spt_core.families.text.bases import Base, embedding_name, load_base, store_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.serving import TOKENIZER
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun

_PREFIX = "encoder."
_LAYER = re.compile(r"encoder\.(?:.*\.)?layers?\.(\d+)\.")


class TextTransferring:
    """The Transferring of texts."""

    def layers(self, network: nn.Module) -> Mapping[str, Sequence[str]]:
        """Embeddings of tokens, the encoder's layers, and what is behind them."""
        names: dict[str, list[str]] = {}
        for name, _ in network.named_parameters():
            layer = _LAYER.match(name)
            is_below = name.startswith(_PREFIX) and "final_norm" not in name
            other = EMBEDDING if is_below else HEAD
            names.setdefault(f"{ENCODER}.{layer[1]}" if layer else other, []).append(name)
        return names

    def configured(
        self, source: ModelArtifact, config: TrainingConfig
    ) -> tuple[TrainingConfig, tuple[str, ...]]:
        """The source's encoder as the base."""
        base = transferred_base(source, as_uri(config.output_dir))
        network = dataclasses.replace(config.network, base=base.uri)
        return dataclasses.replace(config, network=network), ()

    def begun(
        self,
        source: ModelArtifact,
        run: TrainingRun,
        network: Any,
        splits: Splits,
        columns: Mapping[str, str | None],
    ) -> Begun:
        """The encoder as its base has it, and the head's rows of classes that both tell apart."""
        del splits
        require_no_columns(columns, "text")
        weights: dict[str, Tensor] = {k: v.clone() for k, v in network.state_dict().items()}
        given = {n: whole() for n, _ in network.named_parameters() if n.startswith(_PREFIX)}
        theirs, facts = load_weights(source.read(WEIGHTS)), json.loads(source.read(FACTS))
        fresh = ["tokens that the source's texts never use, which begin as in its base"]
        taken = ["the encoder"]
        names = _carry_head(weights, given, theirs, facts, run.facts)
        if names:
            taken.append(f"the head's rows of {', '.join(names)}")
        else:
            fresh.append("the head")
        return Begun(weights, given, tuple(taken), tuple(fresh))


def transferred_base(source: ModelArtifact, storage: str) -> Base:
    """The source's encoder with all tokens that its base had before it was trimmed."""
    facts, theirs = json.loads(source.read(FACTS)), load_weights(source.read(WEIGHTS))
    own = load_base(facts["base"])
    wider = [uri for uri in own.parents if has_manifest(uri)] if _is_trimmed(own) else []
    base = load_base(wider[0]) if wider else own
    weights = base.weights()
    encoder = {n.removeprefix(_PREFIX): v for n, v in theirs.items() if n.startswith(_PREFIX)}
    rows_of = embedding_name(weights)
    for name in weights.keys() & encoder.keys() - {rows_of}:
        weights[name] = encoder[name]
    mine = open_tokenizer(base.tokenizer).get_vocab()
    used = open_tokenizer(source.read(TOKENIZER)).get_vocab()
    shared = [(row, mine[token]) for token, row in used.items() if token in mine]
    rows = weights[rows_of].clone()
    put_rows({rows_of: rows}, {}, rows_of, encoder[rows_of], shared)
    return store_base(
        f"{base.name}-of-{source.task.replace('/', '-')}",
        base.config,
        base.tokenizer,
        {**weights, rows_of: rows},
        storage=storage,
        parents=(base.uri,),
        licences=tuple(sorted({*base.licences, *source.licences})),
    )


def _is_trimmed(base: Base) -> bool:
    return base.name.endswith("-trimmed")


def _carry_head(
    weights: dict[str, Tensor],
    given: dict[str, Tensor],
    theirs: Mapping[str, Tensor],
    own: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> list[str]:
    """Give the head what the source says of the same classes; their names."""
    head = facts["head"]
    rows = class_rows(own["classes"], facts["classes"])
    if own["head"] != head or not rows or head in ("ordinal", "span", "regression"):
        return []
    for name in ("classifier.query", "classifier.vote.weight", "classifier.vote.bias"):
        put_rows(weights, given, name, theirs[name], rows)
    for name, values in theirs.items():  # of pairs, what mentions are seen by
        is_shared = name.startswith(("classifier.joint.", "classifier.to_query."))
        if is_shared and weights[name].shape == values.shape:
            weights[name], given[name] = values, whole()
    return [facts["classes"][row] for _, row in rows]
