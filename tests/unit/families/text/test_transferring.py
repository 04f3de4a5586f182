import dataclasses
import json

import pytest
import torch
from safetensors.torch import load, save

from spt_core.artifacts import FACTS, WEIGHTS, as_uri, write_bytes
from spt_core.errors import InputError
from spt_core.families.text.bases import load_base, store_base, trimmed_base
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.serving import TOKENIZER
from spt_core.families.text.transferring import TextTransferring, transferred_base
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from tests.tiny_models import (
    TEXT_CONFIG,
    text_task,
    tiny_text_artifact,
    tiny_text_facts,
    tiny_tokenizer,
)

ROWS = "embeddings.word_embeddings.weight"
TASK = text_task("single_label")
TRANSFERRING = TextTransferring()


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return as_uri(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def base(storage):
    """A base before any text has trimmed it."""
    facts = tiny_text_facts("single_label", ("a",), tiny_tokenizer())
    torch.manual_seed(1)
    weights = TextNetwork(TEXT_CONFIG, facts).encoder.state_dict()
    return store_base("tiny", facts["encoder"], tiny_tokenizer(), weights, storage=storage)


@pytest.fixture(scope="module")
def source(base, storage):
    """A teacher whose texts used few of the base's tokens."""
    own = trimmed_base(base, range(5, 12), storage=storage)
    classes = ("neither", "risky")
    facts = tiny_text_facts("single_label", classes, own.tokenizer)
    torch.manual_seed(2)
    network = TextNetwork(TEXT_CONFIG, facts)
    contents = {
        WEIGHTS: save(network.state_dict()),
        FACTS: json.dumps({**facts, "base": own.uri}).encode(),
        TOKENIZER: own.tokenizer,
    }
    uri = f"{storage}/source"
    files = {name: write_bytes(f"{uri}/{name}", content) for name, content in contents.items()}
    made = tiny_text_artifact(TASK, storage)
    return dataclasses.replace(made, uri=uri, files=files, role="teacher", licences=("CC BY 4.0",))


def test_a_target_s_base_has_all_tokens_and_what_the_source_learnt_of_its_own(
    base, source, storage
):
    made = transferred_base(source, storage)
    assert made.tokenizer == base.tokenizer
    assert (made.parents, made.licences) == ((base.uri,), ("CC BY 4.0",))
    theirs, mine = load(source.read(WEIGHTS)), made.weights()
    layer = "encoder.layer.0.output.dense.weight"
    assert torch.equal(mine[layer], theirs[f"encoder.{layer}"])
    used = open_tokenizer(source.read(TOKENIZER)).get_vocab()
    whole = open_tokenizer(base.tokenizer).get_vocab()
    assert len(used) < len(whole)
    for token, row in whole.items():
        own = theirs[f"encoder.{ROWS}"][used[token]] if token in used else base.weights()[ROWS][row]
        assert torch.equal(mine[ROWS][row], own)


def run_of(base, classes):
    facts = tiny_text_facts("single_label", classes, base.tokenizer)
    return TrainingRun(
        learner=LEARNER,
        signature=None,
        role="teacher",
        config=TrainingConfig(family="text", network=TEXT_CONFIG),
        facts={**facts, "base": base.uri},
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
        head="single_label",
    )


def begun(source, storage, classes, columns=None):
    config = TrainingConfig(family="text", network=TEXT_CONFIG, output_dir=storage)
    configured, _ = TRANSFERRING.configured(source, config)
    run = run_of(load_base(configured.network.base), classes)
    network = LEARNER.network(run, is_start=True)
    return network, TRANSFERRING.begun(source, run, network, None, columns or {})


def test_the_head_begins_with_the_rows_of_classes_that_both_tell_apart(source, storage):
    network, begin = begun(source, storage, ("risky", "safe"))
    theirs, name = load(source.read(WEIGHTS)), "classifier.vote.weight"
    assert torch.equal(begin.weights[name][0], theirs[name][1])
    assert torch.equal(begin.weights[name][1], network.state_dict()[name][1])
    assert begin.given[name].flatten().tolist() == [1.0, 0.0]
    assert begin.taken == ("the encoder", "the head's rows of risky")


def test_a_head_of_other_classes_begins_afresh(source, storage):
    _, begin = begun(source, storage, ("dovish", "hawkish"))
    assert "the head" in begin.fresh
    assert not any(name.startswith("classifier") for name in begin.given)


def test_texts_have_no_columns_to_match(source, storage):
    with pytest.raises(InputError, match="the text family is given amount"):
        begun(source, storage, ("risky",), {"amount": "sum"})
