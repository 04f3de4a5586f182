"""The demo's first model: a small encoder made from nothing, trained on the bundled sample."""

from __future__ import annotations

import json
import string
from collections import Counter
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from cluster.settings import Settings
from jobs.command import parser, read_run
from jobs.stages.exporting import exported
from jobs.stages.fitting import prepared, trained
from jobs.stages.judging import benchmarked, decided, registered
from spt_core.families.text.bases import Base, build_encoder, store_base
from spt_core.registry import ModelVersion
from spt_core.task import find

TASK = "financial_services/regulatory_compliance"
ROWS = "data.sample_rows=400"
# What a tiny network from random weights needs, and its retraining with it.
ASSIGNMENTS = (
    "training.num_epochs=12",
    "training.learning_rate=0.003",
    "training.save_strategy=no",
    "training.network.max_tokens=64",
    "distillation.training.num_epochs=12",
    "distillation.training.learning_rate=0.003",
    "distillation.training.save_strategy=no",
    "distillation.training.network.max_tokens=64",
)
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WIDTH, _MIN_USES = 64, 2


def first_model(settings: Settings, *, as_json: bool) -> ModelVersion:
    """The pipeline on the sample up to the registry, without distillation: it is small already."""
    base = small_base(settings.storage)
    words = [TASK, "--recipe", "smoke", "--storage", settings.storage]
    given = (ROWS, f"training.network.base={base.uri}", *ASSIGNMENTS)
    words += [word for one in given for word in ("--set", one)]
    run = read_run(parser("watch", "").parse_args([*words, *(["--json"] if as_json else [])]))
    splits = prepared(run)
    model = exported(run, trained(run, splits), splits)
    policy = decided(model, splits)
    report, uri = benchmarked(run, model, policy, splits)
    return registered(run, model, policy, report, uri, created_by="jobs.watch demo")


def small_base(storage: str) -> Base:
    """An untrained encoder of one layer with a WordPiece vocabulary of the sample's texts."""
    task = find(TASK)
    texts: list[str] = task.sample(2000, 1)[task.text_field.name].to_pylist()
    tokenizer = _tokenizer(texts)
    config: dict[str, Any] = {
        "model_type": "bert",
        "vocab_size": len(json.loads(tokenizer)["model"]["vocab"]),
        "hidden_size": _WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 2 * _WIDTH,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_encoder(config).state_dict()
    return store_base("demo", config, tokenizer, weights, storage=storage)


def _tokenizer(texts: list[str]) -> bytes:
    """WordPiece of words and letters: the library's own trainer breaks ties by chance."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = sorted({letter for word in counts for letter in word} | set(string.ascii_lowercase))
    words = sorted(word for word, count in counts.items() if count >= _MIN_USES)
    names = dict.fromkeys([*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer.to_str().encode()
