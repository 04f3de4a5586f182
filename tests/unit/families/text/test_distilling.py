import json

import numpy as np
import pytest
import torch
from safetensors.torch import load

from spt_core.distillation import DistillationConfig
from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularCopying
from spt_core.families.text import softening
from spt_core.families.text.bases import build_encoder
from spt_core.families.text.bodies import chosen_layers, narrowed, state_axes, whole_heads
from spt_core.families.text.config import TextCopying
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.softening import soften_texts
from spt_core.families.text.tokenizer_edits import trimmed
from spt_core.families.text.wide import Wide
from spt_core.fitting.config import TrainingConfig
from tests.tiny_models import TEXTS, text_task, tiny_text_artifact

ENCODER = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    state = build_encoder(ENCODER).state_dict()
    return {name: value for name, value in state.items() if not name.startswith("pooler.")}


@pytest.mark.parametrize(("num_layers", "wanted"), [(1, [3]), (2, [0, 3]), (4, [0, 1, 2, 3])])
def test_a_student_keeps_layers_spread_over_its_teacher(weights, num_layers, wanted):
    found, config = chosen_layers(weights, ENCODER, num_layers)
    assert config["num_hidden_layers"] == num_layers
    for new, old in enumerate(wanted):
        name = "encoder.layer.{}.output.dense.weight"
        assert torch.equal(found[name.format(new)], weights[name.format(old)])
    build_encoder(config).load_state_dict(found)


def test_more_layers_than_the_teacher_has_are_refused(weights):
    with pytest.raises(InputError, match="its teacher's 4 layers"):
        chosen_layers(weights, ENCODER, 5)


@pytest.fixture(scope="module")
def states(weights):
    """Token states of the tiny teacher, which vary on few axes."""
    encoder = build_encoder(ENCODER).eval()
    encoder.load_state_dict(weights, strict=False)
    ids = torch.arange(50).reshape(5, 10)
    with torch.inference_mode():
        found = encoder(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.cat([layer.flatten(0, 1) for layer in found]).numpy()


def test_a_narrow_student_keeps_what_its_teachers_states_tell_apart(weights, states):
    axes = state_axes(states, 16)
    assert np.allclose(axes.T @ axes, np.eye(16), atol=1e-5)
    other = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 16)))[0]
    assert np.linalg.norm(states @ axes) > np.linalg.norm(states @ other)
    found, config = narrowed(weights, ENCODER, 16, axes, seed=0)
    build_encoder(config).load_state_dict(found)
    name = "embeddings.word_embeddings.weight"
    assert torch.allclose(found[name], weights[name] @ torch.from_numpy(axes), atol=1e-5)


def test_an_encoder_as_wide_as_before_is_the_same(weights):
    found, _ = narrowed(weights, ENCODER, 32, np.eye(32, dtype=np.float32), seed=0)
    assert found.keys() == weights.keys()
    build_encoder(ENCODER).load_state_dict(found)
    assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in weights.items())


def test_a_narrow_student_begins_near_its_teacher(weights, states):
    axes = state_axes(states, 24)
    found, config = narrowed(weights, ENCODER, 24, axes, seed=0)
    torch.manual_seed(1)
    wide, sliced, fresh = build_encoder(ENCODER), build_encoder(config), build_encoder(config)
    wide.load_state_dict(weights, strict=False)
    sliced.load_state_dict(found, strict=False)
    ids = torch.arange(50).reshape(5, 10)
    with torch.inference_mode():
        wanted = wide.eval()(input_ids=ids).last_hidden_state @ torch.from_numpy(axes)
        near, far = (
            torch.cosine_similarity(e.eval()(input_ids=ids).last_hidden_state, wanted, dim=2).mean()
            for e in (sliced, fresh)
        )
    assert near > 0.8
    assert near > far + 0.5


def test_what_is_not_sliced_is_drawn_from_the_seed(weights, states):
    axes = state_axes(states, 16)
    foreign = {k.replace("attention.self", "attn"): v for k, v in weights.items()}
    name = "encoder.layer.0.attention.self.query.weight"
    first, again, other = (
        narrowed(foreign, ENCODER, 16, axes, seed=seed)[0][name] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("width", "wanted"), [(None, 32), (20, 16), (16, 16), (100, 32), (8, 8)])
def test_a_student_is_as_wide_as_whole_heads_allow(width, wanted):
    assert whole_heads(ENCODER, width) == wanted


def test_a_student_narrower_than_a_head_is_refused():
    with pytest.raises(InputError, match="8 wide, however: student_width is 7"):
        whole_heads(ENCODER, 7)


def test_each_family_copies_in_its_own_way():
    found = [DistillationConfig(training=TrainingConfig(family=f)) for f in ("tabular", "text")]
    assert [config.copying for config in found] == [TabularCopying(), TextCopying()]


@pytest.mark.parametrize(
    ("family", "copying"), [("text", TabularCopying()), ("tabular", TextCopying())]
)
def test_what_only_the_other_family_knows_is_refused(family, copying):
    with pytest.raises(InputError, match=f"the {family} family's .*{type(copying).__name__}"):
        DistillationConfig(training=TrainingConfig(family=family), copying=copying)


@pytest.mark.parametrize(
    "values",
    [
        {"mask_probability": 1.1},
        {"splice_probability": -0.1},
        {"temperature": 0.0},
        {"state_weight": -1.0},
    ],
)
def test_copies_that_cannot_be_made_are_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        TextCopying(**values)


@pytest.mark.parametrize("family", ["tabular", "text"])
def test_a_licence_of_no_texts_is_refused(family):
    with pytest.raises(InputError, match="unlabelled_licences"):
        DistillationConfig(training=TrainingConfig(family=family), unlabelled_licences=("MIT",))


def test_a_student_that_should_weigh_classes_is_refused():
    with pytest.raises(InputError, match="class_weighting must be none"):
        DistillationConfig(training=TrainingConfig(family="text", class_weighting="balanced"))


def soft_rows(
    artifact, kept, size, copies, *, num_logits=3, temperature=2.0, mixed=False, labelled=TEXTS,
    mask_probability=0.2, splice_probability=0.5,
):  # fmt: skip
    encoder = TextEncoder(artifact.read("tokenizer.json"), max_tokens=24, overlap=4)
    texts = encoder.encode(TEXTS)
    batch = {
        "ids": [[t for w in text.windows for t in w.ids] for text in texts],
        "lengths": [[len(w.ids) for w in text.windows] for text in texts],
        "targets": [[float(text in labelled), *[0.0] * (num_logits - 1)] for text in TEXTS],
        "weights": [[1.0]] * len(texts),
        "pairs": [[]] * len(texts),
        "row": np.arange(len(texts)),
    }
    return batch, soften_texts(
        batch,
        teacher=json.dumps(artifact.to_json()),
        copies=copies,
        mask_id=encoder.mask,
        kept=kept,
        projection=np.eye(32, dtype=np.float32)[:, :size],
        mask_probability=mask_probability,
        splice_probability=splice_probability,
        hard_label_weight=0.0,
        temperature=temperature,
        seed=0,
        use_mixed_precision=mixed,
    )


def test_texts_and_copies_get_the_teachers_answers_in_the_students_ids(tmp_path):
    artifact = tiny_text_artifact(text_task("single_label"), tmp_path.as_uri())
    tokenizer = artifact.read("tokenizer.json")
    encoder = TextEncoder(tokenizer, max_tokens=24, overlap=4)
    used = {t for text in encoder.encode(TEXTS) for w in text.windows for t in w.ids}
    small, kept = trimmed(tokenizer, used)
    batch, table = soft_rows(artifact, np.array(kept), 8, copies=2)
    assert table.num_rows == 3 * len(TEXTS)
    targets = np.array(table["targets"].to_pylist())
    assert np.allclose(targets.sum(1), 1.0, atol=1e-5)
    student = TextEncoder(small, max_tokens=24, overlap=4)
    wanted = [[t for w in text.windows for t in w.ids] for text in student.encode(TEXTS)]
    assert table["ids"].to_pylist()[: len(TEXTS)] == wanted
    assert table["ids"].to_pylist()[len(TEXTS) :] != wanted * 2
    assert len(table["states"][0]) == 8 * len(batch["lengths"][0])


def test_the_draw_follows_the_rows(tmp_path):
    artifact = tiny_text_artifact(text_task("multi_label"), tmp_path.as_uri())
    kept = np.arange(300)
    first, again = (soft_rows(artifact, kept, 32, copies=1)[1] for _ in range(2))
    assert first.equals(again)


@pytest.mark.parametrize(("head", "share"), [("multi_label", 2 / 3), ("single_label", 1 / 3)])
def test_every_other_copy_is_of_a_text_with_a_label(tmp_path, head, share):
    artifact = tiny_text_artifact(text_task(head), tmp_path.as_uri())
    unaltered = {"mask_probability": 0.0, "splice_probability": 0.0}
    _, table = soft_rows(artifact, np.arange(300), 32, 200, labelled=TEXTS[:1], **unaltered)
    first, *rest = table["ids"].to_pylist()
    found = np.mean([ids == first for ids in rest[len(TEXTS) - 1 :]])
    assert found == pytest.approx(share, abs=0.06)


def test_a_teachers_wide_part_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(Wide, "forward", lambda *_: pytest.fail("it was asked"))
    artifact = tiny_text_artifact(text_task("multi_label"), tmp_path.as_uri(), seed=1)
    assert "wide.token" in load(artifact.read("network.safetensors"))
    assert soft_rows(artifact, np.arange(300), 32, copies=0)[1].num_rows == len(TEXTS)


def test_in_bf16_a_teacher_answers_much_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(softening, "is_bf16_cpu", lambda: True)
    artifact = tiny_text_artifact(text_task("single_label"), tmp_path.as_uri())
    full, half = (
        np.array(soft_rows(artifact, np.arange(300), 32, 1, mixed=m)[1]["targets"].to_pylist())
        for m in (False, True)
    )
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.02


def test_a_value_is_divided_by_the_temperature_as_the_loss_divides_the_students(tmp_path):
    artifact = tiny_text_artifact(text_task("regression"), tmp_path.as_uri())
    cold, warm = (
        np.array(
            soft_rows(artifact, np.arange(300), 32, 0, num_logits=1, temperature=heat)[1][
                "targets"
            ].to_pylist()
        )
        for heat in (1.0, 2.0)
    )
    assert np.abs(cold).max() > 0
    assert np.allclose(cold, 2.0 * warm, atol=1e-6)
