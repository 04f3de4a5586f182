"""Transfer: `DomainTransferTrainer().transfer_between_domains(source_model=..., ...)`."""

from typing import TYPE_CHECKING, Any

from spt_core.transfer.config import TransferConfig, transfer_config

if TYPE_CHECKING:
    from spt_core.transfer.trainer import DomainTransferTrainer

__all__ = ["DomainTransferTrainer", "TransferConfig", "transfer_config"]


def __getattr__(name: str) -> Any:
    """What trains, imported on first use: a configuration needs neither torch nor ray."""
    if name == "DomainTransferTrainer":
        from spt_core.transfer.trainer import DomainTransferTrainer

        return DomainTransferTrainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
