"""Files that the product once got wrong, each a kind of its own: read rightly, or truly refused.

The files are not part of the project: SPT_CASES_HOME names their folder. Instances of each kind
that are made here are in tests/unit/data.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.errors import InputError
from spt_core.signature import parse_window
from spt_core.task import find

HOME = os.environ.get("SPT_CASES_HOME")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.skipif(HOME is None, reason="SPT_CASES_HOME does not name the folder of cases"),
]
FRAUD, SECURITY = "financial_services/fraud_detection", "technology/security_analysis"


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, what its columns mean, and what must come of it."""

    path: str
    num_rows: int = 600
    quarantined: int = 0
    time: str | None = "ts"
    label: str = "is_fraud"
    task: str = FRAUD
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    findings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refusal: str = ""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


CARD_WEEK = {"entities": ("card",), "windows": (parse_window("count(card,7d)"),)}
CASES = [
    Case("arrow-types/label_view.parquet"),
    Case("columns-lost/sixteen", 592, time=None, kinds={"mcc": "category"},
         findings={"mcc": "absent"}),
    Case("compact-dates/ints.parquet", time="booked", kinds={"booked": "time"}, more=CARD_WEEK),
    Case("compact-dates/text.csv", time="booked", kinds={"booked": "time"}, more=CARD_WEEK),
    Case("csv-dialects/backslash.csv", time=None),
    Case("csv-dialects/hdr_newline.csv", time=None, kinds={"amount (EUR)": "number"}),
    Case("csv-dialects/sep_line.csv", time=None, kinds={"amount_eur": "number"}),
    Case("csv-stray-quotes/one_quote.csv", findings={"": "dialect"}),
    Case("csv-stray-quotes/two_quotes.csv", findings={"": "dialect"}),
    Case("few-positives/imbalance.parquet", 50_000, time=None, more={"drop": ("card",)},
         findings={"is_fraud": "few"}),
    Case("float32-overflow/dblmax.csv", quarantined=67),
    Case("folder-extras/notebook"),
    Case("int96-9999/int96.parquet"),
    Case("late-format/late_format.csv", 25_000, kinds={"amount_eur": "number"}),
    Case("leading-zeros/codes.csv", kinds={"branch": "category"}, findings={"branch": "code"}),
    Case("missing-marks/na5.csv", kinds={"income": "number"}),
    Case("none-class/x.csv", 300, time=None, label="technique", task=SECURITY),
    Case("none-class/x.jsonl", 300, time=None, label="technique", task=SECURITY),
    Case("null-objects/nested.jsonl", kinds={"device.os": "category"}),
    Case("number-notation/german.csv", kinds={"amount_eur": "number"},
         findings={"amount_eur": "notation"}),
    Case("outcome-date-leak/dates.parquet", refusal="'closed_on' alone reaches an AUC of 1"),
    Case("outcome-date-leak/note.parquet", refusal="'note' alone reaches an AUC of 1"),
    Case("pandas-index/sample.csv", 240, findings={"Unnamed: 0": "index"}),
    Case("row-order/sorted.csv", time=None, kinds={"loan_amount": "number"}),
    Case("row-order/shuffled.csv", time=None, kinds={"loan_amount": "number"}),
]  # fmt: skip


def prepared(case: Case, storage: Path) -> Splits:
    assert HOME is not None
    roles = Roles(label=case.label, time=case.time, **case.more)
    corpus = open_corpus(find(case.task), f"{HOME}/{case.path}", storage=str(storage), roles=roles)
    return split(find(case.task), corpus, str(storage))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
def test_a_case_is_right_or_refused_with_the_true_reason(case: Case, tmp_path: Path) -> None:
    if case.refusal:
        with pytest.raises(InputError, match=case.refusal):
            prepared(case, tmp_path)
        return
    splits = prepared(case, tmp_path)
    assert splits.num_rows_in == case.num_rows
    assert sum(splits.quarantine.values()) == case.quarantined
    good = sum(splits.num_rows.values()) + sum(splits.num_left_out.values())
    assert good == case.num_rows - case.quarantined
    kinds = {field.name: field.kind for field in splits.signature.fields}
    assert case.kinds.items() <= kinds.items()
    findings = {(finding.column, finding.kind) for finding in splits.findings}
    assert set(case.findings.items()) <= findings


def test_dates_without_separators_are_the_same_days_in_either_format(tmp_path: Path) -> None:
    cases = [case for case in CASES if case.path.startswith("compact-dates")]
    first, second = (prepared(case, tmp_path / str(n)) for n, case in enumerate(cases))
    assert first.cut_times == second.cut_times
    assert first.cut_times[0].startswith("2024-")


def test_windows_look_back_by_the_instant(tmp_path: Path) -> None:
    case = Case(
        "wall-clock-order/offsets.csv",
        more={"entities": ("card",), "windows": (parse_window("count(card,1d)"),)},
    )
    splits = prepared(case, tmp_path)
    parts = [splits.table(part) for part in ("train", "validation", "calibration", "test")]
    counts = {
        row: count
        for part in parts
        for row, count in zip(
            part["__row"].to_pylist(), part["card.count_1d"].to_pylist(), strict=True
        )
    }
    assert counts[0] == 1.0


def test_odd_frames_are_columns_or_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert HOME is not None
    monkeypatch.chdir(tmp_path)
    path = Path(HOME) / "frame-crashes" / "frame.py"
    spec = importlib.util.spec_from_file_location("frame_case", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "argv", [str(path)])
    spec.loader.exec_module(module)
    assert capsys.readouterr().out.split() == ["interval", "ok", "big", "ok", "complex", "ok"]
