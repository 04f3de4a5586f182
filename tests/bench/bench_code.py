"""Weaknesses of code, as they come: python -m tests.bench.bench_code [--characters 1000]

SPT_DATA_HOME=... python -m tests.bench.bench_code [--epochs 1] [--copies 1] [--without-model]

sven by commit: both sides of a pair are in one part. What the pipeline would export is trained on
the functions of at most `--characters` characters (0: all of them, which takes hours on a core).
Printed of the held-out pairs, beside TF-IDF and n-grams of characters with logistic regression on
the same rows: F1 of "has a weakness", accuracy of the same, and pair order: the share of pairs in
which the function before its fix has the higher probability of any weakness, 0.5 being chance.

OWASP's Java cases with one category left out at a time: logistic regression on n-grams, learned
from the other ten, and the model of sven, which has seen none. The figure is the area under the
curve of "vulnerable" within the category, and their mean; 0.5 is chance.

BigVul's vulnerable functions: their lines by the model's evidence for its likeliest weakness, those
without evidence behind in their order. Top-10: the share of functions with a flawed line among the
first ten; IFA: clean lines before the first flawed one, the median. Beside it: the order of the
lines, and long lines first.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gzip
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cluster.settings import load_settings
from industries.technology.code_analysis import lines_of
from spt_core.answering import Answerer
from spt_core.artifacts import as_uri, read_bytes
from spt_core.data.catalog import DATASETS
from spt_core.data.catalog.technology import read_owasp, read_sven
from spt_core.data.corpus import DatasetInfo
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.distillation import DistillationPipeline
from spt_core.export import export
from spt_core.heads import HEADS
from spt_core.judgement import Labels
from spt_core.model import open_answerer
from spt_core.scoring import fitted_policy
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol

TASK = find("technology/code_analysis")
VECTORS: dict[str, Callable[[], TfidfVectorizer]] = {
    "TF-IDF": lambda: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
    "n-grams of characters": lambda: TfidfVectorizer(
        analyzer="char",
        lowercase=False,
        ngram_range=(3, 5),
        sublinear_tf=True,
        min_df=2,
        max_features=200_000,
    ),
}
Score = Callable[[Sequence[str]], np.ndarray]


def regression(vectors: TfidfVectorizer, codes: Sequence[str], is_weak: np.ndarray) -> Score:
    """The probability of any weakness [N] of functions, learned from these."""
    design = vectors.fit_transform(codes)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    model.fit(design, is_weak)
    return lambda some: model.predict_proba(vectors.transform(some))[:, 1]


def of_model(answerer: Answerer) -> Score:
    """The probability of the likeliest weakness."""
    return lambda some: answerer.score(pa.table({"code": list(some)}))


def short_pairs(folder: str, characters: int) -> pa.Table:
    """Rows of sven whose pair is short enough on both sides."""
    table = read_sven(folder)
    sizes = np.array([len(code) for code in table["code"].to_pylist()]).reshape(-1, 2).max(1)
    is_short = sizes <= characters if characters else np.ones(len(sizes), bool)
    return table.filter(pa.array(np.repeat(is_short, 2)))


def trained(splits: Splits, asked: argparse.Namespace, storage: str) -> Answerer:
    """What would be served of a teacher and its student, under its fitted policy."""
    config = protocol.recipe(TASK, storage)
    training = dataclasses.replace(config.training, num_epochs=asked.epochs)
    teacher = SpecializedModelTrainer(training).train(splits)
    protocol.say(f"teacher {dict(teacher.artifact.metrics)}")
    distillation = dataclasses.replace(config.distillation, num_copies=asked.copies)
    student = DistillationPipeline(distillation).distill(teacher, splits)
    exported = export(student.artifact)
    return open_answerer(exported, fitted_policy(exported, splits))


def weak(labels: Sequence[str]) -> np.ndarray:
    """Whether rows have any weakness [N]."""
    return np.array([bool(json.loads(label)) for label in labels])


def pair_figures(test: pa.Table, score: Score, threshold: float) -> dict[str, float]:
    """Figures of held-out functions; a pair's rows are those of a commit that differ in label."""
    is_weak = weak(test["weaknesses"].to_pylist())
    scores = score(test["code"].to_pylist())
    given = scores >= threshold
    commits = np.array(test["commit"].to_pylist())
    wins: list[float] = []
    for commit in np.unique(commits):
        before = scores[(commits == commit) & is_weak]
        after = scores[(commits == commit) & ~is_weak]
        wins += [float(b > a) + 0.5 * float(b == a) for b in before for a in after]
    hits = float((given & is_weak).sum())
    return {
        "f1": 2 * hits / max(float(given.sum() + is_weak.sum()), 1.0),
        "accuracy": float((given == is_weak).mean()),
        "pair order": float(np.mean(wins)),
        "pairs": len(wins),
    }


def sven(asked: argparse.Namespace, home: str, storage: str) -> tuple[dict[str, Any], Any]:
    """Figures on held-out commits, and the model."""
    dataset = DATASETS["sven"]
    table = short_pairs(f"{home}/technology/sven", asked.characters)
    info = DatasetInfo(name="sven", licences=(dataset.licence,))
    corpus = open_corpus(TASK, table, storage=storage, roles=dataset.roles, info=info)
    splits = split(TASK, corpus, storage)
    train, held, test = (splits.table(p) for p in ("train", "calibration", "test"))
    scores: dict[str, tuple[Score, float]] = {}
    for name, vectors in VECTORS.items():
        codes = train["code"].to_pylist()
        scores[name] = (
            regression(vectors(), codes, weak(train["weaknesses"].to_pylist())),
            0.5,
        )
    answerer = None
    if not asked.without_model:
        answerer = trained(splits, asked, storage)
        score = of_model(answerer)
        values, is_weak = score(held["code"].to_pylist()), weak(held["weaknesses"].to_pylist())
        cuts = np.unique(values)
        best = max(cuts, key=lambda cut: ((values >= cut) == is_weak).mean())
        scores["model"] = (score, float(best))
    found: dict[str, Any] = {n: pair_figures(test, s, cut) for n, (s, cut) in scores.items()}
    found["rows"] = dict(splits.num_rows)
    if answerer is not None:
        of = answerer.outcomes(test, splits.label, group="commit")
        metrics = HEADS[TASK.head].metrics
        found["model by CWE"] = {name: metric(of) for name, metric in metrics.items()}
    return found, answerer


def owasp(home: str, answerer: Answerer | None) -> dict[str, dict[str, float]]:
    """The area under the curve within each category, which nothing was learned from."""
    table = read_owasp(f"{home}/technology/owasp-benchmark-java")
    codes = np.array(table["code"].to_pylist(), dtype=object)
    is_weak = weak(table["weaknesses"].to_pylist())
    categories = np.array(table["category"].to_pylist())
    found: dict[str, dict[str, float]] = {}
    of_sven = None if answerer is None else of_model(answerer)(codes.tolist())
    for category in np.unique(categories).tolist():
        out = categories == category
        for name, vectors in VECTORS.items():
            score = regression(vectors(), codes[~out].tolist(), is_weak[~out])
            area = roc_auc_score(is_weak[out], score(codes[out].tolist()))
            found.setdefault(name, {})[category] = float(area)
        if of_sven is not None:
            area = roc_auc_score(is_weak[out], of_sven[out])
            found.setdefault("model of sven", {})[category] = float(area)
    for areas in found.values():
        areas["mean"] = float(np.mean(list(areas.values())))
    return found


def ranked(code: str, judgement: Labels) -> list[int]:
    """All lines, those with evidence for the likeliest weakness first; counted from 0."""
    first = [line["line"] - 1 for line in lines_of(code, judgement.scores[0])]
    return [*first, *(n for n in range(len(code.split("\n"))) if n not in first)]


def bigvul(home: str, answerer: Answerer | None, limit: int) -> dict[str, Any]:
    """How early a flawed line comes in each order of a function's lines."""
    place = f"{home}/technology/bigvul-test-vulnerable-lines/static_analysis_data.csv.gz"
    csv.field_size_limit(sys.maxsize)
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(read_bytes(place)).decode())))[:limit]
    orders: dict[str, Callable[[str], list[int]]] = {
        "as they stand": lambda code: list(range(len(code.split("\n")))),
        "long lines first": lambda code: np.argsort(
            [-len(line) for line in code.split("\n")], kind="stable"
        ).tolist(),
    }
    if answerer is not None:
        orders["model"] = lambda code: ranked(code, answerer.judge({"code": code}))  # pyright: ignore
    found: dict[str, Any] = {"functions": 0}
    places: dict[str, list[int]] = {name: [] for name in orders}
    for row in rows:
        flawed = set(json.loads(row["flaw_line_indices"]))
        code = row["source"]
        if not flawed or max(flawed) >= len(code.split("\n")):
            continue
        found["functions"] += 1
        for name, order in orders.items():
            lines = order(code)
            places[name].append(min(lines.index(line) for line in flawed))
    for name, ranks in places.items():
        top = float(np.mean(np.array(ranks) < 10))
        found[name] = {"top-10": top, "IFA, median": float(np.median(ranks))}
    return found


def main() -> None:
    """Train, judge three data sets, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--functions", type=int, default=628, help="of BigVul")
    parser.add_argument("--without-model", action="store_true", help="n-grams alone")
    asked = parser.parse_args()
    home, storage = as_uri(load_settings().data_home), protocol.bench_storage("code")
    with protocol.local_session(storage):
        of_pairs, answerer = sven(asked, home, storage)
        protocol.say(f"sven: {of_pairs}")
    of_lines = bigvul(home, answerer, asked.functions)
    protocol.say(f"bigvul: {of_lines}")
    of_cases = owasp(home, answerer)
    config = vars(asked)
    content = {"config": config, "sven": of_pairs, "owasp": of_cases, "bigvul": of_lines}
    protocol.finish("code", content)


if __name__ == "__main__":
    main()
