"""What a good engineer would try first on texts: TF-IDF with logistic regression, and plain rules.

Same training rows; strength, thresholds and all on the validation rows.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, logit
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from spt_core.benchmark.baselines import OnTrial
from spt_core.benchmark.outcomes import (
    decided_outcomes,
    groups_of,
    span_outcomes,
    true_labels,
)
from spt_core.errors import SptError
from spt_core.metrics import HEAD_METRICS, LOWER_IS_BETTER, Outcomes
from spt_core.models.label_calibration import fit_label_calibration
from spt_core.policy import LabelPolicy, fit_label_policy
from spt_core.task import Span, Task
from spt_core.tokens import Lexicon

STRENGTHS = (10.0, 1.0, 100.0, 0.1, 1000.0)  # C, the likely ones first
MAX_TERMS = 200_000
RULE_TERMS = 10  # of a label
_FIRST, _SECOND, _OTHER = " firstmention ", " secondmention ", " othermention "

Floats = NDArray[np.float64]


class OutcomesOf(Protocol):
    """The outcomes of labelled rows; `group` names the column of documents, if not the task's."""

    def __call__(self, table: pa.Table, group: str | None = None) -> Outcomes:
        """One call."""
        ...


class TextBaseline(NamedTuple):
    """A tuned model: its name, the outcomes of labelled rows, one text's scores, its parameters."""

    name: str
    outcomes: OutcomesOf
    score: Callable[[str], Any]
    parameters: Mapping[str, Any]


class TunedBaselines(NamedTuple):
    """Baselines that were fitted, and why each other one could not be."""

    fitted: list[TextBaseline]
    left_out: dict[str, str]


class _UnfitError(SptError):
    """A baseline cannot learn from the training rows."""


def tune_text_baselines(
    task: Task,
    classes: Sequence[str],
    train: pa.Table,
    validation: pa.Table,
    label: str,
    *,
    num_trials: int,
    on_trial: OnTrial | None = None,
) -> TunedBaselines:
    """Every baseline of the task's head, at its best by the task's metric on validation rows.

    One that cannot learn from the training rows is left out, with the reason.
    """
    if task.head == "span":
        return TunedBaselines([_lexicon(task, classes, train, label)], {})
    regression = "ridge regression" if task.head == "regression" else "logistic regression"
    name = f"TF-IDF + {regression}"
    fits: dict[str, Callable[[], TextBaseline]] = {
        name: lambda: _tfidf(
            name, task, classes, train, validation, label, num_trials=num_trials, on_trial=on_trial
        )
    }
    if task.head == "multi_label":
        fits["keyword rule"] = lambda: _keywords(task, classes, train, label)
    found = TunedBaselines([], {})
    for baseline, fit in fits.items():
        try:
            found.fitted.append(fit())
        except _UnfitError as error:
            found.left_out[baseline] = str(error)
    return found


def _tfidf(
    name: str,
    task: Task,
    classes: Sequence[str],
    train: pa.Table,
    validation: pa.Table,
    label: str,
    *,
    num_trials: int,
    on_trial: OnTrial | None,
) -> TextBaseline:
    """Words and pairs of words; each class weighs the same whatever its share."""
    vectors = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=MAX_TERMS
    )
    design = _counted(vectors, _texts(train, task), name)
    targets = np.concatenate(true_labels(train, task, classes, label))
    metric, sign = HEAD_METRICS[task.head][task.metric], _sign(task)
    best: tuple[float, float, Any, LabelPolicy] | None = None
    rows = vectors.transform(_texts(validation, task))
    true = np.concatenate(true_labels(validation, task, classes, label))
    for number, strength in enumerate(STRENGTHS[: max(num_trials, 1)], 1):
        predict = _fitted(task, design, targets, strength)
        if task.head == "multi_label":
            predict = _calibrated(predict, rows, true)
        found = predict(rows)
        policy = fit_label_policy(task.head, classes, true, found, task.negative_class)
        of = _outcomes(task, classes, validation, label, found, policy)
        value = sign * metric(of)
        if best is None or value > best[0]:
            best = (value, strength, predict, policy)
        if on_trial is not None:
            on_trial(name, number)
    assert best is not None, "there is at least one trial"
    _, strength, predict, policy = best

    def outcomes(table: pa.Table, group: str | None = None) -> Outcomes:
        found = predict(vectors.transform(_texts(table, task)))
        return _outcomes(task, classes, table, label, found, policy, group)

    return TextBaseline(
        name, outcomes, lambda text: predict(vectors.transform([text])), {"C": strength}
    )


def _fitted(task: Task, design: Any, targets: Floats, strength: float) -> Callable[[Any], Floats]:
    """Probabilities [N, K] (regression: values [N, 1]) of rows of the design."""
    if task.head == "regression":
        ridge = Ridge(alpha=1.0 / strength).fit(design, targets[:, 0])
        return lambda rows: ridge.predict(rows)[:, None]
    if task.head == "multi_label":
        models = [_one(design, targets[:, k], strength) for k in range(targets.shape[1])]
        return lambda rows: np.column_stack([model(rows) for model in models])
    known = targets.sum(1) > 0  # a class that the model does not know teaches nothing
    chosen = targets.argmax(1)[known]
    num_known = len(np.unique(chosen))
    if num_known < 2:
        raise _UnfitError(
            "logistic regression must learn two classes, however: the training items are of "
            f"{num_known}"
        )
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(design[known], chosen)
    num_classes = targets.shape[1]

    def predict(rows: Any) -> Floats:
        made = np.zeros((rows.shape[0], num_classes))
        made[:, model.classes_] = model.predict_proba(rows)
        return made

    return predict


def _calibrated(
    predict: Callable[[Any], Floats], rows: Any, true: Floats
) -> Callable[[Any], Floats]:
    """Probabilities calibrated on labelled rows as a model's are: its thresholds rest on them."""

    def log_odds(of: Any) -> Floats:
        return logit(np.clip(predict(of), 1e-9, 1 - 1e-9))

    scale, shift = fit_label_calibration("multi_label", log_odds(rows), true)
    return lambda of: expit(log_odds(of) * scale + shift)


def _one(design: Any, targets: Floats, strength: float) -> Callable[[Any], Floats]:
    if targets.min() == targets.max():
        return lambda rows: np.full(rows.shape[0], targets[0])
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(design, targets)
    return lambda rows: model.predict_proba(rows)[:, 1]


def _keywords(task: Task, classes: Sequence[str], train: pa.Table, label: str) -> TextBaseline:
    """A label is given to a text that has one of its terms, chosen one by one for the best F1.

    What such a rule reaches is no merit of a model: labels may have been made by one.
    """
    counts = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=3, max_features=MAX_TERMS)
    design = csr_matrix(_counted(counts, _texts(train, task), "keyword rule"), dtype=np.float64)
    targets = np.concatenate(true_labels(train, task, classes, label))
    names = counts.get_feature_names_out()
    terms = [_terms(design, targets[:, k]) for k in range(len(classes))]
    policy = LabelPolicy(thresholds=dict.fromkeys(classes, 0.5), most_probable=False)

    def given(texts: Sequence[str]) -> Floats:
        rows = counts.transform(texts)
        columns = [np.asarray(rows[:, chosen].sum(1)).ravel() > 0 for chosen in terms]
        return np.column_stack(columns).astype(np.float64)

    def outcomes(table: pa.Table, group: str | None = None) -> Outcomes:
        found = given(_texts(table, task))
        return _outcomes(task, classes, table, label, found, policy, group)

    return TextBaseline(
        "keyword rule",
        outcomes,
        lambda text: given([text]),
        {name: ", ".join(names[chosen]) for name, chosen in zip(classes, terms, strict=True)},
    )


def _counted(vectors: CountVectorizer, texts: Sequence[str], name: str) -> Any:
    """The design matrix [N, terms] of fitted texts."""
    try:
        return vectors.fit_transform(texts)
    except ValueError as error:
        raise _UnfitError(
            f"{name} must find words that {vectors.min_df} training texts share, however: they "
            "share none"
        ) from error


def _terms(design: Any, targets: Floats) -> list[int]:
    chosen: list[int] = []
    covered, best = np.zeros(len(targets), np.bool_), 0.0
    while len(chosen) < RULE_TERMS:
        open_rows = ~covered
        hits = design.T @ (targets * open_rows) + (targets * covered).sum()
        given = design.T @ open_rows.astype(np.float64) + covered.sum()
        f1 = 2 * hits / np.maximum(given + targets.sum(), 1)
        at = int(f1.argmax())
        if f1[at] <= best:
            break
        chosen.append(at)
        best = f1[at]
        covered |= np.asarray(design[:, at].todense()).ravel() > 0
    return chosen


def _lexicon(task: Task, classes: Sequence[str], train: pa.Table, label: str) -> TextBaseline:
    """Spans of the training rows, found again, with the class that they mostly had."""
    texts = train[task.text_field.name].to_pylist()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for text, value in zip(texts, train[label].to_pylist(), strict=True):
        for span in json.loads(value):
            kinds[text[span["start"] : span["end"]].lower()][span["label"]] += 1
    lexicon = Lexicon(kinds)

    def found(text: str) -> list[Span]:
        return [
            Span(m.start, m.end, text[m.start : m.end], kind.most_common(1)[0][0])
            for m in lexicon.find(text)
            if (kind := kinds.get(text[m.start : m.end].lower()))
        ]

    def outcomes(table: pa.Table, group: str | None = None) -> Outcomes:
        spans = [found(text) for text in table[task.text_field.name].to_pylist()]
        return span_outcomes(
            spans, table[label].to_pylist(), classes, groups_of(table, group or task.group)
        )

    return TextBaseline("lexicon", outcomes, found, {"num_names": float(len(kinds))})


def _outcomes(
    task: Task,
    classes: Sequence[str],
    table: pa.Table,
    label: str,
    found: Floats,
    policy: LabelPolicy,
    group: str | None = None,
) -> Outcomes:
    true = true_labels(table, task, classes, label)
    parts = np.split(found, np.cumsum([len(row) for row in true])[:-1])
    return decided_outcomes(
        task, classes, true, parts, policy, groups_of(table, group or task.group)
    )


def _texts(table: pa.Table, task: Task) -> list[str]:
    """The texts of the items; those of pairs with the mentions blinded, which names cannot help."""
    texts: list[str] = table[task.text_field.name].to_pylist()
    if task.head != "pair":
        return texts
    assert task.spans_field is not None, "a pair task has spans"
    spans = [json.loads(value) for value in table[task.spans_field.name].to_pylist()]
    return [
        blinded(text, found, pair)
        for text, found in zip(texts, spans, strict=True)
        for pair in itertools.combinations(range(len(found)), 2)
    ]


def blinded(text: str, spans: Sequence[Mapping[str, Any]], pair: tuple[int, int]) -> str:
    """The text with placeholders for the pair's two mentions and for all others."""
    parts: list[str] = []
    at = 0
    for number, span in enumerate(spans):
        if span["start"] < at:  # inside one that is replaced already
            continue
        word = _FIRST if number == pair[0] else _SECOND if number == pair[1] else _OTHER
        parts += [text[at : span["start"]], word]
        at = span["end"]
    return "".join([*parts, text[at:]])


def _sign(task: Task) -> float:
    return -1.0 if task.metric in LOWER_IS_BETTER else 1.0
