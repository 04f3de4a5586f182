"""How a student is made from a teacher, checked before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from spt_core.errors import InputError
from spt_core.training.config import TrainingConfig

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "tabular": ("swap_probability", "forget_probability"),
    "text": (
        "mask_probability",
        "splice_probability",
        "temperature",
        "state_weight",
        "unlabelled",
        "unlabelled_licences",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student is made from a teacher.

    Attributes:
        teacher_model_path: address of the teacher's artifact, for `distill` without a teacher.
        compression_ratio: the student's weights may take at most this share of the teacher's bytes.
        target_accuracy: share of the teacher's task metric on validation rows that the student must
            keep; None asks for nothing.
        output_dir: folder or URI that receives runs and models; None takes the training's.
        num_copies: augmented copies of each training row, beside the row itself; where texts may
            have several labels or none, every other copy is of one that has a label instead.
        swap_probability: tables: chance of each cell of a copy to come from another random row.
        forget_probability: tables: chance of each cell of a copy to become missing or an unseen
            category, so that the student has an answer for what its training rows always knew.
        hard_label_weight: share of the true label in the target of an original row.
        mask_probability: texts: chance of each token of a copy to be masked.
        splice_probability: texts: chance of a copy to be the beginning of one text and the end of
            another; pairs and spans are never spliced.
        temperature: texts: divides the logits of both before they are compared (Hinton, Vinyals
            and Dean, "Distilling the Knowledge in a Neural Network", 2015).
        state_weight: texts: weight of the cosine distance between the mean token states of student
            and teacher (as in Sanh et al., "DistilBERT", 2019).
        unlabelled: texts: path or URI of more texts (Parquet, CSV, JSONL) that only the teacher
            answers; a pair task's bring their mentions. Those that a held-out part holds are left
            out.
        unlabelled_licences: under which those texts are given; the student carries them along.
        max_rows: rows that training sees at most; fewer copies are made of a larger corpus.
        training: the student's training.
    """

    teacher_model_path: str | None = None
    compression_ratio: float = 1.0
    target_accuracy: float | None = None
    output_dir: str | None = None
    num_copies: int = 2
    swap_probability: float = 0.15
    forget_probability: float = 0.02
    hard_label_weight: float = 0.0
    mask_probability: float = 0.1
    splice_probability: float = 0.3
    temperature: float = 2.0
    state_weight: float = 1.0
    unlabelled: str | None = None
    unlabelled_licences: tuple[str, ...] = ("the owner's own data",)
    max_rows: int = 20_000_000
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and negative counts."""
        for name in (
            "compression_ratio",
            "swap_probability",
            "forget_probability",
            "hard_label_weight",
            "mask_probability",
            "splice_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], however: {getattr(self, name)}")
        if self.num_copies < 0 or self.max_rows < 1:
            raise InputError(
                f"num_copies must be at least 0 and max_rows at least 1, however: "
                f"{self.num_copies=}, {self.max_rows=}"
            )
        if self.training.class_weighting != "none":
            raise InputError(
                "a student's class_weighting must be none, as it learns its teacher's answers, "
                f"however: it is {self.training.class_weighting!r}"
            )
        if not self.temperature > 0 or self.state_weight < 0:
            raise InputError(
                "temperature must be above 0 and state_weight at least 0, however: "
                f"{self.temperature=}, {self.state_weight=}"
            )
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        if self.unlabelled is None and self.unlabelled_licences != usual["unlabelled_licences"]:
            raise InputError(
                "unlabelled_licences must be those of texts that unlabelled names, however: it "
                "names none"
            )
        foreign = {
            name
            for family, names in _FIELDS.items()
            if family != self.training.family
            for name in names
        }
        changed = sorted(name for name in foreign if getattr(self, name) != usual[name])
        if changed:
            raise InputError(
                f"{', '.join(changed)} must be left alone for the {self.training.family} family, "
                "which does not know it, however: it is set"
            )
