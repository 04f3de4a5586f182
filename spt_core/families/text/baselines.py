"""What a good engineer would try first on texts: TF-IDF with logistic regression, and plain rules.

Same training rows; strength, thresholds and all on the validation rows.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, logit
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from spt_core.families.baseline import Baseline, Baselines, BaselineWork, UnfitError
from spt_core.families.text.reading import Lexicon
from spt_core.heads import ITEM_HEADS, metric_of
from spt_core.heads.base import Truth
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.heads.outcomes import Outcomes, groups_of
from spt_core.heads.spans import span_outcomes
from spt_core.judgement import Span
from spt_core.policy import LabelPolicy, Policy
from spt_core.task import SpanPatterns, Task

STRENGTHS = (10.0, 1.0, 100.0, 0.1, 1000.0)  # C, the likely ones first
MAX_TERMS = 200_000
RULE_TERMS = 10  # of a label
TIMED_TEXTS = 500
_FIRST, _SECOND, _OTHER = " firstmention ", " secondmention ", " othermention "

Floats = NDArray[np.float64]


class Labelled(NamedTuple):
    """Rows and the column of their labels."""

    table: pa.Table
    label: str


def tune_text_baselines(work: BaselineWork) -> Baselines:
    """Every baseline of the task's head, at its best by the task's metric on validation rows.

    One that cannot learn from the training rows is left out, with the reason.
    """
    task = work.task
    train = Labelled(work.splits.table("train", limit=work.max_rows), work.splits.label)
    if task.head == "span":
        fitted = [_lexicon(task, work.classes, train)]
        fitted += [_patterns(task, work.classes, task.patterns)] if task.patterns else []
        return Baselines(fitted, {})
    regression = "ridge regression" if task.head == "regression" else "logistic regression"
    name = f"TF-IDF + {regression}"
    fits: dict[str, Callable[[], Baseline]] = {name: lambda: _tfidf(name, work, train)}
    if task.case_matters:
        of_characters = f"n-grams of characters + {regression}"
        fits[of_characters] = lambda: _tfidf(of_characters, work, train, is_of_characters=True)
    if task.head == "multi_label":
        fits["keyword rule"] = lambda: _keywords(task, work.classes, train)
    tuned = Baselines([], {})
    for baseline, fit in fits.items():
        try:
            tuned.fitted.append(fit())
        except UnfitError as error:
            tuned.left_out[baseline] = str(error)
    return tuned


def _tfidf(
    name: str, work: BaselineWork, train: Labelled, *, is_of_characters: bool = False
) -> Baseline:
    """Words and pairs of words, or three to five characters; each class weighs the same."""
    task, classes, head = work.task, work.classes, ITEM_HEADS[work.task.head]
    validation = Labelled(work.splits.table("validation", limit=work.max_rows), work.splits.label)
    vectors = TfidfVectorizer(
        analyzer="char" if is_of_characters else "word",
        lowercase=not is_of_characters,
        ngram_range=(3, 5) if is_of_characters else (1, 2),
        sublinear_tf=True,
        min_df=2,
        max_features=MAX_TERMS,
    )
    design = _counted(vectors, _texts(train.table, task), name)
    targets = head.truths(task, classes, _truth(train, None))
    metric, usual = metric_of(task), head.default_policy(task, classes)
    best: tuple[float, float, Any, Policy] | None = None
    rows = vectors.transform(_texts(validation.table, task))
    truth = _truth(validation, task.group)
    true = head.truths(task, classes, truth)
    strengths = STRENGTHS[: max(work.num_trials, 1)]
    for number, strength in enumerate(strengths, 1):
        predict = _fitted(task, design, targets, strength)
        if task.head == "multi_label":
            predict = _calibrated(predict, rows, true)
        answers = predict(rows)
        policy = head.policy(task, head.decided(task, classes, truth, answers, usual))
        value = metric.sign * metric(head.decided(task, classes, truth, answers, policy))
        if best is None or value > best[0]:
            best = (value, strength, predict, policy)
        work.tell(name, number, len(strengths))
    assert best is not None, "there is at least one trial"
    _, strength, predict, policy = best

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        answers = predict(vectors.transform(_texts(table, task)))
        truth = _truth(Labelled(table, label), group or task.group)
        return head.decided(task, classes, truth, answers, policy)

    return Baseline(
        name,
        outcomes,
        _inputs(task),
        lambda text: predict(vectors.transform([text])),
        {"C": strength},
    )


def _fitted(task: Task, design: Any, targets: Floats, strength: float) -> Callable[[Any], Floats]:
    """Probabilities [N, K] (regression: values [N, 1]) of rows of the design."""
    if task.head == "regression":
        ridge = Ridge(alpha=1.0 / strength).fit(design, targets[:, 0])
        return lambda rows: ridge.predict(rows)[:, None]
    if task.head == "multi_label":
        models = [_one(design, targets[:, k], strength) for k in range(targets.shape[1])]
        return lambda rows: np.column_stack([model(rows) for model in models])
    is_labelled = targets.sum(1) > 0  # a class that the model does not know teaches nothing
    chosen = targets.argmax(1)[is_labelled]
    num_known = len(np.unique(chosen))
    if num_known < 2:
        raise UnfitError(
            "logistic regression must learn two classes, however: the training items are of "
            f"{num_known}"
        )
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(design[is_labelled], chosen)
    num_classes = targets.shape[1]

    def predict(rows: Any) -> Floats:
        probabilities = np.zeros((rows.shape[0], num_classes))
        probabilities[:, model.classes_] = model.predict_proba(rows)
        return probabilities

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


def _keywords(task: Task, classes: Sequence[str], train: Labelled) -> Baseline:
    """A label is given to a text that has one of its terms, chosen one by one for the best F1.

    What such a rule reaches is no merit of a model: labels may have been made by one.
    """
    head = ITEM_HEADS[task.head]
    counts = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=3, max_features=MAX_TERMS)
    texts = _texts(train.table, task)
    design = csr_matrix(_counted(counts, texts, "keyword rule"), dtype=np.float64)
    targets = head.truths(task, classes, _truth(train, None))
    names = counts.get_feature_names_out()
    terms = [_terms(design, targets[:, k]) for k in range(len(classes))]
    policy = LabelPolicy(thresholds=dict.fromkeys(classes, 0.5), most_probable=False)

    def given(texts: Sequence[str]) -> Floats:
        rows = counts.transform(texts)
        columns = [np.asarray(rows[:, chosen].sum(1)).ravel() > 0 for chosen in terms]
        return np.column_stack(columns).astype(np.float64)

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        truth = _truth(Labelled(table, label), group or task.group)
        return head.decided(task, classes, truth, given(_texts(table, task)), policy)

    return Baseline(
        "keyword rule",
        outcomes,
        _inputs(task),
        lambda text: given([text]),
        {name: ", ".join(names[chosen]) for name, chosen in zip(classes, terms, strict=True)},
    )


def _counted(vectors: CountVectorizer, texts: Sequence[str], name: str) -> Any:
    """The design matrix [N, terms] of fitted texts."""
    try:
        return vectors.fit_transform(texts)
    except ValueError as error:
        raise UnfitError(
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


def _lexicon(task: Task, classes: Sequence[str], train: Labelled) -> Baseline:
    """Spans of the training rows, found again, with the class that they mostly had."""
    texts = train.table[task.text_field.name].to_pylist()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for text, value in zip(texts, train.table[train.label].to_pylist(), strict=True):
        for span in json.loads(value):
            kinds[text[span["start"] : span["end"]].lower()][span["label"]] += 1
    lexicon = Lexicon(kinds)

    def spans_in(text: str) -> list[Span]:
        return [
            Span(m.start, m.end, text[m.start : m.end], kind.most_common(1)[0][0])
            for m in lexicon.find(text)
            if (kind := kinds.get(text[m.start : m.end].lower()))
        ]

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        spans = [spans_in(text) for text in table[task.text_field.name].to_pylist()]
        return span_outcomes(spans, _truth(Labelled(table, label), group or task.group), classes)

    return Baseline("lexicon", outcomes, _inputs(task), spans_in, {"num_names": float(len(kinds))})


def _patterns(task: Task, classes: Sequence[str], patterns: SpanPatterns) -> Baseline:
    """The task's patterns without the model."""

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        spans = [patterns.find(text) for text in table[task.text_field.name].to_pylist()]
        return span_outcomes(spans, _truth(Labelled(table, label), group or task.group), classes)

    return Baseline(
        "patterns alone", outcomes, _inputs(task), patterns.find, {"version": patterns.version}
    )


def _truth(rows: Labelled, group: str | None) -> Truth:
    return Truth(rows.table, rows.label, groups_of(rows.table, group))


def _inputs(task: Task) -> Callable[[pa.Table], list[Any]]:
    return lambda table: table[task.text_field.name].slice(0, TIMED_TEXTS).to_pylist()


def _texts(table: pa.Table, task: Task) -> list[str]:
    """The texts of the items; those of pairs with the mentions blinded, which names cannot help."""
    texts: list[str] = table[task.text_field.name].to_pylist()
    if task.head != "pair":
        return texts
    assert task.spans_field is not None, "a pair task has spans"
    spans = [json.loads(value) for value in table[task.spans_field.name].to_pylist()]
    return [
        blinded(text, mentions, pair)
        for text, mentions in zip(texts, spans, strict=True)
        for pair in itertools.combinations(range(len(mentions)), 2)
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
