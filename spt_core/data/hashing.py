"""64-bit hashes of rows that depend on content alone, not on row order, file or column order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_NULL = np.uint64(0x9AE16A3B2F90404F)
_NEAR_ALL_BITS = float(2**64)


def mix(values: Hashes) -> Hashes:
    """Each value scrambled, one to one (splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def text_hash(text: str) -> np.uint64:
    """The hash of one text, the same in every process."""
    return _hash_words(np.array([text], dtype=object))[0]


def row_hashes(table: pa.Table, columns: Sequence[str]) -> Hashes:
    """The hash of each row over the named typed columns, whatever their order."""
    return combine([named_hashes(table, name) for name in columns], table.num_rows)


def named_hashes(table: pa.Table, name: str) -> Hashes:
    """The hash of each value of a column together with the column's name."""
    return mix(column_hashes(table[name]) ^ text_hash(name))


def combine(columns: Sequence[Hashes], num_rows: int) -> Hashes:
    """The hash of each row from those of its named values."""
    total = np.zeros(num_rows, np.uint64)
    for values in columns:
        total += values
    return mix(total)


def column_hashes(column: pa.ChunkedArray | pa.Array) -> Hashes:
    """The hash of each value of a number, boolean, time, text, bytes or sequence column."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # combine_chunks keeps several chunks beyond 2 GiB
        return np.concatenate([column_hashes(chunk) for chunk in array.chunks])
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _text_hashes(array)
    if pa.types.is_large_binary(array.type):
        return _text_hashes(array)
    if pa.types.is_list(array.type):
        return _window_hashes(array)
    if pa.types.is_floating(array.type):
        numbers = np.asarray(pc.fill_null(array.cast(pa.float64()), np.nan)) + 0.0  # -0.0 is 0.0
        bits = numbers.view(np.uint64)
        return np.where(np.isnan(numbers), _NULL, bits)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    whole = array.cast(pa.int64())
    bits = np.asarray(pc.fill_null(whole, 0)).view(np.uint64)
    return np.where(np.asarray(whole.is_null()), _NULL, bits) if whole.null_count else bits


def uniform(hashes: Hashes, seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) per hash; another seed gives independent numbers."""
    return mix(hashes ^ text_hash(f"seed {seed}")) / _NEAR_ALL_BITS


def _window_hashes(array: pa.Array) -> Hashes:
    """Of windows [T, C] of float32: sums of their bits, each times the odd number of its place."""
    hashes = np.full(len(array), _NULL)
    present = np.asarray(array.is_valid())
    values = np.asarray(pc.fill_null(array.drop_null().flatten().flatten(), np.nan)) + np.float32(0)
    if len(values):
        bits = values.view(np.uint32).reshape(int(present.sum()), -1)
        places = mix(np.arange(bits.shape[1], dtype=np.uint64)) | np.uint64(1)
        sums = np.zeros(len(bits), np.uint64)
        for column, place in zip(bits.T, places, strict=True):
            sums += column * place
        hashes[present] = mix(sums)
    return hashes


def _text_hashes(array: pa.Array) -> Hashes:
    encoded = array.dictionary_encode()
    words = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
    hashes = np.append(_hash_words(words), _NULL)
    index = np.asarray(pc.fill_null(encoded.indices, len(words)))
    return hashes[index]


def _hash_words(words: NDArray[np.object_]) -> Hashes:
    from pandas.util import hash_array  # takes a while, and who describes splits hashes nothing

    # pandas ships no types for it; its key is fixed, so that every process hashes alike.
    return hash_array(words, categorize=False)  # pyright: ignore[reportCallIssue]
