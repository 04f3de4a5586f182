import base64
import dataclasses
import itertools
import json

import numpy as np
import pytest

from spt_core.data.conform import conform
from spt_core.data.labels import class_counts, classes_of, num_saying, rule_of
from spt_core.families.series.reading import WindowReader
from spt_core.families.tabular.reading import Encoder
from spt_core.families.text.reading import checked_text
from spt_core.heads import HEADS
from spt_core.images import picture_of
from spt_core.judgement import (
    Anomaly,
    AttentionMap,
    Decision,
    FieldEffect,
    Forecast,
    Labels,
    LabelScore,
    Pairs,
    PairScores,
    Phrase,
    Settings,
    Silence,
    Span,
    Spans,
    Stretch,
    Value,
)
from spt_core.policy import LabelPolicy, SpanPolicy
from spt_core.records import flatten
from spt_core.signature import FIELD_KINDS, Field, Signature
from spt_core.task import all_tasks, example_record

TASKS = all_tasks()
TABULAR = {path: task for path, task in TASKS.items() if task.family == "tabular"}
TEXT = {path: task for path, task in TASKS.items() if task.family == "text"}
IMAGE = {path: task for path, task in TASKS.items() if task.family == "image"}
SERIES = {path: task for path, task in TASKS.items() if task.family == "series"}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
each_tabular = pytest.mark.parametrize("task", TABULAR.values(), ids=TABULAR)
YES_OR_NO = {path: task for path, task in TABULAR.items() if task.head == "binary"}
each_yes_or_no = pytest.mark.parametrize("task", YES_OR_NO.values(), ids=YES_OR_NO)
each_text = pytest.mark.parametrize("task", TEXT.values(), ids=TEXT)
each_series = pytest.mark.parametrize("task", SERIES.values(), ids=SERIES)
each_image = pytest.mark.parametrize("task", IMAGE.values(), ids=IMAGE)


def signature(task):
    """What a model of the task takes, if its data has the canonical columns alone."""
    windows = tuple(window.as_field() for window in task.windows)
    return Signature(fields=(*task.fields, *windows), windows=task.windows)


SILENT = ((), (Silence("speed", 9, 9), Silence("heat", 3, 9)))


def answers(task):
    """Answers of every kind that a model may give, with reasons of its family."""
    example = flatten(task.example)
    if task.subject is None:
        names = [field.name for field in task.fields]
        reasons = [
            tuple(FieldEffect(n, example.get(n), sign / (i + 1)) for i, n in enumerate(names))
            for sign in (1, -1)
        ]
    elif task.subject.kind == "image":
        effects = ((0.5, -0.1), (0.0, 1.5))
        nothing = ((-0.5, -0.1), (0.0, -1.5))
        reasons = [(AttentionMap(some, 40, 20),) for some in (effects, nothing)]
    elif task.subject.kind == "sequence":
        channels = task.subject.shape.channels
        reasons = [
            tuple(Stretch(n, 0, i + 1, 1.5, sign / (i + 1)) for i, n in enumerate(channels))
            for sign in (1, -1)
        ]
    else:
        text = example[task.subject.name]
        reasons = [(Phrase(0, 3, text[:3], 1.5), Phrase(4, 6, text[4:6], -1.0))]
    kinds = {
        "binary": decisions,
        "regression": values,
        "pair": pairs,
        "anomalies": anomalies,
        "forecasts": forecasts,
        "span": spans,
    }
    for judgement in kinds.get(task.head, labels)(task, example, reasons):
        yield task.respond(judgement)


def decisions(task, example, reasons):
    """One for each action."""
    policy = HEADS["binary"].default_policy(task, ())
    for probability in (0.0, policy.review_threshold, policy.decline_threshold, 1.0):
        action, confidence = policy.recommend(probability), max(probability, 1 - probability)
        for why, outside in itertools.product(reasons, ((), ("speed",))):
            yield Decision(example, probability, action, confidence, why, policy, outside, outside)


def values(task, example, reasons):
    """With better settings, without any, within the training rows and beyond."""
    policy = HEADS["regression"].default_policy(task, ())
    if task.goal is None:
        for why, outside, silent in itertools.product(reasons, ((), ("speed",)), SILENT):
            yield Value(example, 2.0, 1.0, 3.0, why, policy, outside, silent=silent)
        return
    name = next(field.name for field in task.fields if field.controllable)
    for settings in (
        None,
        Settings({}, 2.0, 1.0, 3.0, task.goal, "none is better"),
        Settings({name: 1.0}, 1.5, 0.5, 2.5, task.goal, "one changes"),
    ):
        for why in reasons:
            yield Value(example, 2.0, 1.0, 3.0, why, policy, settings=settings)
            yield Value(example, 2.0, 1.0, 3.0, why, policy, (name,), settings, novel=(name,))


def anomalies(task, example, reasons):
    """Below the threshold, at it and far beyond, within the training rows and beyond."""
    policy = HEADS["anomalies"].default_policy(task, ())
    scores = [policy.threshold * times for times in (0.0, 1.0, 5.0, 100.0)]
    odd = itertools.product(((), ("speed",)), SILENT)
    for score, why, (outside, silent) in itertools.product(scores, reasons, odd):
        yield Anomaly(example, score, score >= policy.threshold, why, policy, outside, silent)


def forecasts(task, example, reasons):
    """Of nothing and of much, within the training rows and beyond."""
    policy = HEADS["forecasts"].default_policy(task, ())
    odd = itertools.product(((), ("demand",)), SILENT)
    for size, why, (outside, silent) in itertools.product((0.0, 7.0), reasons, odd):
        step = {level: size * level for level in policy.levels}
        steps = (step,) * task.subject.shape.horizon
        yield Forecast(example, steps, why, policy, outside, silent)


def read_fields(task):
    """The fields that a corpus has columns of: of series, windows are cut of other columns."""
    return [] if task.family == "series" else task.fields


def num_rows(task):
    """Of a sample that has rows of every class; pictures are drawn one by one."""
    return 300 if task.family == "image" else 3000


def classes(task):
    """The classes of a model of the task's sample."""
    rule = rule_of(task)
    good, _ = conform(task.sample(500, 0), read_fields(task), label=task.label, labels=rule)
    return classes_of(rule, class_counts(good[task.label], rule))


def scored(task, reasons):
    """(policy, scores) of each probability of each class."""
    names = classes(task)
    policy = LabelPolicy(
        thresholds=dict.fromkeys(names, 0.5),
        most_probable=task.head != "multi_label",
        fallback=task.negative_class,
    )
    for name, probability, why in itertools.product(names, (0.01, 0.45, 0.55, 0.99), reasons):
        rest = (1 - probability) / (len(names) - 1)
        told = dict.fromkeys(names, rest) | {name: probability}
        given = policy.given(told)
        scores = [LabelScore(n, p, n in given, why) for n, p in told.items()]
        yield policy, tuple(sorted(scores, key=lambda score: -score.probability))


def labels(task, example, reasons):
    """One for each probability of each class, within the training rows and beyond."""
    is_text = task.subject is not None and task.subject.kind == "text"
    outside = () if is_text else (task.fields[0].name,)
    for policy, scores in scored(task, reasons):
        yield Labels(example, scores, policy)
        yield Labels(example, scores, policy, outside)


def pairs(task, example, reasons):
    """One for each probability of each class, and texts without two mentions."""
    text = example[task.subject.name]
    spans = (Span(0, 3, text[:3]), Span(4, 6, text[4:6]))
    for policy, scores in scored(task, reasons):
        yield Pairs(example, spans, (PairScores(*spans, scores),), policy)
    for some in ((), spans[:1]):
        yield Pairs(example, some, (), policy)


def spans(task, example, reasons):
    """Nothing found, and a span of each class; counted before, and not."""
    text = example[task.subject.name]
    names = classes(task)
    counts = dict.fromkeys(names, 100)
    measured = SpanPolicy(support=counts, recalled=dict.fromkeys(names, 99), patterns="1")
    for policy in (SpanPolicy(), measured):
        yield Spans(example, (), policy)
        for name, source in itertools.product(names, ("pattern", "model", "repeat")):
            yield Spans(example, (Span(0, 3, text[:3], name, source),), policy)


@each_task
def test_the_sample_has_every_column(task):
    size = num_rows(task)
    table = task.sample(size, 0)
    roles = {task.label, *task.entities, *([task.group] if task.group else [])}
    assert roles | {field.name for field in read_fields(task)} <= set(table.column_names)
    assert table.num_rows == size


@each_task
def test_the_sample_has_rows_of_every_class(task):
    rule = rule_of(task)
    good, bad = conform(
        task.sample(num_rows(task), 0), read_fields(task), label=task.label, labels=rule
    )
    assert bad.num_rows == 0
    assert num_saying(good[task.label], rule) > 0
    if task.head in ("binary", "anomalies"):
        assert set(good[task.label].to_pylist()) == {0, 1}
    else:
        counted = class_counts(good[task.label], rule)  # of one class a row, the negative one too
        assert set(classes(task)) - {task.negative_class} == set(counted) - {task.negative_class}


@each_yes_or_no
def test_a_yes_or_no_says_which_field_lies_beyond_all_training_rows(task):
    name = task.fields[0].name
    policy = HEADS["binary"].default_policy(task, ())
    for action in ("approve", "review", "decline"):
        judgement = Decision(flatten(task.example), 0.5, action, 0.5, (), policy, (name,))
        assert name in json.dumps(task.respond(judgement))
        assert name not in json.dumps(task.respond(judgement._replace(outside=())))


@each_text
def test_the_texts_of_a_sample_hardly_repeat(task):
    texts = task.sample(1000, 0)[task.text_field.name].to_pylist()
    assert len(set(texts)) > 900
    assert max(map(len, texts)) < 400


@each_text
def test_the_example_is_a_text_that_a_model_takes(task):
    text = task.example[task.text_field.name]
    assert checked_text(text, "text") == text
    assert set(task.example) <= {field.name for field in task.fields}


@each_image
def test_the_example_is_an_image_of_the_sample(task):
    name = task.subject.name
    assert set(task.example) == {name}
    assert picture_of(task.example[name], name).is_gray
    images = [base64.b64encode(image).decode() for image in task.sample(40, 0)[name].to_pylist()]
    assert task.example[name] in images
    assert len(set(images)) == 40


@each_image
def test_an_image_task_asks_for_an_image_in_base64(task):
    schema = signature(task).json_schema()
    assert schema["required"] == [task.subject.name]
    assert schema["properties"][task.subject.name]["contentEncoding"] == "base64"


@each_text
def test_a_text_task_asks_for_text_first_and_spans_are_optional(task):
    schema = signature(task).json_schema()
    name = task.text_field.name
    assert schema["required"] == [name]
    assert schema["properties"][name]["minLength"] == 1
    if task.head == "pair":
        assert "null" in schema["properties"][task.spans_field.name]["type"]


@each_series
def test_the_sample_of_a_series_has_its_channels_its_clock_and_its_units(task):
    shape, table = task.subject.shape, task.sample(3000, 0)
    assert {*shape.channels, shape.time, shape.unit} <= set(table.column_names)
    units = table[shape.unit].to_pylist()
    assert len(set(units)) > 1


@each_series
def test_the_example_is_a_window_that_a_model_takes(task):
    window = WindowReader(signature(task)).record(task.example)
    shape = task.subject.shape
    assert window.values.shape == (shape.num_rows, shape.num_columns)
    assert np.isfinite(window.values).all()


@each_task
def test_the_sample_follows_its_seed(task):
    assert task.sample(300, 1).equals(task.sample(300, 1))
    assert not task.sample(300, 1).equals(task.sample(300, 2))


@each_tabular
def test_the_sample_stays_in_the_ranges_of_the_fields(task):
    table = task.sample(3000, 0)
    for field in task.fields:
        if field.kind == "number":
            values = table[field.name].drop_null().to_numpy()
            assert field.minimum is None or values.min() >= field.minimum
            assert field.maximum is None or values.max() <= field.maximum


@each_task
def test_a_model_of_the_canonical_columns_is_asked_the_task_s_example(task):
    assert example_record(task, signature(task)) == task.example


@each_tabular
def test_a_customer_s_model_is_asked_what_it_takes(task):
    own = (
        dataclasses.replace(task.fields[0], kind="category", categories=("a", "b")),
        *task.fields[1:],
        Field(name="branch", kind="category", categories=("north",)),
        Field(name="limit", kind="number", minimum=5.0),
    )
    for fields in (own, own[-2:]):
        signed = Signature(fields=fields)
        record = example_record(task, signed)
        assert record["branch"] == "north"
        assert np.isfinite(Encoder(signed).record(flatten(record))).any()


@each_tabular
def test_the_example_is_a_valid_record(task):
    signed = signature(task)
    row = Encoder(signed).record(flatten(task.example))
    assert row.shape == (1, len(signed.columns))
    assert np.isfinite(row).any()


@each_task
def test_the_example_is_json(task):
    assert json.loads(json.dumps(task.example)) == task.example


@each_task
def test_an_answer_has_the_keys_of_its_contract_and_is_json(task):
    for answer in answers(task):
        assert list(answer) == list(task.answer)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


@each_task
def test_an_answer_keeps_the_types_and_choices_of_its_contract(task):
    kinds = {
        "string": str,
        "number": float,
        "integer": int,
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    for answer in answers(task):
        for name, schema in task.answer.items():
            types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
            assert isinstance(answer[name], tuple(kinds[kind] for kind in types)), name
            assert answer[name] in schema.get("enum", [answer[name]])


@each_task
def test_every_input_that_can_be_a_reason_has_a_code(task):
    if "adverse_action_reasons" in task.compliance_checks:
        assert {field.name for field in task.fields} <= set(task.reason_codes)
    fields = {name.partition("=")[0] for name in task.reason_codes}  # some are of one value
    assert fields <= {field.name for field in task.fields}


@each_task
def test_a_protected_attribute_is_not_an_input(task):
    names = {field.name.rpartition(".")[2].lower() for field in task.fields}
    assert not names & {name.lower() for name in task.protected}


@each_task
def test_the_verb_is_a_method_name_and_the_kinds_exist(task):
    assert task.verb.isidentifier()
    assert {field.kind for field in task.fields} <= set(FIELD_KINDS)


@each_task
def test_the_path_finds_the_task(task):
    assert TASKS[f"{task.industry}/{task.name}"] is task
