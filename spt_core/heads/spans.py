"""What stands where in a text: tags of tokens -> spans, beside those of a task's patterns.

scores are logits [N, 2C + 1] of the N tokens' tags: 0 is outside, then B and I of each of C classes
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spt_core.errors import InputError
from spt_core.heads import metrics
from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.labels import ClassHead, most_probable, softmax
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import Span, Spans
from spt_core.policy import Policy, SpanPolicy
from spt_core.task import Task

# Of a name; initials and particles ("A.", "de") stand for much else.
_CAPITALIZED = re.compile(r"\b[^\W\d_a-z]\w{2,}")


class SpanHead(ClassHead):
    """The AnswerHead of spans."""

    metrics: Mapping[str, OutcomeMetric] = {
        "span_f1": OutcomeMetric(metrics.micro_f1),
        "macro_f1": OutcomeMetric(metrics.macro_f1),
    }
    noun = "with a label"
    is_of_record = False

    def outputs(self, scores: Floats) -> Floats:
        """The tags' probabilities."""
        return softmax(scores)

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """Items are all spans that are true or found; right is one with both ends and its class."""
        del policy
        texts: list[str] = truth.table[task.text_field.name].to_pylist()
        predictions = [
            united(task, text, spans_of(text, row, classes))
            for text, row in zip(texts, scores, strict=True)
        ]
        of = span_outcomes(predictions, truth, classes)
        return of._replace(characters=sum(len(text) for text in texts))

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """Of tokens and their tags."""
        del task, classes
        probabilities = softmax(scores)
        names = [str(number) for number in range(scores.shape[1])]
        return outcomes(
            names, targets, probabilities, most_probable(probabilities), negative_class="0"
        )

    def default_policy(self, task: Task, classes: Sequence[str]) -> SpanPolicy:
        """The most probable tag: spans have no thresholds, and nothing is counted yet."""
        del classes
        return SpanPolicy(patterns=_version(task))

    def policy(self, task: Task, outcomes: Outcomes) -> SpanPolicy:
        """The same, with the spans of each class that are true, those of them that are found, and
        the characters of the texts.
        """
        hits = (outcomes.labels * outcomes.given).sum(0)
        support = outcomes.labels.sum(0)
        return SpanPolicy(
            support={n: int(count) for n, count in zip(outcomes.classes, support, strict=True)},
            recalled={n: int(count) for n, count in zip(outcomes.classes, hits, strict=True)},
            patterns=_version(task),
            characters=outcomes.characters,
        )

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """As it was: there is nothing to decide, and counts are measured."""
        del outcomes
        if {**edited.to_json(), "version": ""} != {**before.to_json(), "version": ""}:
            raise InputError("the counts of a spans policy are measured, however: they were edited")
        return edited

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Spans:
        """What was found."""
        text = prediction.record[task.text_field.name]
        spans = united(task, text, spans_of(text, prediction.scores, classes))
        return Spans(prediction.record, spans, policy)

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """None: a text has any number of spans."""
        del task, classes, scores
        return float("nan")

    def summary(self, judgement: Spans) -> Summary:
        """The spans with their labels; how sure they are is not kept."""
        named = sorted(f"{s.start}-{s.end} {s.label}" for s in judgement.spans)
        return Summary(tuple(named), 1.0)


def spans_of(text: str, scores: Scores, classes: Sequence[str]) -> tuple[Span, ...]:
    """The spans that the tags of a text's tokens make; they do not overlap.

    A token in several windows has the mean of their probabilities. An I without a B before it, or
    of another class, begins a span; pieces of one word are never parted: its first piece decides.
    """
    sums: dict[int, Floats] = {}
    ends: dict[int, int] = {}
    for token, tags in zip(scores.spans, softmax(scores.values), strict=True):
        if token.end > token.start:
            sums[token.start] = sums[token.start] + tags if token.start in sums else tags
            ends[token.start] = max(token.end, ends.get(token.start, 0))
    spans: list[Span] = []
    is_open, last_end = False, -1
    for start in sorted(sums):
        goes_on = start == last_end and text[start - 1].isalnum() and text[start].isalnum()
        tag, last_end = int(sums[start].argmax()), ends[start]
        if goes_on:
            if is_open:
                spans[-1] = spans[-1]._replace(end=last_end)
            continue
        label = "" if tag == 0 else classes[(tag - 1) // 2]
        if tag == 0:
            is_open = False
        elif tag % 2 == 0 and is_open and spans[-1].label == label:
            spans[-1] = spans[-1]._replace(end=last_end)
        else:
            spans.append(Span(start, last_end, "", label))
            is_open = True
    return tuple(span._replace(text=text[span.start : span.end]) for span in spans)


def united(task: Task, text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """The model's spans of a text and those of the task's patterns, in order, without overlaps.

    Spans that overlap become one, from the first to the last of their characters, so that nothing
    that either names is left out; it has the label of the longest of them, of equally long ones
    the pattern's. What a text repeats of them is named too, where the patterns say so.
    """
    if task.patterns is None:
        return tuple(spans)
    both = [span._replace(source="model") for span in spans]
    both += [span._replace(source="pattern") for span in task.patterns.find(text)]
    named = _joined(text, both)
    again = [
        span
        for span in _repeats(text, [span for span in named if span.label in task.patterns.repeated])
        if not any(other.start <= span.start and span.end <= other.end for other in named)
    ]
    return tuple(_joined(text, [*named, *again]))


def _joined(text: str, spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that overlap as one."""
    joined: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if joined and span.start < max(other.end for other in joined[-1]):
            joined[-1].append(span)
        else:
            joined.append([span])
    return [_one_of(text, spans) for spans in joined]


def _repeats(text: str, spans: Sequence[Span]) -> list[Span]:
    """Where the text of spans, or a capitalized word of it, stands as words of their own.

    A span without such a word is none that a text repeats: a model's slip on "he" would be all.
    """
    labels: dict[str, str] = {}
    for span in spans:
        names = _CAPITALIZED.findall(span.text)
        for words in (span.text.strip(), *names) if names else ():
            for form in (words, words.upper(), words.title()):  # headings have capitals
                labels.setdefault(form, span.label)
    if not labels:
        return []
    longest_first = sorted(labels, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    return [
        Span(match.start(), match.end(), match[0], labels[match[0]], "repeat")
        for match in re.finditer(pattern, text)
    ]


def _one_of(text: str, spans: Sequence[Span]) -> Span:
    start, end = spans[0].start, max(span.end for span in spans)
    first = max(spans, key=lambda span: (span.end - span.start, span.source == "pattern"))
    sources = {span.source for span in spans} - {"repeat"}
    source = first.source if len(sources) < 2 else "pattern and model"
    return Span(start, end, text[start:end], first.label, source)


def _version(task: Task) -> str:
    return "" if task.patterns is None else task.patterns.version


def span_outcomes(
    predictions: Sequence[Sequence[Span]], truth: Truth, classes: Sequence[str]
) -> Outcomes:
    """Outcomes of the spans found in each row."""
    places = {name: number for number, name in enumerate(classes)}
    true, given, owners = [np.zeros((0, len(classes)))], [np.zeros((0, len(classes)))], []
    labels: list[str] = truth.table[truth.label].to_pylist()
    for number, (spans, label) in enumerate(zip(predictions, labels, strict=True)):
        expected = {(s["start"], s["end"], s["label"]) for s in json.loads(label)}
        actual = {(s.start, s.end, s.label) for s in spans}
        for item in sorted(expected | actual):
            row = np.eye(len(classes))[[places[item[2]]]] if item[2] in places else true[0][:0]
            true.append(row * (item in expected))
            given.append(row * (item in actual))
            owners += [truth.groups[number]] * len(row)
    decided = np.concatenate(given)
    return outcomes(
        classes, np.concatenate(true), decided, decided, groups=np.array(owners, np.int64)
    )
