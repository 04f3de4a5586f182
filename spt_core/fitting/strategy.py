"""How several workers hold one model: each a whole copy of it, or shards of it (DeepSpeed's ZeRO).

model + optimizer -> the loss of each batch -> steps; whole weights, and the optimizer's state

The state of a sharded optimizer is private to its run: every worker writes its own shard into the
checkpoint, and only as many workers read them again. Weights are always whole.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from spt_core.errors import InputError
from spt_core.fitting.config import ParallelStrategy, TrainingConfig
from spt_core.fitting.precision import is_bf16_cpu
from spt_core.task import FAMILIES

MAX_NORM = 1.0
_OPTIMIZER = "optimizer.pt"
_SHARD = "optimizer-{rank}-of-{count}.pt"
_STAGES: Mapping[str, int] = {"zero1": 1, "zero2": 2, "zero3": 3}
_WHOLE_SIZE = 1000  # parameters of at most so many numbers are not worth sharding under ZeRO-3
_REBUILT = ("loss_scaler", "param_slice_mappings")  # objects that a fresh optimizer has as well


class Strategy(Protocol):
    """One worker's part of a model. Every worker calls every method equally often, in one order."""

    model: nn.Module

    def step(self, loss: Tensor, *, is_boundary: bool) -> None:
        """Add a batch's gradients; at the boundary clip them and step."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Copies of the whole weights on the main worker; nothing on the others."""
        ...

    def save(self, folder: Path) -> None:
        """Write this worker's part of the optimizer's state, if it has one."""
        ...

    def follow(self) -> None:
        """Take other parameters than before as the trained ones; `model` may be another object."""
        ...

    def forget(self, parameters: Sequence[nn.Parameter]) -> None:
        """Drop what the optimizer has gathered of parameters."""
        ...


class Replicated:
    """Each worker holds a whole copy, and gradients are averaged."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        resume: Path | None,
    ) -> None:
        if resume is not None:
            optimizer.load_state_dict(torch.load(resume / _OPTIMIZER, weights_only=True))
        self._accelerator = accelerator
        self._num_batches = config.gradient_accumulation_steps
        # A worker alone shares its gradients with nobody, and is spared DDP's copies of them: what
        # accelerate calls evaluation mode is the model without DDP.
        is_alone = accelerator.num_processes == 1
        self.model = accelerator.prepare_model(model, evaluation_mode=is_alone)
        self._optimizer = accelerator.prepare_optimizer(optimizer)

    def step(self, loss: Tensor, *, is_boundary: bool) -> None:
        """Backward through the batch's share of the step's loss."""
        self._accelerator.backward(loss / self._num_batches)
        if is_boundary:
            self._accelerator.clip_grad_norm_(self.model.parameters(), MAX_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()

    def weights(self) -> dict[str, Tensor]:
        """The copy of the main worker; all are the same."""
        if not self._accelerator.is_main_process:
            return {}
        model: Any = self._accelerator.unwrap_model(self.model)  # accelerate has no types
        return _copied(model.state_dict())

    def save(self, folder: Path) -> None:
        """All workers have the same state: the main one writes it."""
        if self._accelerator.is_main_process:
            torch.save(self._optimizer.state_dict(), folder / _OPTIMIZER)

    def follow(self) -> None:
        """DDP averages the gradients of what was trained when it was made: it is made anew."""
        if self._accelerator.num_processes > 1:
            plain: Any = self._accelerator.unwrap_model(self.model)  # accelerate has no types
            self.model = self._accelerator.prepare_model(plain)

    def forget(self, parameters: Sequence[nn.Parameter]) -> None:
        """They begin anew, as if the optimizer had never seen them."""
        state: Any = self._optimizer.state  # accelerate has no types
        for parameter in parameters:
            state.pop(parameter, None)


class Sharded:
    """DeepSpeed's ZeRO 1, 2 or 3. Clipping and the division of the loss are DeepSpeed's own."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        resume: Path | None,
    ) -> None:
        self._accelerator, self._stage = accelerator, _STAGES[config.strategy]
        rank, count = accelerator.process_index, accelerator.num_processes
        self._shard = _SHARD.format(rank=rank, count=count)
        if resume is not None:
            check_shards(resume, count)
        # Not through Accelerate's plugin: on CPUs each worker then takes itself for the only one.
        self._engine: Any = _deepspeed().initialize(
            model=model, optimizer=optimizer, config=deepspeed_config(config)
        )[0]
        self.model: nn.Module = self._engine
        if resume is not None:
            self._load(torch.load(resume / self._shard, weights_only=True))

    def step(self, loss: Tensor, *, is_boundary: bool) -> None:
        """DeepSpeed adds up, averages, clips and steps."""
        self._engine.set_gradient_accumulation_boundary(is_boundary)
        self._engine.backward(loss)
        if is_boundary:
            self._engine.step()

    def weights(self) -> dict[str, Tensor]:
        """Gathered from all workers."""
        with self._whole():
            if not self._accelerator.is_main_process:
                return {}
            return _copied(self._engine.module.state_dict())

    def save(self, folder: Path) -> None:
        """This worker's shard, as tensors and numbers: what is no more than code is left out."""
        with self._split():
            state = self._engine.optimizer.state_dict()
            content = {name: value for name, value in state.items() if name not in _REBUILT}
            content["zero_stage"] = int(content["zero_stage"])
            torch.save(content, folder / self._shard)

    def follow(self) -> None:
        """Refused before any worker starts: shards are of what is trained from the beginning."""
        raise NotImplementedError

    def forget(self, parameters: Sequence[nn.Parameter]) -> None:
        """As above."""
        raise NotImplementedError

    def _load(self, content: dict[str, Any]) -> None:
        optimizer, rank = self._engine.optimizer, self._accelerator.process_index
        states: list[dict[str, Any]] = [{} for _ in range(self._accelerator.num_processes)]
        states[rank] = {**content, "loss_scaler": optimizer.loss_scaler}
        with self._split():
            optimizer.load_state_dict(
                states, load_optimizer_states=True, load_from_fp32_weights=True
            )

    def _whole(self) -> contextlib.AbstractContextManager[Any]:
        """While it lasts, each worker has all weights."""
        if self._stage < 3:
            return contextlib.nullcontext()
        return _deepspeed().zero.GatheredParameters(list(self._engine.module.parameters()))

    @contextlib.contextmanager
    def _split(self) -> Generator[None]:
        """While it lasts, no worker has more than its shard, small parameters included."""
        if self._stage == 3:
            self._engine.optimizer.checkpoint_event_prologue()
        yield
        if self._stage == 3:
            self._engine.optimizer.checkpoint_event_epilogue()


STRATEGIES: Mapping[ParallelStrategy, type[Replicated] | type[Sharded]] = {
    "data_parallel": Replicated,
    "zero1": Sharded,
    "zero2": Sharded,
    "zero3": Sharded,
}


def check_shards(folder: Path, num_workers: int) -> None:
    """Refuse a checkpoint whose optimizer was sharded over another number of workers."""
    expected = {_SHARD.format(rank=rank, count=num_workers) for rank in range(num_workers)}
    present = {path.name for path in folder.glob(_SHARD.format(rank="*", count="*"))}
    if present != expected:
        raise InputError(
            f"a sharded run must resume on the workers it was saved by, however: {num_workers} "
            f"workers found {', '.join(sorted(present)) or 'no shard'}; start it with fresh=True, "
            "its weights load on any number of workers"
        )


def has_bf16(config: TrainingConfig) -> bool:
    """Whether this worker computes in bf16: on GPUs, and on CPUs that are fast in it.

    There only networks that gain by it do: a table's are too small.
    """
    if not config.use_mixed_precision:
        return False
    if config.use_gpu:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return FAMILIES[config.family].has_cpu_bf16 and is_bf16_cpu()


def deepspeed_config(config: TrainingConfig) -> dict[str, Any]:
    """DeepSpeed's configuration, a JSON object. Weights stay fp32; bf16 is for computing."""
    zero: dict[str, Any] = {
        "stage": _STAGES[config.strategy],
        "stage3_param_persistence_threshold": _WHOLE_SIZE,
    }
    if config.optimizer_offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": config.use_gpu}
    return {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "gradient_clipping": MAX_NORM,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # torch's AdamW, as without DeepSpeed
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": {"enabled": has_bf16(config), "dtype": "bfloat16"},
    }


def _deepspeed() -> Any:  # it has no types
    """The package, told to be quiet and to compile nothing."""
    import deepspeed  # optional, and slow to load

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`torch.distributed.*is deprecated", FutureWarning)
    # It would compile an operator of its own for sums on CPUs, for a minute and with a compiler on
    # each node, where gloo does as well. It looks up here whether it could.
    operators: Any = deepspeed.ops
    operators.__compatible_ops__ = {}
    return deepspeed


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
