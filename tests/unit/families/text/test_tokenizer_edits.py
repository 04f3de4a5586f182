import json
import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from spt_core.errors import InputError
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.tokenizer_edits import Addition, extended, trimmed
from spt_core.vocabulary.mining import count_words, mine_phrases, mine_words, pieces_of
from tests.unit.vocabulary.tiny import TEXTS, tiny_tokenizer

NASTY = [
    "",
    " ",
    "warfarins warfarin-s warfarin™ €warfarin xwarfarin WARFÁRIN war\u00adfarin",
    "credit default swap™ €credit default swap credit  default swap credit default\nswap",
    "credit default swaps; credit default-swap; credit default swap's; (credit default swap)",
    "value at risk at risk value at value at risk capital",
    "we do not do. not 's n't ' . , ! [MASK] [CLS]",
    "العربية עברית 日本語 credit default swap 日本",
    "👩‍👩‍👧 😀warfarin😀 credit default swap😀 \u200d\u200b\x00\x07\ufffd",
    "w" * 101 + " " + "warfarin" * 20,
    "𑇍credit default swap𑇍 ⸺warfarin⸺ \u0300warfarin\u0300",
]


def additions(content):
    tokenizer = open_tokenizer(content)
    words = ["warfarin", "metformin", "phenytoin", "collateralized", "default"]
    phrases = ["credit default swap", "credit default", "value at risk"]
    return [
        *(Addition(token=word, pieces=pieces_of(tokenizer, word)) for word in words),
        Addition(token="##farin", pieces=("##far", "##in")),
        *(
            Addition(
                token=phrase,
                pieces=tuple(p for word in phrase.split() for p in pieces_of(tokenizer, word)),
            )
            for phrase in phrases
        ),
    ]


def random_texts(num):
    chance = random.Random(0)
    parts = ["warfarin", "war", "credit", "default", "swap", "value", "at", "risk", "do", "not"]
    parts += [
        " ",
        "  ",
        "\n",
        "-",
        "'",
        ".",
        "™",
        "€",
        "é",
        "\u0301",
        "日",
        "☃",
        "##",
        "[SEP]",
        "s",
    ]
    return ["".join(chance.choices(parts, k=chance.randint(1, 12))) for _ in range(num)]


def same_reading(before, after, texts):
    one, other = open_tokenizer(before), open_tokenizer(after)
    for text in texts:
        left, right = one.encode(text), other.encode(text)
        assert len(right.ids) <= len(left.ids)
        assert other.decode(right.ids) == one.decode(left.ids)
        assert other.decode(right.ids, skip_special_tokens=False) == one.decode(
            left.ids, skip_special_tokens=False
        )


def test_an_extended_tokenizer_decodes_to_what_the_base_does():
    content = tiny_tokenizer()
    after = extended(content, additions(content))
    same_reading(content, after, [*TEXTS, *NASTY, *random_texts(2000)])


def test_words_pieces_and_phrases_become_single_tokens():
    content = tiny_tokenizer()
    after = open_tokenizer(extended(content, additions(content)))
    tokens = after.encode("Warfarin, xfarin: a Credit Default Swap at value at risk.").tokens[1:-1]
    assert tokens[:5] == ["warfarin", ",", "x", "##farin", ":"]
    assert tokens[5:] == ["a", "credit default swap", "at", "value at risk", "."]


def test_old_tokens_keep_their_ids_and_new_ones_follow():
    content = tiny_tokenizer()
    before, after = open_tokenizer(content), open_tokenizer(extended(content, additions(content)))
    old = before.get_vocab()
    assert {name: after.token_to_id(name) for name in old} == old
    assert after.get_vocab_size() == len(old) + 9


def test_an_extension_can_be_extended_and_trimmed_back():
    content = tiny_tokenizer()
    some = additions(content)
    once = extended(extended(content, some[:7]), some[7:])
    assert extended(content, some) == once
    used = {number for text in ["The patient"] for number in open_tokenizer(once).encode(text).ids}
    small, kept = trimmed(once, used)
    same_reading(small, content, NASTY[:2])
    assert len(kept) == open_tokenizer(small).get_vocab_size()


def test_a_trimmed_tokenizer_still_reads_every_text_and_cuts_its_own_texts_alike():
    content = tiny_tokenizer()
    extension = extended(content, additions(content))
    tokenizer = open_tokenizer(extension)
    small, kept = trimmed(extension, {i for text in TEXTS for i in tokenizer.encode(text).ids})
    other = open_tokenizer(small)
    assert len(kept) < tokenizer.get_vocab_size()
    for text in TEXTS:
        assert other.encode(text).tokens == tokenizer.encode(text).tokens
        assert [kept[number] for number in other.encode(text).ids] == tokenizer.encode(text).ids
    for text in [*NASTY, *random_texts(500)]:
        assert other.decode(other.encode(text).ids) == tokenizer.decode(tokenizer.encode(text).ids)


def test_a_vocabulary_without_its_characters_is_refused():
    content = json.loads(tiny_tokenizer())
    del content["model"]["vocab"]["##x"]
    content["model"]["vocab"]["##xyz"] = len(content["model"]["vocab"])
    with pytest.raises(InputError, match="## token for each character"):
        extended(json.dumps(content).encode(), [])


def trained(model, trainer, splitting, decoder):
    made = Tokenizer(model)
    made.pre_tokenizer, made.decoder = splitting, decoder
    made.train_from_iterator(TEXTS * 3, trainer)
    return made.to_str().encode()


@pytest.fixture(params=["BPE", "Unigram"])
def other_tokenizer(request):
    special = ["<pad>", "<unk>", "<mask>"]
    if request.param == "BPE":
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        splitting = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return trained(models.BPE(), trainer, splitting, decoders.ByteLevel())
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    return trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), decoders.Metaspace())


def test_bpe_and_unigram_take_words_into_the_model_and_decode_alike(other_tokenizer):
    tokenizer = open_tokenizer(other_tokenizer)
    counts = count_words(tokenizer, TEXTS)
    found = mine_words(other_tokenizer, counts, min_uses=3, limit=20)
    after = extended(other_tokenizer, [candidate.addition for candidate in found])
    assert found
    same_reading(other_tokenizer, after, [*TEXTS, *NASTY, *random_texts(500)])
    small, _ = trimmed(after, {i for t in TEXTS for i in open_tokenizer(after).encode(t).ids})
    for text in [*TEXTS, *NASTY]:
        one, other = open_tokenizer(after), open_tokenizer(small)
        assert other.decode(other.encode(text).ids) == one.decode(one.encode(text).ids)


def test_mining_takes_what_saves_most_above_the_floor():
    content = tiny_tokenizer()
    counts = count_words(open_tokenizer(content), TEXTS)
    found = mine_words(content, counts, min_uses=5, limit=100)
    tokens = [candidate.addition.token for candidate in found]
    assert {"warfarin", "metformin", "collateralized", "default"} <= set(tokens)
    assert "phenytoin" not in tokens  # used four times
    assert [c.tokens_saved for c in found] == sorted((c.tokens_saved for c in found), reverse=True)
    assert [c.addition.token for c in mine_words(content, counts, min_uses=5, limit=1)] == tokens[
        :1
    ]


def test_mined_phrases_count_no_use_twice():
    content = tiny_tokenizer()
    found = mine_phrases(content, TEXTS, min_uses=3, limit=10)
    uses = {candidate.addition.token: candidate.num_uses for candidate in found}
    assert uses["collateralized value at risk"] == 4
    assert uses["value at risk"] == 4
    assert uses["credit default swap"] == 8
    assert "credit default" not in uses
    assert not any(phrase.startswith(("the ", "of ")) for phrase in uses)
