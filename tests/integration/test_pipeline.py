"""The main job as a user calls it: a process, its exit code and output, HTTP, batch scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from spt_core.task import find
from tests.live_service import free_port_block

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
FRAUD = "financial_services/fraud_detection"
TIMEOUT_S = 600.0
NOISE = ("(raylet)", "WARNING", "Warning", "Traceback", "PYTHON worker")
LATER = 2000  # from this row on a country is seen that no training row has
BAD_ROWS = {5: "amount", 700: "amount", 1500: "label"}


class Ended(NamedTuple):
    """A finished job."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """What `--json` promises: one object on the last line."""
        assert self.code == 0, self.err
        return json.loads(self.out.splitlines()[-1])


class Served(NamedTuple):
    """A pipeline that serves until it is interrupted."""

    process: subprocess.Popen[str]
    result: dict[str, Any]
    err: Path

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self.err.read_text()

    def interrupt(self) -> None:
        """Ctrl-C, which ends it in order; nothing where it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=120) == 0, self.said

    def ask(self, record: dict[str, Any]) -> dict[str, Any]:
        """The answer over HTTP."""
        body = json.dumps(record).encode()
        request = urllib.request.Request(
            self.result["url"], body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())


def command(job: str, *words: str, task: str = FRAUD) -> tuple[list[str], dict[str, str]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
    environment["SPT_HTTP_PORT"] = str(free_port_block())
    return [sys.executable, "-m", f"jobs.{job}", task, *words, "--json"], environment


def run_line(line: list[str], environment: dict[str, str]) -> Ended:
    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def customers_rows(num_rows: int, seed: int) -> pd.DataFrame:
    """A table with names of its own: an id, a dotted and an odd name, gaps, a late category."""
    draw = np.random.default_rng(seed)
    amount = np.round(draw.lognormal(3, 1, num_rows), 2)
    country = draw.choice(["DE", "FR", "PL"], num_rows, p=[0.6, 0.3, 0.1]).astype(object)
    country[LATER:][draw.random(max(num_rows - LATER, 0)) < 0.2] = "ZZ"
    channel = draw.choice(["web", "app"], num_rows).astype(object)
    odds = -3.5 + 0.5 * np.log(amount) + 1.5 * (country == "PL") + 0.8 * (channel == "web")
    seconds = np.sort(draw.integers(0, 120 * 86_400, num_rows))
    when = pd.Timestamp("2025-01-01") + pd.to_timedelta(seconds, unit="s")
    table = pd.DataFrame(
        {
            "booking id": [f"b-{seed}-{number:06d}" for number in range(num_rows)],
            "ts": when.strftime("%Y-%m-%d %H:%M:%S"),
            "card": draw.integers(0, 200, num_rows),
            "tx.amount": amount,
            "Händler-Land %": country,
            "channel": channel,
            "is_bad": (draw.random(num_rows) < 1 / (1 + np.exp(-odds))).astype(int),
        }
    )
    table.loc[draw.random(num_rows) < 0.1, "tx.amount"] = np.nan
    table.loc[draw.random(num_rows) < 0.1, "channel"] = None
    return table


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def words(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the customer types."""
    folder = tmp_path_factory.mktemp("customer")
    table = customers_rows(3000, seed=1).astype(object)
    for row, what in BAD_ROWS.items():
        table.loc[row, {"amount": "tx.amount", "label": "is_bad"}[what]] = (
            "a lot" if what == "amount" else None
        )
    table.to_csv(folder / "tx.csv", index=False)
    words = ["--data", str(folder / "tx.csv"), "--label", "is_bad", "--time", "ts"]
    words += ["--entity", "card", "--name", "customer", "--recipe", "smoke"]
    return [*words, "--storage", str(storage)]


@pytest.fixture(scope="module")
def served(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The whole flow in one process, which goes on serving."""
    line, environment = command("pipeline", *words)
    err = tmp_path_factory.mktemp("served") / "err"
    with err.open("w") as stream:
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stream, text=True
        )
    assert process.stdout is not None
    answer = process.stdout.readline()  # the pipeline serves after it has printed its result
    assert answer, err.read_text()
    found = Served(process, json.loads(answer), err)
    try:
        yield found
        found.interrupt()
        assert process.stdout.read() == "", "the result is the only line"
    finally:
        process.kill()
        process.stdout.close()


def test_one_command_goes_from_a_table_to_an_answer(served: Served) -> None:
    result = served.result
    assert result["version"] == f"{FRAUD}/customer@1"
    assert set(result["answer"]) == set(find(FRAUD).answer)
    assert Path(result["report"].removeprefix("file://")).read_text().startswith("<!")


def test_a_person_sees_no_noise_of_ray(served: Served) -> None:
    said = served.said.splitlines()
    assert not [line for line in said if any(word in line for word in NOISE)]


def test_a_customers_table_is_answered_in_its_own_names(served: Served) -> None:
    assert served.result["version"] == f"{FRAUD}/customer@1"
    assert served.result["url"].endswith("/customer")
    assert {"tx.amount", "Händler-Land %", "channel"} <= set(served.result["record"])
    assert not {"booking id", "is_bad", "amount", "merchant"} & set(served.result["record"])
    record = {"tx": {"amount": 900.0}, "Händler-Land %": "PL", "channel": "web"}
    answer = served.ask({**record, "ts": "2025-05-02 03:00:00"})
    assert set(answer) == set(find(FRAUD).answer)
    named = {factor["field"] for factor in answer["risk_factors"]}
    assert named <= set(served.result["record"])


def test_what_training_never_saw_is_answered_too(served: Served) -> None:
    unseen = {"tx.amount": None, "Händler-Land %": "never seen", "ts": "2025-05-02 03:00:00"}
    assert 0 <= served.ask(unseen)["fraud_probability"] <= 1


def test_bad_rows_are_told_and_kept(served: Served) -> None:
    assert "2 bad rows, the field 'tx.amount' must be a finite number" in served.said
    assert "1 bad row, the label 'is_bad' must be known" in served.said


def test_batch_scores_are_those_of_the_service(
    served: Served, job: Callable[..., Ended], storage: Path, tmp_path: Path
) -> None:
    rows = customers_rows(60, seed=2).drop(columns=["is_bad", "card"]).astype(object)
    rows.loc[7, "tx.amount"] = "a lot"
    rows.loc[9, "Händler-Land %"] = "XX"
    rows.to_csv(tmp_path / "new.csv", index=False)
    words = [FRAUD, "--data", str(tmp_path / "new.csv"), "--output", str(tmp_path / "scored")]
    words += ["--name", "customer", "--storage", str(storage)]
    result = job("predict", *words).result
    assert (result["num_rows"], result["num_quarantined"]) == (59, 1)
    parts = sorted((tmp_path / "scored").glob("[!_.]*.parquet"))
    scores = pd.concat([pd.read_parquet(part) for part in parts]).set_index("row").sort_index()
    assert list(scores.index) == [row for row in range(60) if row != 7]
    assert scores["score"].between(0, 1).all()
    for row in (0, 9, 30, 59):
        known = rows.loc[row].drop("booking id")  # an identifier is no field of the model
        record = known.where(known.notna(), None).to_dict()
        served_probability = served.ask(record)["fraud_probability"]
        assert served_probability == pytest.approx(scores.loc[row, "score"], abs=1e-6)
    assert not list(tmp_path.glob(".*")), "nothing unfinished is left"
    again = job("predict", *words)
    assert again.code == 2
    assert "holds finished scores" in again.err
    bad = pd.read_parquet(tmp_path / "scored" / "_quarantine.parquet")
    assert list(bad["__row"]) == [7]
    assert json.loads(bad["record"][0])["tx.amount"] == "a lot"


def test_the_work_of_an_interrupted_service_is_reused_and_registers_nothing_new(
    served: Served, job: Callable[..., Ended], words: list[str]
) -> None:
    served.interrupt()  # the last test here: nobody is answered any more
    assert "reused" not in served.said
    again = job("benchmark", FRAUD, *words)
    assert again.result["version"] == served.result["version"]
    assert again.result["report"] == served.result["report"]
    lines = {line.split(" ")[0]: line for line in again.err.splitlines()}
    for stage in ("prepare", "train", "distill"):
        assert "reused" in lines[stage]
