import json

import numpy as np
import pytest
import torch

from spt_core.distillation import DistillationConfig
from spt_core.distillation.texts import chosen_layers, narrowed
from spt_core.errors import InputError
from spt_core.models.bases import build_encoder
from spt_core.models.text_softening import soften_texts
from spt_core.tokenizer_edits import trimmed
from spt_core.tokens import TextEncoder
from spt_core.training.config import TrainingConfig
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


def test_a_narrow_student_keeps_what_its_embeddings_tell_apart(weights):
    found, config, projection = narrowed(weights, ENCODER, 16)
    build_encoder(config).load_state_dict(found)
    name = "embeddings.word_embeddings.weight"
    assert torch.allclose(found[name], weights[name] @ torch.from_numpy(projection), atol=1e-5)
    assert np.allclose(projection.T @ projection, np.eye(16), atol=1e-5)


def test_a_width_that_does_not_fit_the_heads_is_refused(weights):
    with pytest.raises(InputError, match="multiple of 8"):
        narrowed(weights, ENCODER, 20)


@pytest.mark.parametrize("field", ["swap_probability", "forget_probability"])
def test_what_only_tables_know_is_refused_for_texts(field):
    with pytest.raises(InputError, match=field):
        DistillationConfig(training=TrainingConfig(family="text"), **{field: 0.3})


@pytest.mark.parametrize("family", ["tabular", "text"])
def test_a_licence_of_no_texts_is_refused(family):
    with pytest.raises(InputError, match="unlabelled_licences"):
        DistillationConfig(training=TrainingConfig(family=family), unlabelled_licences=("MIT",))


def soft_rows(artifact, kept, size, copies, *, num_logits=3, temperature=2.0):
    encoder = TextEncoder(artifact.read("tokenizer.json"), max_tokens=24, overlap=4)
    texts = encoder.encode(TEXTS)
    batch = {
        "ids": [[t for w in text.windows for t in w.ids] for text in texts],
        "lengths": [[len(w.ids) for w in text.windows] for text in texts],
        "targets": [[1.0, *[0.0] * (num_logits - 1)]] * len(texts),
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
        mask_probability=0.2,
        splice_probability=0.5,
        hard_label_weight=0.0,
        temperature=temperature,
        seed=0,
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
