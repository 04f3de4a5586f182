"""Every family with every kind of answer: refused in a sentence, or from rows to an answer."""

import asyncio
import itertools
import json
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

import industries.technology
from serve.model_server import HotRoute, ModelServer
from spt_core.errors import InputError
from spt_core.families.serving import SERVING
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.policy import policy_from_json
from spt_core.scoring import score_batch
from spt_core.task import FAMILIES, Family, Head
from tests.kept_exports import kept_export
from tests.tiny_models import TINY, tiny_image
from tests.unit.serve.asgi import ask

PAIRS = list(itertools.product(get_args(Family), get_args(Head)))
WHOLE = [(family, head) for family, head in PAIRS if head in FAMILIES[family].heads]
TEXTS = ["aspirin and warfarin", "the bank is not liable", "a loader writes a file"] * 20
SPANS = json.dumps([{"start": 0, "end": 7}, {"start": 12, "end": 20}])
LABELS = {
    "single_label": ["safe", "risky", "neither"] * 20,
    "ordinal": ["safe", "risky", "neither"] * 20,
    "multi_label": ['["safe"]', "[]", '["risky", "safe"]'] * 20,
    "pair": ['[[0, 1, "risky"]]', "[]", "[]"] * 20,
    "span": [json.dumps([{"start": 0, "end": 7, "label": "safe"}]), "[]", "[]"] * 20,
    "regression": [1.0, 2.0, 4.0] * 20,
    "binary": [0, 1, 0] * 20,
}


def worded(judgement):
    """What any task could say of a judgement."""
    return {"judgement": {"kind": type(judgement).__name__, "record": dict(judgement.record)}}


def labelled(task):
    """Typed rows of the task with labels; tables make them, texts are few and short."""
    if task.subject is None or task.subject.kind == "sequence":
        return task.sample(120, 1)
    if task.subject.kind == "image":
        return pa.table({"image": [tiny_image(i) for i in range(60)], "label": LABELS[task.head]})
    rows = {"text": TEXTS, "label": LABELS[task.head]}
    return pa.table(rows | ({"mentions": [SPANS, "[]", "[]"] * 20} if task.head == "pair" else {}))


@pytest.fixture(scope="module", params=WHOLE, ids=lambda pair: "-".join(pair))
def model(request, tmp_path_factory):
    """(task, export) of a student of random weights, the task being one that can be found."""
    family, head = request.param
    task = TINY[family].task(head, worded)
    patch = pytest.MonkeyPatch()
    patch.setattr(industries.technology, "TASKS", (task,))
    folder = tmp_path_factory.mktemp(f"{family}-{head}").as_uri()
    yield task, kept_export(TINY[family].artifact(task, folder))
    patch.undo()


def test_every_family_has_a_tiny_model():
    assert set(TINY) == set(FAMILIES) == set(SERVING) == set(get_args(Family))


@pytest.mark.parametrize(("family", "head"), [pair for pair in PAIRS if pair not in WHOLE])
def test_a_head_that_a_family_lacks_is_refused_in_a_sentence(family, head):
    with pytest.raises(InputError, match=rf"has one of the heads .*, however: tiny has {head}"):
        TINY[family].task(head)


@pytest.mark.slow
def test_a_checkpoint_and_its_export_judge_alike(model):
    task, exported = model
    policy = default_policy(exported)
    first, second = (open_answerer(of, policy) for of in (exported.artifact, exported))
    assert first.outputs(task.example) == pytest.approx(second.outputs(task.example), abs=1e-4)
    head = HEADS[task.head]
    one, other = (head.summary(of.judge(task.example)) for of in (first, second))
    assert one.probability == pytest.approx(other.probability, abs=1e-4)
    assert set(one.labels) == set(other.labels) or task.head == "regression"


@pytest.mark.slow
def test_rows_that_trained_nothing_make_a_policy_that_is_measured(model):
    task, exported = model
    head, usual = HEADS[task.head], default_policy(exported)
    rows = labelled(task)
    policy = head.policy(task, open_answerer(exported, usual).outcomes(rows, task.label))
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy
    of = open_answerer(exported, policy).outcomes(rows, task.label)
    figures = {name: metric(of) for name, metric in head.metrics_under(policy).items()}
    assert all(np.isfinite(value) for value in figures.values()), figures
    assert head.refitted(policy, policy, lambda: of) == policy
    if head.is_of_record:
        assert len(head.said(of)) == len(head.said(of, of_labels=True)) == rows.num_rows


@pytest.mark.slow
def test_a_record_is_answered_alone_among_others_and_in_a_batch(model):
    task, exported = model
    answer = SpecializedModel(exported).answer
    assert answer(task.example)["judgement"]["record"] == dict(task.example)
    answerer = open_answerer(exported, default_policy(exported))
    assert answerer.answers([task.example] * 3) == [answer(task.example)] * 3
    scores, answers = answerer.table(labelled(task))
    assert len(scores) == len(answers) == labelled(task).num_rows
    batch = labelled(task).append_column("__row", pa.array(range(labelled(task).num_rows)))
    scored = score_batch(
        batch,
        model=json.dumps(exported.to_json()),
        policy=json.dumps(default_policy(exported).to_json()),
    )
    assert scored["score"].to_numpy() == pytest.approx(scores, nan_ok=True)


@pytest.mark.slow
def test_a_replica_reproduces_the_probes_and_answers_over_http(model):
    task, exported = model
    server = ModelServer(task.path)
    config = {
        "ref": f"{task.path}/default@1",
        "exported": exported.uri,
        "files": dict(exported.files),
        "policy": default_policy(exported).to_json(),
    }
    asyncio.run(server.reconfigure(config))
    assert server.served()["error"] == ""
    response = asyncio.run(ask(HotRoute(server), json.dumps(dict(task.example)).encode()))
    assert response.status == 200
    (probed,) = asyncio.run(server.probe([dict(task.example)]))["answers"]
    summary = HEADS[task.head].summary(server.current.answerer.judge(task.example))
    assert probed == {"labels": list(summary.labels), "probability": summary.probability}
