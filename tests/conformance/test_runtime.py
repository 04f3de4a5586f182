from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from spt_core.families.serving import SERVING
from spt_core.families.tabular.exporting import trial_rows
from spt_core.families.text.exporting import trial
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.serving import TOKENIZER
from tests.tiny_models import TEXT_CONFIG

TOLERANCE = 1e-5


def opened(export, kind):
    """The runtime of an export's files or of its checkpoint."""
    serving = SERVING[export.artifact.family]
    if kind == "checkpoint":
        return serving.open_checkpoint(export.artifact).runtime
    return serving.open(export.artifact, export.read).runtime


@pytest.fixture(params=["checkpoint", "onnx"])
def runtime(request, export):
    return opened(export, request.param)


@pytest.fixture
def rows(export):
    return trial_rows(export.artifact.signature, 40, seed=3)


@pytest.mark.parametrize("size", [1, 2, 40])
def test_a_score_is_a_probability_of_each_row(runtime, rows, size):
    scores = runtime.score(rows[:size])
    assert scores.shape == (size,)
    assert np.issubdtype(scores.dtype, np.floating)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("size", [1, 2, 40])
def test_an_explanation_is_the_scores_and_an_effect_of_each_column(runtime, rows, size):
    probabilities, effects = runtime.explain(rows[:size])
    assert effects.shape == (size, rows.shape[1])
    assert np.isfinite(effects).all()
    assert np.abs(probabilities - runtime.score(rows[:size])).max() <= TOLERANCE


def test_a_row_is_answered_alone_as_among_others(runtime, rows):
    scores, (_, effects) = runtime.score(rows), runtime.explain(rows)
    for index in range(len(rows)):
        own = rows[index : index + 1]
        assert abs(runtime.score(own)[0] - scores[index]) <= TOLERANCE
        assert np.abs(runtime.explain(own)[1][0] - effects[index]).max() <= 1e-3


def test_answers_and_rows_stay_as_they_were(runtime, rows):
    before = rows.copy()
    first, effects = runtime.explain(rows[:1])
    kept, kept_effects = first.copy(), effects.copy()
    runtime.explain(rows[1:2])
    assert (first == kept).all()
    assert (effects == kept_effects).all()
    assert np.array_equal(rows, before, equal_nan=True)


def test_threads_get_the_answers_to_their_own_rows(runtime, rows):
    wanted = [runtime.explain(rows[i : i + 1]) for i in range(len(rows))]

    def check(index):
        own = rows[index : index + 1]
        score, (probability, effects) = runtime.score(own), runtime.explain(own)
        return max(
            abs(score[0] - wanted[index][0][0]),
            abs(probability[0] - wanted[index][0][0]),
            np.abs(effects - wanted[index][1]).max(),
        )

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(check, list(range(len(rows))) * 10)) <= TOLERANCE


@pytest.fixture(params=["checkpoint", "onnx"])
def text_runtime(request, text_export):
    return opened(text_export, request.param)


@pytest.fixture
def ids(text_export):
    """Eight windows of several lengths and twelve pairs in them."""
    words = TextEncoder(text_export.read(TOKENIZER), max_tokens=TEXT_CONFIG.max_tokens, overlap=2)
    return trial(words, num_windows=8, num_tokens=TEXT_CONFIG.max_tokens, num_pairs=12, seed=4)


def test_a_text_s_logits_are_its_tokens_shares_and_what_no_token_adds(text_runtime, ids):
    logits, shares, scale = text_runtime.explain(*ids)
    assert logits.shape == (12, shares.shape[2])
    assert scale.shape == (shares.shape[2],)
    assert (scale > 0).all()
    assert shares.shape[:2] == (12, ids.features.shape[1])
    assert np.isfinite(logits).all()
    outside = (ids.features == ids.features[0, 0])[ids.pairs[:, 0]]  # the token before every text
    assert np.abs(shares[outside]).max() == 0.0


def test_a_text_is_run_alone_as_among_others(text_runtime, ids):
    logits, shares, _ = text_runtime.explain(*ids)
    for number, pair in enumerate(ids.pairs):
        row = ids.features[pair[0]]
        alone = row[None, row != 0]  # without the padding
        found, own, _ = text_runtime.explain(alone, np.array([[0, *pair[1:]]]))
        assert np.abs(found[0] - logits[number]).max() < 1e-4
        assert np.abs(own[0] - shares[number, : alone.shape[1]]).max() < 1e-4


def test_threads_get_the_logits_of_their_own_texts(text_runtime, ids):
    features, pairs = ids
    wanted = [text_runtime.explain(features, pairs[i : i + 1])[0] for i in range(12)]

    def check(index):
        found, *_ = text_runtime.explain(features, pairs[index : index + 1])
        return np.abs(found - wanted[index]).max()

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(check, list(range(12)) * 5)) < 1e-5
