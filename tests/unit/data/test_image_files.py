"""Corpora of images: folders, tables of paths, columns of bytes; what is bad goes aside."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spt_core.artifacts import as_uri
from spt_core.data import formats
from spt_core.data.alike import remove_alike
from spt_core.data.conform import conform
from spt_core.data.corpus import HASH, LOOK, ROW, Corpus, Roles
from spt_core.data.hashing import column_hashes
from spt_core.data.image_files import with_files
from spt_core.data.infer import infer_columns
from spt_core.data.labels import rule_of
from spt_core.data.partition import Partition, Written, write_parts
from spt_core.data.read import ReadJob, _good_rows
from spt_core.data.sampling import sample
from spt_core.data.sources import open_corpus
from spt_core.data.split_plan import kind_of, ungrouped
from spt_core.data.splits import SplitConfig
from spt_core.errors import InputError
from spt_core.signature import Field
from spt_core.task import find
from tests.odd_images import ANSWERED, REFUSED, encoded, gradient
from tests.tiny_models import tiny_image

TASK = find("manufacturing/visual_inspection")
IMAGE = Field(name="image", kind="image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images, a note, and what a system leaves behind."""
    for number, name in enumerate(["good", "scratches"]):
        (tmp_path / "plates" / name).mkdir(parents=True)
        for seed in range(3):
            path = tmp_path / "plates" / name / f"{seed}.PNG"
            path.write_bytes(tiny_image(10 * number + seed))
    (tmp_path / "plates" / "README.txt").write_text("made on Monday")
    (tmp_path / "plates" / ".DS_Store").write_bytes(b"\0\1")
    return tmp_path / "plates"


def test_a_folder_of_classes_is_a_corpus_of_rows(folder: Path) -> None:
    corpus = open_corpus(TASK, folder, storage=as_uri(folder.parent))
    assert (corpus.format, corpus.label, len(corpus.uris)) == ("images", "folder", 6)
    columns = infer_columns(corpus, TASK)
    assert [field.name for field in columns.features] == ["image"]
    assert [(finding.kind, finding.detail) for finding in columns.findings] == [
        ("unused", "README.txt beside the folders of images: no images, and ignored")
    ]
    (fragment,) = formats.image_fragments(corpus.uris, corpus.root)
    (raw,) = formats.batches(fragment, "images")
    assert raw.table["folder"].to_pylist() == ["good"] * 3 + ["scratches"] * 3
    assert raw.table[ROW].to_pylist() == list(range(6))
    assert raw.table["image"][4].as_py() == tiny_image(11)


def test_fragments_of_many_files_number_their_rows() -> None:
    uris = [f"file:///a/{number}.png" for number in range(600)]
    fragments = formats.image_fragments(uris, "file:///a")
    assert [fragment.first_row for fragment in fragments] == [0, 256, 512]
    assert sum(1 + len(fragment.others) for fragment in fragments) == 600


def rows_of(corpus: Corpus) -> pa.Table:
    (fragment,) = formats.image_fragments(corpus.uris, corpus.root)
    (raw,) = formats.batches(fragment, "images")
    return raw.table


def test_every_file_below_the_classes_is_a_row_or_goes_aside_with_the_reason(folder: Path) -> None:
    for name in ("a.jpe", "b.JFIF", "_DSC0001.jpg"):
        (folder / "good" / name).write_bytes(encoded(Image.fromarray(gradient()), "JPEG"))
    others = {
        "c.gif": (b"GIF89a....", "it is a GIF"),
        "d.webp": (b"RIFF....WEBP", "it is a WebP"),
        "e.dcm": (b"\0" * 128 + b"DICM", "it is a DICOM file"),
        "f.jp2": (b"\0\0\0\x0cjP  ", "it is a JPEG 2000"),
        "labels.csv": (b"name,defect\n", "it is text"),
        "g": (b"\1\2\3", "01 02 03"),
    }
    (folder / "scratches" / "deeper").mkdir()
    for name, (content, _) in others.items():
        (folder / "scratches" / "deeper" / name).write_bytes(content)
    corpus = open_corpus(TASK, folder, storage=as_uri(folder.parent))
    assert len(corpus.uris) == 6 + 3 + len(others)
    good, bad = conform(rows_of(corpus), [IMAGE])
    assert (good.num_rows, bad.num_rows) == (9, len(others))
    reasons = {
        Path(json.loads(row["record"])["path"]).name: row["reason"] for row in bad.to_pylist()
    }
    assert reasons.keys() == others.keys()
    assert all(fact in reasons[name] for name, (_, fact) in others.items())


@pytest.mark.parametrize("name", ["notes.csv", "shifts.tsv", "meta.jsonl"])
def test_a_table_without_images_beside_folders_of_them_is_ignored_and_it_is_told(
    folder: Path, name: str
) -> None:
    (folder / name).write_text('{"date": 1}\n' if name == "meta.jsonl" else "date,shift\n1,2\n")
    corpus = open_corpus(TASK, folder, storage=as_uri(folder.parent))
    assert (corpus.format, len(corpus.uris)) == ("images", 6)
    assert set(corpus.ignored) == {"README.txt", name}
    (finding,) = infer_columns(corpus, TASK).findings
    assert "and 1 more beside the folders of images" in finding.detail


def test_a_flat_folder_has_no_classes_and_can_be_scored_with_all_its_files(folder: Path) -> None:
    (folder / "good" / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(InputError, match="a folder for each class, however: those of good lie in"):
        open_corpus(TASK, folder / "good", storage=as_uri(folder.parent))
    corpus = open_corpus(TASK, folder / "good", storage=as_uri(folder.parent), require_label=False)
    assert rows_of(corpus)["folder"].to_pylist() == [None] * 4
    assert corpus.ignored == ()


def plates(folder: Path) -> Path:
    """Each class with images of three plates, and one image that lies in none."""
    for name in ("good", "scratches"):
        for number in range(6):
            place = folder / name / f"plate {number // 2}" / "left" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(tiny_image(number))
    return folder


def test_the_class_is_the_first_folder_and_a_plate_the_one_below_it(tmp_path: Path) -> None:
    (plates(tmp_path) / "good" / "alone.png").write_bytes(tiny_image(7))
    corpus = open_corpus(TASK, tmp_path, storage=as_uri(tmp_path), roles=Roles(group="subfolder"))
    table = rows_of(corpus)
    assert table["folder"].to_pylist() == ["good"] * 7 + ["scratches"] * 6
    own = [f"plate {number // 2}" for number in range(6)]
    assert table["subfolder"].to_pylist() == [None, *own, *own]
    columns = infer_columns(corpus, TASK)
    assert [field.name for field in columns.carried] == ["subfolder"]
    assert kind_of(corpus, columns, SplitConfig(), sample(corpus, 100)) == "group"
    good, bad = conform(table, columns.all, required=("subfolder",))
    assert good["subfolder"].to_pylist() == own + own
    assert "'subfolder' must be known" in bad["reason"][0].as_py()


def test_folders_of_parts_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "Test"):
        (tmp_path / "plates" / part / "good").mkdir(parents=True)
        (tmp_path / "plates" / part / "good" / "1.png").write_bytes(tiny_image(1))
    with pytest.raises(InputError, match="named by their class, however: Test, train are parts"):
        open_corpus(TASK, tmp_path / "plates", storage=as_uri(tmp_path))
    corpus = open_corpus(TASK, tmp_path / "plates" / "train", storage=as_uri(tmp_path))
    assert rows_of(corpus)["folder"].to_pylist() == ["good"]


def test_an_image_beside_the_folders_of_the_classes_goes_aside(folder: Path) -> None:
    (folder / "overview.png").write_bytes(tiny_image(9))
    corpus = open_corpus(TASK, folder, storage=as_uri(folder.parent))
    (fragment,) = formats.image_fragments(corpus.uris, corpus.root)
    job = ReadJob(
        format="images",
        fields=(IMAGE,),
        label=corpus.label,
        labels=rule_of(TASK),
        positive=None,
        quarantine=as_uri(folder.parent / "bad"),
        columns=None,
        required=(),
        gaps=frozenset(),
        time=None,
    )
    (good,) = _good_rows(fragment, job)
    assert good["folder"].to_pylist() == ["good"] * 3 + ["scratches"] * 3
    (bad,) = pq.read_table(folder.parent / "bad").to_pylist()
    assert bad["reason"].endswith("however: it lies beside these folders")
    assert json.loads(bad["record"])["path"].endswith("plates/overview.png")


def test_a_split_at_random_of_plates_or_patients_is_told(folder: Path, tmp_path: Path) -> None:
    def told(folder: Path, **roles: Any) -> list[str]:
        corpus = open_corpus(TASK, folder, storage=as_uri(tmp_path), roles=Roles(**roles))
        return [f.detail for f in ungrouped(TASK, corpus, "random", sample(corpus, 100))]

    flatters = "the split is at random, and figures may flatter"
    assert told(folder) == [
        f"no column says which rows are of one plate: {flatters}; --group names one"
    ]
    (detail,) = told(plates(tmp_path / "by plate"))
    assert detail.startswith(f"images lie in 3 subfolders of the classes: {flatters}")
    assert told(tmp_path / "by plate", group="subfolder") == []
    rows = open_corpus(TASK, TASK.sample(20, 0), storage=as_uri(tmp_path))
    assert (rows.group, ungrouped(TASK, rows, "group", sample(rows, 20))) == ("plate", [])


def test_a_table_beside_images_is_the_corpus(folder: Path) -> None:
    (folder / "rows.csv").write_text("image,defect\ngood/0.PNG,good\n")
    corpus = open_corpus(TASK, folder, storage=as_uri(folder.parent))
    assert (corpus.format, len(corpus.uris), corpus.label) == ("csv", 1, "defect")


def test_paths_of_a_table_are_read_from_its_folder_and_never_beyond(folder: Path) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes(tiny_image(99))
    text = base64.b64encode(tiny_image(5)).decode()
    cells = pa.chunked_array(
        [["good/0.PNG", text, "../secret.png", str(secret), "good/none.png", None, "good\\1.PNG"]]
    )
    read = with_files(cells, as_uri(folder / "rows.csv"))
    table = pa.table({"image": read, ROW: range(7)})
    good, bad = conform(table, [IMAGE])
    assert good[ROW].to_pylist() == [0, 1, 6]
    assert good["image"].to_pylist() == [tiny_image(0), tiny_image(5), tiny_image(1)]
    reasons = bad["reason"].to_pylist()
    assert ["below the table's folder" in reason for reason in reasons] == [True] * 3 + [False]
    assert "it is missing" in reasons[3]


def test_bad_images_go_aside_with_the_reason_and_without_their_bytes() -> None:
    cells = [tiny_image(0), b"no image", tiny_image(1)[:-40], None]
    table = pa.table({"image": pa.array(cells, pa.binary()), "name": list("abcd")})
    good, bad = conform(table, [IMAGE])
    assert (good.num_rows, bad.num_rows) == (1, 3)
    assert all(reason.startswith("the field 'image' must") for reason in bad["reason"].to_pylist())
    assert json.loads(bad["record"][0].as_py()) == {"image": "8 bytes", "name": "b"}


def test_odd_files_of_a_folder_are_rows_or_go_aside_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "plates" / "good").mkdir(parents=True)
    odd = {name: content for name, (content, _) in (*ANSWERED.items(), *REFUSED.items())}
    for name, content in odd.items():  # whatever a file is named, its content counts
        (tmp_path / "plates" / "good" / f"{name}.png").write_bytes(content)
    corpus = open_corpus(TASK, tmp_path / "plates", storage=as_uri(tmp_path))
    (fragment,) = formats.image_fragments(corpus.uris, corpus.root)
    (raw,) = formats.batches(fragment, "images")
    names = [name.removesuffix(".png") for name in sorted(f"{name}.png" for name in odd)]
    good, bad = conform(raw.table, [IMAGE])
    assert {names[row] for row in good[ROW].to_pylist()} == set(ANSWERED)
    reasons = {names[row[ROW]]: row["reason"] for row in bad.to_pylist()}
    assert set(reasons) == set(REFUSED)
    for name, (_, fact) in REFUSED.items():
        assert reasons[name].startswith("the field 'image' must")
        assert fact in reasons[name]


def test_a_column_of_base64_that_is_none_goes_aside(tmp_path: Path) -> None:
    cells = [base64.b64encode(tiny_image(0)).decode(), "%%%", base64.b64encode(b"a text").decode()]
    read = with_files(pa.chunked_array([cells]), as_uri(tmp_path / "rows.csv"))
    good, bad = conform(pa.table({"image": read, ROW: range(3)}), [IMAGE])
    assert good[ROW].to_pylist() == [0]
    assert bad[ROW].to_pylist() == [1, 2]
    assert all(", however: " in reason for reason in bad["reason"].to_pylist())


def test_bytes_of_an_image_count_for_the_fingerprint() -> None:
    column = pa.array([tiny_image(0), tiny_image(1), tiny_image(0), None], pa.large_binary())
    first, second, third, missing = column_hashes(column).tolist()
    assert first == third
    assert len({first, second, missing}) == 3


def test_a_struct_of_bytes_and_path_is_its_bytes(tmp_path: Path) -> None:
    cells = [{"bytes": tiny_image(0), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    pq.write_table(pa.table({"image": cells}), tmp_path / "rows.parquet")
    uri = as_uri(tmp_path / "rows.parquet")
    assert formats.header(uri, "parquet") == ["image"]
    (raw,) = formats.batches(formats.Fragment(uri=uri), "parquet")
    good, bad = conform(raw.table, [IMAGE])
    assert good["image"].to_pylist() == [tiny_image(0)]
    assert bad[ROW].to_pylist() == [1, 2]


def test_rows_of_bytes_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = pa.table({"image": pa.array([b"\xff" * 2_000_000] * 40, pa.binary())})
    pq.write_table(rows, path, compression="none", use_dictionary=False)
    sizes = [
        raw.table.num_rows for raw in formats.batches(formats.Fragment(uri=as_uri(path)), "parquet")
    ]
    assert sum(sizes) == 40
    assert max(sizes) * 2_000_000 <= formats.BATCH_BYTES


def parted(tmp_path: Path, images: dict[str, list[bytes]]) -> tuple[Partition, Written]:
    """A corpus that is written part by part, as a time split deals it."""
    partition = Partition(
        folder=as_uri(tmp_path),
        label="defect",
        identity=("image",),
        content=("image", "defect"),
        categories=(),
        shares=(0.25, 0.25, 0.25, 0.25),
        seed=0,
        max_categories=10,
        time="time",
        cuts_us=(1, 2, 3),
        labels=rule_of(TASK),
    )
    cells = [image for part in images.values() for image in part]
    times = [number for number, part in enumerate(images.values()) for _ in part]
    table = pa.table({"image": cells, "defect": ["good"] * len(cells), ROW: range(len(cells))})
    typed, _ = conform(table, [IMAGE], label="defect", labels=partition.labels)
    typed = typed.append_column("time", pa.array(times, pa.int64()))
    written = Written(max_categories=10)
    written.add(json.loads(write_parts(typed, partition)["written"][0].as_py()))
    return partition, written


def test_a_picture_of_an_earlier_part_is_left_out_whatever_file_it_is_in(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(tiny_image(2))).resize((90, 90)).save(buffer, "JPEG", quality=70)
    parts = {
        "train": [tiny_image(n) for n in range(6)],
        "validation": [tiny_image(n) for n in range(10, 13)],
        "calibration": [tiny_image(20), buffer.getvalue(), tiny_image(21)],
        "test": [tiny_image(11), tiny_image(30), tiny_image(31)],
    }
    partition, written = parted(tmp_path, parts)
    removed, findings = remove_alike(written, partition)
    assert removed == 2
    assert [finding.kind for finding in findings] == ["duplicates"]
    assert dict(written.num_rows) == {"train": 6, "validation": 3, "calibration": 2, "test": 2}
    kept = pq.read_table(tmp_path / "test")
    assert kept["image"].to_pylist() == [tiny_image(30), tiny_image(31)]
    assert {LOOK, HASH} <= set(kept.column_names)


def test_where_most_images_look_alike_none_is_left_out_and_it_is_told(tmp_path: Path) -> None:
    same = [tiny_image(0)] * 3
    partition, written = parted(
        tmp_path, {"train": same, "validation": same, "calibration": same, "test": same}
    )
    removed, findings = remove_alike(written, partition)
    assert removed == 0
    assert len(findings) == 3
    assert "figures may flatter" in findings[0].detail


@pytest.mark.parametrize("name", ["IMG 0.png", "a%20b.png", "c#1.png", "d?e.png", "ü.png"])
def test_a_path_in_a_table_is_taken_as_it_is_written(tmp_path, name):
    (tmp_path / name).write_bytes(b"own")
    (tmp_path / "a b.png").write_bytes(b"another")
    read = with_files(pa.chunked_array([pa.array([name])]), as_uri(tmp_path / "rows.csv"))
    assert read.to_pylist() == [b"own"]
