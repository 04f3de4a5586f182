"""What each kind of answer asks of a table's models: targets, how members are blended, calibration.

labels -> targets [N, K] -> what members say [N, K], blended -> logits -> calibrated scores

Decisions keep one number for a row, [N], throughout. Classes have a logit each, ordered classes one
for lying above each cut between them. A number is learned in standard units, and its student beside
it the two quantiles that its teacher's forests say.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from spt_core.heads.base import Floats
from spt_core.heads.beta import apply_calibration, fit_calibration
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.task import Head

QUANTILES = (0.05, 0.95)  # of the interval that a number's model gives by itself
_CLIP = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a model of tables is to say: the head, its classes, and a number's standard units.

    `class_weights` are those of the classes' rows in training; of a decision, of no and of yes.
    """

    head: Head = "binary"
    classes: tuple[str, ...] = ()
    center: float = 0.0
    spread: float = 1.0
    class_weights: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `target_from_json` reads back; part of a network's facts."""
        content = dataclasses.asdict(self)
        lists = {name: list(content[name]) for name in ("classes", "class_weights")}
        return {**content, **lists}

    @property
    def output(self) -> Output:
        """What the head asks."""
        return OUTPUTS[self.head]


DECISION = Target()


def target_from_json(facts: Mapping[str, Any]) -> Target:
    """The Target in a network's facts; those of before there were other heads are of decisions."""
    names = [field.name for field in dataclasses.fields(Target)]
    values = {name: facts[name] for name in names if name in facts}
    for name in ("classes", "class_weights"):
        values[name] = tuple(values.get(name, ()))
    return Target(**values)


def unweighted(target: Target) -> Target:
    """The same for a student: its teacher's answers are as often right as they should be."""
    return dataclasses.replace(target, class_weights=())


class ForestObjective(NamedTuple):
    """What each booster library is told to minimise, and by what it stops early."""

    lightgbm: Mapping[str, Any]
    xgboost: Mapping[str, Any]


class Output(Protocol):
    """One kind of answer. Stateless."""

    def num_outputs(self, target: Target, *, is_student: bool) -> int:
        """The scores K of a network."""
        ...

    def targets(self, labels: Sequence[Any], target: Target) -> Floats:
        """What labels ask of the scores: [N] of decisions, else [N, K]."""
        ...

    def forest_labels(self, targets: Floats) -> Floats:
        """One number [N] of each row, as boosters take it; NaN where training saw no such class."""
        ...

    def objective(self, target: Target) -> ForestObjective:
        """What the boosters minimise."""
        ...

    def of_forest(self, said: Floats) -> Floats:
        """What a forest says, in the shape of `targets`."""
        ...

    def of_network(self, logits: Floats) -> Floats:
        """What a network's members say, the mean over them [N, k] or [N, k, K], in that shape."""
        ...

    def loss(self, targets: Floats, said: Floats, weights: Floats | None = None) -> float:
        """The mean loss of what is said, of rows with these weights [N]."""
        ...

    def logits(self, said: Floats) -> Floats:
        """What is said, as scores before calibration."""
        ...

    def calibration(
        self, logits: Floats, targets: Floats, target: Target, weights: Floats | None = None
    ) -> list[Any]:
        """Parameters of least loss on rows that trained nothing: (a, b, c), or (scale, shift).

        Rows of decisions alone can have weights.
        """
        ...

    def calibrated(self, logits: Floats, calibration: Sequence[Any]) -> Floats:
        """Scores of logits; of decisions, log-odds."""
        ...

    def soft(self, scores: Floats, target: Target) -> Floats:
        """What calibrated scores ask of a student."""
        ...

    def head_scores(self, scores: Floats) -> Floats:
        """Calibrated scores as the AnswerHead takes them, [N, K]."""
        ...

    def said_scores(self, said: Floats, target: Target) -> Floats:
        """What is said, uncalibrated, as the AnswerHead takes it, [N, K]."""
        ...

    def head_targets(self, targets: Floats, target: Target) -> Floats:
        """Targets [N, K] as the AnswerHead takes them."""
        ...

    def comparable(self, scores: NDArray[Any], target: Target) -> NDArray[Any]:
        """What a runtime gives, on a scale where differences between runtimes can be judged."""
        ...

    def margin_units(self, target: Target) -> tuple[float, float] | None:
        """Scale and shift that make scores of a forest's margins; None where nothing does."""
        ...


class DecisionOutput:
    """The Output of a yes or no."""

    def num_outputs(self, target: Target, *, is_student: bool) -> int:
        """The log-odds of yes."""
        del target, is_student
        return 1

    def targets(self, labels: Sequence[Any], target: Target) -> Floats:
        """0 or 1 [N]."""
        del target
        return np.asarray(labels, np.float64)

    def forest_labels(self, targets: Floats) -> Floats:
        """The same."""
        return targets

    def objective(self, target: Target) -> ForestObjective:
        """Log loss."""
        del target
        return ForestObjective(
            {"objective": "binary"}, {"objective": "binary:logistic", "eval_metric": "logloss"}
        )

    def of_forest(self, said: Floats) -> Floats:
        """Probabilities [N]."""
        return said

    def of_network(self, logits: Floats) -> Floats:
        """Mean probabilities [N] of members [N, k]."""
        import torch  # only here: workers that encode rows need none

        return torch.from_numpy(logits).sigmoid().mean(1).numpy()

    def loss(self, targets: Floats, said: Floats, weights: Floats | None = None) -> float:
        """Log loss."""
        mixed = np.clip(said, _CLIP, 1 - _CLIP)
        losses = targets * np.log(mixed) + (1 - targets) * np.log1p(-mixed)
        return float(-np.average(losses, weights=weights))

    def logits(self, said: Floats) -> Floats:
        """Log-odds [N]."""
        return logit(np.clip(said, _CLIP, 1 - _CLIP))

    def calibration(
        self, logits: Floats, targets: Floats, target: Target, weights: Floats | None = None
    ) -> list[Any]:
        """A beta calibration."""
        del target
        return list(fit_calibration(logits, targets, weights))

    def calibrated(self, logits: Floats, calibration: Sequence[Any]) -> Floats:
        """Calibrated log-odds [N]."""
        a, b, c = calibration
        return apply_calibration(logits, (a, b, c))

    def soft(self, scores: Floats, target: Target) -> Floats:
        """Probabilities [N]."""
        del target
        return expit(scores)

    def head_scores(self, scores: Floats) -> Floats:
        """Probabilities [N, 1]."""
        return (1.0 / (1.0 + np.exp(-scores)))[:, None]

    def said_scores(self, said: Floats, target: Target) -> Floats:
        """Probabilities [N, 1]."""
        del target
        return said[:, None]

    def head_targets(self, targets: Floats, target: Target) -> Floats:
        """0 or 1 [N, 1]."""
        del target
        return targets[:, None]

    def comparable(self, scores: NDArray[Any], target: Target) -> NDArray[Any]:
        """Runtimes give probabilities."""
        del target
        return scores

    def margin_units(self, target: Target) -> tuple[float, float] | None:
        """Both are log-odds."""
        del target
        return 1.0, 0.0


class _LogitOutput(abc.ABC):
    """What the Outputs share whose scores are logits, of classes or of cuts between them."""

    @abc.abstractmethod
    def logits(self, said: Floats) -> Floats:
        """What is said, as logits."""

    def calibrated(self, logits: Floats, calibration: Sequence[Any]) -> Floats:
        """Calibrated logits."""
        return _affine(logits, calibration)

    def head_scores(self, scores: Floats) -> Floats:
        """The same."""
        return scores

    def said_scores(self, said: Floats, target: Target) -> Floats:
        """Logits."""
        del target
        return self.logits(said)

    def head_targets(self, targets: Floats, target: Target) -> Floats:
        """The same."""
        del target
        return targets


class ClassOutput(_LogitOutput):
    """The Output of one of several classes."""

    def num_outputs(self, target: Target, *, is_student: bool) -> int:
        """A logit for each class."""
        del is_student
        return len(target.classes)

    def targets(self, labels: Sequence[Any], target: Target) -> Floats:
        """1 for the row's class; nothing where training saw no such class."""
        return _indicators(labels, target.classes)

    def forest_labels(self, targets: Floats) -> Floats:
        """The number of the class."""
        return np.where(targets.any(1), targets.argmax(1).astype(np.float64), np.nan)

    def objective(self, target: Target) -> ForestObjective:
        """Log loss over the classes."""
        return _of_classes(target)

    def of_forest(self, said: Floats) -> Floats:
        """Probabilities."""
        return said

    def of_network(self, logits: Floats) -> Floats:
        """Mean probabilities of members [N, k, K]."""
        return softmax(logits, axis=2).mean(1)

    def loss(self, targets: Floats, said: Floats, weights: Floats | None = None) -> float:
        """Log loss over the classes."""
        losses = (targets * np.log(np.clip(said, _CLIP, None))).sum(1)
        return float(-np.average(losses, weights=weights))

    def logits(self, said: Floats) -> Floats:
        """Logarithms, whose softmax the probabilities are."""
        return np.log(np.clip(said, _CLIP, None))

    def calibration(
        self, logits: Floats, targets: Floats, target: Target, weights: Floats | None = None
    ) -> list[Any]:
        """One temperature; where the classes were weighted, a shift for each too."""
        del weights
        weights = np.array(target.class_weights) if target.class_weights else None
        scale, shift = fit_label_calibration("single_label", logits, targets, weights)
        return [scale.tolist(), shift.tolist()]

    def soft(self, scores: Floats, target: Target) -> Floats:
        """Probabilities."""
        del target
        return softmax(scores, axis=1)

    def comparable(self, scores: NDArray[Any], target: Target) -> NDArray[Any]:
        """Probabilities."""
        del target
        return softmax(scores.astype(np.float64), axis=1)

    def margin_units(self, target: Target) -> tuple[float, float] | None:
        """Both are logits of the classes."""
        del target
        return 1.0, 0.0


class RankOutput(_LogitOutput):
    """The Output of one of several classes in order."""

    def num_outputs(self, target: Target, *, is_student: bool) -> int:
        """A logit for lying above each cut."""
        del is_student
        return len(target.classes) - 1

    def targets(self, labels: Sequence[Any], target: Target) -> Floats:
        """1 for each cut that the row's class lies above."""
        ranks = {name: number for number, name in enumerate(target.classes)}
        places = np.array([ranks[label] for label in labels], np.int64)
        return (places[:, None] > np.arange(len(target.classes) - 1)).astype(np.float64)

    def forest_labels(self, targets: Floats) -> Floats:
        """The rank of the class."""
        return targets.sum(1)

    def objective(self, target: Target) -> ForestObjective:
        """Log loss over the classes: boosters know no order."""
        return _of_classes(target)

    def of_forest(self, said: Floats) -> Floats:
        """Probabilities of lying above each cut, of those of the classes."""
        return np.flip(np.flip(said[:, 1:], 1).cumsum(1), 1)

    def of_network(self, logits: Floats) -> Floats:
        """Mean probabilities of members [N, k, K]."""
        return expit(logits).mean(1)

    def loss(self, targets: Floats, said: Floats, weights: Floats | None = None) -> float:
        """Log loss of the cuts, summed."""
        mixed = np.clip(said, _CLIP, 1 - _CLIP)
        losses = targets * np.log(mixed) + (1 - targets) * np.log1p(-mixed)
        return float(-np.average(losses.sum(1), weights=weights))

    def logits(self, said: Floats) -> Floats:
        """Log-odds."""
        return logit(np.clip(said, _CLIP, 1 - _CLIP))

    def calibration(
        self, logits: Floats, targets: Floats, target: Target, weights: Floats | None = None
    ) -> list[Any]:
        """One scale."""
        del weights
        del target
        scale, shift = fit_label_calibration("ordinal", logits, targets)
        return [scale.tolist(), shift.tolist()]

    def soft(self, scores: Floats, target: Target) -> Floats:
        """Probabilities of lying above each cut."""
        del target
        return expit(scores)

    def comparable(self, scores: NDArray[Any], target: Target) -> NDArray[Any]:
        """Probabilities."""
        del target
        return expit(scores.astype(np.float64))

    def margin_units(self, target: Target) -> tuple[float, float] | None:
        """A forest scores classes, and its scores of cuts are no sums."""
        del target
        return None


class ValueOutput:
    """The Output of a number; what is said, and asked for, is in standard units."""

    def num_outputs(self, target: Target, *, is_student: bool) -> int:
        """The value; a student's two quantiles come with it."""
        del target
        return 1 + len(QUANTILES) if is_student else 1

    def targets(self, labels: Sequence[Any], target: Target) -> Floats:
        """The value [N, 1]."""
        return ((np.asarray(labels, np.float64) - target.center) / target.spread)[:, None]

    def forest_labels(self, targets: Floats) -> Floats:
        """The same."""
        return targets[:, 0]

    def objective(self, target: Target) -> ForestObjective:
        """Squared error."""
        del target
        return ForestObjective(
            {"objective": "regression"}, {"objective": "reg:squarederror", "eval_metric": "rmse"}
        )

    def of_forest(self, said: Floats) -> Floats:
        """The value [N, 1]."""
        return said[:, None]

    def of_network(self, logits: Floats) -> Floats:
        """The members' mean [N, K]."""
        return logits.mean(1)

    def loss(self, targets: Floats, said: Floats, weights: Floats | None = None) -> float:
        """Mean squared error."""
        return float(np.average(np.square(targets[:, 0] - said[:, 0]), weights=weights))

    def logits(self, said: Floats) -> Floats:
        """The same."""
        return said

    def calibration(
        self, logits: Floats, targets: Floats, target: Target, weights: Floats | None = None
    ) -> list[Any]:
        """The label's own units: what interval it asks for is the policy's."""
        del targets, weights
        size = logits.shape[1]
        return [[target.spread] * size, [target.center] * size]

    def calibrated(self, logits: Floats, calibration: Sequence[Any]) -> Floats:
        """Values in the label's units."""
        return _affine(logits, calibration)

    def soft(self, scores: Floats, target: Target) -> Floats:
        """Value and quantiles in standard units."""
        return (scores - target.center) / target.spread

    def head_scores(self, scores: Floats) -> Floats:
        """The same."""
        return scores

    def said_scores(self, said: Floats, target: Target) -> Floats:
        """Values in the label's units."""
        return said * target.spread + target.center

    def head_targets(self, targets: Floats, target: Target) -> Floats:
        """Values in the label's units."""
        return targets[:, :1] * target.spread + target.center

    def comparable(self, scores: NDArray[Any], target: Target) -> NDArray[Any]:
        """Standard units."""
        return (scores.astype(np.float64) - target.center) / target.spread

    def margin_units(self, target: Target) -> tuple[float, float] | None:
        """Forests answer in standard units, scores are in the label's."""
        return target.spread, target.center


OUTPUTS: Mapping[Head, Output] = {
    "binary": DecisionOutput(),
    "single_label": ClassOutput(),
    "ordinal": RankOutput(),
    "regression": ValueOutput(),
}


def _indicators(labels: Sequence[Any], classes: Sequence[str]) -> Floats:
    places = {name: number for number, name in enumerate(classes)}
    index = np.array([places.get(label, -1) for label in labels], np.int64)
    return (index[:, None] == np.arange(len(classes))).astype(np.float64)


def _of_classes(target: Target) -> ForestObjective:
    size = len(target.classes)
    return ForestObjective(
        {"objective": "multiclass", "num_class": size},
        {"objective": "multi:softprob", "num_class": size, "eval_metric": "mlogloss"},
    )


def _affine(logits: Floats, calibration: Sequence[Any]) -> Floats:
    scale, shift = calibration
    return logits * np.array(scale) + np.array(shift)
