"""Trading: what is paid for is acted on, and one event in process is answered as over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from industries.financial_services import trading
from industries.financial_services.trading import (
    SAMPLE_HORIZON_S,
    decide,
    last_direction,
    round_trip_bps,
    sample_events,
)
from industries.financial_services.trading_costs import takings
from industries.financial_services.trading_session import TradingSession
from serve.model_server import HotRoute, ModelServer
from spt_core.artifacts import ExportedModel
from spt_core.data.conform import conform
from spt_core.data.corpus import ROW, Corpus
from spt_core.data.infer import columns_of
from spt_core.data.market import MarketFeatures, Quote
from spt_core.data.market_rows import MOVE, mean_move_bps
from spt_core.data.sampling import sample_of
from spt_core.errors import InputError
from spt_core.judgement import Labels, LabelScore
from spt_core.model import SpecializedModel, default_policy
from spt_core.policy import LabelPolicy
from spt_core.task import find
from tests.tiny_models import tiny_export
from tests.unit.serve.asgi import Response, ask

TRADING = find("financial_services/trading")
POLICY = LabelPolicy(thresholds={}, most_probable=True)


def answered(
    up: float, down: float, *, outside: tuple[str, ...] = (), **record: Any
) -> dict[str, Any]:
    """The answer to the example, changed, by these probabilities."""
    probabilities = {"up": up, "down": down, "flat": 1.0 - up - down}
    given = POLICY.given(probabilities)
    scores = [LabelScore(name, p, name in given) for name, p in probabilities.items()]
    scores.sort(key=lambda score: -score.probability)
    return TRADING.respond(Labels({**TRADING.example, **record}, tuple(scores), POLICY, outside))


def test_the_expected_return_is_the_tilt_times_the_mean_move() -> None:
    answer = answered(0.6, 0.1, volatility_bps=10.0, spread_bps=1.0)
    assert answer["expected_return"] == pytest.approx(0.5 * mean_move_bps(10.0, 1.0) / 1e4)
    assert answer["expected_return"] == pytest.approx(0.5 * 11.41e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("fee_bps", "spread_bps", "action"),
    [(2.3, 1.0, "buy"), (2.4, 1.0, "hold"), (0.0, 4.9, "buy"), (0.5, 4.9, "hold")],
)
def test_it_abstains_where_spread_and_fees_are_not_paid_for(
    fee_bps: float, spread_bps: float, action: str
) -> None:
    # Expected is half of the mean move beyond 5 bps at a volatility of 10 bps: 5.7 bps.
    for up, down, side in ((0.6, 0.1, "buy"), (0.1, 0.6, "sell")):
        answer = answered(up, down, volatility_bps=10.0, spread_bps=spread_bps, fee_bps=fee_bps)
        assert answer["action"] == ("hold" if action == "hold" else side)
        assert answer["abstained"] == (answer["action"] == "hold")


def test_to_come_and_go_costs_the_spread_and_two_fees() -> None:
    assert round_trip_bps(3.0, 2.0) == 7.0
    assert [decide(bps, 7.0) for bps in (7.0, 7.1, -7.0, -7.1)] == ["hold", "buy", "hold", "sell"]


def test_a_fee_changes_the_action_alone() -> None:
    free, dear = answered(0.8, 0.1, fee_bps=0.0), answered(0.8, 0.1, fee_bps=50.0)
    assert (free["action"], dear["action"]) == ("buy", "hold")
    changed = {name for name in free if free[name] != dear[name]}
    assert changed == {"action", "abstained"}


def test_it_abstains_beyond_all_training_rows_but_not_for_the_fee_and_the_time() -> None:
    assert answered(0.8, 0.1, fee_bps=0.0, outside=("fee_bps", "time"))["action"] == "buy"
    for field in ("volatility_bps", "horizon_s", "trend_one"):
        answer = answered(0.8, 0.1, fee_bps=0.0, outside=("fee_bps", field))
        assert (answer["action"], answer["abstained"], answer["direction"]) == ("hold", True, "up")


def test_a_decision_without_a_price_is_refused() -> None:
    with pytest.raises(InputError, match="priced by the fields .*, however: 'fee_bps' is missing"):
        answered(0.8, 0.1, fee_bps=None)


def test_the_causes_of_the_sample_are_those_that_the_docstring_names() -> None:
    table = TRADING.sample(6000, 0)
    rises = np.array(table["direction"].to_pylist()) == "up"
    falls = np.array(table["direction"].to_pylist()) == "down"
    for name in ("quote_imbalance", "order_flow", "quote_flow", "trend_quarter"):
        values = np.asarray(table[name].combine_chunks().fill_null(0.0))
        assert values[rises].mean() > values[falls].mean() + 0.05, name
    volatility = np.asarray(table["volatility_bps"])
    spread = np.asarray(table["spread_bps"])
    assert np.corrcoef(np.log(volatility), np.log(spread))[0, 1] > 0.5
    assert 0.25 < (~rises & ~falls).mean() < 0.45


def test_the_last_direction_has_the_bounds_of_the_next() -> None:
    table = pa.table(
        {
            "last_move_bps": [6.0, 4.0, -6.0, -4.0, None],
            "volatility_bps": [10.0, 10.0, 10.0, 10.0, 10.0],
            "spread_bps": [1.0, 1.0, 7.0, 1.0, 1.0],
        }
    )
    assert last_direction(table) == ["up", "flat", "flat", "flat", "flat"]
    with pytest.raises(InputError, match="however: the rows have no spread_bps"):
        last_direction(table.drop(["spread_bps"]))


def test_the_rules_say_directions() -> None:
    table = TRADING.sample(300, 0)
    for rule in TRADING.rules.values():
        said = rule(table)
        assert len(said) == 300
        assert set(said) <= set(TRADING.classes)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return tiny_export(TRADING, str(tmp_path_factory.mktemp("trading")))


def session(student: ExportedModel, **settings: float) -> TradingSession:
    model = SpecializedModel(student)
    chosen = {"horizon_s": SAMPLE_HORIZON_S, "fee_bps": 0.0, **settings}
    return TradingSession(model.open(), student.artifact.signature, MarketFeatures(**chosen))


@pytest.fixture(scope="module")
def server(student: ExportedModel) -> ModelServer:
    server = ModelServer(TRADING.path)
    config = {
        "ref": f"{TRADING.path}/default@1",
        "exported": student.uri,
        "files": dict(student.files),
        "policy": default_policy(student).to_json(),
    }
    asyncio.run(server.reconfigure(config))
    assert server.served()["error"] == ""
    return server


def post(server: ModelServer, record: Mapping[str, Any]) -> Response:
    return asyncio.run(ask(HotRoute(server), json.dumps(record).encode()))


def test_events_in_process_are_answered_as_their_rows_are_over_http(
    student: ExportedModel, server: ModelServer
) -> None:
    live, features = session(student), MarketFeatures(horizon_s=SAMPLE_HORIZON_S, fee_bps=0.0)
    decisions = 0
    for event in sample_events(260, 0):
        answer, record = live.decide(event), features.update(event)
        assert (answer is None) == (record is None)
        if record is None:
            continue
        decisions += 1
        if decisions % 10 == 0:
            response = post(server, {**record, "time": record["time"].isoformat()})
            assert response.status == 200
            assert response.content == answer
            assert list(answer) == list(TRADING.answer)
    assert decisions > 200


def test_a_session_goes_on_after_a_crossed_book(student: ExportedModel) -> None:
    events = list(sample_events(200, 0))
    first, second = session(student), session(student)
    for event in events[:-1]:
        assert first.decide(event) == second.decide(event)
    with pytest.raises(InputError, match="an order book must have its bid below its ask, however"):
        second.decide(Quote(events[-1].time_s, 101.0, 1.0, 100.0, 1.0))
    assert first.decide(events[-1]) == second.decide(events[-1])


def test_features_of_another_horizon_are_refused(student: ExportedModel) -> None:
    with pytest.raises(InputError, match="theirs is 60 s, the model's 300 s"):
        session(student, horizon_s=60.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"spread_bps": -0.4}, "the field 'spread_bps' must be at least 0, however: -0.4"),
        ({"quote_imbalance": 1.5}, "the field 'quote_imbalance' must be at most 1"),
        ({"fee_bps": None}, "'fee_bps' is required, however: it is null"),
        ({"volatility_bps": "calm"}, "the field 'volatility_bps' must be a number"),
        ({"bid": 100.0}, "'bid' is none of them"),
    ],
)
def test_a_record_that_cannot_be_is_a_problem_in_one_sentence(
    server: ModelServer, change: Mapping[str, Any], sentence: str
) -> None:
    response = post(server, {**TRADING.example, **change})
    assert response.status == 422
    assert sentence in response.content["detail"]


def test_a_fee_that_no_training_row_had_leaves_the_probabilities_as_they_are(
    server: ModelServer,
) -> None:
    answers = [
        post(server, {**TRADING.example, "fee_bps": fee_bps}).content for fee_bps in (0.0, 0.5, 40)
    ]
    assert len({json.dumps(answer["probabilities"]) for answer in answers}) == 1
    assert len({answer["expected_return"] for answer in answers}) == 1


def test_a_book_without_one_side_is_answered_by_the_rest(server: ModelServer) -> None:
    record = {**TRADING.example, "quote_imbalance": None, "quote_flow": None}
    assert post(server, record).status == 200


def test_the_fields_are_those_of_the_features() -> None:
    features = MarketFeatures(horizon_s=SAMPLE_HORIZON_S, fee_bps=0.0)
    rows = [row for event in sample_events(200, 0) if (row := features.update(event))]
    assert list(rows[-1]) == [field.name for field in TRADING.fields]


def test_what_is_left_after_costs_is_of_the_moves_that_came() -> None:
    table = pa.table(
        {
            "time": pa.array([0, 1, 86_400, 86_401], pa.timestamp("s")),
            "spread_bps": [1.0] * 4,
            "fee_bps": [0.5] * 4,
            "volatility_bps": [10.0] * 4,
            MOVE: [12.0, -12.0, 12.0, 0.0],
        }
    )
    sure_up = np.tile([0.0, 0.1, 0.9], (4, 1))
    of_all = takings(table, sure_up)
    assert of_all["trades"] == 4
    assert of_all["gross_bps_a_trade"]["value"] == pytest.approx(3.0)
    assert of_all["net_bps_a_trade"]["value"] == pytest.approx(1.0)
    assert of_all["net_bps_in_all"] == pytest.approx(4.0)
    unsure = takings(table, np.tile([0.3, 0.4, 0.3], (4, 1)))
    assert (unsure["trades"], unsure["net_bps_a_trade"]) == (0, {})
    assert takings(table.drop_columns([MOVE]), sure_up) == {}


def test_who_trades_for_the_report_trades_as_an_answer_says() -> None:
    table = trading.sample(400, 1)
    probabilities = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 400)
    actions = [
        trading.answer(row, dict(zip(trading.DIRECTIONS, p, strict=True)), "flat", tuple)["action"]
        for row, p in zip(table.to_pylist(), probabilities.tolist(), strict=True)
    ]
    traded = takings(table, probabilities)["trades"]
    assert 0 < traded == sum(action != "hold" for action in actions) < 400


def test_the_move_that_came_is_no_input_of_a_model() -> None:
    rows = trading.sample(400, 1)
    corpus = Corpus(
        uris=("file:///rows.parquet",),
        format="parquet",
        name="rows",
        identity="",
        label="direction",
        time="time",
        columns=dict.fromkeys(rows.column_names, 1),
    )
    columns = columns_of(sample_of(rows), corpus, TRADING)
    assert MOVE in {field.name for field in columns.carried}
    assert MOVE not in {field.name for field in columns.features}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"spread_bps": -0.5}, "'spread_bps'"),
        ({"spread_bps": None}, "'spread_bps' is required"),
        ({"quote_imbalance": 1.5}, "'quote_imbalance'"),
        ({"volatility_bps": "wide"}, "'volatility_bps'"),
    ],
)
def test_what_no_book_can_be_is_a_problem_over_http(
    server: ModelServer, changes: dict[str, Any], sentence: str
) -> None:
    response = post(server, {**TRADING.example, **changes})
    assert response.status == 422
    assert sentence in response.content["detail"]


def test_rows_of_a_crossed_book_go_to_quarantine_with_the_reason() -> None:
    rows = trading.sample(50, 0)
    crossed = np.asarray(rows["spread_bps"]).copy()
    crossed[7] = -0.5
    rows = rows.set_column(rows.column_names.index("spread_bps"), "spread_bps", pa.array(crossed))
    typed, bad = conform(rows.append_column(ROW, pa.array(range(50))), TRADING.fields)
    assert typed.num_rows == 49
    assert bad[ROW].to_pylist() == [7]
    assert "spread_bps" in bad["reason"][0].as_py()


def test_the_last_imbalance_is_a_direction_where_one_side_offers_twice_as_much() -> None:
    table = pa.table({"quote_imbalance": [0.5, 0.2, None, -0.5]})
    assert trading.last_imbalance(table) == ["up", "flat", "flat", "down"]
    with pytest.raises(InputError, match="told by the column quote_imbalance"):
        trading.last_imbalance(table.drop_columns(["quote_imbalance"]))
