"""A served model of images: what it reads, its places, what it warns of; INT8 of its graph."""

from __future__ import annotations

import base64
import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from PIL import Image

from spt_core.answering import Cautions
from spt_core.artifacts import ExportedModel
from spt_core.compression import refitting
from spt_core.compression.mobile import mobile
from spt_core.compression.qdq import quantize_symmetric
from spt_core.compression.quantize import draft_int8
from spt_core.compression.static import static_graph
from spt_core.errors import InputError, ParityError
from spt_core.families.image.exporting import check_parity
from spt_core.families.image.quantizing import rescaled
from spt_core.families.image.reading import Square, features_of
from spt_core.families.image.serving import ImagePredictor, OnnxImageRuntime
from spt_core.families.serving import CONVOLUTIONS, SERVING
from spt_core.heads.labels import softmax
from spt_core.images import picture_of
from spt_core.judgement import Labels
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.signature import Field, Signature
from tests.tiny_models import tiny_image

pytestmark = pytest.mark.slow
SQUARE = Square(32, 1, 8)


@pytest.fixture
def predictor(image_export: ExportedModel) -> Any:
    return SERVING["image"].open(image_export.artifact, image_export.read)


def record(seed: int) -> dict[str, str]:
    return {"image": base64.b64encode(tiny_image(seed)).decode()}


def test_the_verb_takes_a_record_and_the_image_itself(image_export: ExportedModel) -> None:
    model = SpecializedModel(image_export)
    pixels = picture_of(tiny_image(1), "image").pixels
    answers = [
        model.judge(given)["judgement"]
        for given in (record(1), {"image": tiny_image(1)}, tiny_image(1), pixels)
    ]
    probabilities = [[score.probability for score in answer.scores] for answer in answers]
    assert all(other == probabilities[0] for other in probabilities)


def test_an_answer_says_where_in_pixels_of_the_image_that_was_sent(
    image_export: ExportedModel,
) -> None:
    answerer = open_answerer(image_export, default_policy(image_export))
    judgement = answerer.judge({"image": np.asarray(Image.new("L", (90, 60), 120))})
    assert isinstance(judgement, Labels)
    for score in judgement.scores:
        attention = score.attention
        assert attention is not None
        assert (attention.width_px, attention.height_px) == (90, 60)
        assert np.array(attention.effects).shape == (8, 8)
        for region in attention.regions():
            assert 0 <= region.left < region.right <= 90
            assert 0 <= region.top < region.bottom <= 60


def test_rows_of_a_table_are_scored_as_requests_are(predictor: Any) -> None:
    images = [tiny_image(seed) for seed in range(4)]
    rows = predictor.encode(pa.table({"image": pa.array(images, pa.large_binary())}))
    read = [predictor.read(record(seed)) for seed in range(4)]
    for one, other in zip(predictor.predict(rows), predictor.predict(read), strict=True):
        assert np.array_equal(one.values, other.values)
    (first, *_) = predictor.explain(rows)
    assert first.record == record(0)
    assert len(rows) == 4
    assert [row.value for row in rows[1:3]] == images[1:3]


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({}, "is required, however: it is missing"),
        ({"image": None}, "it is null"),
        ({"image": "no base64!"}, "base64"),
        ({"image": "YQ==", "text": "a"}, "'text' is none of them"),
        ({"picture": "YQ=="}, "there are: image"),
    ],
)
def test_a_bad_record_is_refused_in_a_sentence(predictor: Any, given: Any, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        predictor.read(given)


def test_an_image_unlike_training_s_is_answered_with_a_warning(predictor: Any) -> None:
    usual = predictor.read(record(0))
    assert predictor.cautions([usual]) == Cautions()
    (prediction,) = predictor.explain([usual])
    assert prediction.outside() == ()
    color = np.zeros((40, 40, 3), np.uint8)
    color[:, :, 0] = 200
    deep = np.full((40, 40), 30_000, np.uint16)
    for other in (color, deep):  # the model knows gray images of 8 bits
        row = predictor.read(other)
        assert predictor.cautions([usual, row]) == Cautions(outside=("image",))
        (prediction,) = predictor.explain([row])
        assert prediction.outside() == ("image",)


def test_a_distance_beyond_held_out_images_is_a_warning(predictor: Any) -> None:
    class Far:
        def explain(self, features: Any) -> Any:
            logits, shares, _ = predictor.runtime.explain(features)
            return logits, shares, np.array([1.01], np.float32)

    facts = {"classes": predictor.classes, "head": predictor.head}
    far = ImagePredictor(
        Signature(fields=(Field(name="image", kind="image"),)), Far(), facts=facts, square=SQUARE
    )
    assert far.cautions([far.read(record(0))]) == Cautions(outside=("image",))


def test_the_graph_is_asked_once_for_an_answer_and_its_cautions(
    predictor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    explain = predictor.runtime.explain

    def counted(features: Any) -> Any:
        calls.append(len(features))
        return explain(features)

    monkeypatch.setattr(predictor.runtime, "explain", counted)
    row = predictor.read(record(0))
    list(predictor.explain([row]))
    predictor.cautions([row])
    assert calls == [1]


def test_a_graph_that_answers_otherwise_is_refused(predictor: Any) -> None:
    class Off:
        def explain(self, features: Any) -> Any:
            logits, shares, distance = predictor.runtime.explain(features)
            return logits + np.array([0.01, 0.0, 0.0], np.float32), shares, distance

    check_parity(predictor.runtime, predictor.runtime, SQUARE, "single_label")
    with pytest.raises(ParityError, match="probability differs"):
        check_parity(predictor.runtime, Off(), SQUARE, "single_label")


def test_int8_reads_its_ranges_off_rows_and_answers_nearly_the_same(
    image_export: ExportedModel, predictor: Any
) -> None:
    graph, convolutions = image_export.read("model.onnx"), CONVOLUTIONS["image"]
    rows = [predictor.read(record(seed)) for seed in range(24)]
    small = static_graph(graph, convolutions.feeds(predictor, rows))
    assert b"QuantizeLinear" in small
    runtime = OnnxImageRuntime(small)
    for row in (predictor.read(record(seed)) for seed in range(40, 50)):
        features = features_of(row.levels[None])
        expected, _, _ = predictor.runtime.explain(features)
        actual, _, _ = runtime.explain(features)
        gap = np.abs(softmax(actual.astype(float)) - softmax(expected.astype(float))).max()
        assert gap < 0.1
    with pytest.raises(InputError, match="there are none"):
        static_graph(graph, [])


def test_the_reach_of_training_s_images_is_measured_again_for_int8(
    image_export: ExportedModel, predictor: Any
) -> None:
    graph, settled = image_export.read("model.onnx"), CONVOLUTIONS["image"].settled
    rows = [predictor.read(record(seed)) for seed in range(10)]
    assert settled(graph, rows) == graph  # none is beyond it
    rounded = rescaled(graph, 1e4)
    again = OnnxImageRuntime(settled(rounded, rows))
    features = [features_of(row.levels[None]) for row in rows]
    assert min(OnnxImageRuntime(rounded).explain(f)[2][0] for f in features) > 1.0
    assert max(again.explain(f)[2][0] for f in features) == pytest.approx(1.0, abs=1e-5)
    for one, other in zip(
        again.explain(features[0])[:2], predictor.runtime.explain(features[0])[:2], strict=True
    ):
        assert np.array_equal(one, other)


def test_a_draft_says_what_int8_takes_and_a_phone_gets_a_file(image_export: ExportedModel) -> None:
    draft = draft_int8(image_export)
    assert b"QuantizeLinear" in draft.read("model.onnx")
    on_phone = mobile(image_export)
    assert any(name.endswith(".ort") for name in on_phone.files)


def test_a_refitted_model_is_quantized_by_rows_as_its_twin_was(
    image_export: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pa.array([tiny_image(seed) for seed in range(24)], pa.large_binary())
    rows = SimpleNamespace(table=lambda part, limit: pa.table({"image": images}))
    monkeypatch.setattr(refitting, "load_splits", lambda uri: rows)
    monkeypatch.setattr(refitting, "has_manifest", lambda uri: False)
    quality = {"metric": "macro_f1", "int8": 0.9}
    twin = dataclasses.replace(image_export, parity={**image_export.parity, "quality": quality})
    small = refitting._in_int8(image_export, twin)
    assert small.parity["quality"] == quality
    nodes = onnx.load_model_from_string(small.read("model.onnx")).graph.node
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) > 2


def test_a_graph_for_tensorrt_is_refused_in_a_sentence(image_export: ExportedModel) -> None:
    rows = pa.table({"image": [tiny_image(0)] * 4, "label": ["safe"] * 4})
    with pytest.raises(InputError, match=r"GPUs serve \(text\), however: .*family 'image'"):
        quantize_symmetric(image_export, rows, "label", default_policy(image_export))


def test_a_replica_of_images_needs_no_torch() -> None:
    code = "import sys, spt_core.model; print({'torch', 'ray'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
