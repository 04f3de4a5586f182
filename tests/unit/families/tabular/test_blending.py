"""A blend of a student and forests: its checkpoint, its export, and what a replica makes of it."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from spt_core.artifacts import GRAPH, WEIGHTS
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.tabular.blend import TREES
from spt_core.families.tabular.checkpoint import open_runtime
from spt_core.families.tabular.exporting import trial_rows
from spt_core.families.tabular.kernel import KERNEL
from spt_core.families.tabular.serving import TabularServing
from tests.kept_exports import kept_export
from tests.tiny_blends import FORESTS_ALONE, SHARES, tiny_blend
from tests.tiny_models import table_task

HEADS = ("binary", "single_label", "regression")


@pytest.fixture(scope="module", params=HEADS)
def head(request):
    return request.param


@pytest.fixture(scope="module", params=[SHARES, FORESTS_ALONE], ids=["blend", "forests"])
def exported(request, head, tmp_path_factory):
    folder = tmp_path_factory.mktemp(head).as_uri()
    return kept_export(tiny_blend(table_task(head), folder, request.param))


def test_an_export_answers_like_the_libraries_that_trained_its_parts(exported):
    rows = trial_rows(exported.artifact.signature, 40, seed=9)
    checkpoint = open_runtime(exported.artifact)
    runtime = TabularServing().open(exported.artifact, exported.read).runtime
    scores, effects = checkpoint.explain(rows)
    for at in (slice(None), slice(0, 1), slice(5, 6)):
        own, own_effects = runtime.explain(rows[at])
        np.testing.assert_allclose(own, scores[at], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(own_effects, effects[at], atol=1e-3, rtol=1e-3)
        np.testing.assert_array_equal(runtime.score(rows[at]), own)
    np.testing.assert_allclose(checkpoint.score(rows), scores)


def test_other_runtimes_find_the_whole_blend_in_one_graph(exported):
    rows = trial_rows(exported.artifact.signature, 33, seed=4)
    (scores,) = open_session(exported.read(GRAPH)).run(None, {INPUT: rows})
    expected = open_runtime(exported.artifact).score(rows)
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-5)


def test_a_student_is_brought_where_it_has_a_share(exported):
    has_student = WEIGHTS in exported.artifact.files
    assert (KERNEL in exported.files) == has_student
    assert TREES in exported.files
    assert (
        TabularServing().probe_gap(
            TabularServing().open(exported.artifact, exported.read), exported.probes
        )
        <= 1e-5
    )


def test_effects_of_a_decision_add_up_to_its_log_odds(tmp_path):
    exported = kept_export(tiny_blend(table_task("binary"), tmp_path.as_uri(), FORESTS_ALONE))
    runtime = TabularServing().open(exported.artifact, exported.read).runtime
    rows = trial_rows(exported.artifact.signature, 30, seed=2)
    probabilities, effects = runtime.explain(rows)
    average = np.log(probabilities / (1 - probabilities)) - effects.sum(1)
    np.testing.assert_allclose(average, average[0], atol=1e-4)
    np.testing.assert_allclose(expit(average + effects.sum(1)), probabilities, atol=1e-6)


def test_a_blend_answers_as_its_task_words_it(exported, head):
    task = table_task(head)
    predictor = TabularServing().open(exported.artifact, exported.read)
    alone = predictor.explain([predictor.read(task.example)])[0]
    table = pa.Table.from_pylist([dict(task.example)] * 3).select(
        [field.name for field in task.fields]
    )
    among = predictor.explain(predictor.encode(table))[1]
    np.testing.assert_allclose(alone.scores.values, among.scores.values, rtol=1e-6)
    direction = np.ones(alone.scores.values.shape[1])
    assert {reason.field for reason in alone.reasons(0, direction)} == {f.name for f in task.fields}
