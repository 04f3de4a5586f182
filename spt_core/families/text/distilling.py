"""The student of a text task: fewer layers, a trimmed vocabulary, the teacher's soft answers.

teacher -> layers and tokens that stay (Base) -> texts and augmented copies with soft labels
(Parquet) -> Ray Train -> files
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import Tensor

from spt_core.artifacts import (
    FACTS,
    WEIGHTS,
    ModelArtifact,
    Role,
    as_uri,
    has_manifest,
    lineage,
    merge_licences,
    parquet_files,
    remove,
    write_manifest,
)
from spt_core.data.read import Dataset, read_files
from spt_core.data.splits import table_of
from spt_core.errors import InputError
from spt_core.families.text.bases import Base, embedding_name, store_base
from spt_core.families.text.bodies import chosen_layers, narrowed, state_axes, whole_heads
from spt_core.families.text.config import TextConfig
from spt_core.families.text.encoding import text_encoder
from spt_core.families.text.learner import LEARNER
from spt_core.families.text.network import TextNetwork, text_facts
from spt_core.families.text.rows import Vocabulary, encoded, num_long, token_dataset
from spt_core.families.text.serving import TOKENIZER
from spt_core.families.text.softening import soften_texts
from spt_core.families.text.teaching import NUM_LONG, finish_text, text_run
from spt_core.families.text.tokenizer_edits import trimmed
from spt_core.families.text.unlabelled import num_refused, unlabelled_tokens
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.plain import from_plain
from spt_core.task import find

SOFT = "soft"
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


class TextDistilling:
    """The FitPlan of a student; texts that are labelled already are used again."""

    role: Role = "student"
    scratch: Sequence[str] = (SOFT,)

    def __init__(self, lesson: Lesson) -> None:
        self._lesson, self._task = lesson, find(lesson.splits.task)
        self.identity: Sequence[Any] = lesson.identity

    def prepare(self, name: str) -> TrainingRun:
        """The student's encoder, and the texts as its teacher answers them."""
        lesson = self._lesson
        self._soft = lesson.soft or f"{as_uri(lesson.training.output_dir)}/runs/{name}-{SOFT}"
        run, teacher_words, body = self._drafted()
        if not has_manifest(self._soft):
            _write_soft_rows(lesson, self._soft, teacher_words, body, self._labelled, self._more)
        return run

    def draft(self) -> TrainingRun:
        """The student without the texts that its teacher answers."""
        lesson = self._lesson
        self._soft = lesson.soft or f"{as_uri(lesson.training.output_dir)}/runs/draft-{SOFT}"
        return self._drafted()[0]

    def _drafted(self) -> tuple[TrainingRun, Vocabulary, Body]:
        lesson, task, splits = self._lesson, self._task, self._lesson.splits
        network = lesson.training.network
        assert isinstance(network, TextConfig)
        teacher_facts = json.loads(lesson.teacher.read(FACTS))
        sizes = (network.max_tokens, network.window_overlap)
        teacher_words = Vocabulary(lesson.teacher.read(TOKENIZER), *sizes)
        self._more = None
        if lesson.unlabelled is not None:
            bad = f"{self._soft}-quarantine"
            self._more = unlabelled_tokens(
                lesson.unlabelled, splits, task, teacher_words, teacher_facts, bad
            )
        self._labelled = token_dataset(splits, "train", task, teacher_words, teacher_facts)
        body = student_body(lesson, teacher_facts, teacher_words, self._labelled, self._more)
        self._words = Vocabulary(body.base.tokenizer, *sizes)
        num_rows = splits.num_rows["train"] + (self._more.count() if self._more else 0)
        self._run = text_run(
            self.role,
            task,
            splits,
            lesson.teacher.signature,
            teacher_words,
            lesson.training,
            _student_facts(lesson, teacher_facts, body),
            num_rows=num_rows * (lesson.num_copies + 1),
            temperature=lesson.copying.temperature,
            state_weight=lesson.copying.state_weight,
        )
        _check_size(self._run, lesson)
        return self._run, teacher_words, body

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """The texts that the teacher answered, or validation rows in the student's tokens."""
        if part == "train":
            folders = [f"{self._soft}/{kind}" for kind in (LABELLED, UNLABELLED)]
            return read_files([uri for folder in folders for uri in parquet_files(folder)])
        return token_dataset(self._lesson.splits, part, self._task, self._words, self._run.facts)

    def finish(self, weights: bytes) -> Trained:
        """Calibrated like its teacher."""
        splits, twin = self._lesson.splits, self._lesson.twin
        files, metrics = finish_text(self._run, self._task, splits, self._words, weights, twin)
        metrics = {**metrics, NUM_LONG: float(num_long(self._labelled))}
        notes: tuple[str, ...] = ()
        if self._more is not None:
            folder = f"{self._soft}-quarantine"
            good, refused = self._more.count(), num_refused(folder)
            metrics |= {NUM_UNLABELLED: good, NUM_REFUSED: refused}
            if refused:
                notes = (f"{refused:,} bad texts without labels, {good:,} good; see {folder}",)
        return Trained(files, metrics, notes=notes)


def narrowed_text(network: TextConfig, teacher: ModelArtifact, share: float) -> TextConfig:
    """The configuration of a student with a share of its attention heads; then, of its layers."""
    encoder = json.loads(teacher.read(FACTS))["encoder"]
    width = whole_heads(encoder, network.student_width)
    per_head = encoder["hidden_size"] // encoder["num_attention_heads"]
    narrower = int(width * share) // per_head * per_head
    if narrower >= per_head:
        return dataclasses.replace(network, student_width=narrower)
    layers = min(network.student_layers, encoder["num_hidden_layers"])
    if layers < 2:
        raise InputError(
            "a student keeps one attention head and one layer at least, however: it has no more"
        )
    return dataclasses.replace(network, student_layers=layers - 1)


def student_body(
    lesson: Lesson,
    facts: Mapping[str, Any],
    words: Vocabulary,
    labelled: Dataset,
    more: Dataset | None,
) -> Body:
    """The teacher's embeddings of the tokens that its texts use, and some of its layers."""
    network, encoder = lesson.training.network, dict(facts["encoder"])
    state = load_weights(lesson.teacher.read(WEIGHTS))
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
        projection = state_axes(_teacher_states(lesson, facts, words, state), width)
        weights, encoder = narrowed(weights, encoder, width, projection, seed=lesson.training.seed)
    base = store_base(
        f"{lesson.teacher.uri} student",
        encoder,
        tokenizer,
        weights,
        storage=as_uri(lesson.training.output_dir),
        licences=merge_licences(each.licences for each in lineage(lesson.teacher)),
    )
    return Body(base, kept, projection)


def _student_facts(lesson: Lesson, teacher_facts: Mapping[str, Any], body: Body) -> dict[str, Any]:
    network = lesson.training.network
    encoder = text_encoder(body.base.tokenizer, network.max_tokens, network.window_overlap)
    facts = text_facts(
        network,
        encoder=body.base.config,
        base=body.base.uri,
        head=teacher_facts["head"],
        classes=tuple(teacher_facts["classes"]),
        pad=encoder.pad,
        special=(encoder.prefix, encoder.suffix),
        unknown=encoder.unknown,
        negative_class=teacher_facts["negative_class"],
        lexicon=tuple(teacher_facts["lexicon"]),
        center=teacher_facts["center"],
        spread=teacher_facts["spread"],
        wide_buckets=network.wide_buckets if teacher_facts["head"] == "multi_label" else 0,
    )
    same_width = body.base.config["hidden_size"] == teacher_facts["encoder"]["hidden_size"]
    return {
        **facts,
        # its answers are what they made of it
        "class_weights": teacher_facts.get("class_weights", {}),
        "teacher": f"{lesson.teacher.uri}/{WEIGHTS}" if same_width else None,
    }


@torch.inference_mode()
def _teacher_states(
    lesson: Lesson, facts: Mapping[str, Any], words: Vocabulary, state: Mapping[str, Tensor]
) -> NDArray[np.float32]:
    """Token states [N, H] of some training texts, of the embeddings and every layer."""
    network = TextNetwork(from_plain(TextConfig, lesson.teacher.config["network"]), facts)
    network.load_state_dict(state)
    encoder = network.eval().encoder
    task = find(lesson.splits.task)
    layer_states: list[NDArray[np.float32]] = []
    for text in encoded(table_of(lesson.splits.files("train"), AXIS_TEXTS), task, words):
        ids = torch.tensor([text.windows[0].ids])
        seen = encoder(input_ids=ids, output_hidden_states=True).hidden_states
        layer_states += [states[0].numpy() for states in seen]
    return np.concatenate(layer_states)


def _used(labelled: Dataset, more: Dataset | None) -> set[int]:
    """The tokens of the training texts and of those without labels."""
    token_ids: set[int] = set()
    for rows in (labelled, more):
        if rows is not None:
            batch: Any  # a table, as asked for; the signature says "any batch"
            for batch in rows.select_columns("ids").iter_batches(batch_format="pyarrow"):
                token_ids.update(pc.unique(batch["ids"].combine_chunks().flatten()).to_pylist())
    return token_ids


def _write_soft_rows(
    lesson: Lesson,
    soft: str,
    words: Vocabulary,
    body: Body,
    labelled: Dataset,
    more: Dataset | None,
) -> None:
    """Texts and copies with the teacher's answers, as Parquet; the manifest comes last."""
    copying = lesson.copying
    remove(soft)
    arguments = {
        "teacher": json.dumps(lesson.teacher.to_json()),
        "copies": lesson.num_copies,
        "mask_id": words.encoder().mask,
        "kept": body.kept,
        "projection": body.projection,
        "mask_probability": copying.mask_probability,
        "splice_probability": copying.splice_probability,
        "temperature": copying.temperature,
        "seed": lesson.training.seed,
        "use_mixed_precision": lesson.training.use_mixed_precision,
    }
    parts = ((LABELLED, labelled, lesson.hard_label_weight), (UNLABELLED, more, 0.0))
    for part, rows, weight in parts:
        if rows is not None:
            num_blocks = math.ceil(rows.count() / SOFT_ROWS)  # so many calls may run side by side
            rows.repartition(num_blocks).map_batches(
                soften_texts,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
                batch_format="numpy",
                batch_size=None,  # a block
                fn_kwargs={**arguments, "hard_label_weight": weight},
            ).write_parquet(f"{soft}/{part}")
    write_manifest(soft, {"teacher": lesson.teacher.uri, "copies": lesson.num_copies})


def _check_size(run: TrainingRun, lesson: Lesson) -> None:
    weights = LEARNER.network(run).state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
    what = f"student_layers {run.config.network.student_layers} and its vocabulary"
    lesson.check_size(size, len(lesson.teacher.read(WEIGHTS)), what)
