"""Addresses and facts of what training makes, and the files behind them.

A folder is written file by file and its manifest last: a folder without one does not exist.
Addresses are URIs of any pyarrow file system (file://, s3://, gs://).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow.fs as pafs

from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.plain import from_plain
from spt_core.signature import Signature

MANIFEST = "_manifest.json"  # readers of a Parquet folder pass over names with an underscore
# Files that models of all families have: weights and facts of a checkpoint, the graph of an export.
WEIGHTS, FACTS, GRAPH = "network.safetensors", "facts.json", "model.onnx"
# A blend is a student with its teacher's forests beside it.
Role = Literal["teacher", "student", "blend"]


def as_uri(location: str | Path) -> str:
    """The location as a URI; a plain path becomes an absolute file:// address."""
    text = str(location)
    return text.rstrip("/") if "://" in text else Path(text).expanduser().absolute().as_uri()


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The pyarrow file system of a URI, and the path inside it."""
    try:
        return pafs.FileSystem.from_uri(as_uri(uri))
    except (ValueError, OSError) as error:
        raise InputError(
            f"a location must be a path or a URI such as s3://bucket/folder, however: {uri!r} "
            f"({error})"
        ) from error


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    files, path = filesystem(uri)
    return files.get_file_info(path).type != pafs.FileType.NotFound


def read_bytes(uri: str) -> bytes:
    """The content of a file."""
    files, path = filesystem(uri)
    try:
        with files.open_input_stream(path, compression=None) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise NotFoundError(f"a file must exist to be read, however: {uri} does not") from error


def write_bytes(uri: str, content: bytes) -> str:
    """Write a file so that readers see all of it or nothing; returns its sha256."""
    files, path = filesystem(uri)
    if isinstance(files, pafs.LocalFileSystem):
        files.create_dir(str(Path(path).parent), recursive=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with files.open_output_stream(temporary) as stream:
                stream.write(content)
            files.move(temporary, path)
        finally:
            if files.get_file_info(temporary).type != pafs.FileType.NotFound:
                files.delete_file(temporary)
    else:  # object stores show an object only when its upload is complete
        with files.open_output_stream(path) as stream:
            stream.write(content)
    return hashlib.sha256(content).hexdigest()


def remove(uri: str) -> None:
    """Delete a file, or a folder, the manifest first: a half-deleted one is not taken for whole."""
    files, path = filesystem(uri)
    kind = files.get_file_info(path).type
    if kind == pafs.FileType.NotFound:
        return
    if kind == pafs.FileType.File:
        files.delete_file(path)
        return
    manifest = f"{path}/{MANIFEST}"
    if files.get_file_info(manifest).type != pafs.FileType.NotFound:
        files.delete_file(manifest)
    files.delete_dir(path)


def parquet_files(folder: str) -> list[str]:
    """The URIs of a folder's Parquet files, sorted."""
    files, path = filesystem(folder)
    infos = files.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(
        f"{folder}/{info.base_name}" for info in infos if info.base_name.endswith(".parquet")
    )


def write_manifest(folder: str, content: Mapping[str, Any]) -> None:
    """Write a folder's manifest: from now on the folder exists."""
    text = json.dumps(content, indent=1, sort_keys=True)
    write_bytes(f"{folder}/{MANIFEST}", text.encode())


def read_manifest(folder: str) -> dict[str, Any]:
    """A folder's manifest; NotFoundError when the folder was never finished."""
    return json.loads(read_bytes(f"{folder}/{MANIFEST}"))


def has_manifest(folder: str) -> bool:
    """Whether the folder was written to its end."""
    return exists(f"{folder}/{MANIFEST}")


def digest(content: Any) -> str:
    """A short stable name for any JSON content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def code_fingerprint() -> str:
    """sha256 over this checkout's library and industries: which code made an artifact."""
    root = Path(__file__).parent.parent
    content = hashlib.sha256()
    for path in sorted([*root.glob("spt_core/**/*.py"), *root.glob("industries/**/*.py")]):
        content.update(str(path.relative_to(root)).encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelArtifact:
    """One trained model: where its weights are, what it takes, and everything that it came from.

    `files` maps each file in the folder `uri` to its sha256; `parents` are the URIs of the
    artifacts that it was made from (its lineage); `licences` are those of all data behind it;
    `classes` are what it tells apart, none of decisions and numbers; `notes` are what whoever
    trained it should know, a sentence each. `twin` is the model (of what is served its export)
    whose figures, calibration and thresholds one has that was refitted on the rows that these came
    from; "" of others. `deidentified` says what removed identifiers from its training texts and how
    many of each type, if anything did. `runs` are where trackers show its training: addresses.
    `privacy` says what the model tells of its training rows at most, if it was trained with
    differential privacy: epsilon, delta, what was released, whom it protects and whom not.
    """

    uri: str
    task: str
    model_name: str
    family: str
    role: Role
    signature: Signature
    files: Mapping[str, str]
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    seed: int
    data_fingerprint: str
    code_fingerprint: str
    splits: str
    protected: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    twin: str = ""
    deidentified: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    runs: tuple[str, ...] = ()
    privacy: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def read(self, name: str) -> bytes:
        """A file of this artifact, checked against its digest."""
        return read_checked(self.uri, name, self.files)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `artifact_from_json` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """Runtime files of a model, each with the proof that it answers like its checkpoint.

    `parity` holds, per file, the largest absolute difference of probabilities seen and the batch
    sizes tried; `probes` are encoded rows with the probabilities that a replica must reproduce.
    """

    uri: str
    artifact: ModelArtifact
    files: Mapping[str, str]
    parity: Mapping[str, Any]
    probes: Mapping[str, Any]
    size_bytes: int

    def read(self, name: str) -> bytes:
        """A file of this export, checked against its digest."""
        return read_checked(self.uri, name, self.files)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `exported_from_json` reads back."""
        return dataclasses.asdict(self)


def artifact_from_json(content: Mapping[str, Any]) -> ModelArtifact:
    """The ModelArtifact that `to_json` wrote."""
    return from_plain(ModelArtifact, content)


def exported_from_json(content: Mapping[str, Any]) -> ExportedModel:
    """The ExportedModel that `to_json` wrote."""
    return from_plain(ExportedModel, content)


def load_artifact(uri: str) -> ModelArtifact:
    """The ModelArtifact of a finished folder."""
    return artifact_from_json(read_manifest(uri))


def load_exported(uri: str) -> ExportedModel:
    """The ExportedModel of a finished folder."""
    return exported_from_json(read_manifest(uri))


def lineage(artifact: ModelArtifact) -> list[ModelArtifact]:
    """The artifact and everything that it was made from, nearest first."""
    artifacts = [artifact]
    for parent in artifact.parents:
        artifacts += lineage(load_artifact(parent))
    return artifacts


def write_derived(
    source: ModelArtifact, uri: str, files: Mapping[str, bytes], **changes: Any
) -> ModelArtifact:
    """Another model's artifact, in its own folder: files, then the manifest; one there is kept."""
    if has_manifest(uri):
        return load_artifact(uri)
    digests = {name: write_bytes(f"{uri}/{name}", content) for name, content in files.items()}
    artifact = dataclasses.replace(source, uri=uri, files=digests, **changes)
    write_manifest(uri, json.loads(json.dumps(artifact.to_json())))
    return artifact


def unrefitted(artifact: ModelArtifact) -> ModelArtifact:
    """The model itself, or the twin of one that was refitted, which held-out rows can judge."""
    if not artifact.twin:
        return artifact
    content = read_manifest(artifact.twin)
    is_export = "artifact" in content
    return exported_from_json(content).artifact if is_export else artifact_from_json(content)


def merge_licences(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All licences that a product of several sources must honour, each once."""
    return tuple(sorted({licence for group in groups for licence in group}))


def read_checked(uri: str, name: str, files: Mapping[str, str]) -> bytes:
    """A file of a folder; CorruptArtifactError if its sha256 is not the one in `files`."""
    content = read_bytes(f"{uri}/{name}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != files[name]:
        raise CorruptArtifactError(
            f"a stored file must match its manifest, however: {uri}/{name} has sha256 "
            f"{sha256[:12]}, the manifest says {files[name][:12]}"
        )
    return content
