"""Engines on a real GPU: UNVERIFIED until one has run them (pytest -m gpu tests/gpu)."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from spt_core.artifacts import GRAPH, read_bytes
from spt_core.compression.qdq import qdq_graph
from spt_core.errors import InputError, NotFoundError
from spt_core.export.tensorrt import build_engine, engine_of, proven, refit
from spt_core.families.onnx import open_session
from spt_core.families.serving import ON_GPU, SERVING
from spt_core.families.tensorrt import (
    PLAN,
    PROVIDER,
    Engine,
    SessionRuntime,
    provider_session,
    this_device,
)
from spt_core.model import default_policy, open_answerer
from spt_core.task import find
from tests.kept_exports import kept_export
from tests.tiny_models import COMPLIANCE, DRUGS, tiny_text_artifact

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(autouse=True)
def _library():
    pytest.importorskip("tensorrt")


@pytest.fixture(params=[COMPLIANCE, DRUGS])
def one(request, tmp_path):
    return kept_export(tiny_text_artifact(find(request.param), tmp_path.as_uri()))


def probe_feeds(exported):
    predictor = SERVING["text"].open(exported.artifact, exported.read)
    rows = [predictor.read(record) for record in exported.probes["records"]]
    return list(ON_GPU["text"].feeds(predictor, rows))


def test_the_device_is_this_machine_s():
    assert this_device().gpu == torch.cuda.get_device_name(0)


def test_an_engine_answers_like_onnx_runtime_and_a_replica_runs_it(one):
    policy = default_policy(one)
    with pytest.raises(NotFoundError, match="needs an engine for its own GPU"):
        open_answerer(one, policy, runtime="tensorrt")
    engine = engine_of(one)
    assert engine_of(one) == engine
    on_gpu = open_answerer(one, policy, runtime="tensorrt")
    gap = SERVING["text"].probe_gap(on_gpu.predictor, one.probes)
    assert gap <= one.probes["tolerance"]


def test_threads_share_an_engine(one):
    engine = Engine(read_bytes(f"{engine_of(one).uri}/{PLAN}"))
    feeds = 8 * probe_feeds(one)
    alone = [engine.run(feed)["logits"] for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda feed: engine.run(feed)["logits"], feeds))
    assert all((first == second).all() for first, second in zip(alone, together, strict=True))


def test_a_shape_beyond_the_profile_is_refused(one):
    engine = Engine(read_bytes(f"{engine_of(one).uri}/{PLAN}"))
    (feed, *_) = probe_feeds(one)
    with pytest.raises(InputError, match="the shapes that it was built for"):
        engine.run({**feed, "features": np.repeat(feed["features"], 129, axis=0)})


def test_an_engine_takes_the_weights_of_another_model(tmp_path):
    first, second = (
        kept_export(tiny_text_artifact(find(COMPLIANCE), (tmp_path / str(s)).as_uri(), seed=s))
        for s in (0, 1)
    )
    plan = read_bytes(f"{engine_of(first).uri}/{PLAN}")
    proven(second, Engine(refit(plan, second.read(GRAPH))))
    assert engine_of(second, earlier=[first]).refitted_from == first.uri


def test_a_q_dq_graph_answers_nearly_as_in_onnx_runtime(one):
    feeds = probe_feeds(one)
    content = qdq_graph(one.read(GRAPH), feeds)
    engine = Engine(build_engine(content, ON_GPU["text"].shapes(one)))
    session = SessionRuntime(open_session(content))
    for feed in feeds:
        expected = session.run(feed)["logits"]
        size = max(1.0, np.abs(expected).max())
        assert np.abs(engine.run(feed)["logits"] - expected).max() <= 0.2 * size


def test_onnx_runtime_s_provider_takes_the_whole_graph(one, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if PROVIDER not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    session = provider_session(one.read(GRAPH), ON_GPU["text"].shapes(one), tmp_path / "cache")
    assert session.provider == PROVIDER
    proven(one, session)
