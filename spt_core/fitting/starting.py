"""A transferred network in the loop: its first weights, which layers change when, what holds them.

Start + network -> its weights; epoch -> the parameters that are trained in it
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from torch import Tensor, nn

from spt_core.artifacts import read_checked, write_bytes
from spt_core.fitting.plan import Start, TrainingRun

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
BEGIN, GIVEN = "begin.safetensors", "given.safetensors"


def write_start(
    folder: str,
    weights: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    *,
    first_epochs: Mapping[str, int],
    l2_sp: float,
) -> Start:
    """The Start of whole weights; `given` are masks of the entries that a source gave."""
    contents = {BEGIN: _saved(weights), GIVEN: _saved(given)}
    files = {name: write_bytes(f"{folder}/{name}", content) for name, content in contents.items()}
    return Start(folder=folder, files=files, first_epochs=first_epochs, l2_sp=l2_sp)


class Layers:
    """Which parameters of a network are trained, epoch by epoch; all of them without a start.

    Freezing is of what a source gave: entries of a parameter that it did not give are trained.
    """

    def __init__(self, model: nn.Module, run: TrainingRun, *, is_new: bool) -> None:
        self._start, self._epoch = run.start, -1
        self._parameters = dict(model.named_parameters())
        self._norms = [each for each in model.modules() if isinstance(each, NORMS)]
        self._masks: dict[str, Tensor] = {}
        self._held: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        self.undecayed: frozenset[str] = frozenset()
        if run.start is None:
            return
        begin = load_weights(read_checked(run.start.folder, BEGIN, run.start.files))
        given = load_weights(read_checked(run.start.folder, GIVEN, run.start.files))
        if is_new:
            model.load_state_dict(begin)
        first = run.start.first_epochs
        late = {name for name in given if first.get(name, 1) > 0}
        self._masks = {name: given[name] for name in sorted(late) if not given[name].all()}
        for name, parameter in self._parameters.items():
            parameter.requires_grad = name in first or name in self._masks
        for name in self._masks:
            self._parameters[name].register_hook(self._hook(name))
        if run.start.l2_sp:
            held = sorted(set(given) & set(first))
            self._held = [(self._parameters[n], begin[n], given[n]) for n in held]
        # What is held or frozen in parts would otherwise decay to zero.
        self.undecayed = frozenset(self._masks) | (frozenset(given) if run.start.l2_sp else set())

    @property
    def last_change(self) -> int:
        """The epoch from which on nothing more is unfrozen."""
        return 0 if self._start is None else max(self._start.first_epochs.values())

    def changes_in(self, epoch: int) -> bool:
        """Whether something is trained in an epoch that was frozen in the one before."""
        return self._start is not None and epoch > 0 and epoch in self._start.first_epochs.values()

    def set_epoch(self, epoch: int) -> bool:
        """Freeze and unfreeze as the epoch asks; whether that changed which are trained at all."""
        if self._start is None or epoch == self._epoch:
            return False
        before = self._trained(self._epoch) if self._epoch >= 0 else None
        now, self._epoch = self._trained(epoch), epoch
        for name, parameter in self._parameters.items():
            parameter.requires_grad = name in now
            if name not in now:
                parameter.grad = None  # else the optimizer would step
        return now != before

    def freed(self) -> list[nn.Parameter]:
        """The parameters of which parts were frozen until this epoch."""
        first = {} if self._start is None else self._start.first_epochs
        return [self._parameters[n] for n in self._masks if first.get(n) == self._epoch]

    def keep_still(self) -> None:
        """Let frozen batch normalisation keep its means too; called after `train()`."""
        if self._start is None:
            return
        for norm in self._norms:
            if not any(parameter.requires_grad for parameter in norm.parameters()):
                norm.eval()

    def distance(self) -> Tensor | None:
        """What L2-SP adds to a loss: alpha / 2 of the squared distance from what was given."""
        if not self._held or self._start is None:
            return None
        terms = [
            ((parameter - begin.to(parameter.device)).square() * mask.to(parameter.device)).sum()
            for parameter, begin, mask in self._held
        ]
        return self._start.l2_sp / 2 * torch.stack(terms).sum()

    def _trained(self, epoch: int) -> set[str]:
        assert self._start is not None
        first = self._start.first_epochs
        return {name for name, since in first.items() if since <= epoch} | self._masks.keys()

    def _hook(self, name: str) -> Callable[[Tensor], Tensor]:
        """What leaves the given entries of a parameter without a gradient while they are frozen."""
        assert self._start is not None
        first = self._start.first_epochs.get(name, math.inf)

        def masked(gradient: Tensor) -> Tensor:
            if self._epoch >= first:
                return gradient
            return gradient * (1.0 - self._masks[name].to(gradient))

        return masked


def _saved(tensors: Mapping[str, Tensor]) -> bytes:
    # Tensors of one memory are refused by safetensors: each is a copy of its own.
    return save_weights({name: tensor.clone().contiguous() for name, tensor in tensors.items()})
