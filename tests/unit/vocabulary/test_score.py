import dataclasses
import json

import pyarrow as pa
import pytest

from spt_core.families.text.config import TextConfig
from spt_core.fitting.config import TrainingConfig
from spt_core.vocabulary.score import TaskScore
from tests.tiny_models import text_task
from tests.unit.vocabulary.tiny import TEXTS

pytestmark = pytest.mark.slow
CONFIG = TrainingConfig(
    family="text",
    num_epochs=12,
    batch_size=5,
    learning_rate=1e-2,
    network=TextConfig(max_tokens=32, window_overlap=4, dropout=0.0, pair_width=16),
)


def place(text, word):
    start = text.lower().find(word)
    return {"start": start, "end": start + len(word)}


def label(head, text):
    drug = place(text, "warfarin")
    is_drug = drug["start"] >= 0
    match head:
        case "regression":
            return 30.0 if is_drug else 10.0
        case "multi_label":
            return json.dumps(["risky"] if is_drug else [])
        case "span":
            return json.dumps([{**drug, "label": "risky"}] if is_drug else [])
        case "pair":
            return json.dumps([[0, 1, "risky"]] if is_drug else [])
        case _:
            return "risky" if is_drug else "safe"


def score(head, texts=TEXTS, held_out=TEXTS, metric=None, **values):
    """The score of whether a text speaks of warfarin."""
    task = text_task(head)
    task = dataclasses.replace(task, metric=metric or task.metric)

    def rows(of):
        ends = [[(0, 3), (len(text) - 4, len(text) - 1)] for text in of]
        mentions = [json.dumps([{"start": s, "end": e} for s, e in two]) for two in ends]
        return pa.table(
            {
                "text": of,
                "mentions": mentions,
                "label": [label(head, text) for text in of],
                "__row": range(len(of)),
            }
        )

    return TaskScore(
        task=task,
        train=rows(texts),
        held_out=rows(held_out),
        label="label",
        classes=() if head == "regression" else task.classes,
        **{"config": CONFIG, **values},
    )


@pytest.mark.parametrize("head", ["single_label", "multi_label", "span", "pair"])
def test_the_score_of_a_head_is_its_metric_after_fine_tuning(tiny, head):
    made = score(head)
    assert made(tiny) > 0.9  # always the more frequent answer: at most 0.75
    assert made.metric == ("span_f1" if head == "span" else "micro_f1")


def test_the_score_of_a_value_is_in_the_unit_of_the_label(tiny):
    untrained = dataclasses.replace(CONFIG, num_epochs=1, learning_rate=1e-9)
    assert score("regression", config=untrained)(tiny) == pytest.approx(10.0, abs=3.0)
    assert score("regression")(tiny) < 3.0


def test_the_score_of_ordered_classes_counts_ranks(tiny):
    assert score("ordinal", metric="mean_rank_error")(tiny) < 0.1


def test_labels_too_rare_for_even_odds_are_judged_by_thresholds_of_the_training_rows(tiny):
    """A step or two leaves all odds far below even, where nothing would be given at all."""
    short = dataclasses.replace(CONFIG, num_epochs=1, learning_rate=1e-3)
    rare = [text for text in TEXTS if "warfarin" not in text.lower()] * 5
    assert score("multi_label", texts=[*rare, *TEXTS], config=short)(tiny) > 0.0


def test_the_same_base_has_the_same_score_twice(tiny):
    short = dataclasses.replace(CONFIG, num_epochs=1, learning_rate=3e-3)
    once, again = (score("multi_label", metric="log_loss", config=short)(tiny) for _ in range(2))
    assert once == again


def test_the_score_of_several_seeds_is_their_mean(tiny):
    def of(seed, num_seeds=1):
        config = dataclasses.replace(CONFIG, num_epochs=1, learning_rate=3e-3, seed=seed)
        made = score("multi_label", metric="log_loss", config=config, num_seeds=num_seeds)
        return made(tiny)

    first, second = of(0), of(1)
    assert first != second
    assert of(0, 2) == pytest.approx((first + second) / 2)


def test_weights_of_classes_are_taken_back_before_a_class_is_given(tiny):
    """Texts that say nothing of their class get the frequent one, though both weighed the same."""
    weights = {"neither": 1.0, "safe": 1.0, "risky": 20.0}
    config = dataclasses.replace(CONFIG, num_epochs=1, learning_rate=1e-9)
    made = score("single_label", held_out=["a", "to"], config=config, class_weights=weights)
    assert made(tiny) == 1.0


def test_what_fine_tuning_reports_is_handed_on(tiny):
    found = []
    config = dataclasses.replace(CONFIG, num_epochs=1, logging_steps=2)
    score("single_label", config=config, on_metrics=found.append)(tiny)
    assert [metrics["step"] for metrics in found] == [2, 4, 4]
    assert all(metrics["train_loss"] > 0 for metrics in found)
