import json
import math

import pytest
import torch

from spt_core.errors import InputError
from spt_core.families.text.bases import embedding_name, find_base, store_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig
from spt_core.vocabulary import study as studies
from spt_core.vocabulary.alignment import aligned
from spt_core.vocabulary.bits import compare_bits
from spt_core.vocabulary.config import GateConfig, MaskedConfig, StudyConfig
from spt_core.vocabulary.gate import keep_extension
from spt_core.vocabulary.masked_lm import adapt
from spt_core.vocabulary.study import measure_savings, study
from tests.unit.vocabulary.tiny import TEXTS

TRAINING = MaskedConfig(num_steps=4, first_steps=2, step_bytes=300, max_tokens=32)


@pytest.fixture(scope="module")
def extension(tiny, storage):
    config = VocabularyConfig(context_steps=2, min_phrase_uses=4)
    return DomainVocabularyManager(tiny, storage, config=config).extend_from_texts(
        industry="healthcare", texts=TEXTS, fingerprint="tiny"
    )


def trained(base, storage, num_new=0, num_steps=4):
    config = MaskedConfig(num_steps=num_steps, first_steps=2, step_bytes=300, max_tokens=32)
    return adapt(base, TEXTS, fingerprint="tiny", storage=storage, config=config, num_new=num_new)


def test_units_have_the_same_characters_under_both_tokenizers(tiny, extension):
    before, after = (open_tokenizer(base.tokenizer) for base in (tiny, extension.base))
    item = aligned(before, after, ["Value at risk of warfarin."], max_tokens=32)[0]
    texts = [item.text[unit.start : unit.end] for unit in item.units]
    assert texts == ["Value at risk", "of", "warfarin", "."]
    assert item.units[0].after == (1, 2)
    assert item.units[2].before == (5, 8)


def test_a_base_beside_itself_has_equal_bits(tiny, storage):
    one = trained(tiny, storage)
    bits = compare_bits(one, one, TEXTS)
    assert bits.before == bits.after > 0
    assert bits.low == bits.high == 0
    assert bits.num_bytes > bits.num_words > 0


def test_bits_per_byte_are_those_of_the_words_own_pieces(tiny, storage):
    """An untrained model spreads its guesses: about log2 of the vocabulary for each piece."""
    one = trained(tiny, storage)
    bits = compare_bits(one, one, ["warfarin"] * 3, masked_share=1.0)
    pieces = 3
    size = tiny.config["vocab_size"]
    assert bits.before == pytest.approx(pieces * math.log2(size) / len("warfarin"), rel=0.25)


@pytest.mark.slow
def test_training_lowers_bits_per_byte(tiny, storage):
    bits = compare_bits(trained(tiny, storage), trained(tiny, storage, num_steps=80), TEXTS)
    assert bits.high < 0


def test_bits_per_byte_compare_the_same_words_of_two_vocabularies(tiny, extension, storage):
    num_new = extension.base.config["vocab_size"] - tiny.config["vocab_size"]
    one, other = trained(tiny, storage), trained(extension.base, storage, num_new)
    bits = compare_bits(one, other, TEXTS)
    assert bits.low <= bits.rise <= bits.high
    with pytest.raises(InputError, match="held-out words"):
        compare_bits(one, other, ["...", "!"])


def test_savings_tell_words_and_phrases_apart(tiny, extension):
    saved = measure_savings(tiny, extension.base, TEXTS)
    assert saved.continuations_saved > 0.5
    assert saved.saved_by_phrases > 0
    assert saved.tokens_per_word[0] > saved.tokens_per_word[1]


@pytest.mark.parametrize(
    ("bits", "score", "kept"),
    [
        ((2.0, 2.0), (0.8, 0.8), True),
        ((2.0, 2.019), (0.8, 0.791), True),
        ((2.0, 2.021), (0.8, 0.9), False),
        ((2.0, 1.0), (0.8, 0.789), False),
        ((2.0, math.nan), (0.8, 0.8), False),
    ],
)
def test_an_extension_is_kept_if_neither_figure_is_worse_by_more_than_its_margin(bits, score, kept):
    gate = GateConfig(max_bits_rise=0.02, max_score_drop=0.01)
    verdict = keep_extension(bits, score, "micro_f1", gate)
    assert verdict.kept is kept
    assert bool(verdict.reasons) is not kept


@pytest.mark.parametrize(
    ("score", "kept"),
    [
        ((400.0, 300.0), True),
        ((400.0, 403.9), True),
        ((400.0, 404.1), False),
        ((0.0, 0.0), True),
        ((0.0, 0.001), False),
    ],
)
def test_an_error_may_rise_by_a_share_of_the_bases(score, kept):
    verdict = keep_extension((2.0, 2.0), score, "rmse", GateConfig(max_score_drop=0.01))
    assert verdict.kept is kept
    assert kept or verdict.reasons[0].startswith("rmse may rise by 1.0%, however: ")


class Given:
    """Scores that are given, in the order in which bases are asked about."""

    def __init__(self, metric, *values):
        self.metric, self.values, self.asked = metric, list(values), []

    def __call__(self, base):
        self.asked.append(base)
        return self.values.pop(0)


OPTIONS = {"fingerprint": "tiny", "training": TRAINING, "gate": GateConfig(max_bits_rise=9.0)}


def test_a_study_has_all_figures_and_hands_out_the_extension_when_it_is_kept(extension, storage):
    score = Given("micro_f1", 0.8, 0.9)
    found = study(extension, TEXTS, TEXTS, score=score, storage=storage, **OPTIONS)
    facts = json.loads(json.dumps(found.facts()))
    assert score.asked == [extension.parent, extension.base]
    assert (facts["score_metric"], facts["score_before"], facts["score_after"]) == (
        "micro_f1",
        0.8,
        0.9,
    )
    assert facts["tokens_per_word_after"] < facts["tokens_per_word_before"]
    assert facts["bits_per_byte_before"] > 0 < facts["bits_per_byte_after"]
    assert facts["kept"]
    assert facts["base"] == extension.base.uri


@pytest.mark.parametrize(("metric", "is_kept"), [("micro_f1", False), ("rmse", True)])
def test_the_base_is_handed_out_when_the_extensions_score_is_worse(
    extension, storage, metric, is_kept
):
    score = Given(metric, 0.9, 0.5)
    found = study(extension, TEXTS, TEXTS, score=score, storage=storage, **OPTIONS)
    assert found.verdict.kept is is_kept
    assert found.base == (extension.base if is_kept else extension.parent)


@pytest.mark.parametrize("after", [0.9, 0.1])
def test_what_is_handed_out_is_there_as_trained_on_the_texts_too(extension, storage, after):
    score = Given("micro_f1", 0.5, after)
    found = study(extension, TEXTS, TEXTS, score=score, storage=storage, **OPTIONS)
    adapted = find_base(found.facts()["adapted_base"], storage)
    assert adapted.parents == (found.base.uri,)
    assert adapted.tokenizer == found.base.tokenizer
    before, after = found.base.weights(), adapted.weights()
    assert not torch.equal(after[embedding_name(after)], before[embedding_name(before)])


@pytest.mark.parametrize("num_spare", [0, 100])
def test_new_rows_are_counted_by_tokens_where_a_base_has_spare_embeddings(
    tiny, storage, num_spare, monkeypatch
):
    weights, name = tiny.weights(), embedding_name(tiny.weights())
    weights[name] = torch.cat([weights[name], torch.zeros(num_spare, weights[name].shape[1])])
    config = {**tiny.config, "vocab_size": len(weights[name])}
    base = store_base("spare", config, tiny.tokenizer, weights, storage=storage)
    made = DomainVocabularyManager(base, storage).extend_vocabulary(
        industry="healthcare", new_terms=["warfarin"]
    )
    found = []

    def noted(base, *values, num_new, **more):
        found.append(num_new)
        return adapt(base, *values, num_new=num_new, **more)

    monkeypatch.setattr(studies, "adapt", noted)
    study(made, TEXTS, TEXTS, score=Given("micro_f1", 0.5, 0.5), storage=storage, **OPTIONS)
    assert found == [0, 1]


def test_both_bases_carry_the_licences_of_the_texts(extension, storage):
    score = Given("micro_f1", 0.5, 0.5)
    found = study(
        extension, TEXTS, TEXTS, score=score, storage=storage, licences=("MIT",), **OPTIONS
    )
    assert [adapted.base.licences for adapted in found.adapted] == [("MIT",), ("MIT",)]


def test_a_score_of_nothing_is_refused():
    for name in ("score_rows", "score_epochs", "score_seeds"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, however: 0"):
            StudyConfig(**{name: 0})
