"""How a model of one task begins with that of another, checked before anything runs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from spt_core.errors import InputError
from spt_core.validation import validated

TransferStrategy = Literal["full", "head_only", "progressive_unfreezing", "l2_sp"]
STRATEGIES: tuple[TransferStrategy, ...] = get_args(TransferStrategy)
L2_SP = 0.01
_EPOCH = re.compile(r"epoch_([1-9]\d*)")
_PAIR = re.compile(r"(.+)(?<!\\):(.+)", re.DOTALL)  # at the last colon, but for a \:
_COLON = r"\:"
_NONE = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How a target's model is trained from a source's; the first three are the specification's.

    Attributes:
        strategy: "full" trains everything from the source's weights on; "head_only" leaves what
            the source gave as it is but for the head; "progressive_unfreezing" unfreezes layer by
            layer (Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018); "l2_sp"
            trains everything and holds what the source gave near where it was.
        freeze_layers: progressive unfreezing: layers that are frozen at the beginning, by their
            stable names (`embedding`, `encoder.0`, ..., `head`).
        unfreeze_schedule: progressive unfreezing: what is unfrozen at the beginning of an epoch,
            such as {"epoch_2": ["encoder.2"]}; epochs count from 1. Without `freeze_layers` all
            that it names is frozen until then; with neither all but the head is frozen, and
            unfrozen from the last layer on.
        l2_sp: strength of "l2_sp".
        columns: of tables, counterparts that differ from what would be matched: TARGET:SOURCE, or
            TARGET:none for a column that is to begin afresh; a colon of SOURCE is written as \\:.
        margin: the transferred model is kept if its mean loss on validation rows is at most by so
            much higher than that of one from scratch.
        shares: shares of the training rows to train a transferred model with too, once one is
            kept: the smallest that is still as good as one from scratch on all rows says how many
            labels were saved. They are tried from the largest on, until one is not as good; an
            empty list says nothing of it, and trains none.
    """

    strategy: TransferStrategy = "full"
    freeze_layers: tuple[str, ...] = ()
    unfreeze_schedule: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict[str, tuple[str, ...]]
    )
    l2_sp: float = L2_SP
    columns: tuple[str, ...] = ()
    margin: float = 0.0
    shares: tuple[float, ...] = (0.5, 0.25)

    def __post_init__(self) -> None:
        """Refuse what no strategy could honour, and what this one would ignore."""
        if self.strategy not in STRATEGIES:
            raise InputError(
                f"a transfer's strategy must be one of {', '.join(STRATEGIES)}, however: "
                f"{self.strategy!r}"
            )
        is_progressive = self.strategy == "progressive_unfreezing"
        if not is_progressive and (self.freeze_layers or self.unfreeze_schedule):
            raise InputError(
                "freeze_layers and unfreeze_schedule must go with the strategy "
                f"progressive_unfreezing, however: it is {self.strategy}"
            )
        if self.strategy != "l2_sp" and self.l2_sp != L2_SP:
            raise InputError(
                f"l2_sp must go with the strategy l2_sp, however: it is {self.strategy}"
            )
        if not (0 < self.l2_sp < math.inf and 0 <= self.margin < math.inf):
            raise InputError(
                "l2_sp must be above 0 and margin at least 0, both finite, however: "
                f"{self.l2_sp=}, {self.margin=}"
            )
        if not all(0 < share < 1 for share in self.shares):
            raise InputError(f"shares must be in (0, 1), however: {self.shares}")
        _ = self.epochs, self.matches

    @property
    def epochs(self) -> dict[int, tuple[str, ...]]:
        """What is unfrozen at the beginning of which epoch, counted from 1."""
        return {_epoch_of(key): tuple(names) for key, names in self.unfreeze_schedule.items()}

    @property
    def matches(self) -> dict[str, str | None]:
        """The counterparts that were given, by the target's column."""
        pairs = [_pair_of(text) for text in self.columns]
        targets = [target for target, _ in pairs]
        if len(set(targets)) < len(targets):
            raise InputError(
                "a transfer's columns must name each of the target's once, however: "
                f"{next(name for name in targets if targets.count(name) > 1)!r} is named twice"
            )
        return dict(pairs)

    def identity(self) -> dict[str, Any]:
        """What decides the transferred model; by what it is judged is left out."""
        content = dataclasses.asdict(self)
        del content["margin"], content["shares"]
        return content


def transfer_config(content: TransferConfig | Mapping[str, Any]) -> TransferConfig:
    """The TransferConfig that a mapping says, such as the specification's.

    Its `columns` may be a mapping too, from the target's columns to the source's or null.
    """
    if isinstance(content, TransferConfig):
        return content
    given: Any = content  # whose type a caller may not have kept to
    if not isinstance(given, Mapping):
        raise InputError(
            f"transfer_config must be a mapping such as {{'strategy': 'full'}}, however: {given!r}"
        )
    values = dict(content)
    columns = values.get("columns")
    if isinstance(columns, Mapping):
        values["columns"] = [
            f"{k}:{_NONE if v is None else str(v).replace(':', _COLON)}" for k, v in columns.items()
        ]
    return validated(TransferConfig, values, "transfer_config")


def _pair_of(text: str) -> tuple[str, str | None]:
    match = _PAIR.fullmatch(text)
    if match is None:
        raise InputError(
            f"a transfer's columns must be TARGET:SOURCE or TARGET:none, however: {text!r}"
        )
    target, source = match[1].replace(_COLON, ":"), match[2].replace(_COLON, ":")
    return target, None if source == _NONE else source


def _epoch_of(key: str) -> int:
    match = _EPOCH.fullmatch(key)
    if match is None:
        raise InputError(
            "unfreeze_schedule must have keys such as epoch_2, which count from 1, however: "
            f"{key!r}"
        )
    return int(match[1])
