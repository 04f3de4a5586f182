"""What one training worker does: epochs, evaluation, early stopping, checkpoints. No ray here.

shards + TrainingRun -> fit -> best.safetensors and a resumable state in each checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import Batch, Shard
from spt_core.fitting.starting import Layers
from spt_core.fitting.strategy import STRATEGIES, Strategy, has_bf16

BEST = "best.safetensors"
STATE = "state.pt"
BEST_EPOCH = "best_epoch"  # whose weights are kept: the last one, where nothing was held out
REPORT_S = 10.0  # apart at most, as somebody watches: a step of a large network takes seconds
Report = Callable[[Mapping[str, float], Path | None], None]


@dataclasses.dataclass(slots=True)
class _Position:
    """Where a run stands; saved in every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_loss: float = math.inf
    num_worse: int = 0
    best_epoch: int = 0


def fit(
    run: TrainingRun, train: Shard, validation: Shard | None, *, report: Report, resume: Path | None
) -> None:
    """Train to the end, from a checkpoint folder if there is one.

    `report(metrics, folder)` is called equally often by every worker. The checkpoint is what all of
    them hand over together; a folder must be copied before the call returns.
    """
    config = run.config
    set_seed(config.seed)
    is_bf16_gpu = config.use_gpu and has_bf16(config)
    accelerator = Accelerator(
        cpu=not config.use_gpu, mixed_precision="bf16" if is_bf16_gpu else "no"
    )
    model = run.learner.network(run, is_start=resume is None and run.start is None)
    _freeze(model, config.specialized_layers)
    layers = Layers(model, run, is_new=resume is None)
    optimizer = adamw(model, run, layers.undecayed)
    batches = math.ceil(train.num_rows / config.batch_size)
    steps_per_epoch = math.ceil(batches / config.gradient_accumulation_steps)
    schedule = cosine(optimizer, config, steps_per_epoch)
    position, best = _Position(), None
    if resume is not None:
        position, best = _restore(resume, model, schedule)
    layers.set_epoch(position.epoch)
    strategy = STRATEGIES[config.strategy](accelerator, model, optimizer, config, resume)
    session = _Session(
        run, accelerator, strategy, schedule, layers, position, report, best, num_batches=batches
    )
    if position.num_worse < _patience(config) or position.epoch <= layers.last_change:
        session.train(train, validation)
    session.finish()


class _Session:
    """The mutable state of one worker's run."""

    def __init__(
        self,
        run: TrainingRun,
        accelerator: Accelerator,
        strategy: Strategy,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        layers: Layers,
        position: _Position,
        report: Report,
        best: dict[str, Tensor] | None,
        num_batches: int,
    ) -> None:
        self._run, self._config = run, run.config
        self._accelerator, self._model = accelerator, strategy.model
        self._strategy, self._schedule, self._layers = strategy, schedule, layers
        self._at, self._report = position, report
        self._best = best
        self._num_batches = max(num_batches * run.config.num_epochs, 1)
        self._reported_s = time.monotonic()

    def train(self, train: Shard, validation: Shard | None) -> None:
        config, at = self._config, self._at
        while at.epoch < config.num_epochs:
            self._unfreeze()
            losses: list[Tensor] = []
            is_due = False
            batches = train.batches(
                size=config.batch_size, epoch=at.epoch, shuffle=True, start=at.batch
            )
            for batch, is_last in _with_last(batches):
                is_boundary = is_last or (at.batch + 1) % config.gradient_accumulation_steps == 0
                losses.append(self._step(batch, is_boundary=is_boundary))
                at.step += 1
                at.batch += 1
                silent_s = time.monotonic() - self._reported_s
                if at.step % config.logging_steps == 0 or silent_s > REPORT_S:
                    self._log(
                        {"train_loss": float(torch.stack(losses[-config.logging_steps :]).mean())}
                    )
                is_due |= config.evaluation_strategy == "steps" and at.step % config.eval_steps == 0
                if is_due and is_boundary:  # a checkpoint holds no gradients of half a group
                    self._evaluate(validation, save=config.save_strategy == "steps")
                    is_due = False
            at.epoch, at.batch = at.epoch + 1, 0
            mean_loss = float(torch.stack(losses).mean()) if losses else math.nan
            extra = {"train_loss": mean_loss}
            if config.evaluation_strategy == "epoch":
                self._evaluate(validation, save=config.save_strategy != "no", extra=extra)
            else:
                self._log(extra, save=config.save_strategy == "epoch")
            if at.num_worse >= _patience(config) and at.epoch > self._layers.last_change:
                break

    def finish(self) -> None:
        """Hand over the weights that the run ends with."""
        with self._checkpoint() as folder:
            at = self._at
            best_epoch = at.best_epoch or at.epoch
            self._report({"epoch": at.epoch, "final": 1.0, BEST_EPOCH: best_epoch}, folder)

    def _unfreeze(self) -> None:
        """Train what the epoch asks for; what is new has epochs of its own to become better in."""
        if self._layers.set_epoch(self._at.epoch):
            self._strategy.follow()
            self._model = self._strategy.model
        if self._at.batch == 0 and self._layers.changes_in(self._at.epoch):
            self._at.num_worse = 0
            self._strategy.forget(self._layers.freed())

    def _step(self, batch: Batch, *, is_boundary: bool) -> Tensor:
        self._model.train()
        self._layers.keep_still()
        # Dropout is a function of (seed, step), so that a resumed run equals an undisturbed one.
        torch.manual_seed(self._config.seed * 1_000_003 + self._at.step)
        placed = batch.to(self._accelerator.device)
        loss = self._run.learner.loss(self._model, placed, self._run)
        apart = self._layers.distance()
        loss = loss if apart is None else loss + apart
        self._strategy.step(loss, is_boundary=is_boundary)
        if is_boundary:
            self._schedule.step()
        return loss.detach()

    def _evaluate(
        self, validation: Shard | None, *, save: bool, extra: Mapping[str, float] | None = None
    ) -> None:
        if validation is None:
            self._log(extra or {}, save=save)
            return
        loss = self._validation_loss(validation)
        if loss < self._at.best_loss - 1e-6:
            self._at.best_loss, self._at.num_worse = loss, 0
            self._at.best_epoch = self._at.epoch + (1 if self._at.batch else 0)
            self._best = self._strategy.weights()
        else:
            self._at.num_worse += 1
        self._log({**(extra or {}), "validation_loss": loss}, save=save)

    @torch.no_grad()
    def _validation_loss(self, validation: Shard) -> float:
        """Mean loss over all workers' rows."""
        self._model.eval()
        device = self._accelerator.device
        total = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in validation.batches(size=self._run.scoring_rows, epoch=0, shuffle=False):
            placed = batch.to(device)
            loss = self._run.learner.stopping_loss(self._model, placed, self._run)
            seen = torch.stack([loss.double(), torch.ones_like(loss.double())])
            total += seen * placed.weights.sum()
        total = self._accelerator.reduce(total, "sum")
        return float(total[0] / total[1])

    def _log(self, metrics: Mapping[str, float], *, save: bool = False) -> None:
        self._reported_s = time.monotonic()
        counts = {
            "epoch": self._at.epoch,
            "step": self._at.step,
            "progress": self._at.step / self._num_batches,
        }
        if not save:
            self._report({**counts, **metrics}, None)
            return
        with self._checkpoint() as folder:
            self._report({**counts, **metrics}, folder)

    @contextlib.contextmanager
    def _checkpoint(self) -> Any:  # an iterator of Path | None
        weights = self._strategy.weights()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._strategy.save(folder)
            if self._accelerator.is_main_process:
                save_file(self._best or weights, folder / BEST)
                state = {
                    "model": weights,
                    "schedule": self._schedule.state_dict(),
                    "position": dataclasses.asdict(self._at),
                    "has_best": self._best is not None,
                }
                torch.save(state, folder / STATE)
            yield folder if any(folder.iterdir()) else None


def _restore(
    folder: Path,
    model: nn.Module,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[_Position, dict[str, Tensor] | None]:
    state = torch.load(folder / STATE, weights_only=True)
    model.load_state_dict(state["model"])
    schedule.load_state_dict(state["schedule"])
    best = load_file(folder / BEST) if state["has_best"] else None
    return _Position(**state["position"]), best


def _freeze(model: nn.Module, trained: list[str] | None) -> None:
    if trained is None:
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name.startswith(f"{layer}.") for layer in trained)


def adamw(
    model: nn.Module, run: TrainingRun, undecayed: frozenset[str] = frozenset()
) -> torch.optim.Optimizer:
    """AdamW, fused; matrices decay, and each parameter learns at its family's share of the rate.

    `undecayed` is held where it began.
    """
    config = run.config
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = run.learner.rate(name, run)
            decays = parameter.ndim > 1 and name not in undecayed
            groups.setdefault((rate, decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": config.learning_rate * rate,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (rate, decays), parameters in groups.items()
        ],
        lr=config.learning_rate,
        fused=True,
    )


def _with_last(batches: Iterator[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Each batch, and whether it is the last one."""
    held = next(batches, None)
    while held is not None:
        following = next(batches, None)
        yield held, following is None
        held = following


def cosine(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The rate's rise to its peak, and its fall to zero along a cosine, over all steps."""
    total = max(steps_per_epoch * config.num_epochs, 1)
    warmup = int(total * config.warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(total - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _patience(config: TrainingConfig) -> float:
    return math.inf if config.early_stopping_patience is None else config.early_stopping_patience
