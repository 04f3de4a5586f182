"""Masked-language-model training on raw text, of any size: Base + texts -> Base. No ray here.

The training loop is that of every network; a row of it is a step's windows. It is run twice: first
the head, which is fresh (sentence encoders have none), and new embeddings are trained, then
everything. A run that was killed goes on from its last checkpoint and ends as if it had not been;
it reads the texts before that step again, which costs little: it does not tokenize them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
from spt_core.families.text.learner import precision
from spt_core.families.text.reading import open_tokenizer
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.shards import Batch, Shard
from spt_core.signature import Signature
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.raw_text import MASKS, Windows, masked, steps, token_of, windows_of

HEAD = "head.safetensors"
_PROGRESS, _CHECKPOINTS = "progress.json", "checkpoints"
_WARMUP_RATIO = 0.05  # of each stage's steps: a fresh head's first gradients are large
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
    """An encoder and a head whose output embeddings are the input's; it begins with its base.

    InputError if these are not as wide as the hidden states (ELECTRA-small, ALBERT).
    """

    def __init__(self, base: Base, seed: int = 0, *, is_start: bool = True) -> None:
        super().__init__()
        config, weights = base.config, base.weights()
        self.embeddings_name, size = f"encoder.{embedding_name(weights)}", config["hidden_size"]
        width = weights[embedding_name(weights)].shape[1]
        if width != size:
            raise InputError(
                "an encoder that is trained on raw text must have token embeddings as wide as its "
                f"hidden states, however: {base.name} has {width} and {size}"
            )
        self.encoder = build_encoder(config)
        if is_start:
            self.encoder.load_state_dict(weights)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.head = _Head(size, len(self.embeddings))

    @property
    def embeddings(self) -> nn.Parameter:
        """The token embeddings [V, H]."""
        parameter = self.get_parameter(self.embeddings_name)
        assert isinstance(parameter, nn.Parameter)
        return parameter

    def forward(self, features: Tensor, attended: Tensor, places: Tensor) -> Tensor:
        """Logits [M, V] of ids [B, T] at `places` [M], positions of the flattened windows."""
        hidden = self.encoder(input_ids=features, attention_mask=attended.long()).last_hidden_state
        return self.head(hidden.flatten(0, 1)[places], self.embeddings)


class _Head(nn.Module):
    """BERT's: a layer, a norm, the embeddings once more, and a bias for each token."""

    def __init__(self, size: int, num_tokens: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.bias = nn.Parameter(torch.zeros(num_tokens))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        states = self.norm(functional.gelu(self.dense(states)))
        return functional.linear(states, embeddings, self.bias)


class MaskedLearner:
    """The Learner of raw text; a run's network configuration is its MaskedConfig."""

    def network(self, run: TrainingRun, *, is_start: bool = False) -> MaskedLanguageModel:
        """The network as its stage starts."""
        facts = run.facts
        model = MaskedLanguageModel(load_base(facts["base"]), run.config.seed, is_start=is_start)
        if is_start and facts["start"] is not None:
            model.load_state_dict(load_weights(read_bytes(facts["start"])))
        if facts["is_first"] and facts["num_new"]:
            num_old = len(model.embeddings) - facts["num_new"]
            # As a hook: before the gradient's norm is clipped, whatever the strategy.
            model.embeddings.register_hook(
                lambda gradient: torch.cat(
                    [torch.zeros_like(gradient[:num_old]), gradient[num_old:]]
                )
            )
        return model

    def rate(self, name: str, run: TrainingRun) -> float:
        """The head's rate, which new embeddings have in the first stage, as a multiple."""
        is_fast = run.facts["is_first"] or name.startswith("head.")
        return run.config.network.head_rate if is_fast else 1.0

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """Cross entropy in nats per masked token; 0 of a text without any word."""
        with precision(batch, run):
            logits = model(*batch.inputs)
        total = functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        return total / max(len(batch.targets), 1)

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The loss itself."""
        return self.loss(model, batch, run)

    def shard(self, read: Read, run: TrainingRun, num_rows: int | None) -> MaskedShard:
        """The run's steps of the texts that are read, always a stream."""
        assert num_rows is not None
        tokenizer = open_tokenizer(load_base(run.facts["base"]).tokenizer)
        return MaskedShard(read, tokenizer, run.config.network, run.facts["first_step"], num_rows)


class MaskedShard:
    """`num_rows` steps from `start` on; each is one row. Masks are of (seed, step)."""

    def __init__(
        self, read: Read, tokenizer: Tokenizer, config: MaskedConfig, start: int, num_rows: int
    ) -> None:
        self._read, self._tokenizer, self._config = read, tokenizer, config
        self._start, self.num_rows = start, num_rows

    def batches(
        self,
        *,
        size: int,  # noqa: ARG002 -- a batch is one row
        epoch: int,  # noqa: ARG002 -- there is one
        shuffle: bool,  # noqa: ARG002 -- texts are shuffled, of which steps are cut
        start: int = 0,
    ) -> Iterator[Batch]:
        """A step's windows each."""
        config = self._config
        parts = steps(
            self._read(),
            num_bytes=config.step_bytes,
            num_shuffled=config.shuffled_texts,
            seed=config.seed,
        )
        numbered = enumerate(parts)
        for number, part in itertools.islice(
            numbered, self._start + start, self._start + self.num_rows
        ):
            chance = np.random.default_rng((config.seed, number, 1))
            windows = windows_of(self._tokenizer, part, config.max_tokens)
            yield _batch(windows, *masked(windows, config.masked_share, chance))


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
    _check(base, config, num_new)
    licences = merge_licences([base.licences, licences])
    content = [base.uri, fingerprint, dataclasses.asdict(config), num_new, licences]
    uri = f"{as_uri(storage)}/masked_lm/{digest([*content, code_fingerprint()])}"
    if fresh:
        remove(uri)
    if has_manifest(uri):
        manifest = read_manifest(uri)
        return Adapted(
            uri=uri, base=load_base(manifest["base"]), losses=tuple(manifest["losses"]), reused=True
        )
    record = _Record.read(uri)
    stages = (0, config.first_steps), (config.first_steps, config.num_steps)
    for start, stop in stages[record.stage :]:
        if start < stop:
            run = _run(base, config, num_new, record.start, range(start, stop))
            shard = run.learner.shard(lambda: texts, run, stop - start)
            _fit(run, shard, record, on_step)
        record.end_stage()
    model = MaskedLanguageModel(base)
    model.load_state_dict(load_weights(read_bytes(record.start or "")))
    new_base = store_base(
        f"{base.name}+mlm",
        base.config,
        base.tokenizer,
        model.encoder.state_dict(),
        storage=storage,
        parents=(base.uri,),
        licences=licences,
    )
    head = {name: w for name, w in model.state_dict().items() if name.startswith("head.")}
    write_bytes(f"{uri}/{HEAD}", save_weights(head))
    write_manifest(uri, {"base": new_base.uri, "losses": record.losses})
    remove(f"{uri}/{_CHECKPOINTS}")
    return Adapted(uri=uri, base=new_base, losses=tuple(record.losses))


@dataclasses.dataclass(slots=True)
class _Record:
    """How far a run is: a file of its folder, written after what it names.

    `losses` are those up to this stage's `checkpoint`, the addresses of its files; `start` is that
    of the weights which the stage began with.
    """

    uri: str
    stage: int = 0
    losses: list[float] = dataclasses.field(default_factory=list[float])
    checkpoint: list[str] = dataclasses.field(default_factory=list[str])
    start: str | None = None

    @classmethod
    def read(cls, uri: str) -> _Record:
        """Of a run that may not have begun."""
        address = f"{uri}/{_PROGRESS}"
        return cls(uri, **json.loads(read_bytes(address))) if exists(address) else cls(uri)

    def keep(self, folder: Path, name: str) -> None:
        """Copy a checkpoint, name it, forget the one before."""
        previous, self.checkpoint = self.checkpoint, []
        for path in sorted(folder.iterdir()):
            self.checkpoint.append(f"{self.uri}/{_CHECKPOINTS}/{name}/{path.name}")
            write_bytes(self.checkpoint[-1], path.read_bytes())
        self._write()
        for address in set(previous) - set(self.checkpoint):
            remove(address)

    def end_stage(self) -> None:
        """The next one begins with the weights of this."""
        for address in self.checkpoint:
            if address.endswith(f"/{BEST}"):
                self.start = address
        self.stage, self.checkpoint = self.stage + 1, []
        self._write()

    def _write(self) -> None:
        content = {k: v for k, v in dataclasses.asdict(self).items() if k != "uri"}
        write_bytes(f"{self.uri}/{_PROGRESS}", json.dumps(content).encode())


def _fit(run: TrainingRun, shard: Shard, record: _Record, on_step: _Watch | None) -> None:
    """One stage, from its last checkpoint if there is one."""

    def report(metrics: Mapping[str, float], folder: Path | None) -> None:
        if folder is not None:
            record.keep(folder, f"{record.stage}-{metrics.get('step', 'end')}")
        elif metrics["epoch"] == 0:  # once the epoch is over, the mean of all is reported as well
            record.losses.append(round(metrics["train_loss"] / math.log(2), 4))
            if on_step is not None:
                on_step({"step": len(record.losses), "loss": record.losses[-1]})

    if not record.checkpoint:
        fit(run, shard, None, report=report, resume=None)
        return
    with tempfile.TemporaryDirectory() as folder:
        for address in record.checkpoint:
            (Path(folder) / address.rpartition("/")[2]).write_bytes(read_bytes(address))
        fit(run, shard, None, report=report, resume=Path(folder))


def _run(
    base: Base, config: MaskedConfig, num_new: int, start: str | None, numbers: range
) -> TrainingRun:
    """A stage's steps as the loop takes them: an epoch, a row each."""
    is_first, trained = numbers.start < config.first_steps, None
    if is_first:
        embeddings = MaskedLanguageModel(base).embeddings_name.rpartition(".")[0]
        trained = ["head", embeddings] if num_new else ["head"]
    return TrainingRun(
        learner=MaskedLearner(),
        signature=Signature(fields=()),
        role="teacher",
        config=TrainingConfig(
            family="text",
            num_epochs=1,
            batch_size=1,
            learning_rate=config.learning_rate,
            warmup_ratio=_WARMUP_RATIO,
            # Old embeddings have no gradients in the first stage, and must not decay either.
            weight_decay=0.0 if is_first else config.weight_decay,
            specialized_layers=trained,
            eval_steps=config.save_steps,
            save_strategy="steps",
            logging_steps=1,
            seed=config.seed,
            use_gpu=torch.cuda.is_available(),
            network=config,
        ),
        facts={
            "base": base.uri,
            "num_new": num_new,
            "start": start,
            "is_first": is_first,
            "first_step": numbers.start,
        },
        num_rows=len(numbers),
        row_bytes=config.step_bytes,
        scoring_rows=1,
    )


def _batch(windows: Windows, ids: NDArray[np.int64], places: NDArray[np.int64]) -> Batch:
    """Windows [B, T] with words masked at `places` [M]."""
    return Batch(
        (
            torch.from_numpy(ids),
            torch.from_numpy(windows.ids != windows.pad),
            torch.from_numpy(places),
        ),
        torch.from_numpy(windows.ids.ravel()[places]),
        torch.ones(1),
    )


def _check(base: Base, config: MaskedConfig, num_new: int) -> None:
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
    token_of(open_tokenizer(base.tokenizer), MASKS)
