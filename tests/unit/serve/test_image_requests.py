"""What one request, and one replica, may hold of images; a predictor without a network answers."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serve.model_server import MAX_DECODING, MAX_REQUEST_PIXELS, HotRoute, ModelServer, Served
from spt_core.answering import MAX_OVERLAY_PX, Answerer, Cautions
from spt_core.errors import InputError
from spt_core.heads.base import Prediction, Scores
from spt_core.images import MAX_PIXELS, Picture, decoded, num_pixels_of, picture_of, png
from spt_core.judgement import AttentionMap
from spt_core.policy import LabelPolicy
from spt_core.task import find
from tests.tiny_models import tiny_image
from tests.unit.serve.asgi import Response, ask

TASK = find("manufacturing/visual_inspection")
POLICY = LabelPolicy(thresholds={}, most_probable=True)
EFFECTS = ((3.0, -2.0), (0.0, 0.5))


class Scratched:
    """Says of every image that it is scratched, and notes how many it reads at once."""

    classes = ("patches", "scratches")

    def __init__(self) -> None:
        self.lock, self.num_now, self.most_at_once = threading.Lock(), 0, 0

    def read(self, record: Any) -> Picture:
        picture = picture_of(record["image"], "image")
        with self.lock:
            self.num_now += 1
            self.most_at_once = max(self.most_at_once, self.num_now)
        time.sleep(0.01)
        with self.lock:
            self.num_now -= 1
        return picture

    def explain(self, rows: Any) -> Iterator[Prediction]:
        scores = Scores(np.array([[0.0, 3.0]]))
        for picture in rows:
            attention = AttentionMap(EFFECTS, picture.width_px, picture.height_px)
            yield Prediction({}, scores, lambda *_, own=attention: (own,))

    def cautions(self, rows: Any) -> Cautions:
        del rows
        return Cautions()


def route(predictor: Scratched) -> HotRoute:
    server = ModelServer(TASK.path)
    answerer = Answerer(TASK, predictor, POLICY)  # pyright: ignore[reportArgumentType]
    server.current = Served("a@1", answerer, (b"x-model-version", b"a@1"), 0)
    return HotRoute(server)


def post(body: Any, kind: str = "application/json", query: str = "") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(ask(route(Scratched()), content, content_type=kind, query=query))


def record(image: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(image).decode()}


@pytest.fixture(scope="module")
def large() -> bytes:
    """The most pixels that an image may have, in a few kB."""
    return png(np.zeros((6000, 6500), np.uint8))


def test_the_images_of_a_request_have_so_many_pixels_together(large: bytes) -> None:
    assert num_pixels_of(large) == 39_000_000 <= MAX_PIXELS
    few, many = [record(large)] * 2, [record(large)] * 3
    assert post({"records": few}).status == 200
    refused = post({"records": many})
    assert refused.status == 413
    assert refused.content["detail"].startswith(
        f"the images of one request may have {MAX_REQUEST_PIXELS:,} pixels together, however: they "
        "have 117,000,000"
    )


def test_what_is_no_image_has_no_pixels_and_its_own_sentence_later() -> None:
    for value in ("%%", "film.png", "", None, 3, b"a text", [1]):
        assert num_pixels_of(value) == 0
    assert num_pixels_of(base64.b64encode(tiny_image(0)).decode()) == num_pixels_of(tiny_image(0))


@pytest.mark.parametrize("kind", ["", "application/json", "application/x-www-form-urlencoded"])
def test_an_image_that_is_sent_as_json_is_told_how_images_are_sent(kind: str) -> None:
    refused = post(tiny_image(0), kind)
    assert refused.status == 400
    assert "it is an image, which is sent as image/png, image/jpeg" in refused.content["detail"]


def test_few_requests_with_images_are_read_at_once() -> None:
    predictor = Scratched()
    hot = route(predictor)

    async def many() -> list[Response]:
        body = json.dumps(record(tiny_image(0))).encode()
        return await asyncio.gather(*(ask(hot, body) for _ in range(4 * MAX_DECODING)))

    assert {response.status for response in asyncio.run(many())} == {200}
    assert 1 < predictor.most_at_once <= MAX_DECODING


def test_an_overlay_is_drawn_where_it_is_asked_for() -> None:
    content = png(np.full((64, 64), 120, np.uint8))
    plain = post(record(content)).content
    assert "overlay" not in plain
    for response in (
        post(record(content), query="overlay=true"),
        post(content, "image/png", "a=b&overlay=true"),
    ):
        assert response.status == 200
        shown = response.content.pop("overlay")
        assert response.content == plain
        assert shown["of"] == "scratches"
        pixels = decoded(base64.b64decode(shown["png"]), "it must").pixels.astype(int)
        assert pixels.shape == (64, 64, 3)
        assert pixels[4, 4, 0] > pixels[4, 4, 2] + 40
        assert pixels[4, -4, 2] > pixels[4, -4, 0] + 10
    assert post(record(content), query="overlay=false").content == plain


def test_an_overlay_is_never_larger_than_a_screen() -> None:
    shown = post(png(np.zeros((1000, 3000), np.uint8)), "image/png", "overlay=true").content
    picture = decoded(base64.b64decode(shown["overlay"]["png"]), "it must")
    assert (picture.width_px, picture.height_px) == (MAX_OVERLAY_PX, round(MAX_OVERLAY_PX / 3))


@pytest.mark.parametrize(
    ("body", "query", "fact"),
    [
        ({"records": [record(tiny_image(0))]}, "overlay=true", "of one record, however: a list"),
        (record(tiny_image(0)), "overlay=1", "true or false, however: '1'"),
        (record(tiny_image(0)), "overlay", "true or false, however: ''"),
        (record(b"no image"), "overlay=true", "it is text"),
    ],
)
def test_an_overlay_that_cannot_be_drawn_is_refused(body: Any, query: str, fact: str) -> None:
    refused = post(body, query=query)
    assert refused.status == 422
    assert fact in refused.content["detail"]


def test_an_overlay_is_of_images_alone() -> None:
    fraud = find("financial_services/fraud_detection")
    answerer = Answerer(fraud, Scratched(), POLICY)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="drawn of images, however: .* is asked about records"):
        answerer.overlaid({"amount": 3})
