"""The student of a text task: fewer layers, a trimmed vocabulary, the teacher's soft answers.

teacher -> layers and tokens that stay (Base) -> texts and augmented copies with soft labels
(Parquet) -> student
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import Tensor

from spt_core.artifacts import (
    as_uri,
    has_manifest,
    lineage,
    merge_licences,
    parquet_files,
    remove,
    write_manifest,
)
from spt_core.data.read import Dataset, read_files
from spt_core.data.tokenizing import text_encoder
from spt_core.distillation.unlabelled import num_refused, unlabelled_tokens
from spt_core.distillation.work import Distillation, Student
from spt_core.errors import InputError
from spt_core.models.bases import Base, build_encoder, embedding_name, store_base
from spt_core.models.ensemble import FACTS, WEIGHTS
from spt_core.models.text import TEXT, TextConfig, text_facts
from spt_core.models.text_softening import soften_texts
from spt_core.task import find
from spt_core.tokenizer_edits import trimmed
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network
from spt_core.training.texts import (
    TOKENIZER_FILE,
    Vocabulary,
    encoded_part,
    finish_text,
    token_dataset,
    validation_tokens,
)

VOCABULARY_TEXTS = 200_000
NUM_UNLABELLED, NUM_REFUSED = "num_unlabelled_texts", "num_unlabelled_refused"
SOFT_ROWS = 256  # of one call: the teacher scores them sorted by length
_LAYER = re.compile(r"(?P<before>(?:^|.*\.)layers?\.)(?P<number>\d+)(?P<after>\..*)")


class Body(NamedTuple):
    """The student's encoder before training, and how the teacher's ids and states map to its own.

    `kept` holds the teacher's id of each of the student's tokens, `projection` is [H, h].
    """

    base: Base
    kept: NDArray[np.int64]
    projection: NDArray[np.float32]


def distill_text(work: Distillation) -> Student:
    """The student; texts that are labelled already are used again."""
    config, splits = work.config.training, work.splits
    task, network = find(splits.task), config.network
    assert isinstance(network, TextConfig)
    known = json.loads(work.teacher.read(FACTS))
    sizes = (network.max_tokens, network.window_overlap)
    teacher_words = Vocabulary(work.teacher.read(TOKENIZER_FILE), *sizes)
    more = None
    if work.unlabelled is not None:
        bad = f"{work.soft}-quarantine"
        more = unlabelled_tokens(work.unlabelled, splits, task, teacher_words, known, bad)
    body = student_body(work, known, teacher_words, more)
    words = Vocabulary(body.base.tokenizer, *sizes)
    facts = _student_facts(work, known, body)
    run = TrainingRun(
        signature=work.teacher.signature,
        role="student",
        config=config,
        facts=facts,
        num_rows=(splits.num_rows["train"] + (more.count() if more else 0)) * (work.num_copies + 1),
        head=task.head,
        temperature=work.config.temperature,
        state_weight=work.config.state_weight,
        mean_tokens=float(network.max_tokens),
    )
    _check_size(run, len(work.teacher.read(WEIGHTS)), work.config.compression_ratio)
    if not has_manifest(work.soft):
        _write_soft_rows(work, known, teacher_words, body, more)
    weights = fit_network(
        run,
        read_files(parquet_files(work.soft)),
        validation_tokens(splits, task, words, facts, config),
        name=work.name,
        on_metrics=work.on_metrics,
    )
    files, metrics = finish_text(run, task, splits, words, weights)
    if more is not None:
        told = {NUM_UNLABELLED: more.count(), NUM_REFUSED: num_refused(f"{work.soft}-quarantine")}
        metrics = {**metrics, **told}
    return Student(run, files, metrics)


def student_body(
    work: Distillation, facts: Mapping[str, Any], words: Vocabulary, more: Dataset | None
) -> Body:
    """The teacher's embeddings of the tokens that its texts use, and some of its layers."""
    network, encoder = work.config.training.network, dict(facts["encoder"])
    state = load_weights(work.teacher.read(WEIGHTS))
    weights = {
        name.removeprefix("encoder."): value
        for name, value in state.items()
        if name.startswith("encoder.")
    }
    tokenizer, kept = words.tokenizer, np.arange(encoder["vocab_size"])
    if network.trim_vocabulary:
        tokenizer, ids = trimmed(words.tokenizer, _used(work, words, more))
        kept = np.array(ids)
    embeddings = weights[embedding_name(weights)][kept]
    encoder["vocab_size"] = len(kept)
    weights, encoder = chosen_layers(weights, encoder, network.student_layers)
    weights[embedding_name(weights)] = embeddings
    width, projection = network.student_width or encoder["hidden_size"], None
    if width != encoder["hidden_size"]:
        weights, encoder, projection = narrowed(weights, encoder, width)
    base = store_base(
        f"{work.teacher.uri} student",
        encoder,
        tokenizer,
        weights,
        storage=as_uri(work.config.training.output_dir),
        licences=merge_licences(each.licences for each in lineage(work.teacher)),
    )
    if projection is None:
        projection = np.eye(width, dtype=np.float32)
    return Body(base, kept, projection)


def chosen_layers(
    weights: Mapping[str, Tensor], encoder: Mapping[str, Any], num_layers: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and configuration of an encoder with `num_layers` of its layers, spread evenly.

    The first and the last one stay; what those between them did is learned again.
    """
    depth = encoder["num_hidden_layers"]
    if num_layers > depth:
        raise InputError(
            f"a student may keep at most its teacher's {depth} layers, however: "
            f"student_layers is {num_layers}"
        )
    spread = np.linspace(0, depth - 1, num_layers) if num_layers > 1 else np.array([depth - 1])
    order = {int(old): new for new, old in enumerate(spread.round())}
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            found[name] = value
        elif int(match["number"]) in order:
            found[f"{match['before']}{order[int(match['number'])]}{match['after']}"] = value
    return found, {**encoder, "num_hidden_layers": num_layers}


def narrowed(
    weights: Mapping[str, Tensor], encoder: Mapping[str, Any], width: int
) -> tuple[dict[str, Tensor], dict[str, Any], NDArray[np.float32]]:
    """A narrower encoder: embeddings on their principal axes, everything else as initialised."""
    size, heads = encoder["hidden_size"], encoder["num_attention_heads"]
    per_head = size // heads
    if width % per_head or width > size:
        raise InputError(
            f"a student's width must be a multiple of {per_head} (a head's size) up to {size}, "
            f"however: student_width is {width}"
        )
    made = {
        **encoder,
        "hidden_size": width,
        "num_attention_heads": width // per_head,
        "intermediate_size": encoder["intermediate_size"] * width // size,
    }
    table = weights[embedding_name(weights)].double().numpy()
    _, axes = np.linalg.eigh(np.cov(table.T))
    projection = np.ascontiguousarray(axes[:, ::-1][:, :width]).astype(np.float32)
    fresh = {
        name: value
        for name, value in build_encoder(made).state_dict().items()
        if not name.startswith("pooler.")
    }
    for name, value in weights.items():
        if "embeddings" in name and value.ndim == 2:
            fresh[name] = value.new_tensor(value.numpy() @ projection)
    return fresh, made, projection


def _student_facts(work: Distillation, known: Mapping[str, Any], body: Body) -> dict[str, Any]:
    network = work.config.training.network
    encoder = text_encoder(body.base.tokenizer, network.max_tokens, network.window_overlap)
    facts = text_facts(
        network,
        encoder=body.base.config,
        base=body.base.uri,
        head=known["head"],
        classes=tuple(known["classes"]),
        pad=encoder.pad,
        special=(encoder.prefix, encoder.suffix),
        unknown=encoder.unknown,
        negative_class=known["negative_class"],
        lexicon=tuple(known["lexicon"]),
        center=known["center"],
        spread=known["spread"],
    )
    same_width = body.base.config["hidden_size"] == known["encoder"]["hidden_size"]
    return {**facts, "teacher": f"{work.teacher.uri}/{WEIGHTS}" if same_width else None}


def _used(work: Distillation, words: Vocabulary, more: Dataset | None) -> set[int]:
    """The tokens of the training texts and of those without labels."""
    task = find(work.splits.task)
    _, texts = encoded_part(work.splits, "train", task, words, limit=VOCABULARY_TEXTS)
    found = {token for text in texts for window in text.windows for token in window.ids}
    if more is not None:
        batch: Any  # a table, as asked for; the signature says "any batch"
        for batch in more.select_columns("ids").iter_batches(batch_format="pyarrow"):
            found.update(pc.unique(batch["ids"].combine_chunks().flatten()).to_pylist())
    return found


def _write_soft_rows(
    work: Distillation,
    facts: Mapping[str, Any],
    words: Vocabulary,
    body: Body,
    more: Dataset | None,
) -> None:
    """Texts and copies with the teacher's answers, as Parquet; the manifest comes last."""
    config, task = work.config, find(work.splits.task)
    remove(work.soft)
    known = {
        "teacher": json.dumps(work.teacher.to_json()),
        "copies": work.num_copies,
        "mask_id": words.encoder().mask,
        "kept": body.kept,
        "projection": body.projection,
        "mask_probability": config.mask_probability,
        "splice_probability": config.splice_probability,
        "temperature": config.temperature,
        "seed": config.training.seed,
    }
    labelled = token_dataset(work.splits, "train", task, words, facts)
    for rows, hard_label_weight in ((labelled, config.hard_label_weight), (more, 0.0)):
        if rows is not None:
            rows.map_batches(
                soften_texts,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
                batch_format="numpy",
                batch_size=SOFT_ROWS,
                fn_kwargs={**known, "hard_label_weight": hard_label_weight},
            ).write_parquet(work.soft)
    write_manifest(work.soft, {"teacher": work.teacher.uri, "copies": work.num_copies})


def _check_size(run: TrainingRun, teacher_bytes: int, ratio: float) -> None:
    network = TEXT.build(run.signature, "student", run.config.network, run.facts)
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > ratio * teacher_bytes:
        raise InputError(
            f"the student may take {ratio * teacher_bytes:,.0f} bytes (compression_ratio "
            f"{ratio:g}), however: student_layers {run.config.network.student_layers} and its "
            f"vocabulary take {size:,}"
        )
