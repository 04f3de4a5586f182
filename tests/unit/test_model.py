import datetime

import numpy as np
import pyarrow as pa
import pytest
import torch

from spt_core.answering import Answerer
from spt_core.errors import InputError
from spt_core.families.tabular.serving import TablePredictor
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.policy import LabelPolicy
from spt_core.task import find
from tests.tiny_models import RISK
from tests.unit.fitting.runs import encoded, fitted, network

NUM_ROWS = 40


class TrainedRuntime:
    """A network of this process as a Runtime."""

    def __init__(self, trained):
        self._network = trained

    @torch.no_grad()
    def score(self, features):
        return self._network.score(torch.from_numpy(features)).numpy()

    @torch.no_grad()
    def explain(self, features):
        return tuple(part.numpy() for part in self._network.explain(torch.from_numpy(features)))


@pytest.fixture(scope="module")
def model(export):
    return SpecializedModel(export)


@pytest.fixture(scope="module")
def table(model):
    """Rows of the sample with the model's fields; windows are absent."""
    sample = model.task.sample(NUM_ROWS, 7)
    return sample.select([field.name for field in model.task.fields])


@pytest.fixture(scope="module")
def records(table):
    """The same rows as a client sends them."""
    return [{**row, "time": row["time"].isoformat()} for row in table.to_pylist()]


@pytest.fixture(scope="module")
def risk(tmp_path_factory):
    """A student of risk, trained for a moment, with the rows that it knows."""
    rows = encoded(find(RISK), 2000)
    trained = network(rows, fitted(rows, tmp_path_factory.mktemp("risk"), validation=rows[1:]))
    return rows, trained


def plain(answer):
    """The answer without its figures' last digits and with times as text."""
    factors = [
        (
            f["field"],
            f["value"].isoformat() if isinstance(f["value"], datetime.datetime) else f["value"],
        )
        for f in answer["risk_factors"]
    ]
    return answer["recommendation"], factors


def test_records_a_table_and_a_batch_get_the_same_answers(model, table, records):
    opened = model.open()
    single = [opened.answer(record) for record in records]
    _, rows = opened.table(table)
    for one, several, row in zip(single, opened.answers(records), rows, strict=True):
        assert plain(one) == plain(several) == plain(row)
        assert one["fraud_probability"] == pytest.approx(row["fraud_probability"], abs=2e-6)
        assert one["fraud_probability"] == pytest.approx(several["fraud_probability"], abs=2e-6)


def test_a_score_is_the_probability_that_is_answered(model, table, records):
    wanted = [model.answer(record)["fraud_probability"] for record in records]
    np.testing.assert_allclose(model.score(table), wanted, atol=2e-6)


def test_the_verb_answers(model):
    assert model.detect_fraud(model.task.example) == model.answer(model.task.example)


def test_another_verb_is_refused_and_the_right_one_named(model):
    with pytest.raises(AttributeError, match="'assess_risk'; this model answers to 'detect_fraud'"):
        model.assess_risk({})


def test_nested_and_dotted_records_are_the_same(risk):
    (signature, _, _), trained = risk
    task = find(RISK)
    predictor = TablePredictor(signature, TrainedRuntime(trained))
    answerer = Answerer(task, predictor, HEADS[task.head].default_policy(task, ()))
    dotted = {f"{k}.{name}": v for k, part in task.example.items() for name, v in part.items()}
    assert answerer.answer(dotted) == answerer.answer(task.example)


def test_a_batch_names_its_bad_record(model, records):
    with pytest.raises(InputError, match="record 2: .*'amount'"):
        model.open().answers([*records[:2], {**records[2], "amount": -1}])


def test_the_parts_of_a_time_are_one_reason(model, records):
    opened, columns = model.open(), model.artifact.signature.columns
    _, effects = opened.predictor.runtime.explain(opened.predictor.read(records[0]).features)
    reasons = opened.judge(records[0]).reasons
    assert [reason.field for reason in reasons].count("time") == 1
    effect = next(reason.effect for reason in reasons if reason.field == "time")
    of_columns = zip(columns, effects.ravel(), strict=True)
    assert effect == pytest.approx(sum(value for c, value in of_columns if c.field == "time"))


def test_reasons_come_strongest_first(model, records):
    effects = [abs(f["effect"]) for f in model.answer(records[0])["risk_factors"]]
    assert effects == sorted(effects, reverse=True)


@torch.no_grad()
def test_removing_the_top_factor_moves_the_odds_more_than_another(risk):
    (_, features, _), trained = risk
    rows = features[:300]
    probabilities, effects = TrainedRuntime(trained).explain(rows)
    parts = trained._contributions(torch.from_numpy(rows))

    def moved(columns):
        """Mean change of the log-odds when a column of each row says what the baseline says."""
        changed = parts.clone()
        index = torch.arange(len(rows))
        changed[index, columns] = trained.baseline[columns]
        odds = trained._calibrated(trained._upper(changed.sum(1) + trained.bias).squeeze(1))
        return (odds - torch.logit(torch.from_numpy(probabilities))).abs().mean().item()

    order = torch.from_numpy(np.abs(effects)).argsort(1, descending=True)
    draw = torch.Generator().manual_seed(0)
    other = order[
        torch.arange(len(rows)), torch.randint(1, order.shape[1], (len(rows),), generator=draw)
    ]
    assert moved(order[:, 0]) > 2 * moved(other)


def test_a_better_credit_score_lowers_the_risk(risk):
    (signature, features, _), trained = risk
    score = [column.field for column in signature.columns].index("customer_profile.credit_score")
    worst, best = features[:50].copy(), features[:50].copy()
    worst[:, score], best[:, score] = 450, 830
    runtime = TrainedRuntime(trained)
    assert runtime.score(best).mean() < runtime.score(worst).mean()


def test_a_table_may_lack_optional_columns(model, table):
    with_windows = table.append_column("account.count_1d", pa.nulls(table.num_rows, pa.float64()))
    np.testing.assert_allclose(model.score(with_windows), model.score(table), atol=1e-7)


def test_a_policy_of_costs_alone_asks_for_no_capacity(export):
    policy = default_policy(export)
    assert policy.review_threshold == pytest.approx(5 / 250)


def test_a_policy_of_another_kind_of_answer_is_refused(export):
    policy = LabelPolicy(thresholds={}, most_probable=True)
    with pytest.raises(InputError, match="binary model .* of the kind decision, however: labels"):
        open_answerer(export, policy)


def test_a_judgement_carries_the_record_as_it_was_read(model, records):
    assert model.open().judge(records[0]).record == records[0]
