"""An image model's files: one graph and its facts; a replica needs nothing else."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spt_core.artifacts import FACTS, GRAPH, ModelArtifact
from spt_core.errors import ParityError
from spt_core.families.graph import OPSET, Exported, Method, gap, graph
from spt_core.families.image.checkpoint import CheckpointImageRuntime, open_network
from spt_core.families.image.network import Convolution, ImageNetwork
from spt_core.families.image.reading import Square, features_of, levels_of, square_of
from spt_core.families.image.serving import (
    OUTPUTS,
    ImagePredictor,
    ImageRuntime,
    OnnxImageRuntime,
)
from spt_core.families.onnx import INPUT
from spt_core.heads import HEADS
from spt_core.heads.labels import sigmoid, softmax
from spt_core.images import png
from spt_core.task import Task, find

TOLERANCE = 1e-4  # sums of thousands of fp32 products, in another order once they are fused
SHARE_TOLERANCE = 1e-3  # on logits, which reach far beyond 1
BATCH_SIZES = (1, 3, 8)
NUM_PROBES = 6
_LIMITS = {"probability": TOLERANCE, "shares": SHARE_TOLERANCE, "distance": SHARE_TOLERANCE}


def export_image(artifact: ModelArtifact) -> Exported:
    """The network as one graph; ParityError when it disagrees with its checkpoint."""
    network, facts = open_network(artifact), json.loads(artifact.read(FACTS))
    square = square_of(artifact.config["network"], facts)
    content = _graph(network, square)
    checkpoint = CheckpointImageRuntime(network)
    parity = check_parity(checkpoint, OnnxImageRuntime(content), square, facts["head"])
    predictor = ImagePredictor(artifact.signature, checkpoint, facts=facts, square=square)
    return Exported(
        {GRAPH: content, FACTS: artifact.read(FACTS)},
        parity,
        probes_of(predictor, probe_records(find(artifact.task), square)),
    )


def check_parity(
    checkpoint: ImageRuntime, runtime: ImageRuntime, square: Square, head: str
) -> dict[str, Any]:
    """The largest differences seen; ParityError beyond TOLERANCE at any batch size.

    Distances are compared as shares of their size, which has no bound.
    """
    squashed = softmax if head == "single_label" else sigmoid
    worst = dict.fromkeys(_LIMITS, 0.0)
    for seed, size in enumerate(BATCH_SIZES, 1):
        features = trial(square, size, seed=seed)
        expected, expected_shares, expected_distance = checkpoint.explain(features)
        actual, shares, distance = runtime.explain(features)
        gaps = {
            "probability": gap(
                squashed(actual.astype(np.float64)), squashed(expected.astype(np.float64))
            ),
            "shares": gap(shares, expected_shares) / max(float(np.abs(expected_shares).max()), 1.0),
            "distance": gap(distance / expected_distance, np.ones_like(distance)),
        }
        for name, limit in _LIMITS.items():
            if not gaps[name] <= limit:
                raise ParityError(
                    f"an exported model must agree with its checkpoint within {limit:g}, however: "
                    f"{name} differs by {gaps[name]:.3g} of {size} images"
                )
            worst[name] = max(worst[name], gaps[name])
    return {
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "batch_sizes": list(BATCH_SIZES),
        "opset": OPSET,
    }


def trial(square: Square, num_images: int, *, seed: int) -> NDArray[np.float32]:
    """Random images: blurred noise on levels of their own [N, C, S, S]."""
    contents = [png(_noise(square, seed * 1000 + number)) for number in range(num_images)]
    return features_of(levels_of(contents, square))


def probe_records(task: Task, square: Square) -> list[dict[str, Any]]:
    """The task's example and random images."""
    assert task.subject is not None, "a task of images has one as its subject"
    name = task.subject.name
    images = [base64.b64encode(png(_noise(square, seed))).decode() for seed in range(NUM_PROBES)]
    return [dict(task.example), *({name: image} for image in images)]


def probes_of(predictor: ImagePredictor, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Records with the probabilities that a replica must reproduce."""
    outputs = HEADS[predictor.head].outputs
    scores = predictor.predict([predictor.read(record) for record in records])
    return {
        "records": records,
        "probabilities": [outputs(row.values).ravel().tolist() for row in scores],
    }


def _noise(square: Square, seed: int) -> NDArray[np.uint8]:
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(0, 255, (4, 4) if square.channels == 1 else (4, 4, 3))
    side = max(square.size_px // 2, 16)
    large = np.repeat(np.repeat(coarse, -(-side // 4), 0), -(-side // 4), 1)
    noise = draw.normal(0, 20, large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def _graph(network: ImageNetwork, square: Square) -> bytes:
    example = torch.from_numpy(trial(square, 2, seed=0))
    own = fused(network)
    explain: Any = own.explain  # nn.Module's attributes have no types
    shapes = {INPUT: {0: torch.export.Dim("images")}}
    return graph(Method(own, explain), [example], shapes, OUTPUTS)


def fused(network: ImageNetwork) -> ImageNetwork:
    """A copy whose convolutions hold what their normalisation did, as fewer operations."""
    own = copy.deepcopy(network).eval()
    for module in own.modules():
        if isinstance(module, Convolution):
            assert isinstance(module.norm, nn.BatchNorm2d), "it was not fused before"
            module.convolution = fuse_conv_bn_eval(module.convolution, module.norm)
            module.norm = nn.Identity()
    return own
