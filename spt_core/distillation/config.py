"""How a student is made from a teacher, checked before anything runs."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Any

from spt_core.errors import InputError, require_shares
from spt_core.families.serving import SERVING
from spt_core.fitting.config import TrainingConfig


class DistillationType(StrEnum):
    """What a student learns of its teacher, beside its answers on rows and on their copies.

    RESPONSE: nothing (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
    2015). FEATURE: its hidden states too (Sanh et al., "DistilBERT", 2019), which texts' have.
    """

    RESPONSE = "response"
    FEATURE = "feature"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student is made from a teacher.

    Attributes:
        teacher_model_path: address of the teacher's artifact, for `distill` without a teacher.
        compression_ratio: the student's weights may take at most this share of the teacher's bytes.
        target_accuracy: share of the teacher's task metric on validation rows that the student must
            keep; None asks for nothing.
        output_dir: folder or URI that receives runs and models; None takes the training's.
        num_copies: augmented copies of each training row, beside the row itself, at least; where
            texts may have several labels or none, every other copy is of one that has a label
            instead.
        num_steps: more copies are made until all epochs together hold at least that many steps of
            the optimizer: what a student keeps of its teacher is decided by its steps, of which a
            small corpus has few. 0 asks for none. Early stopping may end before.
        hard_label_weight: share of the true label in the target of an original row.
        unlabelled: texts: path or URI of more texts (Parquet, CSV, JSONL) that only the teacher
            answers; a pair task's bring their mentions. Those that a held-out part holds are left
            out.
        unlabelled_licences: under which those texts are given; the student carries them along.
        num_folds: training rows are answered by teachers that have not learnt from them, so that
            their soft labels are like those of new rows, and calibrate what is served: each is
            trained like the teacher without one of so many folds, in time on what was before it.
            0 has the teacher answer the rows that it learnt from.
        max_fold_rows: with more training rows there are no folds: held-out rows are enough there,
            and who learnt from fewer rows teaches worse. Of the 24,000 of the bundled sample's
            payments the student's loss on validation rows was 0.1121 without folds and 0.1135 with
            three; of some 180 patients of heart-uci (three draws of test rows) the log loss of what
            is served was 0.465, 0.424 and 0.422 without, 0.272, 0.386 and 0.408 with three.
        max_rows: rows that training sees at most; fewer copies are made of a larger corpus, and
            for any number of steps.
        copying: the family's own parameters of how copies are made; None takes its defaults.
        distillation_type: what is learnt beside answers; None takes what the family has.
        training: the student's training.
    """

    teacher_model_path: str | None = None
    compression_ratio: float = 1.0
    target_accuracy: float | None = None
    output_dir: str | None = None
    num_copies: int = 2
    num_steps: int = 0
    hard_label_weight: float = 0.0
    num_folds: int = 0
    max_fold_rows: int = 5000
    unlabelled: str | None = None
    unlabelled_licences: tuple[str, ...] = ("the owner's own data",)
    max_rows: int = 20_000_000
    copying: Any = None  # the family's: families/*/config.py
    distillation_type: DistillationType | None = None
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and negative counts."""
        require_shares(self, "compression_ratio", "hard_label_weight")
        kind = SERVING[self.training.family].copying
        if self.copying is None:
            object.__setattr__(self, "copying", kind())
        if not isinstance(self.copying, kind):
            raise InputError(
                f"copying must be the {self.training.family} family's {kind.__name__}, however: "
                f"{type(self.copying).__name__}"
            )
        self._apply_type()
        if min(self.num_copies, self.num_steps) < 0 or self.max_rows < 1:
            raise InputError(
                "num_copies and num_steps must be at least 0 and max_rows at least 1, however: "
                f"{self.num_copies=}, {self.num_steps=}, {self.max_rows=}"
            )
        if self.num_folds < 0 or self.num_folds == 1:
            raise InputError(f"num_folds must be 0 or at least 2, however: it is {self.num_folds}")
        if self.max_fold_rows < 0:
            raise InputError(
                f"max_fold_rows must be at least 0, however: it is {self.max_fold_rows}"
            )
        if self.training.class_weighting != "none":
            raise InputError(
                "a student's class_weighting must be none, as it learns its teacher's answers, "
                f"however: it is {self.training.class_weighting!r}"
            )
        if self.training.privacy is not None:
            raise InputError(
                "privacy must be its teacher's of a student, which spends nothing, however: it is "
                "set for the student"
            )
        usual = DistillationConfig.__dataclass_fields__["unlabelled_licences"].default
        if self.unlabelled is None and self.unlabelled_licences != usual:
            raise InputError(
                "unlabelled_licences must be those of texts that unlabelled names, however: it "
                "names none"
            )

    def _apply_type(self) -> None:
        """Copying that does what the type says; InputError where the family has no such states."""
        has_states = hasattr(self.copying, "state_weight")
        if self.distillation_type == DistillationType.FEATURE and not (
            has_states and self.copying.state_weight > 0
        ):
            raise InputError(
                "distillation_type must be response where a student learns no states of its "
                f"teacher's, however: it is feature, of the {self.training.family} family"
                + (" with a state_weight of 0" if has_states else "")
            )
        if self.distillation_type == DistillationType.RESPONSE and has_states:
            plain = dataclasses.replace(self.copying, state_weight=0.0)
            object.__setattr__(self, "copying", plain)
