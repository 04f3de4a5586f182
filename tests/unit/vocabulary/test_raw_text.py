import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.errors import InputError
from spt_core.families.text.reading import open_tokenizer
from spt_core.vocabulary.raw_text import FileTexts, masked, steps, windows_of
from tests.unit.vocabulary.tiny import TEXTS, tiny_tokenizer


def test_a_step_is_of_the_same_text_whatever_the_tokenizer_and_every_text_comes_once():
    texts = [f"text number {i} " + "word " * (i % 7) for i in range(50)]
    total = sum(len(text) for text in texts)
    endless = steps(texts, num_bytes=300, num_shuffled=20_000, seed=0)
    some = itertools.islice(endless, 2 * total // 300)
    flat = [text for step in some for text in step]
    assert sorted(flat[:50]) == sorted(texts)
    assert flat[:50] != texts
    assert flat[50:] != flat[: len(flat) - 50]


def test_words_are_masked_whole_or_but_for_their_first_pieces():
    tokenizer = open_tokenizer(tiny_tokenizer())
    windows = windows_of(tokenizer, TEXTS, 32)
    ids, places = masked(windows, 0.2, np.random.default_rng(0))
    words = windows.words.ravel()
    share = len(places) / (words >= 0).sum()
    assert 0.08 < share < 0.25
    assert (ids.ravel()[places] == tokenizer.token_to_id("[MASK]")).all()
    assert (words[places] >= 0).all()
    for place in places:
        follows = place + 1 < len(words) and words[place + 1] == words[place]
        assert not follows or place + 1 in places
    assert windows.ids.shape[1] <= 32


def test_texts_stream_from_files_and_what_is_no_text_is_left_out(tmp_path):
    pq.write_table(pa.table({"text": ["a", None, " ", "b"]}), tmp_path / "x.parquet")
    texts = FileTexts([(tmp_path / "x.parquet").as_uri()], "parquet", "text")
    assert list(texts) == list(texts) == ["a", "b"]
    with pytest.raises(InputError, match="the nearest is 'text'"):
        FileTexts([(tmp_path / "x.parquet").as_uri()], "parquet", "texts")
