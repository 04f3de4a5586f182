import dataclasses

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import load, save

from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.learner import LEARNER
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.transferring import TableTransferring
from spt_core.fitting.config import TrainingConfig
from spt_core.signature import Field, Signature
from spt_core.task import find
from spt_core.transfer import transfer_config
from spt_core.transfer.schedule import scheduled
from tests.specification import transfer_strategy
from tests.table_transfers import NETWORK, table_run, table_splits, table_teacher

RISK = find("financial_services/risk_assessment")
SCORING = find("financial_services/credit_scoring")
TRANSFERRING = TableTransferring()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def risk(folder):
    splits = table_splits(RISK, folder)
    return splits, table_teacher(splits, folder)


@pytest.fixture(scope="module")
def scoring(folder):
    splits = table_splits(SCORING, folder)
    return splits, table_run(splits)


def begun(source, run, splits, columns=None):
    torch.manual_seed(0)
    network = LEARNER.network(run)
    return network, TRANSFERRING.begun(source, run, network, splits, columns or {})


def embedded(network, features, column):
    """The embedding of a numeric column, before it is rectified."""
    encoded = network.encoding(torch.from_numpy(features[:, : network.num_numbers]))
    return (encoded[:, column] @ network.number_weight[column]).detach().numpy()


def loaded(run, weights):
    network = LEARNER.network(run)
    network.load_state_dict(weights)
    return network


def test_a_teacher_of_the_default_size_has_the_layers_of_the_specification_s_schedule(risk):
    run = table_run(risk[0])
    config = dataclasses.replace(run.config, network=TabularConfig())
    network = LEARNER.network(dataclasses.replace(run, config=config))
    layers = TRANSFERRING.layers(network)
    assert list(layers) == ["embedding", "encoder.0", "encoder.1", "encoder.2", "head"]
    given = [name for names in layers.values() for name in names]
    first = scheduled(transfer_config(transfer_strategy()), layers, given, 10).first_epochs
    assert {name: {first[n] for n in names} for name, names in layers.items()} == {
        "embedding": {7}, "encoder.0": {5}, "encoder.1": {3}, "encoder.2": {0}, "head": {0},
    }  # fmt: skip


def test_a_table_of_the_same_columns_begins_with_the_same_answers(risk):
    splits, teacher = risk
    run = table_run(splits)
    _, begin = begun(teacher, run, splits)
    features = torch.from_numpy(Encoder(splits.signature).table(splits.table("test")))
    source = loaded(run, _weights(teacher))
    network = loaded(run, begin.weights)
    assert torch.allclose(source.eval()(features), network.eval()(features), atol=1e-4)
    assert begin.fresh == ("the forests and the linear model, which are the target's own",)


def test_a_number_begins_with_what_its_rank_taught(risk, scoring):
    (risk_splits, teacher), (splits, run) = risk, scoring
    _, begin = begun(teacher, run, splits, {"credit_amount": "loan_details.amount"})
    mine, theirs = loaded(run, begin.weights), loaded(table_run(risk_splits), _weights(teacher))
    column = [c.field for c in run.signature.columns].index("credit_amount")
    other = [c.field for c in teacher.signature.columns].index("loan_details.amount")
    rows = Encoder(splits.signature).table(splits.table("train"))
    others = Encoder(risk_splits.signature).table(risk_splits.table("train"))
    for share in (0.1, 0.5, 0.9):
        row, fellow = rows[:1].copy(), others[:1].copy()
        row[0, column] = np.nanquantile(rows[:, column], share)
        fellow[0, other] = np.nanquantile(others[:, other], share)
        gap = embedded(mine, row, column) - embedded(theirs, fellow, other)
        spread = np.abs(embedded(theirs, others, other)).max()
        assert np.abs(gap).max() < 0.15 * spread


def test_a_column_of_one_name_in_another_unit_begins_with_what_its_rank_taught(risk, folder):
    _, teacher = risk

    def in_cents(num_rows, seed):
        table = RISK.sample(num_rows, seed)
        place = table.column_names.index("loan_details.amount")
        cents = pc.multiply(table.column(place), 100.0)
        return table.set_column(place, "loan_details.amount", cents)

    splits = table_splits(dataclasses.replace(RISK, sample=in_cents), folder / "cents")
    run = table_run(splits)
    _, begin = begun(teacher, run, splits)
    reasons = {match.target: match.reason for match in begin.columns}
    assert reasons["loan_details.amount"] == "the same name, but another scale: by rank"
    assert reasons["customer_profile.annual_income"] == "the same name"
    column = [c.field for c in run.signature.columns].index("loan_details.amount")
    rows = Encoder(splits.signature).table(splits.table("train"))[:50]
    source = rows.copy()
    source[:, column] /= 100.0
    mine, theirs = loaded(run, begin.weights), loaded(table_run(risk[0]), _weights(teacher))
    gap = embedded(mine, rows, column) - embedded(theirs, source, column)
    assert np.abs(gap).max() < 0.15 * np.abs(embedded(theirs, source, column)).max()


def test_what_has_no_counterpart_begins_as_without_a_source(risk, scoring):
    (_, teacher), (splits, run) = risk, scoring
    network, begin = begun(teacher, run, splits)
    names = [column.field for column in run.signature.columns]
    fresh = names.index("years_of_residence")
    before, after = network.state_dict()["number_weight"], begin.weights["number_weight"]
    assert torch.equal(before[fresh], after[fresh])
    assert not begin.given["number_weight"][fresh].any()
    assert "years_of_residence" in begin.fresh[-1]


def test_categories_of_equal_text_begin_with_what_the_source_knows(risk, scoring):
    (_, teacher), (splits, run) = risk, scoring
    _, begin = begun(teacher, run, splits)
    own, their = (run.signature, teacher.signature)
    at = sum(own.cardinalities[: [c.field for c in own.categories].index("purpose")])
    start = sum(
        their.cardinalities[: [c.field for c in their.categories].index("loan_details.purpose")]
    )
    mine = at + 1 + own.field("purpose").categories.index("car")
    other = start + 1 + their.field("loan_details.purpose").categories.index("car")
    rows = begin.weights["categories.weight"], _weights(teacher)["categories.weight"]
    assert torch.equal(rows[0][mine], rows[1][other])
    repairs = at + 1 + own.field("purpose").categories.index("repairs")
    assert begin.given["categories.weight"][mine].all()
    assert not begin.given["categories.weight"][repairs].any()


def test_a_term_s_states_and_a_pair_s_numbers_begin_with_what_the_source_knows(risk):
    splits, teacher = risk
    known, asked = (
        Signature(
            fields=(
                Field(name="bp", kind="number_pair"),
                Field(name="sex", kind="category", categories=("female", "male")),
                Field(name="symptoms", kind="terms", categories=terms),
            )
        )
        for terms in (("fever", "cough", "rash"), ("cough", "dizziness"))
    )
    run = table_run(splits)
    draw = np.random.default_rng(0)

    def of(signature):
        rows = np.hstack([draw.normal(100, 20, (50, 2)), draw.integers(0, 2, (50, 4))])
        rows = rows[:, : len(signature.columns)].astype(np.float32)
        facts = table_facts(signature, NETWORK, rows, np.arange(50.0) % 2)
        return dataclasses.replace(run, signature=signature, facts=facts)

    torch.manual_seed(3)
    theirs = LEARNER.network(of(known)).state_dict()
    source = Source(known, {"network.safetensors": save(theirs)}, teacher)
    _, begin = begun(source, of(asked), splits)
    rows, given = begin.weights["categories.weight"], begin.given["categories.weight"]
    assert torch.equal(rows[3:6], theirs["categories.weight"][6:9])  # cough: behind sex; and fever
    assert given[:6].all()
    assert not given[6:].any()  # dizziness is new
    assert begin.given["number_weight"].all()
    first = begin.given["backbone.blocks.0.0.weight"].flatten()
    assert first.tolist() == [1.0] * 12 + [0.0] * 3


class Source:
    """A stored teacher with another Signature and other weights."""

    def __init__(self, signature, files, teacher):
        self.signature, self._files, self._teacher = signature, files, teacher

    def read(self, name):
        return self._files[name] if name in self._files else self._teacher.read(name)

    def __getattr__(self, name):
        return getattr(self._teacher, name)


def test_later_layers_and_the_head_come_over_whole(risk, scoring):
    (_, teacher), (splits, run) = risk, scoring
    _, begin = begun(teacher, run, splits)
    theirs = _weights(teacher)
    for name in ("backbone.blocks.1.0.weight", "output.weight", "backbone.blocks.0.0.bias"):
        assert torch.equal(begin.weights[name], theirs[name])
        assert begin.given[name].all()
    assert {"encoder.1", "the head"} <= set(begin.taken)


def test_without_the_source_s_rows_a_number_s_rank_is_not_known(risk, scoring, tmp_path):
    (_, teacher), (splits, run) = risk, scoring
    gone = dataclasses.replace(teacher, splits=(tmp_path / "gone").as_uri())
    with pytest.raises(InputError, match="training rows of the source must be there"):
        begun(gone, run, splits)


def test_networks_have_the_source_s_sizes_and_the_change_is_told(risk):
    _, teacher = risk
    config = TrainingConfig(network=dataclasses.replace(NETWORK, teacher_width=64))
    configured, changes = TRANSFERRING.configured(teacher, config)
    assert configured.network == NETWORK
    assert changes == ("teacher_width is 8, as in the source's network",)


def _weights(artifact):
    return load(artifact.read("network.safetensors"))
