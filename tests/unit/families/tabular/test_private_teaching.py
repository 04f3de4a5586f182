"""A private teacher from its rows to its artifact, and its student, who sees none of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load, save

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, as_uri, load_artifact
from spt_core.data.corpus import HASH, ROW, Corpus
from spt_core.errors import InputError
from spt_core.families.tabular.candidates import table_candidates
from spt_core.families.tabular.checkpoint import open_runtime
from spt_core.families.tabular.config import TabularConfig, TabularCopying
from spt_core.families.tabular.distilling import TableDistilling
from spt_core.families.tabular.ensemble import TeacherEnsemble
from spt_core.families.tabular.learner import LEARNER
from spt_core.families.tabular.private_teaching import (
    PrivateTableTeaching,
    one_row_per_group,
    table_teaching,
)
from spt_core.families.tabular.rows import encoded_arrays
from spt_core.families.tabular.teaching import TableTeaching
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.privacy import PrivacyConfig
from spt_core.fitting.private_loop import fit_privately
from spt_core.fitting.ray_train import write_artifact
from spt_core.fitting.shards import MemoryShard
from spt_core.signature import Field, Signature, Window
from spt_core.task import find
from tests.unit.fitting.runs import Reports

TASK = find("healthcare/heart_disease")
SIZES = {"train": 600, "validation": 100, "calibration": 100}
EPSILON = 6.0


def config(folder: Path, **privacy: Any) -> TrainingConfig:
    return TrainingConfig(
        task=TASK.path,
        industry=TASK.industry,
        num_epochs=2,
        batch_size=200,
        learning_rate=0.02,
        network=TabularConfig(num_bins=8, student_hidden=(8,)),
        output_dir=str(folder),
        privacy=PrivacyConfig(**{"epsilon": EPSILON, **privacy}),
    )


def splits_of(folder: Path, table: Callable[[int, int], pa.Table], **corpus: Any) -> Any:
    """What plans ask of splits: parts in files, each row with its number and the hash of it."""
    for seed, (part, size) in enumerate(SIZES.items()):
        rows = table(size, seed)
        rows = rows.append_column(ROW, pa.array(np.arange(rows.num_rows)))
        hashes = np.random.default_rng(seed).integers(0, 2**62, rows.num_rows).astype(np.uint64)
        pq.write_table(rows.append_column(HASH, pa.array(hashes)), folder / f"{part}.parquet")
    fields = tuple(
        dataclasses.replace(f, categories=("exact",)) if f.kind == "category" else f
        for f in TASK.fields
    )
    return SimpleNamespace(
        uri="file:///none/splits/a",
        task=TASK.path,
        corpus=Corpus(uris=(), format="parquet", name="a", identity="a", **corpus),
        signature=Signature(fields=fields),
        classes=(),
        label=TASK.label,
        num_rows=SIZES,
        files=lambda part: [as_uri(folder / f"{part}.parquet")],
        data_fingerprint="a",
        protected=(),
        licences=("MIT",),
        deidentified={},
    )


def patients(num_rows: int, seed: int) -> pa.Table:
    """Rows of which each patient has three; one names none."""
    names = [None if row == 0 else f"patient {row // 3}" for row in range(num_rows)]
    return TASK.sample(num_rows, seed).append_column("patient", pa.array(names))


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return splits_of(tmp_path_factory.mktemp("splits"), TASK.sample)


def trained(plan: PrivateTableTeaching, splits: Any, folder: Path) -> ModelArtifact:
    """The artifact of a plan, fitted in this process."""
    run = plan.prepare("teacher")
    features, targets = encoded_arrays(splits, "train", run.signature, limit=10_000)
    rows = MemoryShard((features, targets, np.ones(len(targets), np.float32)), seed=0)
    reports = Reports(folder / "reports")
    fit_privately(run, rows, None, report=reports, resume=None)
    weights = save({name: value.contiguous() for name, value in reports.best.items()})
    return write_artifact(f"{as_uri(folder)}/teacher", splits, run, plan.finish(weights))


@pytest.fixture(scope="module")
def teacher(splits: Any, tmp_path_factory: pytest.TempPathFactory) -> ModelArtifact:
    folder = tmp_path_factory.mktemp("teacher")
    training = config(folder)
    plan = table_teaching(splits, training)
    assert isinstance(plan, PrivateTableTeaching)
    return trained(plan, splits, folder)


def lesson_of(teacher: ModelArtifact, splits: Any, training: TrainingConfig, **more: Any) -> Lesson:
    values: dict[str, Any] = {
        "copying": TabularCopying(),
        "num_copies": 1,
        "hard_label_weight": 0.0,
        "compression_ratio": 1.0,
        "unlabelled": None,
    }
    own = dataclasses.replace(training, privacy=None)
    return Lesson(teacher=teacher, splits=splits, training=own, **{**values, **more})


def test_the_artifact_says_what_was_spent_for_whom_and_who_is_not_protected(teacher):
    facts = load_artifact(teacher.uri).privacy
    assert 0.98 * EPSILON < facts["epsilon"] <= facts["epsilon_asked"] == EPSILON
    assert facts["delta"] == pytest.approx(0.1 / 600)
    assert "caution" not in facts
    assert facts["network"]["steps"] == 6
    assert facts["network"]["sampling_rate"] == pytest.approx(1 / 3)
    assert facts["encodings"]["epsilon_alone"] <= EPSILON / 4
    assert facts["unit"] == "row"
    assert any(
        text.startswith("validation and calibration rows") for text in facts["not_protected"]
    )
    assert set(teacher.files) == {WEIGHTS, FACTS, "blend.json"}
    assert any("no forests" in note for note in teacher.notes)


def test_delta_pays_for_the_releases_and_for_a_category_of_one_row(teacher):
    encodings = teacher.privacy["encodings"]
    paid = encodings["delta_of_releases"] + np.exp(EPSILON) * encodings["delta"]
    assert paid == pytest.approx(teacher.privacy["delta"])


def test_categories_and_ranges_are_private_ones(teacher, splits):
    assert set(teacher.signature.field("sex").categories) <= {"female", "male"}
    assert all(f.seen is None and not f.complete for f in teacher.signature.fields)
    assert "age" in teacher.privacy["encodings"]["public_ranges"]


def test_it_answers_like_any_teacher(teacher):
    rows = np.full((3, len(teacher.signature.columns)), np.nan, np.float32)
    rows[:, len(teacher.signature.numbers) :] = 0
    scores, effects = open_runtime(teacher).explain(rows)
    assert ((scores > 0) & (scores < 1)).all()
    assert effects.shape == (3, len(teacher.signature.columns))
    assert not TeacherEnsemble(teacher).members


def test_a_run_that_goes_on_buys_its_encodings_once(splits, tmp_path):
    first = PrivateTableTeaching(splits, config(tmp_path), config(tmp_path).privacy)
    again = PrivateTableTeaching(splits, config(tmp_path), config(tmp_path).privacy)
    run, other = first.prepare("a"), first.prepare("b")
    assert again.prepare("a") == run
    assert other.facts != run.facts  # another run is another release, with noise of its own
    assert other.private == run.private


def test_all_trainings_of_the_same_data_are_remembered_whatever_becomes_of_them(splits, tmp_path):
    plan = PrivateTableTeaching(splits, config(tmp_path), config(tmp_path).privacy)
    totals = []
    for name in ("a", "b", "b"):
        plan.prepare(name)
        facts = json.loads((tmp_path / f"runs/{name}-encoding/_manifest.json").read_text())
        totals.append(facts["privacy"]["all_trainings"])
    assert [each["trainings"] for each in totals] == [1, 2, 2]
    assert [each["epsilon"] for each in totals] == [EPSILON, 2 * EPSILON, 2 * EPSILON]


def test_the_artifact_of_a_budget_that_protects_nobody_says_so(splits, tmp_path):
    own = config(tmp_path, epsilon=20.0)
    PrivateTableTeaching(splits, own, own.privacy).prepare("a")
    facts = json.loads((tmp_path / "runs/a-encoding/_manifest.json").read_text())["privacy"]
    assert "epsilon 20 promises little or nothing" in facts["caution"]


def test_its_student_sees_no_training_row(teacher, splits, tmp_path, monkeypatch):
    read = []

    def files(part):
        read.append(part)
        return splits.files(part)

    own = SimpleNamespace(**{**vars(splits), "files": files})
    plan = TableDistilling(lesson_of(teacher, own, config(tmp_path)))
    run = plan.draft()
    state = LEARNER.network(run).state_dict()
    student = plan.finish(save({name: value.contiguous() for name, value in state.items()}))
    assert set(read) == {"calibration", "validation"}
    assert student.privacy["epsilon"] == teacher.privacy["epsilon"]
    assert student.privacy["release"] == teacher.privacy["release"]
    assert "artificial rows" in student.privacy["student"]
    assert load(student.files[WEIGHTS])["baseline"].abs().sum() > 0

    artifact = write_artifact(f"{as_uri(tmp_path)}/student", own, run, student)
    (alone,) = table_candidates(teacher, artifact, own)
    assert alone.role == "student"
    assert "train" not in read
    with pytest.raises(InputError, match="hard_label_weight must be 0"):
        TableDistilling(lesson_of(teacher, own, config(tmp_path), hard_label_weight=0.5))


def test_of_each_patient_one_row_is_learnt_from_whatever_the_others_rows_are(tmp_path):
    own = splits_of(tmp_path, patients, group="patient")
    kept = one_row_per_group(own)
    assert len(kept) == 200
    assert len({row // 3 for row in kept}) == 200
    assert 0 not in kept

    train = pq.read_table(tmp_path / "train.parquet")
    fewer = train.filter(pa.array(np.arange(600) >= 300))  # the first hundred patients leave
    pq.write_table(fewer, tmp_path / "train.parquet")
    assert one_row_per_group(own).tolist() == [row for row in kept if row >= 300]

    pq.write_table(train, tmp_path / "train.parquet")
    plan = PrivateTableTeaching(own, config(tmp_path), config(tmp_path).privacy)
    run = plan.prepare("a")
    assert run.num_rows == 200
    facts = json.loads((tmp_path / "runs/a-encoding/_manifest.json").read_text())["privacy"]
    assert facts["unit"] == "group patient"
    assert "400 others are left out" in facts["protected"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "healthcare/clinical_decision_support"}, "must be decisions"),
        ({"corpus": {"weight": "stays"}}, "must stand for themselves, however: data.weight=stays"),
        (
            {"fields": (Field(name="symptoms", kind="terms"),)},
            "must have fields of the kinds .* symptoms is of terms",
        ),
        (
            {"windows": (Window(entity="card", function="count", span_days=7),)},
            "must hold what one row says, however: card.count_7d looks at others",
        ),
        ({"ranges": ("sex:0:1",)}, "privacy.ranges must name numbers, however: 'sex'"),
        ({"ranges": ("height:0:1",)}, "has no field 'height'"),
        ({"delta": 0.5}, "privacy.delta must be below 1 / training rows"),
    ],
)
def test_what_nobody_could_count_is_refused(splits, tmp_path, changes, sentence):
    signature = splits.signature
    for name in ("fields", "windows"):
        signature = dataclasses.replace(
            signature, **{name: changes.get(name, getattr(signature, name))}
        )
    own = SimpleNamespace(
        **{
            **vars(splits),
            "task": changes.get("task", splits.task),
            "corpus": dataclasses.replace(splits.corpus, **changes.get("corpus", {})),
            "signature": signature,
        }
    )
    privacy = {name: changes[name] for name in ("ranges", "delta") if name in changes}
    with pytest.raises(InputError, match=sentence):
        table_teaching(own, config(tmp_path, **privacy))


def test_rows_that_do_not_fit_in_memory_are_refused(splits, tmp_path):
    training = dataclasses.replace(config(tmp_path), cache_bytes=100)
    with pytest.raises(InputError, match="must be held in memory"):
        PrivateTableTeaching(splits, training, training.privacy)
    assert not list(tmp_path.iterdir())


def test_without_privacy_the_teacher_is_what_it_was(splits, tmp_path):
    plain = dataclasses.replace(config(tmp_path), privacy=None)
    assert isinstance(table_teaching(splits, plain), TableTeaching)
