"""What a replica loads of an image's model: record -> levels -> ImageRuntime -> scores, places.

Each image is run by itself: its answer never depends on what it is asked together with. No torch
here: it would cost seconds and 300 MB that a replica never uses.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Cautions
from spt_core.artifacts import FACTS, GRAPH, ModelArtifact
from spt_core.errors import InputError, nearest
from spt_core.families.image.config import ImageConfig, ImageCopying
from spt_core.families.image.reading import Square, features_of, scaled, square_of
from spt_core.families.onnx import INPUT, open_session
from spt_core.heads import HEADS
from spt_core.heads.base import Floats, Prediction, Scores
from spt_core.heads.labels import sigmoid
from spt_core.images import Picture, Pixels, decoded, picture_of
from spt_core.judgement import AttentionMap, Reason
from spt_core.records import flatten
from spt_core.signature import Signature
from spt_core.task import Head

OUTPUTS = ("logits", "shares", "distance")
REACH = 0.99  # share of held-out images that are as near to training's as a distance of 1
FARTHEST = 1.0


class ImageRuntime(Protocol):
    """Runs images. Thread-safe, holds the weights."""

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Calibrated logits [B, K] of features [B, C, S, S], the shares of places, the distance.

        Shares are [B, K, h, w]; the distance [B] from training images is 1 where the farthest of
        held-out ones are.
        """
        ...


class OnnxImageRuntime:
    """One graph: calibrated logits, the places' shares of them, the distance. Thread-safe."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Logits, shares and distance, as ImageRuntime says."""
        logits, shares, distance = cast(list[Any], self._session.run(None, {INPUT: features}))
        return logits, shares, distance


Raw = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class EncodedImage(NamedTuple):
    """An image as the network takes it, with its size as it came; `value` is what was sent.

    `outputs` keeps what the model made of it: an answer and its cautions ask once.
    """

    levels: Pixels
    width_px: int
    height_px: int
    is_other_kind: bool
    value: Any
    outputs: list[Raw]


class ImageRows(Sequence[EncodedImage]):
    """Encoded images of a table, each decoded when it is asked for: memory would not hold all."""

    def __init__(self, contents: Sequence[bytes], encoded: Callable[[bytes], EncodedImage]) -> None:
        self._contents, self._encoded = contents, encoded

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._contents)

    @overload
    def __getitem__(self, index: int) -> EncodedImage: ...
    @overload
    def __getitem__(self, index: slice) -> ImageRows: ...
    def __getitem__(self, index: int | slice) -> EncodedImage | ImageRows:
        """A row, or some of them."""
        if isinstance(index, slice):
            return ImageRows(self._contents[index], self._encoded)
        return self._encoded(self._contents[index])


class ImagePredictor:
    """The Predictor of images; `facts` are the network's (see network.py)."""

    def __init__(
        self,
        signature: Signature,
        runtime: ImageRuntime,
        *,
        facts: Mapping[str, Any],
        square: Square,
    ) -> None:
        self.runtime, self.square = runtime, square
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self.head: Head = facts["head"]
        self._image = next(f.name for f in signature.fields if f.kind == "image")
        self._names = frozenset(f.name for f in signature.fields)

    def read(self, record: Any) -> EncodedImage:
        """A request's image: a record that holds it, or in Python the image itself."""
        if not isinstance(record, Mapping):
            return self._encoded(self._picture(record), record)
        flat = flatten(cast(Mapping[str, Any], record))
        if not self._names.issuperset(flat):
            extra = next(name for name in flat if name not in self._names)
            raise InputError(
                f"a record may hold only the model's fields, however: {extra!r} is none of them; "
                f"{nearest(extra, self._names)}"
            )
        if self._image not in flat:
            raise InputError(f"the field {self._image!r} is required, however: it is missing")
        value = flat[self._image]
        return self._encoded(self._picture(value), value)

    def encode(self, table: pa.Table) -> ImageRows:
        """The images of typed rows."""
        rule = f"the field {self._image!r} must"
        return ImageRows(
            table[self._image].to_pylist(),
            lambda content: self._encoded(
                decoded(content, rule, side_px=self.square.size_px), content
            ),
        )

    def predict(self, rows: Sequence[EncodedImage]) -> list[Scores]:
        """The scores of each image."""
        return [Scores(self._values(self._run(row)[0])) for row in rows]

    def explain(self, rows: Sequence[EncodedImage]) -> Iterator[Prediction]:
        """The same, one after the other, with the places that they rest on."""
        for row in rows:
            logits, shares, distance = self._run(row)
            yield Prediction(
                {self._image: _shown(row.value)},
                Scores(self._values(logits)),
                _Places(shares[0].astype(np.float64), row),
                self._outside(row, distance),
            )

    def cautions(self, rows: Sequence[EncodedImage]) -> Cautions:
        """The image, where one is unlike all of training's."""
        is_outside = any(self._outside(row, self._run(row)[2])() for row in rows)
        return Cautions(outside=(self._image,)) if is_outside else Cautions()

    def _picture(self, value: object) -> Picture:
        return picture_of(value, self._image, side_px=self.square.size_px)

    def _encoded(self, picture: Picture, value: Any) -> EncodedImage:
        square = self.square
        is_other = picture.depth_bits != square.depth_bits or (
            square.channels == 1 and not picture.is_gray
        )
        return EncodedImage(
            scaled(picture, square), picture.width_px, picture.height_px, is_other, value, []
        )

    def _run(self, row: EncodedImage) -> Raw:
        if not row.outputs:
            row.outputs.append(self.runtime.explain(features_of(row.levels[None])))
        return row.outputs[0]

    def _values(self, logits: NDArray[np.float32]) -> Floats:
        values = logits.astype(np.float64)
        return sigmoid(values) if self.head == "binary" else values

    def _outside(
        self, row: EncodedImage, distance: NDArray[np.float32]
    ) -> Callable[[], tuple[str, ...]]:
        """What says whether an image is like none of training's."""
        is_outside = row.is_other_kind or float(distance[0]) > FARTHEST
        return lambda: (self._image,) if is_outside else ()


class _Places:
    """The Reasons of an image: shares [K, h, w] of its places along a direction [K]."""

    def __init__(self, shares: Floats, row: EncodedImage) -> None:
        self._shares, self._size = shares, (row.width_px, row.height_px)

    def __call__(self, item: int, direction: Floats) -> tuple[Reason, ...]:
        """One map."""
        del item  # an image is one
        effects = np.tensordot(direction, self._shares, 1).tolist()
        return (AttentionMap(tuple(tuple(line) for line in effects), *self._size),)


class ImageServing:
    """What a replica, and whoever asks a model, needs of the family."""

    config = ImageConfig
    copying = ImageCopying

    def open(self, artifact: ModelArtifact, read: Callable[[str], bytes]) -> ImagePredictor:
        """The predictor of an export's files."""
        return _opened(artifact, read, OnnxImageRuntime(read(GRAPH)))

    def open_checkpoint(self, artifact: ModelArtifact) -> ImagePredictor:
        """The predictor of a checkpoint, teacher or student."""
        from spt_core.families.image.checkpoint import open_runtime  # torch

        return _opened(artifact, artifact.read, open_runtime(artifact))

    def probe_gap(self, predictor: ImagePredictor, probes: Mapping[str, Any]) -> float:
        """How far the files' answers here are from those where they were made."""
        gaps: list[float] = []
        outputs = HEADS[predictor.head].outputs
        for record, expected in zip(probes["records"], probes["probabilities"], strict=True):
            (scores,) = predictor.predict([predictor.read(record)])
            answer = outputs(scores.values).ravel()
            gaps.append(float(np.max(np.abs(answer - expected), initial=0.0)))
        return max(gaps)


def _opened(
    artifact: ModelArtifact, read: Callable[[str], bytes], runtime: ImageRuntime
) -> ImagePredictor:
    facts = json.loads(read(FACTS))
    square = square_of(artifact.config["network"], facts)
    return ImagePredictor(artifact.signature, runtime, facts=facts, square=square)


def _shown(value: Any) -> Any:
    """An image as a record shows it: in base64, or that there are pixels."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return f"an image given as {type(value).__name__}"
