"""What is served by default beside tuned boosters, on rows that nothing has seen.

SPT_DATA_HOME=... python -m tests.bench.bench_served credit|cards|claims|readmission|heart

The product's own splits: by the hash of a row, by patient where patients return, and five draws of
test rows for the 303 patients of heart. Each of LightGBM, XGBoost and CatBoost is tuned on the
validation rows; the one that is best there stands for them. Differences are paired over test rows,
1,000 bootstrap draws: of average precision (ours less theirs), of log loss (theirs less ours):
above 0 is a win. Beside what is served, which saw the boosters' rows, stands its refit on all rows
but the test's.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from cluster.settings import load_settings
from jobs.recipes.config import PipelineConfig
from spt_core.artifacts import ExportedModel, ModelArtifact, as_uri
from spt_core.compression.refitting import refitted_export, student_of
from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.distillation import DistillationPipeline
from spt_core.families.tabular.rows import encoded_arrays
from spt_core.families.tabular.serving import TabularServing
from spt_core.model import SpecializedModel
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol

FRAUD, RISK = "financial_services/fraud_detection", "financial_services/risk_assessment"
NUM_DRAWS, NUM_FOLDS = 1000, 5
HOSPICE_OR_DEAD = ["11", "13", "14", "19", "20", "21"]  # nobody of these can come back
HEART = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num"


def credit(home: Path) -> tuple[str, pd.DataFrame, Roles]:
    """Clients of a Taiwanese bank who default the next month."""
    table = pd.read_csv(home / "financial_services/credit-taiwan/taiwan_default_train.csv.gz")
    return RISK, table.drop(columns="ID"), Roles(label="default payment")


def cards(home: Path) -> tuple[str, pd.DataFrame, Roles]:
    """Card payments of two days, negatives down-sampled."""
    (path,) = (home / "financial_services/fraud-ulb-sampled").glob("*.csv.gz")
    return FRAUD, pd.read_csv(path), Roles(label="Class")


def claims(home: Path) -> tuple[str, pd.DataFrame, Roles]:
    """Claims for cars."""
    path = home / "insurance/auto-claims-carclaims/fraud_oracle_1994_1995.csv.gz"
    table = pd.read_csv(path).drop(columns=["PolicyNumber", "Year"])
    return FRAUD, table, Roles(label="FraudFound_P")


def readmission(home: Path) -> tuple[str, pd.DataFrame, Roles]:
    """Patients with diabetes who are back within 30 days."""
    path = home / "healthcare/diabetes130/diabetic_data_train.csv.gz"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[~table["discharge_disposition_id"].isin(HOSPICE_OR_DEAD)]
    early = (table.pop("readmitted") == "<30").astype(int)
    return FRAUD, table.assign(early=early), Roles(label="early", group="patient_nbr")


def heart(home: Path) -> tuple[str, pd.DataFrame, Roles]:
    """Patients of one hospital; every column is a feature, as age and sex are in medicine."""
    path = home / "healthcare/heart-uci/processed.cleveland.data"
    table = pd.read_csv(path, names=HEART.split(), dtype=str)
    ill = (table.pop("num").astype(float) > 0).astype(int)
    return FRAUD, table.assign(ill=ill), Roles(label="ill", keep=("age", "sex"))


SETS = {
    "credit": credit,
    "cards": cards,
    "claims": claims,
    "readmission": readmission,
    "heart": heart,
}


def losses(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The log loss of each row."""
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return -(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped))


def compared(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Both figures of both, and the paired intervals of their differences."""
    draw = np.random.default_rng(0)
    precision, loss = [], []
    own_losses, their_losses = losses(labels, ours), losses(labels, theirs)
    for _ in range(NUM_DRAWS):
        rows = draw.integers(0, len(labels), len(labels))
        known = labels[rows]
        if known.min() == known.max():
            continue
        precision.append(
            average_precision_score(known, ours[rows])
            - average_precision_score(known, theirs[rows])
        )
        loss.append((their_losses[rows] - own_losses[rows]).mean())
    return {
        "average_precision": [
            average_precision_score(labels, ours),
            average_precision_score(labels, theirs),
        ],
        "log_loss": [own_losses.mean(), their_losses.mean()],
        "average_precision_gain_95": np.quantile(precision, [0.025, 0.975]).tolist(),
        "log_loss_gain_95": np.quantile(loss, [0.025, 0.975]).tolist(),
    }


def scored(splits: Splits, task: Task, storage: str, trials: int) -> tuple[Any, ...]:
    """Of the test rows labels, what is served says before its refit and after, the best booster."""
    config = protocol.recipe(task, storage)
    exported, teacher = protocol.served_model(splits, config, 0)
    test, labels = encoded_arrays(splits, "test", exported.artifact.signature, limit=10**9)
    rows = protocol.rows_of(splits)
    boosters = protocol.booster_scores(rows, test, [0], trials, protocol.say)
    best = max(boosters, key=lambda name: boosters[name]["validation"])
    refitted = refitted_export(exported, *_refitted(exported, teacher, splits, config))
    ours, after = (_scores(each, test) for each in (exported, refitted))
    return labels.astype(np.float64), ours, after, np.asarray(boosters[best]["scores"][0]), best


def _scores(exported: ExportedModel, rows: np.ndarray) -> np.ndarray:
    runtime = TabularServing().open(exported.artifact, exported.read).runtime
    return np.asarray(runtime.score(rows), np.float64)


def _refitted(
    exported: ExportedModel, teacher: SpecializedModel, splits: Splits, config: PipelineConfig
) -> tuple[ModelArtifact, ModelArtifact]:
    """Teacher and student on every row but the test's."""
    own = SpecializedModelTrainer(config.training).refit(teacher, splits)
    twin = SpecializedModel(student_of(exported.artifact))
    student = DistillationPipeline(config.distillation).refit(twin, own, splits)
    return own.artifact, student.artifact


def main() -> None:
    """One data set."""
    command_line = argparse.ArgumentParser(description=__doc__)
    command_line.add_argument("name", choices=SETS)
    command_line.add_argument("--trials", type=int, default=20)
    arguments = command_line.parse_args()
    storage = protocol.bench_storage(f"served-{arguments.name}")
    home = Path(load_settings(storage=storage).data_home or "")
    path, table, roles = SETS[arguments.name](home)
    task = find(path)
    parts: list[tuple[Any, ...]] = []
    with protocol.local_session(storage):
        for fold in range(NUM_FOLDS if arguments.name == "heart" else 1):
            config = protocol.recipe(task, storage).split
            folder = f"{storage}/fold-{fold}"
            corpus = open_corpus(task, table, storage=as_uri(folder), roles=roles)
            splits = split(task, corpus, folder, dataclasses.replace(config, seed=fold))
            parts.append(scored(splits, task, folder, arguments.trials))
    labels, ours, after, theirs, best = (list(column) for column in zip(*parts, strict=True))
    result = compared(*(np.concatenate(column) for column in (labels, ours, theirs)))
    refit = compared(*(np.concatenate(column) for column in (labels, after, ours)))
    rows = {"test_rows": sum(map(len, labels)), "positives": float(sum(map(sum, labels)))}
    command = f"python -m tests.bench.bench_served {arguments.name} --trials {arguments.trials}"
    protocol.finish(
        f"served-{arguments.name}",
        {"command": command, **rows, "booster": best, **result, "refit_beside_twin": refit},
    )


if __name__ == "__main__":
    main()
