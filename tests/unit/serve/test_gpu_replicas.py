"""Replicas that shall run on TensorRT: what they take of a machine, and say without it."""

import asyncio

import pytest

from cluster.settings import replica_runtime
from serve import app
from serve.model_server import ModelServer
from spt_core.errors import InputError
from spt_core.model import default_policy
from spt_core.task import RUNTIMES
from tests.tiny_models import DRUGS, FRAUD


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_replica_s_runtime_is_named_by_its_environment(name, monkeypatch):
    monkeypatch.delenv("SPT_RUNTIME", raising=False)
    assert replica_runtime() == "onnx"
    monkeypatch.setenv("SPT_RUNTIME", name)
    assert replica_runtime() == name


def test_an_unknown_runtime_is_refused(monkeypatch):
    monkeypatch.setenv("SPT_RUNTIME", "cuda")
    with pytest.raises(InputError, match="one of onnx, tensorrt, .* however: 'cuda'"):
        replica_runtime()


@pytest.mark.parametrize(
    ("task", "runtime", "num_gpus", "wanted"),
    [
        (DRUGS, "tensorrt", 8.0, 1.0),
        (DRUGS, "tensorrt_provider", 1.0, 1.0),
        (DRUGS, "tensorrt", 0.0, 0.0),
        (DRUGS, "onnx", 8.0, 0.0),
        (FRAUD, "tensorrt", 8.0, 0.0),
    ],
)
def test_a_replica_of_texts_takes_a_gpu_where_there_are_any(
    task, runtime, num_gpus, wanted, monkeypatch
):
    monkeypatch.setattr(app.ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": num_gpus})
    assert app.actor_options(task, runtime).get("num_gpus", 0.0) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("tensorrt", "TensorRT needs the package of tensorrt, however: it is not installed"),
        ("tensorrt_provider", "TensorRT needs the package of tensorrt"),
        ("cuda", "SPT_RUNTIME must be one of"),
    ],
)
def test_one_without_the_library_refuses_the_version_and_says_why(
    text_export, runtime, reason, monkeypatch
):
    config = {
        "ref": f"{DRUGS}/default@1",
        "exported": text_export.uri,
        "files": dict(text_export.files),
        "policy": default_policy(text_export).to_json(),
    }
    server = ModelServer(DRUGS)
    monkeypatch.setenv("SPT_RUNTIME", runtime)
    asyncio.run(server.reconfigure(config))
    assert server.current is None
    assert server.served()["asked"] == f"{DRUGS}/default@1"
    assert reason in server.served()["error"]
    monkeypatch.setenv("SPT_RUNTIME", "tensorrt_provider_or_cpu")
    asyncio.run(server.reconfigure(config))
    assert server.served()["error"] == ""
