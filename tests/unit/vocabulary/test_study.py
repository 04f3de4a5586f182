import json
import math

import pytest

from spt_core.errors import InputError
from spt_core.tokens import open_tokenizer
from spt_core.training.masked_lm import MaskedConfig, adapt
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig
from spt_core.vocabulary.alignment import aligned
from spt_core.vocabulary.bits import compare_bits
from spt_core.vocabulary.gate import GateConfig, keep_extension
from spt_core.vocabulary.probe import Probe, probe_labels
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
    verdict = keep_extension(bits, score, GateConfig(max_bits_rise=0.02, max_score_drop=0.01))
    assert verdict.kept is kept
    assert bool(verdict.reasons) is not kept


def test_a_study_has_all_figures_and_gives_back_the_base_when_the_score_falls(extension, storage):
    labels = ["drug" if "arfarin" in text else "credit" for text in TEXTS]
    probe = Probe((TEXTS, labels), (TEXTS, labels), max_tokens=32)
    options = {"fingerprint": "tiny", "storage": storage, "training": TRAINING}
    gate = GateConfig(max_bits_rise=9.0)
    found = study(extension, TEXTS, TEXTS, score=probe, gate=gate, **options)
    facts = json.loads(json.dumps(found.facts()))
    assert facts["score_before"] > 0.9
    assert facts["tokens_per_word_after"] < facts["tokens_per_word_before"]
    assert facts["bits_per_byte_before"] > 0 < facts["bits_per_byte_after"]
    assert found.verdict.kept
    assert found.base == extension.base
    scores = iter([0.9, 0.5])
    worse = study(extension, TEXTS, TEXTS, score=lambda _: next(scores), gate=gate, **options)
    assert not worse.verdict.kept
    assert worse.base == extension.parent


def test_probe_labels_are_one_class_a_row():
    assert probe_labels(["b", "a"], "single_label") == ["b", "a"]
    assert probe_labels(['["z", "a"]', "[]"], "multi_label") == ["a", "none"]
    assert probe_labels(['[[0, 1, "effect"]]', "[]"], "pair") == ["effect", "none"]
    with pytest.raises(InputError, match="a probe needs classes"):
        probe_labels([1.0], "regression")
