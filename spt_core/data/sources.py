"""Any source of rows -> Corpus.

A path, folder, glob, URI, table, records, a Ray Dataset or a torch DataLoader.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import as_uri, filesystem, has_manifest, remove, write_manifest
from spt_core.data import arrays, formats
from spt_core.data.corpus import (
    FOLDER,
    RESERVED,
    Corpus,
    DatasetInfo,
    ImageFiles,
    Roles,
    expand,
    image_files,
    require_columns,
)
from spt_core.data.infer import SAMPLE_ROWS, infer_columns
from spt_core.data.loaders import is_loader, loaded_records
from spt_core.data.raw import column_from, flat
from spt_core.data.sampling import sampled_columns
from spt_core.errors import InputError
from spt_core.records import flatten
from spt_core.signature import Goal, Window
from spt_core.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from spt_core.data.read import Dataset

# As data sets of images are often dealt by whoever gives them away.
PARTS_OF_OTHERS = frozenset(
    ("train", "training", "val", "valid", "validation", "test", "testing", "eval")
)
MIN_CLASS_FOLDERS = 2  # with images, for a table beside them to be a note

Source: TypeAlias = "str | Path | pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset"


def open_corpus(
    task: Task,
    source: Source,
    *,
    storage: str,
    roles: Roles = Roles(),  # noqa: B008  # frozen
    info: DatasetInfo = DatasetInfo(),  # noqa: B008  # frozen
    require_label: bool = True,
) -> Corpus:
    """The corpus behind a path, folder, glob, URI, table, list of records or Ray Dataset.

    Of a torch DataLoader too: see loaders.loaded_records. Rows in memory are first written below
    `storage`, under a name made of their content. With `require_label=False` a corpus without the
    task's label can be scored, not trained on.
    """
    located = str(source) if isinstance(source, str | Path) else _stored(source, storage)
    images = _images(task, located)
    if images is None:
        uris, kind, identity = expand(located)
        images = image_files(located) if kind == "images" else None
    else:
        uris, kind, identity = images.uris, "images", images.identity
    if not isinstance(source, str | Path):
        identity = located.rsplit("/", 1)[-1]
    refused = None
    if task.family == "series" and arrays.holds_arrays(uris, kind):
        long = arrays.unrolled(task, uris, kind, identity, roles=roles, storage=storage)
        roles, refused = long.roles, long.refused
        uris, kind, identity = expand(long.folder)
        identity = long.folder.rsplit("/", 1)[-1]
    counts = formats.columns(uris, kind)
    if kind == "jsonl":  # any line may have more keys than the first ones
        more = sampled_columns(uris, kind, identity, SAMPLE_ROWS)
        counts |= {name: 1 for name in more if name not in counts}
    columns = [name for name in counts if name not in RESERVED]
    label = roles.label or (FOLDER if kind == "images" else task.label)
    _require_roles(roles, columns, uris[0])
    if images is not None and require_label and label == FOLDER and not images.folders:
        raise InputError(
            "images must lie in a folder for each class, however: those of "
            f"{_name_of(source)} lie in none"
        )
    if images is not None and require_label and label == FOLDER:
        _refuse_parts(images.folders, _name_of(source))
    if require_label or roles.label is not None:
        require_columns([label], columns, what="label", file=uris[0])
    time = roles.time or (task.time if task.time in columns else None)
    entities = _present(task.entities, columns) if roles.entities is None else roles.entities
    corpus = Corpus(
        uris=uris,
        format=kind,
        name=info.name or _name_of(source),
        identity=identity,
        label=label if label in columns else None,
        time=time,
        group=roles.group or (task.group if task.group in columns else None),
        entities=entities,
        protected=_protected(task, roles.protected, columns),
        drop=roles.drop,
        keep=roles.keep,
        declared=roles.declared,
        windows=_windows(task, roles.windows, columns, time, label),
        positive=roles.positive,
        controllable=roles.controllable,
        goal=_goal(task, roles),
        types=roles.types,
        gaps=roles.gaps,
        required=roles.required,
        weight=_weight(task, roles),
        known_in_advance=_in_advance(task, roles, label),
        columns=counts,
        refused=refused,
        root="" if images is None else images.root,
        ignored=() if images is None else images.ignored,
        licences=info.licences,
        synthetic=info.synthetic,
    )
    if require_label:
        infer_columns(corpus, task)  # refuses what could not be trained on, while it is cheap
    return corpus


def _images(task: Task, located: str) -> ImageFiles | None:
    """The image files that are the corpus of a task of images; None where a table is.

    A table that names or holds images is the corpus, one beside folders of images a note.
    """
    subject = task.subject
    files = image_files(located) if subject is not None and subject.kind == "image" else None
    if files is None or subject is None or not files.tables:
        return files
    if len(files.folders) < MIN_CLASS_FOLDERS:
        return None
    for uri, kind in files.tables:
        with contextlib.suppress(InputError):  # a note may begin with anything
            if subject.name in formats.header(uri, kind):
                return None
    return files


def _goal(task: Task, roles: Roles) -> Goal | None:
    if (roles.goal or roles.controllable) and task.goal is None:
        raise InputError(
            "settings are searched for a task that has a goal, however: "
            f"{task.path} predicts {task.head} without one"
        )
    return roles.goal or task.goal


def _weight(task: Task, roles: Roles) -> str | None:
    if roles.weight is not None and (task.head != "binary" or task.subject is not None):
        raise InputError(
            "rows have weights where a table's decisions are learned, however: "
            f"{task.path} is {task.head} on {task.family}"
        )
    return roles.weight


def _in_advance(task: Task, roles: Roles, label: str) -> tuple[str, ...] | None:
    if roles.known_in_advance and task.head != "forecasts":
        raise InputError(
            "a forecast alone looks at what is known in advance, however: "
            f"{task.path} is {task.head} on {task.family}"
        )
    names = roles.known_in_advance or ()
    if len(set(names)) < len(names):
        raise InputError(f"each known-in-advance column is named once, however: {list(names)}")
    if label in names:
        raise InputError(
            f"what is forecast is not known in advance, however: {label!r} is named as both"
        )
    return roles.known_in_advance


def _require_roles(roles: Roles, columns: Sequence[str], file: str) -> None:
    for what, names in (
        ("time", [roles.time] if roles.time else []),
        ("group", [roles.group] if roles.group else []),
        ("entity", roles.entities or ()),
        ("protected", roles.protected),
        ("dropped", roles.drop),
        ("kept", roles.keep),
        ("declared", [field.name for field in roles.declared]),
        ("controllable", roles.controllable),
        ("required", roles.required),
        ("weight", [roles.weight] if roles.weight else []),
        ("known-in-advance", roles.known_in_advance or ()),
    ):
        require_columns(names, columns, what=what, file=file)


def _stored(
    source: pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset, storage: str
) -> str:
    """Writes rows as Parquet to a folder named by their content; an equal one is used again."""
    storage = as_uri(storage)
    temporary = f"{storage}/corpora/.{uuid.uuid4().hex}"
    files, path = filesystem(temporary)
    content = hashlib.sha256()
    files.create_dir(path, recursive=True)
    writer: pq.ParquetWriter | None = None
    try:
        for table in _tables(source):
            if writer is None:
                content.update(str(table.schema.remove_metadata()).encode())
                writer = pq.ParquetWriter(f"{path}/rows.parquet", table.schema, filesystem=files)
            for batch in table.to_batches():
                content.update(batch.serialize())
            writer.write_table(table.cast(writer.schema), row_group_size=formats.FRAGMENT_ROWS)
        if writer is None:
            raise InputError("a corpus must have rows, however: it is empty")
        writer.close()
        folder = f"{storage}/corpora/{content.hexdigest()[:16]}"
        if not has_manifest(folder):
            target = filesystem(folder)[1]
            files.create_dir(target, recursive=True)
            files.move(f"{path}/rows.parquet", f"{target}/rows.parquet")
            write_manifest(folder, {"sha256": content.hexdigest()})
        return folder
    finally:
        remove(temporary)


def _tables(
    source: pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset,
) -> Iterable[pa.Table]:
    import pandas as pd  # and ray: rows in memory alone need them, not a path

    from spt_core.data.read import Dataset, plain_errors, quiet_context

    if isinstance(source, Dataset):
        quiet_context()
        with plain_errors():
            batches = source.iter_batches(batch_size=formats.BATCH_ROWS, batch_format="pyarrow")
            batch: Any  # a table, as asked for; the signature says "any batch"
            for batch in batches:
                if batch.num_rows:
                    yield flat(batch)
        return
    table: Any  # pyarrow has no types
    if isinstance(source, pa.Table):
        table = source
    elif isinstance(source, pd.DataFrame):
        twice = source.columns[source.columns.duplicated()]
        if len(twice):
            raise InputError(f"column names must be unique, however: {twice[0]!r} is there twice")
        table = _table_of_frame(source)
    else:
        records = list(loaded_records(source)) if is_loader(source) else _records(source)
        names = dict.fromkeys(name for record in records for name in record)
        table = pa.table({n: column_from([record.get(n) for record in records]) for n in names})
    if table.num_rows == 0:
        raise InputError("a corpus must have rows, however: it is empty")
    yield flat(table.replace_schema_metadata(None))


def _refuse_parts(folders: Sequence[str], name: str) -> None:
    """Refuse a folder of `train` and `test`, which would be taken for classes."""
    if {folder.lower() for folder in folders} <= PARTS_OF_OTHERS:
        raise InputError(
            f"the folders in {name} must be named by their class, however: {', '.join(folders)} "
            f"{'is a part' if len(folders) == 1 else 'are parts'} of a data set; give one of them, "
            "or put the classes' folders of all together (the splits are made here)"
        )


def _records(source: object) -> list[dict[str, Any]]:
    """The rows of a list, flat; InputError for what holds no records."""
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise InputError(f"{_SOURCES}, however: it is {type(source).__name__}")
    records = list[dict[str, Any]]()
    for record in source:
        if not isinstance(record, Mapping):
            raise InputError(f"{_SOURCES}, however: a row is {type(record).__name__}")
        records.append(flatten(cast("Mapping[str, Any]", record)))
    return records


_SOURCES = (
    "rows must be a path or URI, a table, a DataFrame, a list of records (dicts of fields), a Ray "
    "Dataset or a torch DataLoader"
)


def _table_of_frame(frame: pd.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in frame.columns:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowException, OverflowError):
            columns[str(name)] = column_from(frame[name].tolist())
    return pa.table(columns)


def _name_of(source: Source) -> str:
    if isinstance(source, str | Path):
        return str(source).rstrip("/").rsplit("/", 1)[-1]
    return "rows"


def _present(names: Iterable[str], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in columns)


def _protected(task: Task, named: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """The named protected columns and the task's."""
    return tuple(dict.fromkeys([*named, *(name for name in columns if task.protects(name))]))


def _windows(
    task: Task,
    windows: Sequence[Window] | None,
    columns: Sequence[str],
    time: str | None,
    label: str,
) -> tuple[Window, ...]:
    """The named windows; or those of the task's that the corpus has, or has the columns for."""
    selection: list[Window] = []
    for window in task.windows if windows is None else windows:
        needs = [window.entity, time or "time", *([window.value] if window.value else [])]
        needs += [label] if window.function == "label_rate" else []
        missing = [need for need in needs if need not in columns]
        if window.name in columns or (time is not None and not missing):
            selection.append(window)
        elif windows is not None:
            raise InputError(
                f"the window {window.name!r} needs the columns {needs}, however: {missing} "
                f"{'is' if len(missing) == 1 else 'are'} not in the data or not the time"
            )
    return tuple(selection)
