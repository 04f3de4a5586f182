"""Untrained students in seconds: real artifacts, exports and registry entries for tests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from spt_core.artifacts import ExportedModel, ModelArtifact, write_bytes, write_manifest
from spt_core.export import export
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.network import StudentNetwork, table_facts
from spt_core.families.tabular.reading import Encoder
from spt_core.families.text.config import TextConfig
from spt_core.families.text.network import TextNetwork, text_facts
from spt_core.signature import Field, Signature
from spt_core.task import Head, IndustryType, Task

FRAUD = "financial_services/fraud_detection"
RISK = "financial_services/risk_assessment"
COMPLIANCE = "financial_services/regulatory_compliance"
DRUGS = "healthcare/drug_interaction_detection"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXTS = (
    "Aspirin may increase the effect of warfarin, and ibuprofen does not.",
    "The bank closes the account without notice and is not liable for any damage.",
    "The loader decodes a payload that it hides in memory; then it writes a file to disk.",
)
TEXT_CONFIG = TextConfig(max_tokens=24, window_overlap=4, dropout=0.0, pair_width=16)
NUM_ROWS = 400


def tiny_export(task: Task, folder: str, *, seed: int = 0, name: str = "default") -> ExportedModel:
    """An exported student of random weights that takes the task's own fields."""
    torch.manual_seed(seed)
    table = task.sample(NUM_ROWS, 0)
    fields = [_with_categories(field, table) for field in task.fields]
    signature = Signature(
        fields=(*fields, *(window.as_field() for window in task.windows)), windows=task.windows
    )
    config = TabularConfig(num_bins=8, student_hidden=(16, 8))
    rows = Encoder(signature).table(table)
    labels = np.asarray(table[task.label], np.float32)
    facts = table_facts(signature, config, rows, labels)
    network = StudentNetwork(signature, config, facts)
    network.set_baseline(torch.from_numpy(rows))
    uri = f"{folder}/{task.name}-{name}-{seed}"
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name=name,
        family="tabular",
        role="student",
        signature=signature,
        files={
            "network.safetensors": write_bytes(
                f"{uri}/network.safetensors", save(network.state_dict())
            ),
            "facts.json": write_bytes(f"{uri}/facts.json", json.dumps(facts).encode()),
        },
        config={"network": json.loads(json.dumps(dataclasses.asdict(config)))},
        metrics={},
        seed=seed,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
    )
    write_manifest(uri, artifact.to_json())
    return export(artifact)


def _with_categories(field: Field, table: object) -> Field:
    if field.kind != "category":
        return field
    values = sorted(set(table[field.name].to_pylist()))  # a pyarrow table
    return dataclasses.replace(field, categories=tuple(values))


def tiny_tokenizer(texts: Sequence[str] = TEXTS, *, size: int = 300) -> bytes:
    """A WordPiece tokenizer of the texts, laid out as BERT's."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    ids = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return made.to_str().encode()


def tiny_text_facts(head: Head, classes: tuple[str, ...], tokenizer: bytes, **more: Any) -> Any:
    """Facts of an encoder of one layer, 32 wide: torch exports each layer for seconds."""
    opened = Tokenizer.from_str(tokenizer.decode())
    encoder = {
        "model_type": "bert",
        "vocab_size": opened.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    special = tuple(opened.token_to_id(name) for name in SPECIAL if name != "[UNK]")
    return text_facts(
        TEXT_CONFIG, encoder=encoder, base="", head=head, classes=classes, pad=0, special=special,
        **more,
    )  # fmt: skip


def tiny_text_network(facts: Any, *, seed: int = 0) -> TextNetwork:
    """A network of random weights whose answers differ from text to text, and are calibrated."""
    torch.manual_seed(seed)
    network = TextNetwork(TEXT_CONFIG, facts)
    with torch.no_grad():
        for name, parameter in network.classifier.named_parameters():
            parameter.normal_(std=0.05 if "joint" in name else 0.7)
    if network.wide is not None:
        for votes in (network.wide.token, network.wide.pair):
            votes.normal_(std=0.3)
    network.calibrate(torch.full_like(network.scale, 0.8), torch.full_like(network.shift, 0.1))
    return network.eval()


def tiny_text_artifact(task: Task, folder: str, *, seed: int = 0) -> ModelArtifact:
    """A text model of random weights that takes the task's own fields."""
    tokenizer = tiny_tokenizer([*TEXTS, task.example[task.text_field.name]])
    classes = task.classes or ("neither", "safe", "risky")
    if task.negative_class is not None and task.negative_class not in classes:
        classes = (task.negative_class, *classes)
    lexicon = ("aspirin", "warfarin", "ibuprofen") if task.head == "pair" else ()
    facts = tiny_text_facts(
        task.head,
        classes,
        tokenizer,
        lexicon=lexicon,
        negative_class=task.negative_class,
        wide_buckets=61 if task.head == "multi_label" else 0,
    )
    network = tiny_text_network(facts, seed=seed)
    uri = f"{folder}/{task.name}-{task.head}-{seed}"
    contents = {
        "network.safetensors": save(network.state_dict()),
        "facts.json": json.dumps(facts).encode(),
        "tokenizer.json": tokenizer,
    }
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name="default",
        family="text",
        role="student",
        signature=Signature(fields=task.fields),
        files={name: write_bytes(f"{uri}/{name}", data) for name, data in contents.items()},
        config={
            "network": json.loads(json.dumps(dataclasses.asdict(TEXT_CONFIG))),
            "compliance_requirements": None,
        },
        metrics={},
        seed=seed,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
        classes=tuple(facts["classes"]),
    )
    write_manifest(uri, artifact.to_json())
    return artifact


def text_task(head: Head, respond: Callable[[Any], dict[str, Any]] | None = None) -> Task:
    """A task of any head on texts, whose answer is the judgement itself."""
    spans = Field(name="mentions", kind="spans", required=False)
    fields = (Field(name="text", kind="text"), *((spans,) if head == "pair" else ()))
    return Task(
        industry=IndustryType.TECHNOLOGY,
        name="tiny",
        title="tiny",
        description="",
        verb="judge",
        label="label",
        fields=fields,
        answer={"judgement": {"type": "object"}},
        respond=respond or (lambda judgement: {"judgement": judgement}),
        example={"text": TEXTS[0]},
        sample=lambda num_rows, seed: None,  # type: ignore[arg-type, return-value]  # never asked
        group="document",
        family="text",
        head=head,
        classes=("neither", "safe", "risky"),
        negative_class="neither" if head == "pair" else None,
        metric={"span": "span_f1", "regression": "rmse"}.get(head, "micro_f1"),
    )
