import json

import numpy as np
import pytest

from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.report import Report, report_from_json
from spt_core.benchmark.timing import json_record, percentiles, quantiles, timed_calls
from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.outcomes import outcomes
from spt_core.task import find
from tests.tiny_models import FRAUD

pytestmark = pytest.mark.slow  # plots

LABELS = np.arange(200) % 2 * 1.0
SCORES = np.linspace(0.01, 0.99, 200)
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}


def curves_of(labels, scores):
    of = outcomes(("yes",), labels[:, None], scores[:, None], scores[:, None] > 0.5)
    return HEADS["binary"].curves(of)


def report(**changes):
    names = ("<model>", "LightGBM")
    group = {
        "group": "a<b",
        "num_rows": 60,
        "base_rate": 0.1,
        "mean_probability": 0.1,
        "approval_rate": 0.7,
        "roc_auc": None,
        "calibration_error": 0.01,
        "impact_ratio": 0.7,
    }
    values = {
        "task": FRAUD,
        "model_name": "<model>",
        "metric": "average_precision",
        "evaluation_set": "file:///set",
        "evaluation_fingerprint": "f",
        "num_rows": 200,
        "num_positives": 100,
        "synthetic": True,
        "quality": {name: {"average_precision": FIGURE, "roc_auc": FIGURE} for name in names},
        "latency_ms": {name: {"p50": 0.1, "p90": 0.2, "p99": 0.3} for name in names},
        "curves": {
            name: {**curves_of(LABELS, SCORES), "latency_ms": percentiles(np.linspace(1, 2, 50))}
            for name in names
        },
        "baseline_parameters": {"LightGBM": {"num_trees": 12}},
        "subgroups": {"sex": [group]},
        "compliance": {"data_licence_known": {"passed": False, "required": True, "fact": "none"}},
        "size_bytes": 100_000,
        "memory_bytes": 1_000_000,
        "latency_target_ms": 5.0,
        "size_target_mb": 10.0,
        "machine": "test",
    }
    return Report(**{**values, **changes})


@pytest.fixture(scope="module")
def page():
    return report().html(facts={"seed": 0}, findings=[])


def test_the_page_needs_nothing_else_and_holds_four_plots(page):
    assert page.count("data:image/png;base64,iVBOR") == 4
    assert "http://" not in page
    assert "<script" not in page


def test_the_page_says_that_the_data_is_synthetic(page):
    assert "<b>synthetic</b>" in page


def test_the_page_of_real_data_does_not_and_shows_what_was_found_in_them():
    finding = {"kind": "identifier", "column": "id", "detail": "dropped"}
    real = report(synthetic=False).html(facts={}, findings=[finding])
    assert "<b>synthetic</b>" not in real
    assert "dropped" in real


def test_the_page_escapes_what_is_in_the_data(page):
    assert "&lt;model&gt;" in page
    assert "<model>" not in page
    assert "a&lt;b" in page


def test_the_page_marks_what_failed(page):
    assert 'class="bad"' in page
    assert "failed, required" in page


def test_the_page_says_why_a_baseline_is_left_out():
    page = report(left_out={"keyword rule": "no <words>"}).html(facts={})
    assert "left out: no &lt;words&gt;" in page


def test_the_page_says_what_groups_are_compared_by(page):
    assert "fails the four-fifths rule" in page
    recalls = report(compared_rate="recall").html(facts={})
    assert "the share of a group's positives that are found" in recalls
    assert "four-fifths" not in recalls


def test_a_report_is_json():
    assert json.loads(json.dumps(report().to_json(), allow_nan=False))["task"] == FRAUD


def test_percentiles_are_milliseconds_from_the_first_to_the_99th():
    found = percentiles(np.arange(101) / 1000)
    assert found == pytest.approx(list(range(1, 100)))


def test_curves_are_short_and_end_where_they_must():
    labels, scores = np.tile(LABELS, 50), np.random.default_rng(0).random(10_000)
    curves = curves_of(labels, scores)
    assert len(curves["recall"]) == len(curves["precision"]) <= 200
    assert (curves["recall"][0], curves["recall"][-1]) == (1.0, 0.0)
    assert curves["predicted"] == sorted(curves["predicted"])
    assert len(curves["predicted"]) == len(curves["observed"]) == 10


def test_a_quantile_is_in_milliseconds():
    assert quantiles(np.full(100, 0.002)) == pytest.approx({"p50": 2, "p90": 2, "p99": 2})


def test_every_call_is_timed_after_warming_up():
    called = []
    seconds = timed_calls(called.append, [1, 2, 3], 100)
    assert len(called) == 103
    assert (seconds >= 0).all()


def test_a_row_is_sent_as_a_client_would():
    row = find(FRAUD).sample(10, 0).to_pylist()[0]
    sent = json_record({**row, "amount": None})
    assert json.loads(json.dumps(sent))["time"].startswith("2026-")
    assert sent["amount"] is None


@pytest.mark.parametrize("values", [{"num_trials": -1}, {"num_resamples": 9}, {"num_calls": 99}])
def test_counts_that_measure_nothing_are_refused(values):
    with pytest.raises(InputError, match="a benchmark needs"):
        BenchmarkConfig(**values)


def text_page():
    row = {"label": "x<y", "support": 7, "precision": None, "recall": 0.5, "f1": 0.4}
    latency = {"latency_ms": percentiles(np.linspace(1, 2, 50))}
    return report(
        head="multi_label",
        num_groups=12,
        classes={"<model>": [row], "LightGBM": [{**row, "f1": None}]},
        subgroups={"shift": [{"group": "night", "num_rows": 60, "macro_f1": 0.25, "r2": None}]},
        curves={"<model>": latency, "LightGBM": latency},
        baseline_parameters={"LightGBM": {"x<y": "any, none"}},
    ).html(facts={})


def test_the_page_of_texts_shows_classes_and_documents_instead_of_curves():
    page = text_page()
    assert page.count("data:image/png;base64,iVBOR") == 3
    assert "F1 by class" in page
    assert "Precision and recall" not in page
    assert "over 12 groups" in page
    assert "<th>macro f1</th><th>r2</th>" in page
    assert "<td>night</td><td>60</td><td>0.2500</td><td>-</td>" in page
    assert "x&lt;y" in page


def test_the_page_names_what_its_rows_do_not_define():
    assert "Not measured, as these rows do not define it" in text_page()
    assert "macro f1 frequent" in text_page()


def test_a_report_of_before_there_were_classes_is_read():
    stored = report().to_json()
    for name in ("head", "num_groups", "classes"):
        del stored[name]
    assert report_from_json(stored) == report()


def test_what_is_left_after_costs_is_shown_with_its_interval_and_nothing_of_no_trades():
    some = {
        "trades": 1234,
        "share_of_moments": 0.25,
        "gross_bps_a_trade": {"value": 3.0, "low": 1.0, "high": 5.0},
        "net_bps_a_trade": {"value": -1.25, "low": -3.0, "high": 0.5},
        "net_bps_in_all": -1542.5,
    }
    none = {**some, "trades": 0, "gross_bps_a_trade": {}, "net_bps_a_trade": {}}
    page = report(takings={"served": some, "no move": none}).html(facts={})
    assert "After costs" in page
    assert "1,234" in page
    assert "-1.25<br><small>-3.00 to 0.50" in page
    assert "After costs" not in report().html(facts={})


def test_totals_of_several_steps_are_a_table_and_a_level_that_is_missed_is_marked():
    rows = [
        {"steps": 3, "num_windows": 1000, "held": {"0.8": 0.8, "0.95": 0.949}},
        {"steps": 6, "num_windows": 1000, "held": {"0.8": 0.81, "0.95": 0.871}},
    ]
    page = report(totals={"<model>": rows, "SBA": rows}).html(facts={})
    assert "<h2>Totals of several steps</h2>" in page
    assert "<th>within p80</th><th>within p95</th>" in page
    assert page.count('<td class="ok">0.949</td>') == 2
    assert page.count('<td class="bad">0.871</td>') == 2
    assert "<h2>Totals of several steps</h2>" not in report().html(facts={})


def test_probabilities_within_a_limit_are_a_table():
    row = {
        "limit": 30.0,
        "num_rows": 1234,
        "share": 0.25,
        "mean_told": 0.27,
        "brier": 0.0512,
        "brier_of_share": 0.1875,
        "calibration_error": 0.031,
    }
    page = report(limits=[row, {**row, "limit": 60.0, "brier": 0.2}]).html(facts={})
    assert "<h2>Within a limit</h2>" in page
    assert '<td class="ok">0.0512</td>' in page
    assert '<td class="bad">0.2000</td>' in page
    assert "<h2>Within a limit</h2>" not in report().html(facts={})


def test_a_backtest_is_a_table_of_each_model_and_level():
    row = {
        "level": 0.99,
        "num_days": 1764,
        "exceedances": 14,
        "expected": 7.64,
        "kupiec_p": 0.038,
        "independence_p": 0.25,
        "conditional_coverage_p": 0.06,
        "mean_value_at_risk": 2.1,
        "shortfall_ratio": None,
        "zone": "yellow",
    }
    whole = {**row, "num_series": 20, "num_rejecting": 3, "expected_rejecting": 1.91}
    page = report(backtest={"<model>": [whole], "in-sample quantiles": [row]}).html(facts={})
    assert "<td>3 of 20, 1.9 by chance</td>" in page
    assert "<h2>Backtest</h2>" in page
    assert page.count('<td class="bad">0.038</td><td class="ok">0.250</td>') == 2
    assert "1,764" in page
    unjudged = report(backtest={"<model>": [{**row, "independence_p": None, "zone": "red"}]})
    assert '<td class="bad">0.038</td><td>-</td>' in unjudged.html(facts={})
    assert '<td class="bad">red</td>' in unjudged.html(facts={})
    assert "<h2>Backtest</h2>" not in report().html(facts={})
