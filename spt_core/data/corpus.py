"""Where rows are and which column plays which role, before anything is read.

A path, folder, glob or URI -> the files behind it, their format and their identity.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from spt_core.artifacts import MANIFEST, as_uri, digest, filesystem
from spt_core.errors import InputError, nearest
from spt_core.images import SUFFIXES as IMAGE_SUFFIXES
from spt_core.signature import Field, Goal, Window

Format = Literal["parquet", "csv", "jsonl", "images"]
Positive = str | int | float | bool
SUFFIXES: Mapping[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
}
# CSV and images too where there is nothing else; a text beside any of them is a note.
OTHER: tuple[tuple[Format, tuple[str, ...]], ...] = (
    ("csv", (".tsv", ".tab", ".psv", ".dat")),
    ("images", IMAGE_SUFFIXES),
    ("csv", (".txt",)),
)
ROW = "__row"  # the row's number in the input, counted from 0 over the files in order
HASH = "__hash"  # a 64-bit hash of the row's content
INSTANT = "__instant"  # microseconds since 1970 in UTC of the corpus's time
LOOK = "__look"  # of an image: see images.look_of
FROM, UNTIL = "__from", "__until"  # instants that a window of readings and its label look at
EVENTS = "__events"  # readings of a window whose label is 1
READINGS = "__readings"  # what windows are put together of, see packing.py
RESERVED = (ROW, HASH, INSTANT, LOOK, FROM, UNTIL, EVENTS, READINGS)
SAMPLE = "the bundled SYNTHETIC sample"  # a corpus of the task's own generator
# The columns of a corpus of image files: the file, the first folder on the way to it, which is its
# class, the second, such as a plate or a patient, and its place.
IMAGE, FOLDER, SUBFOLDER, PLACE = "image", "folder", "subfolder", "path"
_TABLE_FORMATS: Mapping[str, str] = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """What columns mean; None is as the task says, where the corpus has such columns.

    `entities` are the keys that windows look back over. `protected` columns are carried for
    compliance checks and kept out of the features unless `keep` names them, which also accepts a
    column that the leak guard refuses. `declared` fields override what would be inferred.
    `positive` is the label value that counts as 1; without it the label must be 0/1 or true/false.
    `controllable` columns are settings that somebody can choose, beside the task's own; `goal` says
    which way a number is better. `types` say what columns hold, such as `diag_1:category` or
    `booked:time(day_first)`; `gaps` are texts that stand for no value, beside the usual ones;
    `required` are the inputs without which there is no answer. `weight` is how many rows a row
    stands for, where one class was down-sampled: training, calibration and every figure obey it.
    `known_in_advance` are the channels of a forecast that are known for its horizon too.
    """

    label: str | None = None
    time: str | None = None
    group: str | None = None
    entities: tuple[str, ...] | None = None
    protected: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    declared: tuple[Field, ...] = ()
    windows: tuple[Window, ...] | None = None
    positive: Positive | None = None
    controllable: tuple[str, ...] = ()
    goal: Goal | None = None
    types: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    weight: str | None = None
    known_in_advance: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """What a corpus is called ("" as its source), under which licences, and whether it is real."""

    name: str = ""
    licences: tuple[str, ...] = ()
    synthetic: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Files of rows with the roles that their columns have; nothing of it is read yet.

    `identity` changes when a file's place, size or modification time does; `columns` are those that
    any file has, and how many have it. `refused` is a Parquet file of rows that were bad before
    these files were written of the others (arrays.py). Of image files, `root` is the folder that
    holds those of the classes, and `ignored` names the files in it that are no images.
    """

    uris: tuple[str, ...]
    format: Format
    name: str
    identity: str
    label: str | None = None
    time: str | None = None
    group: str | None = None
    entities: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    declared: tuple[Field, ...] = ()
    windows: tuple[Window, ...] = ()
    positive: Positive | None = None
    controllable: tuple[str, ...] = ()
    goal: Goal | None = None
    types: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    weight: str | None = None
    known_in_advance: tuple[str, ...] | None = None
    columns: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    refused: str | None = None
    root: str = ""
    ignored: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    synthetic: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_plain` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about a column that its owner should know, and what was done about it."""

    kind: Literal[
        "identifier",
        "constant",
        "protected",
        "unsupported",
        "free_text",
        "accepted",
        "duplicates",
        "unused",
        "unseen_class",
        "absent_class",
        "index",
        "absent",
        "notation",
        "dialect",
        "code",
        "few",
        "proxy",
        "label",
        "gaps",
        "calendar",
        "windows",
        "group",
    ]
    column: str
    detail: str


class ImageFiles(NamedTuple):
    """The sorted URIs of the images behind a source, their identity, and what lies beside them.

    `root` is the folder of the source; `folders` are those in it that hold images. `ignored` are
    the names of other files in it, `tables` the URIs of tables in it or below, by their format.
    """

    uris: tuple[str, ...]
    identity: str
    root: str
    folders: tuple[str, ...]
    ignored: tuple[str, ...]
    tables: tuple[tuple[str, Format], ...]


def image_files(source: str | Path) -> ImageFiles | None:
    """The image files behind a path, folder, glob or URI; None where there is none.

    Where folders hold images every file in them is a row, whatever its name: what cannot be decoded
    goes aside with the reason. In the folder above them images alone are rows.
    """
    entries, root = _entries(str(source))
    files = [info for info in entries if not _name_of(info.path).startswith(".")]
    if not any(_is_image(info.path) for info in files):
        return None
    files.sort(key=lambda info: info.path)
    inside = [info.path[len(root) :].strip("/") for info in files]
    folders = {path.split("/")[0] for path in inside if "/" in path and _is_image(path)}
    is_row = [not folders or "/" in path or _is_image(path) for path in inside]
    rows = [info for info, is_one in zip(files, is_row, strict=True) if is_one]
    return ImageFiles(
        *_located(str(source), rows),
        root=_uri_of(str(source), root),
        folders=tuple(sorted(folders)),
        ignored=tuple(path for path, is_one in zip(inside, is_row, strict=True) if not is_one),
        tables=tuple(
            (_uri_of(str(source), info.path), kind)
            for info in files
            if (kind := _table_format(info.path)) is not None
        ),
    )


def expand(source: str | Path) -> tuple[tuple[str, ...], Format, str]:
    """The sorted file URIs behind a path, folder, glob or URI, their format and their identity.

    A table wins over images; see `image_files` for these.
    """
    entries, _ = _entries(str(source))
    _refuse_table_formats(entries, str(source))
    files = [info for info in entries if _format_of(info.path) is not None]
    kind = (_format_of(files[0].path) if files else None) or "csv"
    for other_kind, suffixes in OTHER:
        if not files:
            files, kind = [info for info in entries if _ends(info.path, suffixes)], other_kind
    if not files:
        suffixes = ", ".join([*SUFFIXES, *(name for _, names in OTHER for name in names)])
        fact = "there are none"
        if entries:
            fact = f"{entries[0].path.rsplit('/', 1)[-1]} is of another kind; export it as CSV"
        raise InputError(f"data are files named {suffixes}, however: in {source} {fact}")
    if kind == "images":
        images = image_files(source)
        assert images is not None, "there is one at least"
        return images.uris, kind, images.identity
    other = [info.path for info in files if (_format_of(info.path) or kind) != kind]
    if other:
        raise InputError(
            f"the files of a corpus must have one format, however: {files[0].path}, {other[0]}"
        )
    empty = files[0].path
    files = [info for info in files if info.size != 0]  # writers leave parts without a row
    if not files:
        raise InputError(f"a corpus must have rows, however: the file {empty} is empty")
    files.sort(key=lambda info: info.path)
    uris, identity = _located(str(source), files)
    return uris, kind, identity


def require_columns(names: Iterable[str], columns: Sequence[str], *, what: str, file: str) -> None:
    """Refuse a named column that the file does not have; the sentence names the nearest."""
    for name in names:
        if name not in columns:
            raise InputError(
                f"the {what} column must be in the data, however: {file} has no column {name!r}; "
                f"{nearest(name, columns)}"
            )


def _located(source: str, files: Sequence[pafs.FileInfo]) -> tuple[tuple[str, ...], str]:
    """The URIs of files, and what changes when one of them does."""
    uris = tuple(_uri_of(source, info.path) for info in files)
    facts = [[uri, info.size, info.mtime_ns] for uri, info in zip(uris, files, strict=True)]
    return uris, digest(facts)


def _name_of(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _is_image(path: str) -> bool:
    """Whether a file is named as an image; cameras begin such names with `_` too."""
    return _name_of(path).endswith(IMAGE_SUFFIXES)


def _table_format(path: str) -> Format | None:
    """The format of a file that `expand` takes for a table, whatever images lie beside it."""
    kind, suffixes = OTHER[0]
    return _format_of(path) or (kind if _ends(path, suffixes) else None)


def _format_of(path: str) -> Format | None:
    name = _name_of(path)
    if name.startswith((".", "_")) or name == MANIFEST:
        return None
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)


def _ends(path: str, suffixes: tuple[str, ...]) -> bool:
    name = _name_of(path)
    return not name.startswith((".", "_")) and name.removesuffix(".gz").endswith(suffixes)


def _entries(source: str) -> tuple[list[pafs.FileInfo], str]:
    """The files behind a source, and the folder that they lie in or below."""
    if "://" in source:
        files, path = filesystem(source)
    else:
        files, path = pafs.LocalFileSystem(), str(Path(source).expanduser().absolute())
    try:
        info = files.get_file_info(path)
        if info.type == pafs.FileType.NotFound and any(mark in path for mark in "*?["):
            root = _fixed_part(path)
            inside = _listing(files, root)
            return [entry for entry in inside if fnmatch.fnmatchcase(entry.path, path)], root
        if info.type == pafs.FileType.NotFound:
            raise InputError(f"a corpus must exist, however: there is no file or folder {source}")
        if info.type == pafs.FileType.Directory:
            return _listing(files, path), path.rstrip("/")
        return [info], path.rpartition("/")[0]
    except OSError as error:
        raise InputError(f"a corpus must be readable, however: {source}: {error}") from error


def _listing(files: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    """The files below a folder, without those in hidden folders and in those of unfinished jobs.

    Such are `.ipynb_checkpoints` and `_temporary`; what tells a table format is kept.
    """
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    inside = [e for e in files.get_file_info(selector) if e.type == pafs.FileType.File]
    return [entry for entry in inside if not _is_hidden(entry.path[len(folder) :])]


def _is_hidden(path: str) -> bool:
    return any(
        part.startswith((".", "_")) and part not in _TABLE_FORMATS for part in path.split("/")[:-1]
    )


def _refuse_table_formats(entries: Iterable[pafs.FileInfo], source: str) -> None:
    """Refuse a folder whose log, not its files, says which rows there are."""
    for entry in entries:
        parts = entry.path.split("/")[-2:]
        iceberg = len(parts) == 2 and parts[0] == "metadata" and parts[1].endswith(".metadata.json")
        name = "Apache Iceberg" if iceberg else _TABLE_FORMATS.get(parts[0])
        if name is not None:
            raise InputError(
                f"a corpus must be files whose rows all count, however: {source} is a table of "
                f"{name}, whose log tells removed rows; export it, such as "
                "spark.read.table(...).write.parquet(...)"
            )


def _fixed_part(path: str) -> str:
    parts = path.split("/")
    fixed = next(i for i, part in enumerate(parts) if any(mark in part for mark in "*?["))
    return "/".join(parts[:fixed]) or "/"


def _uri_of(source: str, path: str) -> str:
    if "://" not in source or source.startswith("file://"):
        return as_uri(Path(path))
    parts = urlsplit(source)
    return f"{parts.scheme}://{path}" + (f"?{parts.query}" if parts.query else "")
