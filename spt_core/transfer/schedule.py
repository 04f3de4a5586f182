"""Names of layers + a strategy -> the epoch from which on each parameter is trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from spt_core.errors import InputError, nearest
from spt_core.families.carrying import HEAD
from spt_core.transfer.config import TransferConfig

LayerNames = Mapping[str, Sequence[str]]  # of a layer: its parameters


class Schedule(NamedTuple):
    """Epochs, counted from 0, from which parameters are trained; `notes` say what was odd."""

    first_epochs: Mapping[str, int]
    notes: tuple[str, ...]


def scheduled(
    config: TransferConfig, layers: LayerNames, given: Collection[str], num_epochs: int
) -> Schedule:
    """When each parameter is trained, of which the source gave some.

    What the source did not give is trained from the first epoch on, whatever is frozen. InputError
    where a name is no layer, where an epoch would never come, and where nothing could be trained.
    """
    if config.strategy in ("full", "l2_sp"):
        return Schedule({name: 0 for names in layers.values() for name in names}, ())
    frozen, epochs = _frozen(config, layers, num_epochs)
    _check(config, layers, num_epochs)
    first = {name: 0 for layer, names in layers.items() if layer not in frozen for name in names}
    notes: list[str] = []
    for epoch, names in sorted(epochs.items()):
        for layer in names:
            if layer not in frozen:
                notes.append(f"epoch {epoch} unfreezes {layer}, which was never frozen")
            for name in layers[layer]:
                first.setdefault(name, epoch - 1)
    fresh = [n for names in layers.values() for n in names if n not in given and first.get(n) != 0]
    if fresh:
        first |= dict.fromkeys(fresh, 0)
        notes.append(
            f"{len(fresh)} parameters of frozen layers begin afresh and are trained at once"
        )
    kept = [layer for layer in frozen if not any(layer in names for names in epochs.values())]
    if kept and config.strategy == "progressive_unfreezing":
        notes.append(f"never unfrozen: {', '.join(kept)}")
    if 0 not in first.values():
        raise InputError(
            "each epoch must train something, however: in epoch 1 all layers are frozen "
            f"({', '.join(frozen)})"
        )
    return Schedule(first, tuple(notes))


def _frozen(
    config: TransferConfig, layers: LayerNames, num_epochs: int
) -> tuple[tuple[str, ...], Mapping[int, tuple[str, ...]]]:
    """The layers that are frozen at the beginning, and what is unfrozen in which epoch."""
    below = tuple(name for name in layers if name != HEAD)
    if config.strategy == "head_only":
        return below, {}
    if config.freeze_layers or config.unfreeze_schedule:
        scheduled_ones = [name for names in config.epochs.values() for name in names]
        return tuple(dict.fromkeys(config.freeze_layers or scheduled_ones)), config.epochs
    if num_epochs < 2:
        raise InputError(
            "progressive_unfreezing must have two epochs or more, however: num_epochs is "
            f"{num_epochs}"
        )
    epochs: dict[int, tuple[str, ...]] = {}
    for number, layer in enumerate(reversed(below)):
        epoch = 2 + min(number, number * (num_epochs - 1) // len(below))
        epochs[epoch] = (*epochs.get(epoch, ()), layer)
    return below, epochs


def _check(config: TransferConfig, layers: LayerNames, num_epochs: int) -> None:
    named = [*config.freeze_layers, *(n for names in config.epochs.values() for n in names)]
    for name in named:
        if name not in layers:
            raise InputError(
                f"a layer must be one of the model's ({', '.join(layers)}), however: {name!r} is "
                f"none; {nearest(name, layers)}"
            )
    last = max(config.epochs, default=0)
    if last > num_epochs:
        raise InputError(
            f"unfreeze_schedule must lie within num_epochs, however: epoch_{last} of {num_epochs}"
        )
