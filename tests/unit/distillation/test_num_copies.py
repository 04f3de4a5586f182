import dataclasses
import math

import pytest

from jobs.recipes import RECIPES
from spt_core.distillation import DistillationConfig
from spt_core.distillation.pipeline import num_copies_of
from spt_core.errors import InputError
from spt_core.task import find

TASK = find("financial_services/fraud_detection")


def config(**changes):
    """A student of 10 epochs in batches of 512."""
    training = RECIPES["default"](TASK).distillation.training
    training = dataclasses.replace(training, num_epochs=10, batch_size=512)
    return DistillationConfig(training=training, **{"num_copies": 2, **changes})


def num_steps(made, num_rows):
    """The steps that the epochs hold, as the loop counts them."""
    training = made.training
    rows = num_rows * (num_copies_of(made, num_rows) + 1) // training.num_workers
    batches = math.ceil(rows / training.batch_size)
    return math.ceil(batches / training.gradient_accumulation_steps) * training.num_epochs


def test_without_a_budget_there_are_as_many_copies_as_asked_for():
    assert [num_copies_of(config(), rows) for rows in (0, 1, 700, 10**6)] == [2, 2, 2, 2]


@pytest.mark.parametrize("num_rows", [1, 700, 6_700, 40_000])
@pytest.mark.parametrize(
    "changes", [{}, {"gradient_accumulation_steps": 3}, {"num_workers": 2}, {"num_epochs": 7}]
)
def test_a_budget_is_met_with_no_copy_too_many(num_rows, changes):
    made = config(num_copies=0, num_steps=3000)
    made = dataclasses.replace(made, training=dataclasses.replace(made.training, **changes))
    assert num_steps(made, num_rows) >= 3000
    rows = num_rows * num_copies_of(made, num_rows)  # without the last copy
    step_rows = 512 * made.training.gradient_accumulation_steps * made.training.num_workers
    assert rows < math.ceil(3000 / made.training.num_epochs) * step_rows


def test_a_budget_takes_no_copy_away():
    assert num_copies_of(config(num_steps=3000), 10**6) == 2


def test_the_copies_of_a_budget_are_fewer_where_rows_are_limited():
    made = config(num_steps=3000, max_rows=70_000)
    assert num_copies_of(made, 6_700) == 9
    assert num_copies_of(made, 80_000) == 0


def test_a_budget_below_none_is_refused():
    with pytest.raises(InputError, match=r"num_steps=-1"):
        config(num_steps=-1)


def test_tables_have_a_budget_unless_they_are_to_take_seconds():
    budgets = {name: made(TASK).distillation.num_steps for name, made in RECIPES.items()}
    assert budgets["default"] > budgets["sample"] > budgets["smoke"] == 0


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_texts_have_none(recipe):
    assert RECIPES[recipe](find("technology/security_analysis")).distillation.num_steps == 0
