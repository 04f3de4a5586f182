"""Windows of readings over HTTP: each bad one gets one sentence, each odd one an answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from serve.model_server import HotRoute, ModelServer
from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, write_bytes, write_manifest
from spt_core.data.series import Cutting, cut, windows_of
from spt_core.families.series.facts import series_facts, with_seen
from spt_core.families.series.network import series_network
from spt_core.families.series.reading import filled
from spt_core.model import default_policy
from spt_core.signature import Signature
from spt_core.task import find
from tests.kept_exports import kept_export
from tests.tiny_models import SERIES_CONFIG
from tests.unit.serve.asgi import Response, ask

DEMAND = find("manufacturing/supply_chain")
EXAMPLE = dict(DEMAND.example)
MONTHS = [reading["month"] for reading in EXAMPLE["readings"]]


def artifact_of(folder: str) -> ModelArtifact:
    """A student of random weights of the sample's windows."""
    field = DEMAND.fields[0]
    assert field.shape is not None
    rows = cut(
        DEMAND.sample(2000, 0),
        Cutting(name=field.name, shape=field.shape, head="forecasts", label="demand"),
    )
    windows = filled(windows_of(rows[field.name].filter(rows[field.name].is_valid()), field.shape))
    facts = series_facts(field.shape, windows, head="forecasts", target="demand")
    torch.manual_seed(0)
    weights = series_network(SERIES_CONFIG, "student", facts).state_dict()
    contents = {WEIGHTS: save(weights), FACTS: json.dumps(facts).encode()}
    uri = f"{folder}/demand"
    artifact = ModelArtifact(
        uri=uri,
        task=DEMAND.path,
        model_name="default",
        family="series",
        role="student",
        signature=with_seen(Signature(fields=DEMAND.fields), field.name, windows),
        files={name: write_bytes(f"{uri}/{name}", data) for name, data in contents.items()},
        config={
            "network": json.loads(json.dumps(dataclasses.asdict(SERIES_CONFIG))),
            "compliance_requirements": None,
        },
        metrics={},
        seed=0,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
    )
    write_manifest(uri, artifact.to_json())
    return artifact


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ModelServer:
    student = kept_export(artifact_of(str(tmp_path_factory.mktemp("demand"))))
    server = ModelServer(DEMAND.path)
    config = {
        "ref": f"{DEMAND.path}/default@1",
        "exported": student.uri,
        "files": dict(student.files),
        "policy": default_policy(student).to_json(),
    }
    asyncio.run(server.reconfigure(config))
    assert server.served()["error"] == ""
    return server


def post(server: ModelServer, record: Any) -> Response:
    return asyncio.run(ask(HotRoute(server), json.dumps(record).encode()))


def readings(**changes: Any) -> list[dict[str, Any]]:
    rows = [dict(reading) for reading in EXAMPLE["readings"]]
    for name, value in changes.items():
        rows[3][name] = value
    return rows


def asked(given: Any = None, **more: Any) -> dict[str, Any]:
    return {**EXAMPLE, "readings": readings() if given is None else given, **more}


def test_the_example_is_answered_in_the_task_s_words(server: ModelServer) -> None:
    response = post(server, EXAMPLE)
    assert response.status == 200
    assert list(response.content) == list(DEMAND.answer)
    assert "x-input-cautions" not in response.headers
    assert {driver["driver"] for driver in response.content["drivers"]} >= {"demand", "promotion"}
    assert len(response.content["quantiles"]) == len(EXAMPLE["known_in_advance"]["promotion"])


def without(name: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != name} for row in readings()]


BAD = {
    "too short": (asked(readings()[4:]), "must have 12 readings, however: 'readings' has 8"),
    "time going back": (asked(readings(month=MONTHS[1])), "in the order of their month"),
    "a channel missing": (asked(without("promotion")), "'promotion' is missing in reading 0"),
    "no clock": (asked(without("month")), "must say when it was"),
    "two units": (
        asked([row | {"part": f"P{i % 2}"} for i, row in enumerate(readings())]),
        "a window is of one part",
    ),
    "mostly gaps": (
        asked(
            [row | {"promotion": None, "demand": None} for row in readings()[:7]] + readings()[7:]
        ),
        "at most 50% of a window's steps may be gaps, however: 7 of 12",
    ),
    "a text": (asked(readings(demand="many")), "'demand' of reading 3 is 'many'"),
    "no plan": (
        {k: v for k, v in EXAMPLE.items() if k != "known_in_advance"},
        "promotion of each of the 6 steps to come, however: it is missing",
    ),
    "a plan too short": (
        asked(known_in_advance={"promotion": [0.0] * 5}),
        "however: 'promotion' has 5",
    ),
    "a plan of what is forecast": (
        asked(known_in_advance={"promotion": [0.0] * 6, "demand": [1.0] * 6}),
        "'demand' is none of them",
    ),
    "no reading of what is foretold": (
        asked([row | {"demand": None} for row in readings()]),
        "a forecast must have a reading of 'demand' in its window, however: all 12 are missing",
    ),
    "a lead time beyond the horizon": (asked(lead_time_steps=9), "lead_time_steps"),
}


@pytest.mark.parametrize(("record", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_window_is_a_problem_in_one_sentence(
    server: ModelServer, record: Any, sentence: str
) -> None:
    response = post(server, record)
    assert response.status == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert sentence in response.content["detail"]
    assert "\n" not in response.content["detail"]


def test_a_gap_is_answered(server: ModelServer) -> None:
    response = post(server, asked(readings(demand=None)))
    assert response.status == 200
    assert np.isfinite(response.content["expected_demand"])
    assert "x-input-cautions" not in response.headers


def test_not_a_number_is_no_json(server: ModelServer) -> None:
    response = post(server, asked(readings(demand=float("nan"))))
    assert response.status == 400
    assert "the body must be JSON, however: " in response.content["detail"]


def test_a_new_part_is_answered_as_any_other(server: ModelServer) -> None:
    response = post(server, asked([row | {"part": "never seen"} for row in readings()]))
    assert response.status == 200


ODD = {
    "far outside of training": readings(demand=5000.0),
    "demand that stopped": readings()[:8] + [row | {"demand": None} for row in readings()[8:]],
}


@pytest.mark.parametrize("given", ODD.values(), ids=ODD)
def test_what_training_never_had_is_answered_with_a_caution(
    server: ModelServer, given: list[dict[str, Any]]
) -> None:
    response = post(server, asked(given))
    assert response.status == 200
    assert "demand" in response.headers["x-input-cautions"]


def test_demand_that_stopped_is_told_in_the_answer(server: ModelServer) -> None:
    answer = post(server, asked(ODD["demand that stopped"])).content
    assert "no reading of demand in the last 4 of 12 steps" in answer["recommendation"]


def test_times_in_milliseconds_are_told_from_gaps(server: ModelServer) -> None:
    days = [row | {"month": 86_400_000 * 31 * i} for i, row in enumerate(readings())]
    response = post(server, asked(days))
    assert response.status == 422
    assert "months apart by their month" in response.content["detail"]


def test_a_month_without_a_reading_is_a_gap_of_a_longer_history(server: ModelServer) -> None:
    earlier = {"month": "2023-12-01", "promotion": 0.0, "demand": 1.0}
    response = post(server, asked([earlier, *readings()[:5], *readings()[6:]]))
    assert response.status == 200
