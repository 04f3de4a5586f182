"""Untrained students in seconds: real artifacts, exports and registry entries for tests."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
)
from tokenizers.pre_tokenizers import BertPreTokenizer

from spt_core.artifacts import (
    FACTS,
    WEIGHTS,
    ExportedModel,
    ModelArtifact,
    write_bytes,
    write_manifest,
)
from spt_core.data.series import as_column
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.network import Architecture, ImageNetwork, Stage, image_facts
from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.facts import series_facts, with_seen
from spt_core.families.series.network import (
    ForecastNetwork,
    ResidualNetwork,
    UsualWindows,
    as_student,
    series_network,
)
from spt_core.families.series.reading import readings_of
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.encoding import targets_of
from spt_core.families.tabular.network import StudentNetwork, table_facts
from spt_core.families.tabular.outputs import Target
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.rows import with_seen as with_seen_numbers
from spt_core.families.tabular.settings import REFERENCE, is_searched, reference_of
from spt_core.families.text.config import TextConfig
from spt_core.families.text.network import TextNetwork, text_facts
from spt_core.heads import HEADS
from spt_core.images import png
from spt_core.policy import Costs
from spt_core.signature import Field, SequenceShape, Signature
from spt_core.task import Head, IndustryType, Task
from tests.kept_exports import kept_export

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
# Torch exports each layer for seconds.
TINY_ENCODER: Mapping[str, int] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
NUM_ROWS = 400
IMAGE_CONFIG = ImageConfig(base=None, size_px=32, dropout=0.0)
TINY_ARCHITECTURE = Architecture(8, (Stage(1, 8, 1, 1, 3), Stage(2, 16, 1, 2, 3)), 16)


def tiny_export(task: Task, folder: str, *, seed: int = 0, name: str = "default") -> ExportedModel:
    """An exported student of random weights that takes the task's own fields."""
    return kept_export(tiny_table_artifact(task, folder, seed=seed, name=name))


def tiny_table_artifact(
    task: Task, folder: str, *, seed: int = 0, name: str = "default"
) -> ModelArtifact:
    """A student of random weights that takes the task's own fields."""
    torch.manual_seed(seed)
    table = task.sample(NUM_ROWS, 0)
    fields = [_with_categories(field, table) for field in task.fields]
    for field in task.fields:
        if field.kind == "terms":  # typed rows hold them as JSON
            cells = [None if c is None else json.dumps(c) for c in table[field.name].to_pylist()]
            place = table.column_names.index(field.name)
            table = table.set_column(place, field.name, pa.array(cells))
    signature = Signature(
        fields=(*fields, *(window.as_field() for window in task.windows)), windows=task.windows
    )
    config = TabularConfig(num_bins=8, student_hidden=(16, 8))
    rows = Encoder(signature).table(table)
    signature = with_seen_numbers(signature, rows)
    target = Target(head=task.head, classes=task.classes, center=1.0, spread=2.0)
    targets = targets_of(table[task.label], target)
    facts = table_facts(signature, config, rows, targets, target)
    network = StudentNetwork(signature, config, facts)
    network.set_baseline(torch.from_numpy(rows))
    if task.head == "regression":
        size = len(network.scale)
        network.calibrate([[target.spread] * size, [target.center] * size])
    uri = f"{folder}/{task.name}-{name}-{seed}"
    contents = {WEIGHTS: save(network.state_dict()), FACTS: json.dumps(facts).encode()}
    if task.goal is not None and is_searched(signature):
        reference = reference_of(rows, len(signature.numbers), seed=seed)
        contents[REFERENCE] = reference.to_bytes()
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name=name,
        family="tabular",
        role="student",
        signature=signature,
        files={file: write_bytes(f"{uri}/{file}", data) for file, data in contents.items()},
        config={
            "network": json.loads(json.dumps(dataclasses.asdict(config))),
            "compliance_requirements": None,
        },
        metrics={},
        seed=seed,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
        classes=target.classes,
    )
    write_manifest(uri, artifact.to_json())
    return artifact


def _with_categories(field: Field, table: object) -> Field:
    if field.kind == "terms":
        cells = table[field.name].to_pylist()  # a pyarrow table
        return dataclasses.replace(
            field, categories=tuple(sorted({t for c in cells if c for t in c}))
        )
    if field.kind != "category":
        return field
    values = sorted(set(table[field.name].drop_null().to_pylist()))  # a pyarrow table
    return dataclasses.replace(field, categories=tuple(values))


def tiny_tokenizer(texts: Sequence[str] = TEXTS, *, size: int = 300) -> bytes:
    """A WordPiece tokenizer of the texts' letters and words, laid out as BERT's.

    Not trained: a trainer breaks ties at random, and the same texts shall give the same models.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), BertPreTokenizer()
    words = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = sorted(set("".join(words)))
    names = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    names += sorted(words, key=lambda word: (-words[word], word))
    vocabulary = {name: number for number, name in enumerate([*dict.fromkeys(names)][:size])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(list(SPECIAL))
    ids = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return made.to_str().encode()


def tiny_text_facts(
    head: Head,
    classes: tuple[str, ...],
    tokenizer: bytes,
    *,
    config: TextConfig = TEXT_CONFIG,
    sizes: Mapping[str, int] = TINY_ENCODER,
    **more: Any,
) -> Any:
    """Facts of a network whose encoder has these sizes, as BERT's configuration names them."""
    opened = Tokenizer.from_str(tokenizer.decode())
    encoder = {"model_type": "bert", "vocab_size": opened.get_vocab_size(), **sizes}
    special = tuple(opened.token_to_id(name) for name in SPECIAL if name != "[UNK]")
    return text_facts(
        config, encoder=encoder, base="", head=head, classes=classes, pad=0, special=special, **more
    )


def tiny_text_network(
    facts: Any, *, seed: int = 0, config: TextConfig = TEXT_CONFIG
) -> TextNetwork:
    """A network of random weights whose answers differ from text to text, and are calibrated."""
    torch.manual_seed(seed)
    network = TextNetwork(config, facts)
    with torch.no_grad():
        for name, parameter in network.classifier.named_parameters():
            parameter.normal_(std=0.05 if "joint" in name else 0.7)
    if network.wide is not None:
        for votes in (network.wide.token, network.wide.pair):
            votes.normal_(std=0.3)
    network.calibrate(torch.full_like(network.scale, 0.8), torch.full_like(network.shift, 0.1))
    return network.eval()


def tiny_text_artifact(
    task: Task,
    folder: str,
    *,
    seed: int = 0,
    config: TextConfig = TEXT_CONFIG,
    sizes: Mapping[str, int] = TINY_ENCODER,
) -> ModelArtifact:
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
        config=config,
        sizes=sizes,
        lexicon=lexicon,
        negative_class=task.negative_class,
        wide_buckets=61 if task.head == "multi_label" else 0,
    )
    network = tiny_text_network(facts, seed=seed, config=config)
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
            "network": json.loads(json.dumps(dataclasses.asdict(config))),
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


def table_task(head: Head, respond: Callable[[Any], dict[str, Any]] | None = None) -> Task:
    """A task of any head on tables, whose answer is the judgement itself."""
    return Task(
        industry=IndustryType.TECHNOLOGY,
        name="tiny",
        title="tiny",
        description="",
        verb="judge",
        label="label",
        fields=(
            Field(name="speed", kind="number", controllable=True),
            Field(name="heat", kind="number", required=False),
            Field(name="line", kind="category", controllable=True),
            Field(name="is_new", kind="boolean"),
        ),
        answer={"judgement": {"type": "object"}},
        respond=respond or (lambda judgement: {"judgement": judgement}),
        example={"speed": 1.0, "heat": 0.5, "line": "a", "is_new": True},
        sample=lambda num_rows, seed: table_rows(head, num_rows, seed),
        family="tabular",
        head=head,
        classes=("neither", "safe", "risky") if head in ("single_label", "ordinal") else (),
        metric=next(iter(HEADS[head].metrics)),
        costs=Costs(missed_positive=10.0, false_alarm=2.0, review=1.0)
        if head == "binary"
        else None,
        goal="lower" if head == "regression" else None,
    )


def table_rows(head: Head, num_rows: int, seed: int) -> pa.Table:
    """Rows whose label rises with speed and heat, on line b more than on line a."""
    draw = np.random.default_rng(seed)
    speed, heat, line = (
        draw.normal(size=num_rows),
        draw.normal(size=num_rows),
        draw.integers(0, 2, num_rows),
    )
    value = speed + 0.7 * heat + line + 0.5 * draw.normal(size=num_rows)
    rank = np.digitize(value, [-0.3, 1.2])
    label: Any = {
        "binary": (value > 1.0).astype(np.int8),
        "regression": value,
    }.get(head, np.array(["neither", "safe", "risky"])[rank].tolist())
    return pa.table(
        {
            "speed": speed,
            "heat": pa.array(heat, mask=draw.random(num_rows) < 0.1),
            "line": np.array(["a", "b"])[line].tolist(),
            "is_new": draw.random(num_rows) < 0.5,
            "label": label,
        }
    )


def tiny_image(seed: int, side_px: int = 40) -> bytes:
    """A gray image as PNG, brighter to one side, with a bright blot."""
    draw = np.random.default_rng(seed)
    down, across = np.mgrid[0:side_px, 0:side_px].astype(float)
    row, column = draw.uniform(8, side_px - 8, 2)
    blot = 90 * np.exp(-(np.square(down - row) + np.square(across - column)) / 30)
    levels = draw.uniform(60, 140) + draw.normal() * (across - side_px / 2) / 2 + blot
    noise = draw.normal(0, 4, levels.shape)
    return png(np.clip(levels + noise, 0, 255).astype(np.uint8))


def tiny_image_facts(head: Head, classes: tuple[str, ...]) -> Any:
    """Facts of a network of gray images."""
    return image_facts(
        architecture=TINY_ARCHITECTURE,
        head=head,
        classes=classes,
        channels=1,
        depth_bits=8,
        mean=[0.45],
        spread=[0.12],
    )


def tiny_image_artifact(task: Task, folder: str, *, seed: int = 0) -> ModelArtifact:
    """An image model of random weights whose answers differ from image to image."""
    torch.manual_seed(seed)
    classes = () if task.head == "binary" else task.classes or ("neither", "safe", "risky")
    facts = tiny_image_facts(task.head, classes)
    network = ImageNetwork(IMAGE_CONFIG, facts)
    with torch.no_grad():
        network.vote.weight.normal_(std=2.0)
    network.calibrate(torch.full_like(network.scale, 0.8), torch.full_like(network.shift, 0.1))
    size = len(network.center)
    network.compare_with(torch.zeros(size), 0.02 * torch.eye(size))
    uri = f"{folder}/{task.name}-{task.head}-{seed}"
    contents = {WEIGHTS: save(network.state_dict()), FACTS: json.dumps(facts).encode()}
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name="default",
        family="image",
        role="student",
        signature=Signature(fields=task.fields),
        files={name: write_bytes(f"{uri}/{name}", data) for name, data in contents.items()},
        config={
            "network": json.loads(json.dumps(dataclasses.asdict(IMAGE_CONFIG))),
            "compliance_requirements": None,
        },
        metrics={},
        seed=seed,
        data_fingerprint="tiny",
        code_fingerprint="tiny",
        splits="",
        licences=("MIT",),
        classes=classes,
    )
    write_manifest(uri, artifact.to_json())
    return artifact


def image_task(head: Head, respond: Callable[[Any], dict[str, Any]] | None = None) -> Task:
    """A task of any head on images, whose answer is the judgement itself."""
    return Task(
        industry=IndustryType.TECHNOLOGY,
        name="tiny",
        title="tiny",
        description="",
        verb="judge",
        label="label",
        fields=(Field(name="image", kind="image"),),
        answer={"judgement": {"type": "object"}},
        respond=respond or (lambda judgement: {"judgement": judgement}),
        example={"image": base64.b64encode(tiny_image(0)).decode()},
        sample=lambda num_rows, seed: None,  # type: ignore[arg-type, return-value]  # never asked
        family="image",
        head=head,
        classes=() if head == "binary" else ("neither", "safe", "risky"),
        metric=next(iter(HEADS[head].metrics)),
        costs=Costs(missed_positive=10.0, false_alarm=2.0, review=1.0)
        if head == "binary"
        else None,
    )


SERIES_SHAPE = SequenceShape(
    length=8, channels=("speed", "heat"), step=60.0, time="time", unit="unit", horizon=3
)
SERIES_FIELD = Field(name="readings", kind="sequence", shape=SERIES_SHAPE)
SERIES_CONFIG = SeriesConfig(
    teacher_members=1,
    teacher_filters=2,
    teacher_blocks=1,
    student_kernels=(3,),
    student_filters=1,
    student_width=4,
    components=2,
    dropout=0.0,
)


def series_windows(num_rows: int, seed: int) -> NDArray[np.float32]:
    """Windows [N, T, C] of a speed about 10 and a heat about 50 that rises with it."""
    draw = np.random.default_rng(seed)
    shape = (num_rows, SERIES_SHAPE.length)
    level = draw.normal(size=(num_rows, 1)) + 0.3 * draw.normal(size=shape)
    heat = 50.0 + 3.0 * level + draw.normal(size=shape)
    return np.stack([10.0 + level, heat], 2).astype(np.float32)


def series_rows(head: Head, num_rows: int, seed: int) -> pa.Table:
    """Windows that are cut already, whose label rises with the last speed."""
    windows = series_windows(num_rows, seed)
    value = windows[:, -1, 0].astype(np.float64) - 10.0
    label: Any = {
        "regression": value,
        "anomalies": (value > 1.0).astype(np.float32),
        "forecasts": [json.dumps([max(v, 0.1)] * SERIES_SHAPE.horizon) for v in value.tolist()],
    }.get(head)
    if label is None:
        label = np.array(["neither", "safe", "risky"])[np.digitize(value, [-0.3, 1.2])].tolist()
    return pa.table({"readings": as_column(windows), "label": label})


def series_task(head: Head, respond: Callable[[Any], dict[str, Any]] | None = None) -> Task:
    """A task of any head on series, whose answer is the judgement itself."""
    return Task(
        industry=IndustryType.TECHNOLOGY,
        name="tiny",
        title="tiny",
        description="",
        verb="judge",
        label="label",
        time="time",
        group="unit",
        fields=(SERIES_FIELD,),
        answer={"judgement": {"type": "object"}},
        respond=respond or (lambda judgement: {"judgement": judgement}),
        example={"readings": readings_of(series_windows(1, 5)[0], SERIES_SHAPE)},
        sample=lambda num_rows, seed: series_rows(head, num_rows, seed),
        family="series",
        head=head,
        classes=("neither", "safe", "risky") if head == "single_label" else (),
        metric=next(iter(HEADS[head].metrics)),
    )


def tiny_series_facts(head: Head) -> dict[str, Any]:
    """Facts of a network of some windows."""
    windows = series_windows(NUM_ROWS, 0)
    values = windows[:, -1, 0].astype(np.float64)
    classes = ("neither", "safe", "risky") if head == "single_label" else ()
    return series_facts(SERIES_SHAPE, windows, head=head, classes=classes, values=values)


def tiny_series_artifact(task: Task, folder: str, *, seed: int = 0) -> ModelArtifact:
    """A student of random weights that takes the task's own windows."""
    torch.manual_seed(seed)
    facts = tiny_series_facts(task.head)
    windows = series_windows(NUM_ROWS, 0)
    network = as_student(series_network(SERIES_CONFIG, "student", facts))
    if isinstance(network, ResidualNetwork):
        cells = SERIES_SHAPE.length * len(SERIES_SHAPE.channels)
        axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(cells, 2)))[0].T
        network.set_usual(UsualWindows(axes, np.ones(2), np.zeros(cells), np.ones(2), np.ones(3)))
    elif not isinstance(network, ForecastNetwork):
        network.set_typical(torch.from_numpy(windows))
        size = len(network.scale)
        network.calibrate([1.5] * size, [0.2] * size)
    signature = with_seen(Signature(fields=task.fields), "readings", windows)
    uri = f"{folder}/{task.name}-{task.head}-{seed}"
    contents = {WEIGHTS: save(network.state_dict()), FACTS: json.dumps(facts).encode()}
    artifact = ModelArtifact(
        uri=uri,
        task=task.path,
        model_name="default",
        family="series",
        role="student",
        signature=signature,
        files={file: write_bytes(f"{uri}/{file}", data) for file, data in contents.items()},
        config={
            "network": json.loads(json.dumps(dataclasses.asdict(SERIES_CONFIG))),
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


class Tiny(NamedTuple):
    """A family's tiny task of a head, and a student of random weights of it."""

    task: Callable[..., Task]
    artifact: Callable[..., ModelArtifact]


TINY: Mapping[str, Tiny] = {
    "tabular": Tiny(table_task, tiny_table_artifact),
    "text": Tiny(text_task, tiny_text_artifact),
    "image": Tiny(image_task, tiny_image_artifact),
    "series": Tiny(series_task, tiny_series_artifact),
}
