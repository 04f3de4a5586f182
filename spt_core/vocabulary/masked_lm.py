"""Masked-language-model training on raw text, of any size: Base + texts -> Base. No ray here.

Order, masks and dropout are functions of (seed, step), so that a run that was killed goes on at its
step and ends as if it had not been. It reads the texts before that step again, which costs little
beside training: it does not tokenize them. The head is fresh: sentence encoders have none.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from spt_core.artifacts import (
    as_uri,
    code_fingerprint,
    digest,
    exists,
    has_manifest,
    merge_licences,
    read_bytes,
    read_manifest,
    remove,
    write_bytes,
    write_manifest,
)
from spt_core.errors import InputError
from spt_core.families.text.bases import Base, build_encoder, embedding_name, load_base, store_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.fitting.precision import bf16_on_cpu, is_bf16_cpu
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.raw_text import MASKS, Windows, masked, steps, token_of, windows_of

HEAD, STATE = "head.safetensors", "state.pt"
_Watch = Callable[[Mapping[str, float]], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """What training on raw text made: the encoder as a Base, and its head in the run's folder."""

    uri: str
    base: Base
    losses: tuple[float, ...]
    reused: bool = False

    def head(self) -> dict[str, Tensor]:
        """The weights of the head that was trained with the encoder."""
        return load_weights(read_bytes(f"{self.uri}/{HEAD}"))


class MaskedLanguageModel(nn.Module):
    """An encoder and a head whose output embeddings are the input's.

    InputError if these are not as wide as the hidden states (ELECTRA-small, ALBERT).
    """

    def __init__(self, base: Base, seed: int = 0) -> None:
        super().__init__()
        config, weights = base.config, base.weights()
        self._embeddings, size = embedding_name(weights), config["hidden_size"]
        width = weights[self._embeddings].shape[1]
        if width != size:
            raise InputError(
                "an encoder that is trained on raw text must have token embeddings as wide as its "
                f"hidden states, however: {base.name} has {width} and {size}"
            )
        self.encoder = build_encoder(config)
        self.encoder.load_state_dict(weights)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = nn.ModuleDict(
                {"dense": nn.Linear(size, size), "norm": nn.LayerNorm(size, eps=1e-6)}
            )
        self.bias = nn.Parameter(torch.zeros(len(self.embeddings)))

    @property
    def embeddings(self) -> nn.Parameter:
        """The token embeddings [V, H]."""
        parameter = self.encoder.get_parameter(self._embeddings)
        assert isinstance(parameter, nn.Parameter)
        return parameter

    def forward(self, features: Tensor, attended: Tensor, places: Tensor) -> Tensor:
        """Logits [M, V] of ids [B, T] at `places` [M], positions of the flattened windows."""
        hidden = self.encoder(input_ids=features, attention_mask=attended.long()).last_hidden_state
        states = hidden.flatten(0, 1)[places]
        states = self.head["norm"](functional.gelu(self.head["dense"](states)))
        return functional.linear(states, self.embeddings, self.bias)

    def head_weights(self) -> dict[str, Tensor]:
        """The weights that are not the encoder's."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("encoder.")}


def adapt(
    base: Base,
    texts: Iterable[str],
    *,
    fingerprint: str,
    storage: str,
    config: MaskedConfig | None = None,
    licences: Sequence[str] = (),
    num_new: int = 0,
    fresh: bool = False,
    on_step: _Watch | None = None,
) -> Adapted:
    """The base trained on raw text; the last `num_new` embeddings are new.

    `texts` can be iterated again and gives the same texts each time; `fingerprint` says which they
    are, and `licences` are theirs: the new base has them beside those of `base`. The same call of
    the same code goes on where a killed one stopped, and reuses what is finished.
    """
    config = config or MaskedConfig()
    tokenizer = _checked(base, config, num_new)
    licences = merge_licences([base.licences, licences])
    content = [base.uri, fingerprint, dataclasses.asdict(config), num_new, licences]
    run = f"{as_uri(storage)}/masked_lm/{digest([*content, code_fingerprint()])}"
    if fresh:
        remove(run)
    if has_manifest(run):
        manifest = read_manifest(run)
        return Adapted(
            uri=run, base=load_base(manifest["base"]), losses=tuple(manifest["losses"]), reused=True
        )
    session = _Session(base, config, num_new)
    if exists(f"{run}/{STATE}"):
        session.load(read_bytes(f"{run}/{STATE}"))
    parts = steps(
        texts, num_bytes=config.step_bytes, num_shuffled=config.shuffled_texts, seed=config.seed
    )
    for some in itertools.islice(parts, session.step, config.num_steps):
        loss = session.train(windows_of(tokenizer, some, config.max_tokens))
        if session.step % config.save_steps == 0 and session.step < config.num_steps:
            write_bytes(f"{run}/{STATE}", session.state())
        if on_step is not None:
            on_step({"step": session.step, "loss": loss})
    weights = {k: v.cpu() for k, v in session.model.encoder.state_dict().items()}
    new_base = store_base(
        f"{base.name}+mlm",
        base.config,
        base.tokenizer,
        weights,
        storage=storage,
        parents=(base.uri,),
        licences=licences,
    )
    head = {k: v.cpu().contiguous() for k, v in session.model.head_weights().items()}
    write_bytes(f"{run}/{HEAD}", save_weights(head))
    write_manifest(run, {"base": new_base.uri, "losses": session.losses})
    return Adapted(uri=run, base=new_base, losses=tuple(session.losses))


def _checked(base: Base, config: MaskedConfig, num_new: int) -> Tokenizer:
    facts = base.config
    longest = facts.get("max_position_embeddings", config.max_tokens)
    if config.max_tokens > longest:
        raise InputError(
            f"a window must fit the encoder, however: {config.max_tokens=} and the base takes "
            f"{longest}"
        )
    if not 0 <= num_new < facts["vocab_size"]:
        raise InputError(
            f"new embeddings must be fewer than all {facts['vocab_size']}, however: {num_new}"
        )
    tokenizer = open_tokenizer(base.tokenizer)
    token_of(tokenizer, MASKS)
    return tokenizer


class _Session:
    """The mutable state of one run."""

    def __init__(self, base: Base, config: MaskedConfig, num_new: int) -> None:
        self._config, self._num_new = config, num_new
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = MaskedLanguageModel(base, config.seed).to(self._device)
        self._optimizer = self._fresh_optimizer()
        self.step, self.losses = 0, list[float]()
        self._set_stage()

    def train(self, windows: Windows) -> float:
        """One step; its loss in bits per masked token."""
        config, step, device = self._config, self.step, self._device
        if step == config.first_steps:
            self._set_stage()
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * self._factor()
        ids, places = masked(
            windows, config.masked_share, np.random.default_rng((config.seed, step, 1))
        )
        if not len(places):  # a text without any word
            self.step += 1
            self.losses.append(0.0)
            return 0.0
        self.model.train()
        torch.manual_seed(config.seed * 1_000_003 + step)
        attended = torch.from_numpy(windows.ids != windows.pad).to(device)
        targets = torch.from_numpy(windows.ids.ravel()[places]).to(device)
        on_gpu = torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda")
        is_bf16 = device == "cpu" and is_bf16_cpu()
        with on_gpu, bf16_on_cpu(asked=is_bf16, num_tokens=ids.shape[1]):
            logits = self.model(
                torch.from_numpy(ids).to(device), attended, torch.from_numpy(places).to(device)
            )
        loss = functional.cross_entropy(logits.float(), targets)
        loss.backward()
        if step < config.first_steps and self.model.embeddings.grad is not None:
            self.model.embeddings.grad[: -self._num_new] = 0.0
        trained = [p for p in self.model.parameters() if p.requires_grad]
        nn.utils.clip_grad_norm_(trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self.losses.append(round(float(loss.detach()) / math.log(2), 4))
        return self.losses[-1]

    def state(self) -> bytes:
        """What `load` needs; private to the run's folder."""
        content = io.BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "step": self.step,
                "losses": json.dumps(self.losses),
            },
            content,
        )
        return content.getvalue()

    def load(self, content: bytes) -> None:
        """Go on from a state."""
        state = torch.load(io.BytesIO(content), weights_only=True, map_location=self._device)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], json.loads(state["losses"])
        self._set_stage()

    def _set_stage(self) -> None:
        """In the first steps the head and new embeddings are trained, then everything."""
        is_first = self.step < self._config.first_steps
        for parameter in self.model.encoder.parameters():
            parameter.requires_grad = not is_first
        self.model.embeddings.requires_grad = not is_first or self._num_new > 0
        rate = self._config.learning_rate * (self._config.head_rate if is_first else 1.0)
        self._optimizer.param_groups[1]["peak"] = rate

    def _factor(self) -> float:
        """Of the learning rate: it rises within each stage, and falls over the run."""
        config, step = self._config, self.step
        begin = config.first_steps if step >= config.first_steps else 0
        warmup = min(1.0, (step - begin + 1) / max(1, (config.num_steps - begin) // 20))
        return warmup * (1.0 - 0.9 * step / config.num_steps)

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        """AdamW in three groups: head, embeddings (no decay: most rows see no text), the rest."""
        config, embeddings = self._config, self.model.embeddings
        encoder = [p for p in self.model.encoder.parameters() if p is not embeddings]
        head = [*self.model.head.parameters(), self.model.bias]
        rate = config.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": head, "peak": rate * config.head_rate, "weight_decay": 0.0},
            {"params": [embeddings], "peak": rate, "weight_decay": 0.0},
            {
                "params": [p for p in encoder if p.ndim > 1],
                "peak": rate,
                "weight_decay": config.weight_decay,
            },
            {"params": [p for p in encoder if p.ndim <= 1], "peak": rate, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, fused=True)
