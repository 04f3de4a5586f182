"""The student of a text task: fewer layers, a trimmed vocabulary, the teacher's soft answers.

teacher -> layers and tokens that stay (Base) -> texts and augmented copies with soft labels
(Parquet) -> student
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
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
from spt_core.distillation.bodies import (
    chosen_layers,
    narrowed,
    state_axes,
    whole_heads,
)
from spt_core.distillation.unlabelled import num_refused, unlabelled_tokens
from spt_core.distillation.work import Distillation, Student
from spt_core.errors import InputError
from spt_core.models.bases import Base, embedding_name, store_base
from spt_core.models.ensemble import FACTS, WEIGHTS
from spt_core.models.text import TEXT, TextConfig, TextNetwork, text_config_from_json, text_facts
from spt_core.models.text_softening import soften_texts
from spt_core.task import find
from spt_core.tokenizer_edits import trimmed
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network
from spt_core.training.texts import (
    NUM_LONG,
    TOKENIZER_FILE,
    Vocabulary,
    encoded,
    finish_text,
    mean_tokens,
    num_long,
    token_dataset,
    validation_tokens,
)

AXIS_TEXTS = 256  # that show on which axes the teacher's states are large
LABELLED, UNLABELLED = "labelled", "unlabelled"
NUM_UNLABELLED, NUM_REFUSED = "num_unlabelled_texts", "num_unlabelled_refused"
SOFT_ROWS = 256  # of one call: the teacher scores them sorted by length


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
    labelled = token_dataset(splits, "train", task, teacher_words, known)
    body = student_body(work, known, teacher_words, labelled, more)
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
        mean_tokens=mean_tokens(splits, task, teacher_words),
    )
    _check_size(run, len(work.teacher.read(WEIGHTS)), work.config.compression_ratio)
    if not has_manifest(work.soft):
        _write_soft_rows(work, teacher_words, body, labelled, more)
    weights = fit_network(
        run,
        read_files([u for p in (LABELLED, UNLABELLED) for u in parquet_files(f"{work.soft}/{p}")]),
        validation_tokens(splits, task, words, facts, config),
        name=work.name,
        on_metrics=work.on_metrics,
    )
    files, metrics = finish_text(run, task, splits, words, weights)
    metrics = {**metrics, NUM_LONG: float(num_long(labelled))}
    if more is not None:
        told = {NUM_UNLABELLED: more.count(), NUM_REFUSED: num_refused(f"{work.soft}-quarantine")}
        metrics = {**metrics, **told}
    return Student(run, files, metrics)


def student_body(
    work: Distillation,
    facts: Mapping[str, Any],
    words: Vocabulary,
    labelled: Dataset,
    more: Dataset | None,
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
        tokenizer, ids = trimmed(words.tokenizer, _used(labelled, more))
        kept = np.array(ids)
    embeddings = weights[embedding_name(weights)][kept]
    encoder["vocab_size"] = len(kept)
    weights, encoder = chosen_layers(weights, encoder, network.student_layers)
    weights[embedding_name(weights)] = embeddings
    size, projection = encoder["hidden_size"], np.eye(encoder["hidden_size"], dtype=np.float32)
    width = whole_heads(encoder, network.student_width)
    if width != size:
        projection = state_axes(_teacher_states(work, facts, words, state), width)
        weights, encoder = narrowed(
            weights, encoder, width, projection, seed=work.config.training.seed
        )
    base = store_base(
        f"{work.teacher.uri} student",
        encoder,
        tokenizer,
        weights,
        storage=as_uri(work.config.training.output_dir),
        licences=merge_licences(each.licences for each in lineage(work.teacher)),
    )
    return Body(base, kept, projection)


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
        wide_buckets=network.wide_buckets if known["head"] == "multi_label" else 0,
    )
    same_width = body.base.config["hidden_size"] == known["encoder"]["hidden_size"]
    return {
        **facts,
        "class_weights": known.get("class_weights", {}),  # its answers are what they made of it
        "teacher": f"{work.teacher.uri}/{WEIGHTS}" if same_width else None,
    }


@torch.inference_mode()
def _teacher_states(
    work: Distillation, facts: Mapping[str, Any], words: Vocabulary, state: Mapping[str, Tensor]
) -> NDArray[np.float32]:
    """Token states [N, H] of some training texts, of the embeddings and every layer."""
    network = TextNetwork(text_config_from_json(work.teacher.config["network"]), facts)
    network.load_state_dict(state)
    encoder = network.eval().encoder
    task = find(work.splits.task)
    found: list[NDArray[np.float32]] = []
    for text in encoded(work.splits.table("train", AXIS_TEXTS), task, words):
        ids = torch.tensor([text.windows[0].ids])
        seen = encoder(input_ids=ids, output_hidden_states=True).hidden_states
        found += [states[0].numpy() for states in seen]
    return np.concatenate(found)


def _used(labelled: Dataset, more: Dataset | None) -> set[int]:
    """The tokens of the training texts and of those without labels."""
    found: set[int] = set()
    for rows in (labelled, more):
        if rows is not None:
            batch: Any  # a table, as asked for; the signature says "any batch"
            for batch in rows.select_columns("ids").iter_batches(batch_format="pyarrow"):
                found.update(pc.unique(batch["ids"].combine_chunks().flatten()).to_pylist())
    return found


def _write_soft_rows(
    work: Distillation,
    words: Vocabulary,
    body: Body,
    labelled: Dataset,
    more: Dataset | None,
) -> None:
    """Texts and copies with the teacher's answers, as Parquet; the manifest comes last."""
    config = work.config
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
        "use_mixed_precision": config.training.use_mixed_precision,
    }
    parts = ((LABELLED, labelled, config.hard_label_weight), (UNLABELLED, more, 0.0))
    for part, rows, weight in parts:
        if rows is not None:
            num_blocks = math.ceil(rows.count() / SOFT_ROWS)  # so many calls may run side by side
            rows.repartition(num_blocks).map_batches(
                soften_texts,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
                batch_format="numpy",
                batch_size=None,  # a block
                fn_kwargs={**known, "hard_label_weight": weight},
            ).write_parquet(f"{work.soft}/{part}")
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
