import gzip
import itertools
import time

import pytest
import torch

from spt_core.artifacts import as_uri
from spt_core.errors import InputError
from spt_core.families.text.bases import build_encoder, embedding_name, load_base, store_base
from spt_core.families.text.reading import open_tokenizer
from spt_core.task import IndustryType
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig, embeddings
from spt_core.vocabulary import manager as extensions
from spt_core.vocabulary.alignment import aligned
from spt_core.vocabulary.terms import read_terms
from tests.specification import run
from tests.unit.vocabulary.tiny import TEXTS, tiny_config, tiny_tokenizer

HEALTH = IndustryType.HEALTHCARE
QUICK = VocabularyConfig(context_steps=3)


def manager(base, storage, config=QUICK):
    return DomainVocabularyManager(base, storage, config=config)


def reasons(extension):
    return {skipped.term: skipped.reason for skipped in extension.skipped}


@pytest.mark.slow
def test_the_specification_extends_the_financial_vocabulary(minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extensions, "VocabularyConfig", lambda: QUICK)
    contexts = [
        "The bank sold a credit default swap on the collateralized debt obligation.",
        "Value at risk and the Basel capital ratio are reported daily.",
    ]
    space = run("vocabulary", IndustryType=IndustryType, financial_contexts=contexts)
    assert space["vocab_manager"].base.config == minilm.config
    stored = [load_base(as_uri(path)) for path in (tmp_path / "specialized_models/bases").iterdir()]
    (made,) = [base for base in stored if base.parents]
    after, before = open_tokenizer(made.tokenizer), open_tokenizer(minilm.tokenizer)
    assert after.encode("a Credit Default Swap!").tokens[1:-1] == ["a", "credit default swap", "!"]
    assert made.config["vocab_size"] == minilm.config["vocab_size"] + len(space["financial_terms"])
    for text in contexts:
        assert after.decode(after.encode(text).ids) == before.decode(before.encode(text).ids)


def test_tokenizer_embeddings_and_configuration_are_read_back_as_one(tiny, storage):
    made = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=["warfarin"])
    found = load_base(made.base.uri)
    encoder = build_encoder(found.config)
    encoder.load_state_dict(found.weights())
    ids = open_tokenizer(found.tokenizer).encode("warfarin").ids
    assert len(ids) == 3
    assert encoder(input_ids=torch.tensor([ids])).last_hidden_state.shape == (1, 3, 16)


def test_a_new_row_is_the_mean_of_its_pieces_without_contexts(tiny, storage):
    made = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=["warfarin"])
    rows = made.base.weights()[embedding_name(made.base.weights())]
    tokenizer = open_tokenizer(tiny.tokenizer)
    pieces = tokenizer.encode("warfarin", add_special_tokens=False).ids
    assert len(rows) == tokenizer.get_vocab_size() + 1
    assert torch.allclose(rows[-1], rows[pieces].mean(0), atol=1e-6)


def test_contexts_move_new_rows_alone_and_towards_what_the_base_says(tiny, storage):
    terms = ["warfarin", "metformin", "collateralized"]
    plain = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=terms)
    config = VocabularyConfig(context_steps=60)
    fitted = manager(tiny, storage, config).extend_vocabulary(
        industry=HEALTH, new_terms=terms, context_examples=TEXTS
    )
    name = embedding_name(tiny.weights())
    assert torch.equal(fitted.base.weights()[name][:-3], tiny.weights()[name])
    assert distance(tiny, fitted.base) < 0.95 * distance(tiny, plain.base)


@torch.no_grad()
def states(base, ids):
    encoder = build_encoder(base.config).eval()
    encoder.load_state_dict(base.weights())
    return encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]


def distance(before, after):
    """How far the states of the words of the texts are from each other."""
    tokenizers = [open_tokenizer(base.tokenizer) for base in (before, after)]
    total = 0.0
    for item in aligned(*tokenizers, TEXTS[:5], max_tokens=60):
        one, other = states(before, item.before), states(after, item.after)
        for unit in item.units:
            gap = one[slice(*unit.before)].mean(0) - other[slice(*unit.after)].mean(0)
            total += float(gap.square().sum())
    return total


def first_state(base, text):
    return states(base, open_tokenizer(base.tokenizer).encode(text).ids)[0]


def test_each_term_that_is_not_added_has_a_reason(tiny, storage):
    terms = ["warfarin", "Warfarin", "", "  _ ", "the", "of the", "risk", "x" * 10_000, "日本"]
    terms += ["credit-default swap", "war\x00farin", "metformin", "\u0301", "\ud800"]
    made = manager(tiny, storage).extend_vocabulary(
        industry=HEALTH, new_terms=terms, context_examples=["Warfarin was given."]
    )
    found = reasons(made)
    assert [added.token for added in made.added] == ["warfarin"]
    assert found["Warfarin"] == "given twice"
    assert found[""] == found["  _ "] == "empty"
    assert found["the"] == found["of the"] == "a stop word"
    assert found["risk"] == "already one token"
    assert found["x" * 60 + "..."] == "longer than 100 characters"
    assert found["metformin"] == "the context examples do not use it"
    assert "punctuation" in found["credit-default swap"]
    assert len(found) == len(terms) - 1


def test_an_extension_that_adds_nothing_is_its_parent(tiny, storage):
    made = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=["the"])
    assert made.base == tiny
    assert not made.added


@pytest.mark.slow
def test_a_hundred_thousand_terms_are_ranked_by_use_quickly(tiny, storage):
    terms = [f"term{number}" for number in range(100_000)] + ["warfarin", "value at risk"]
    start = time.process_time()
    made = manager(tiny, storage).extend_vocabulary(
        industry=HEALTH, new_terms=terms, context_examples=TEXTS
    )
    assert {added.token for added in made.added} == {"warfarin", "value at risk"}
    assert len(made.skipped) == 100_000
    assert time.process_time() - start < 20


def test_more_terms_than_tokens_need_texts_to_be_ranked_by(tiny, storage):
    config = VocabularyConfig(max_new_tokens=1, context_steps=0)
    terms = ["phenytoin", "warfarin", "metformin"]
    with pytest.raises(InputError, match="at most 1 tokens can be added, however: 3"):
        manager(tiny, storage, config).extend_vocabulary(industry=HEALTH, new_terms=terms)
    made = manager(tiny, storage, config).extend_vocabulary(
        industry=HEALTH, new_terms=terms, context_examples=TEXTS
    )
    assert [added.token for added in made.added] == ["warfarin"]
    assert "others save more" in reasons(made)["phenytoin"]


@pytest.mark.slow
def test_thousands_of_phrases_still_make_a_tokenizer(tiny, storage):
    terms = [f"credit {a}{b}{c} swap" for a in "abcdefghij" for b in LETTERS for c in LETTERS]
    made = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=terms[:2000])
    tokens = open_tokenizer(made.base.tokenizer).encode("a credit aab swap").tokens
    assert tokens[1:-1] == ["a", "credit aab swap"]


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("terms", "industry", "sentence"),
    [
        ("warfarin", HEALTH, "must be a list"),
        ([None], HEALTH, "terms must be texts"),
        (["warfarin"], "space_travel", "an industry must be one that exists"),
    ],
)
def test_what_is_no_list_of_terms_or_no_industry_is_refused(
    tiny, storage, terms, industry, sentence
):
    with pytest.raises(InputError, match=sentence):
        manager(tiny, storage).extend_vocabulary(industry=industry, new_terms=terms)


def test_examples_may_be_a_generator_and_hold_anything_but_other_values(tiny, storage):
    examples = (text for text in ["Warfarin\ud800", "", "\x00\x00", "😀"])
    made = manager(tiny, storage).extend_vocabulary(
        industry=HEALTH, new_terms=["warfarin"], context_examples=examples
    )
    assert made.added[0].num_uses == 1
    for odd in ("warfarin", "", [7], [None], ["warfarin", None]):
        with pytest.raises(InputError, match="context_examples must be a list of texts"):
            manager(tiny, storage).extend_vocabulary(
                industry=HEALTH, new_terms=["warfarin"], context_examples=odd
            )


def test_a_base_that_is_not_there_is_refused(storage, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="must be an encoder"):
        DomainVocabularyManager(str(tmp_path), storage)


def test_a_tokenizer_that_does_not_match_its_weights_is_refused(storage):
    weights = build_encoder(tiny_config(50)).state_dict()
    with pytest.raises(InputError, match="must match its weights"):
        store_base("odd", tiny_config(50), tiny_tokenizer(), weights, storage=storage)


def test_texts_give_words_and_phrases_that_save_tokens(tiny, storage):
    config = VocabularyConfig(context_steps=0, min_phrase_uses=4)
    made = manager(tiny, storage, config).extend_from_texts(
        industry=HEALTH, texts=TEXTS, fingerprint="x", new_terms=["value_at_risk", "metformin"]
    )
    tokens = {added.token for added in made.added}
    assert {"value at risk", "metformin", "warfarin", "credit default swap"} <= tokens
    before, after = (open_tokenizer(base.tokenizer) for base in (tiny, made.base))
    for text in TEXTS:
        assert len(after.encode(text).ids) < len(before.encode(text).ids)
        assert after.decode(after.encode(text).ids) == before.decode(before.encode(text).ids)


class Reads:
    """Texts that count how often they are read."""

    def __init__(self, texts):
        self.texts, self.times = texts, 0

    def __iter__(self):
        self.times += 1
        return iter(self.texts)


def test_a_finished_extension_is_used_again_for_the_same_texts_and_code_alone(
    tiny, storage, monkeypatch
):
    read = Reads(TEXTS)

    def again(fingerprint="mine", **values):
        before = read.times
        made = manager(tiny, storage).extend_from_texts(
            industry=HEALTH, texts=read, fingerprint=fingerprint, **values
        )
        return made, read.times > before

    first, is_read = again()
    assert is_read
    assert again() == (first, False)
    assert again(fresh=True) == (first, True)
    assert again("other texts")[1]
    monkeypatch.setattr(extensions, "code_fingerprint", lambda: "other code")
    assert again()[1]


def test_contexts_of_new_tokens_are_read_until_there_are_enough(tiny, storage, monkeypatch):
    monkeypatch.setattr(embeddings, "_BLOCK_PARTS", 30)
    read = []

    def endless():
        for text in itertools.cycle(TEXTS):
            read.append(text)
            yield text

    made = manager(tiny, storage).extend_vocabulary(industry=HEALTH, new_terms=["warfarin"])
    before, after = tiny.weights(), made.base.weights()
    found = embeddings.fit_to_contexts(tiny, made.base.tokenizer, after, endless(), num_steps=1)
    name = embedding_name(before)
    assert len(read) <= 60
    assert torch.equal(found[name][:-1], after[name][:-1])
    assert not torch.equal(found[name][-1], after[name][-1])


@pytest.mark.slow
def test_a_trimmed_base_says_of_its_texts_what_it_said(minilm, storage):
    small = DomainVocabularyManager(minilm, storage).trim(TEXTS)
    tokenizer = open_tokenizer(small.tokenizer)
    assert tokenizer.get_vocab_size() == small.config["vocab_size"] < 2500
    assert tokenizer.token_to_id("[PAD]") == small.config["pad_token_id"]
    for text in TEXTS[:2]:
        assert torch.allclose(first_state(small, text), first_state(minilm, text), atol=1e-5)
    odd = "Ünknown wörds, 日本 and 😀 still have tokens™"
    before = open_tokenizer(minilm.tokenizer)
    assert tokenizer.decode(tokenizer.encode(odd).ids) == before.decode(before.encode(odd).ids)


def test_lists_of_terms_are_lines_or_a_column(tmp_path):
    (tmp_path / "terms.txt").write_text("warfarin\n\nvalue at risk\n")
    (tmp_path / "names.csv").write_text('id,Name\n1,"a, b"\n2,c\n')
    (tmp_path / "odd.csv").write_text("x,y\n1,2\n")
    assert read_terms(str(tmp_path / "terms.txt")) == ["warfarin", "value at risk"]
    assert read_terms(str(tmp_path / "names.csv")) == ["a, b", "c"]
    with pytest.raises(InputError, match="must have one of the columns"):
        read_terms(str(tmp_path / "odd.csv"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("terms.txt.gz", b"warfarin"),
        ("terms.txt.gz", gzip.compress(b"warfarin" * 99)[:-9]),
        ("terms.txt.gz", gzip.compress(b"warfarin" * 99)[:12] + b"\xff" * 30),
        ("names.csv", b"name\n" + b"x" * 200_000),
        ("names.csv", b"n" * 200_000),
        ("terms.txt", b"\xff\xfe\xfa"),
    ],
    ids=["no gzip", "cut off", "damaged", "long cell", "long name", "no text"],
)
def test_a_list_of_terms_that_cannot_be_read_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"a list of terms must be .*, however: .*{name}"):
        read_terms(str(tmp_path / name))
