import dataclasses
import hashlib
import json

import pytest

from spt_core import artifacts
from spt_core.artifacts import (
    MANIFEST,
    ExportedModel,
    ModelArtifact,
    artifact_from_json,
    as_uri,
    exists,
    exported_from_json,
    has_manifest,
    lineage,
    load_artifact,
    merge_licences,
    parquet_files,
    read_bytes,
    remove,
    write_bytes,
    write_manifest,
)
from spt_core.errors import CorruptArtifactError, InputError, NotFoundError
from spt_core.signature import Field, Signature, parse_window


def artifact(uri, **changes):
    made = ModelArtifact(
        uri=uri,
        task="financial_services/fraud_detection",
        model_name="default",
        family="tabular",
        role="student",
        signature=Signature(
            fields=(Field(name="amount", kind="number", minimum=0.1),),
            windows=(parse_window("count(card, 7d)"),),
        ),
        files={},
        config={"network": {"width": 8}},
        metrics={"average_precision": 0.1 + 0.2},
        seed=3,
        data_fingerprint="d",
        code_fingerprint="c",
        splits="file:///splits",
        licences=("MIT",),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def folder(tmp_path):
    return as_uri(tmp_path / "folder with space")


def test_a_plain_path_becomes_an_absolute_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_uri("models") == (tmp_path / "models").as_uri()
    assert as_uri("s3://bucket/models/") == "s3://bucket/models"


def test_what_is_written_is_read(folder):
    digest = write_bytes(f"{folder}/a/b.bin", b"content")
    assert read_bytes(f"{folder}/a/b.bin") == b"content"
    assert digest == hashlib.sha256(b"content").hexdigest()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(folder, tmp_path):
    write_bytes(f"{folder}/a", b"old")
    with pytest.raises(TypeError):
        write_bytes(f"{folder}/a", "not bytes")  # pyright: ignore[reportArgumentType]
    assert read_bytes(f"{folder}/a") == b"old"
    assert [path.name for path in (tmp_path / "folder with space").iterdir()] == ["a"]


def test_a_folder_exists_once_its_manifest_is_written(folder):
    write_bytes(f"{folder}/weights", b"w")
    assert not has_manifest(folder)
    with pytest.raises(NotFoundError):
        load_artifact(folder)
    write_manifest(folder, artifact(folder).to_json())
    assert load_artifact(folder) == artifact(folder)


def test_removal_deletes_the_manifest_first(folder, monkeypatch):
    write_bytes(f"{folder}/weights", b"w")
    write_manifest(folder, {})
    real = artifacts.pafs.LocalFileSystem

    def interrupted(uri):
        files, path = real(), uri.removeprefix("file://").replace("%20", " ")

        class Interrupted:
            get_file_info, delete_file = files.get_file_info, files.delete_file

            def delete_dir(self, _):
                raise KeyboardInterrupt

        return Interrupted(), path

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "filesystem", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove(folder)
    assert not has_manifest(folder)
    assert exists(f"{folder}/weights")


def test_removing_what_is_not_there_is_no_error(folder):
    remove(folder)
    assert not exists(folder)


def test_a_changed_file_is_detected(folder):
    made = artifact(folder, files={"weights": write_bytes(f"{folder}/weights", b"w")})
    assert made.read("weights") == b"w"
    write_bytes(f"{folder}/weights", b"x")
    with pytest.raises(CorruptArtifactError, match="manifest"):
        made.read("weights")


def test_a_missing_file_is_named(folder):
    with pytest.raises(NotFoundError, match="weights"):
        artifact(folder, files={"weights": "0"}).read("weights")


def test_artifacts_survive_json(folder):
    made = artifact(folder)
    exported = ExportedModel(
        uri=f"{folder}/export", artifact=made, files={}, parity={}, probes={}, size_bytes=7
    )
    assert artifact_from_json(json.loads(json.dumps(made.to_json()))) == made
    assert exported_from_json(json.loads(json.dumps(exported.to_json()))) == exported


def test_lineage_goes_back_to_the_first_parent(folder):
    teacher = artifact(f"{folder}/teacher", role="teacher")
    write_manifest(teacher.uri, teacher.to_json())
    student = artifact(f"{folder}/student", parents=(teacher.uri,))
    assert lineage(student) == [student, teacher]


def test_parquet_files_are_sorted_and_alone(folder):
    for name in ("b.parquet", "a.parquet", MANIFEST):
        write_bytes(f"{folder}/{name}", b"")
    assert parquet_files(folder) == [f"{folder}/a.parquet", f"{folder}/b.parquet"]
    assert parquet_files(f"{folder}/none") == []


def test_licences_are_merged_once_each():
    assert merge_licences([("MIT", "CC0"), ("MIT",)]) == ("CC0", "MIT")


def test_a_location_that_no_file_system_has_is_refused():
    with pytest.raises(InputError, match="gopher"):
        exists("gopher://host/file")


def test_the_digest_does_not_depend_on_key_order():
    assert artifacts.digest({"a": 1, "b": 2}) == artifacts.digest({"b": 2, "a": 1})
