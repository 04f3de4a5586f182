"""What a worker does in place of loop.py where training is differentially private: DP-SGD.

one shard in memory + PrivateSteps -> as many steps as were accounted for -> the last weights

Each step draws every row by itself, clips each drawn row's gradient and adds noise to their sum
(Abadi et al., "Deep Learning with Differential Privacy", 2016). Nothing else of the training rows
leaves: no training loss is reported. Validation rows only show how training goes, and choose
nothing. A checkpoint holds the accountant's state beside the weights. What a killed run did after
its last one is lost and was seen by nobody: the steps that are repeated are counted once, with
noise of their own.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from opacus.accountants import RDPAccountant
from opacus.optimizers import DPOptimizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from spt_core.fitting.loop import BEST, BEST_EPOCH, REPORT_S, STATE, Report, adamw, cosine
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.privacy import PrivateSteps
from spt_core.fitting.randomness import drawn, gaussian
from spt_core.fitting.shards import Batch, Shard

_AT_ONCE = 1 << 24  # numbers of per-row gradients that are in memory


def fit_privately(
    run: TrainingRun, train: Shard, validation: Shard | None, *, report: Report, resume: Path | None
) -> None:
    """Train to the end, from a checkpoint folder if there is one; as `loop.fit`, by DP-SGD.

    The seed decides the first weights and dropout, neither of which the guarantee rests on.
    """
    assert run.private is not None, "a private run has steps that were accounted for"
    set_seed(run.config.seed)
    session = _Session(run, run.private, train, validation, report)
    if resume is not None:
        session.restore(resume)
    session.train()


class _Session:
    """The mutable state of the run."""

    def __init__(
        self,
        run: TrainingRun,
        private: PrivateSteps,
        train: Shard,
        validation: Shard | None,
        report: Report,
    ) -> None:
        self._run, self._private, self._report = run, private, report
        self._model: nn.Module = run.learner.network(run)
        self._parameters = dict(self._model.named_parameters())
        self._adamw = adamw(self._model, run)
        self._schedule = cosine(self._adamw, run.config, private.steps_per_epoch)
        self._optimizer = DPOptimizer(
            self._adamw,
            noise_multiplier=private.noise_multiplier,
            max_grad_norm=private.max_grad_norm,
            expected_batch_size=max(round(private.sampling_rate * train.num_rows), 1),
        )
        self._accountant = RDPAccountant()
        self._accountant.history = list(private.released)
        self._rows = next(iter(train.batches(size=train.num_rows, epoch=0, shuffle=False)))
        self._validation, self._step = validation, 0
        size = sum(parameter.numel() for parameter in self._parameters.values())
        self._at_once = max(_AT_ONCE // size, 1)
        # Of each of a batch's rows, the gradient by itself.
        self._gradients = vmap(grad(self._loss), in_dims=(None, 0, 0), randomness="different")

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(folder / STATE, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._adamw.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._accountant.history = [tuple(release) for release in state["history"]]
        self._step = state["step"]

    def train(self) -> None:
        """The steps that are left, and the last weights."""
        private, config, reported_s = self._private, self._run.config, time.monotonic()
        while self._step < private.steps:
            self._take_step()
            self._step += 1
            metrics: dict[str, float] = {
                "epoch": self._step // private.steps_per_epoch,
                "step": self._step,
                "progress": self._step / private.steps,
            }
            if self._step % private.steps_per_epoch:
                if time.monotonic() - reported_s > REPORT_S:
                    self._report(metrics, None)
                    reported_s = time.monotonic()
                continue
            metrics |= self._validated()
            if config.save_strategy == "no":
                self._report(metrics, None)
            else:
                with self._checkpoint() as folder:
                    self._report(metrics, folder)
        assert [*private.history] == self._accountant.history, "every step must be accounted for"
        final = {"epoch": config.num_epochs, "final": 1.0, BEST_EPOCH: config.num_epochs}
        with self._checkpoint() as folder:
            self._report(final, folder)

    def _take_step(self) -> None:
        self._model.train()
        # Dropout may be repeated; which rows are drawn, and the noise, may not.
        torch.manual_seed(self._run.config.seed * 1_000_003 + self._step)
        private, size = self._private, len(self._rows.targets)
        rows = torch.from_numpy(drawn(size, private.sampling_rate))
        parameters = {name: value.detach() for name, value in self._parameters.items()}
        for chosen in rows.split(self._at_once):  # one empty part where no row was drawn
            inputs, targets = self._rows.inputs[0][chosen], self._rows.targets[chosen]
            of_rows: Mapping[str, Tensor] = (
                self._gradients(parameters, inputs, targets)
                if len(chosen)
                else {name: value.new_zeros(0, *value.shape) for name, value in parameters.items()}
            )
            for name, parameter in self._parameters.items():
                # A gradient that is no number adds nothing: it would give its row away.
                finite = torch.nan_to_num(of_rows[name], nan=0.0, posinf=0.0, neginf=0.0)
                _put(parameter, "grad_sample", finite)
            self._optimizer.clip_and_accumulate()
        scale = private.noise_multiplier * private.max_grad_norm
        for parameter in self._parameters.values():
            summed: Tensor = getattr(parameter, "summed_grad")  # noqa: B009  # Opacus's own
            noise = torch.from_numpy(scale * gaussian(parameter.numel())).view_as(parameter)
            parameter.grad = (summed.double() + noise).to(parameter.dtype)
        self._optimizer.scale_grad()
        self._adamw.step()
        self._schedule.step()
        self._accountant.step(
            noise_multiplier=private.noise_multiplier, sample_rate=private.sampling_rate
        )
        self._optimizer.zero_grad()

    def _loss(self, parameters: Mapping[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        """The loss of one row, which nothing of any other row goes into."""

        def model(inputs: Tensor) -> Tensor:
            return functional_call(self._model, dict(parameters), (inputs,))

        batch = Batch((row[None],), target[None], torch.ones(1))
        return self._run.learner.loss(model, batch, self._run)

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        if self._validation is None:
            return {}
        self._model.eval()
        total = weight = 0.0
        for batch in self._validation.batches(size=self._run.scoring_rows, epoch=0, shuffle=False):
            num = float(batch.weights.sum())
            loss = self._run.learner.stopping_loss(self._model, batch, self._run)
            total, weight = total + num * float(loss), weight + num
        return {"validation_loss": total / weight}

    @contextlib.contextmanager
    def _checkpoint(self) -> Generator[Path]:
        weights = {k: v.detach().clone() for k, v in self._model.state_dict().items()}
        state: dict[str, Any] = {
            "model": weights,
            "optimizer": self._adamw.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": [list(release) for release in self._accountant.history],
            "step": self._step,
        }
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_file(weights, folder / BEST)
            torch.save(state, folder / STATE)
            yield folder


def _put(parameter: nn.Parameter, name: str, value: Tensor) -> None:
    """What Opacus keeps at parameters, which have no such attributes by their type."""
    setattr(parameter, name, value)
