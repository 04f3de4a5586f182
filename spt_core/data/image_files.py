"""Image files and columns of images: -> rows with encoded bytes, each checked by decoding it.

files -> image, folder (the class, where folders are classes), subfolder, path
cells -> bytes and looks
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.artifacts import filesystem, read_bytes
from spt_core.data.corpus import FOLDER, IMAGE, PLACE, SUBFOLDER
from spt_core.errors import InputError, NotFoundError, shown
from spt_core.images import LOOK_SIDE, MAX_BYTES, SUFFIXES, decoded, from_base64, look_of

BATCH_FILES = 64
FRAGMENT_FILES = 256
BESIDE = "an image must lie in the folder of its class, however: it lies beside these folders"


class Cells(NamedTuple):
    """A column of images: bytes and looks (images.look_of), null where `reasons` says why."""

    images: pa.Array
    looks: pa.Array
    reasons: NDArray[np.object_]


def file_rows(uris: Sequence[str], root: str, *, with_bytes: bool) -> pa.Table:
    """A row of each file below the folder `root`; without bytes its image is null.

    `folder` and `subfolder` are the first and second folder on the way from the root to the file,
    null where there is none.
    """
    images = [_content(uri) for uri in uris] if with_bytes else [None] * len(uris)
    places = [_place(uri) for uri in uris]
    folders = [place.relative_to(_place(root)).parts[:-1] for place in places]
    return pa.table(
        {
            IMAGE: pa.array(images, pa.large_binary()),
            FOLDER: pa.array([_part(names, 0) for names in folders], pa.large_string()),
            SUBFOLDER: pa.array([_part(names, 1) for names in folders], pa.large_string()),
            PLACE: pa.array([str(place) for place in places], pa.large_string()),
        }
    )


def file_batches(uris: Sequence[str], root: str) -> Iterator[pa.Table]:
    """Rows of some files, a few at a time."""
    for start in range(0, len(uris), BATCH_FILES):
        yield file_rows(uris[start : start + BATCH_FILES], root, with_bytes=True)


def without_class(rows: pa.Table) -> NDArray[np.object_]:
    """Why a row of image files has no class [B]: it lies beside the classes' folders; else None."""
    reasons = np.full(rows.num_rows, None, dtype=object)
    reasons[np.asarray(rows[FOLDER].is_null())] = BESIDE
    return reasons


def with_files(column: pa.ChunkedArray, table_uri: str) -> pa.ChunkedArray:
    """Cells of a table of paths as the bytes of the files; others as they are.

    A text that ends like an image's name is a path relative to the table's folder, and must stay
    below it; base64 has no point in it. A cell whose file cannot be had stays a text.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    is_path = pc.match_substring_regex(pc.utf8_lower(column), _ENDING)
    if not pc.any(is_path).as_py():
        return column
    folder = table_uri.partition("?")[0].rpartition("/")[0]
    values = [_cell(value, folder) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.large_binary())])


def read_cells(column: pa.Array, name: str) -> Cells:
    """Encoded bytes, or their base64, as bytes that can be decoded."""
    rule = f"the field {name!r} must"
    reasons = np.full(len(column), None, dtype=object)
    images: list[bytes | None] = []
    looks: list[bytes | None] = []
    for row, value in enumerate(column.to_pylist()):
        content = look = None
        try:
            content = _encoded(value, rule)
            look = look_of(decoded(content, rule, side_px=LOOK_SIDE))
        except InputError as error:
            content, reasons[row] = None, str(error)
        images.append(content)
        looks.append(look)
    return Cells(pa.array(images, pa.large_binary()), pa.array(looks, pa.large_binary()), reasons)


_ENDING = rf"(?:{'|'.join(suffix.replace('.', '[.]') for suffix in SUFFIXES)})$"
_MISSING = b"path:"  # before a path whose file cannot be had: no image begins so


def _place(uri: str) -> PurePosixPath:
    return PurePosixPath(unquote(urlsplit(uri).path))


def _part(names: Sequence[str], number: int) -> str | None:
    return names[number] if len(names) > number else None


def _encoded(value: object, rule: str) -> bytes:
    if value is None:
        raise InputError(f"{rule} hold an image, however: it is missing")
    if isinstance(value, str):
        return from_base64(value, rule)
    if not isinstance(value, bytes):
        raise InputError(f"{rule} hold an image, however: it is {shown(value)}")
    if value.startswith(_MISSING):
        path = value.removeprefix(_MISSING).decode(errors="replace")
        raise InputError(f"{rule} name a file below the table's folder, however: {path}")
    return value


def _cell(value: str | None, folder: str) -> bytes | None:
    """The bytes of a path's file, of base64, or what says that there is no such file."""
    if value is None:
        return None
    if not value.lower().endswith(SUFFIXES):
        try:
            return from_base64(value, "")
        except InputError:
            return value.encode()
    path = PurePosixPath(value.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in value:
        return _MISSING + value.encode()
    return _content(f"{folder}/{quote(str(path))}") or _MISSING + value.encode()


def _content(uri: str) -> bytes | None:
    """A file's bytes, cut behind MAX_BYTES, which is refused; None where there is none."""
    files, path = filesystem(uri)
    if (files.get_file_info(path).size or 0) > MAX_BYTES:
        with files.open_input_file(path) as file:
            return file.read(MAX_BYTES + 1)
    try:
        return read_bytes(uri)
    except NotFoundError:
        return None
