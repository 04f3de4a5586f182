"""Does following new text pay? Train before a year, test on it and later, at seven cut-offs.

python -m tests.bench.bench_fomc [--cuts 2003,2006,...] [--mlm-steps 40]

fomc-stance (SPT_DATA_HOME): sentences of the Federal Open Market Committee, 1996 to 2022, three
stances. A retraining adds the three years before the cut-off; three ways are compared on all later
sentences: no retraining, retraining of the classifier alone, and retraining after what
`spt_core.vocabulary.growth.grown` makes of those years' text (new terms, masked-language
training; the product's default number of steps). No label of a later year is seen. Changes of
macro-F1 against no retraining, with a paired bootstrap interval over sentences. The classifier is a
logistic regression on the frozen encoder, as in `spt_core.vocabulary.probe`: what differs between
the ways is rows and text, and nothing is tuned.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spt_core.benchmark.comparison import paired
from spt_core.continuous.retraining import RetrainConfig
from spt_core.families.text.bases import find_base
from spt_core.families.text.config import DEFAULT_BASE
from spt_core.heads import HEADS
from spt_core.heads.outcomes import Outcomes, outcomes
from spt_core.task import find
from spt_core.vocabulary.growth import GrowthConfig, grown
from spt_core.vocabulary.probe import FrozenEncoder
from tests.bench.results import finish

CUTS = (2003, 2006, 2009, 2012, 2015, 2018, 2020)
WINDOW = 3  # years that a retraining adds
CLASSES = ("0", "1", "2")
TASK = find("financial_services/regulatory_compliance")
NUM_RESAMPLES = 1000
PRODUCT = RetrainConfig()


class Rows(NamedTuple):
    """Sentences [N] with their year and stance, and their states [N, H] from the base."""

    texts: list[str]
    years: NDArray[np.int64]
    labels: NDArray[np.str_]
    states: NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each cut-off, then all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", default=",".join(map(str, CUTS)))
    parser.add_argument("--mlm-steps", type=int, default=PRODUCT.mlm_steps)
    parser.add_argument("--base", default=DEFAULT_BASE)
    args = parser.parse_args(arguments)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as storage:
        rows = read(args.base, storage)
        for cut in map(int, args.cuts.split(",")):
            lines.append(at(rows, cut, args.base, storage, args.mlm_steps))
            print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201
    ways = {
        way: float(np.mean([line[way]["difference"]["value"] for line in lines]))
        for way in ("classifier_only", "with_text")
    }
    finish("fomc", {"cuts": lines, "mean_change": ways, "mlm_steps": args.mlm_steps})


def read(base: str, storage: str) -> Rows:
    """All sentences, oldest first."""
    home = os.environ.get("SPT_DATA_HOME")
    if home is None:
        raise SystemExit("SPT_DATA_HOME must name the folder of public data sets")
    (path,) = Path(home).rglob("fomc-stance/*train*.csv")
    with path.open() as stream:
        found = sorted(csv.DictReader(stream), key=lambda row: int(row["year"]))
    texts = [row["sentence"] for row in found]
    return Rows(
        texts,
        np.array([int(row["year"]) for row in found]),
        np.array([row["label"] for row in found]),
        FrozenEncoder(find_base(base, storage)).states(texts),
    )


def at(rows: Rows, cut: int, base: str, storage: str, mlm_steps: int) -> dict[str, Any]:
    """The three ways at one cut-off."""
    old, known, later = rows.years < cut - WINDOW, rows.years < cut, rows.years >= cut
    new = known & ~old
    made = grown(
        base,
        [rows.texts[i] for i in np.flatnonzero(new)],
        [rows.texts[i] for i in np.flatnonzero(old)],
        task=TASK,
        config=GrowthConfig(
            max_new_tokens=PRODUCT.max_new_tokens,
            min_term_uses=PRODUCT.min_term_uses,
            mlm_steps=mlm_steps,
        ),
        storage=storage,
    )
    followed = FrozenEncoder(find_base(made.base, storage)).states(rows.texts)
    stale = judged(rows, rows.states, old, later)
    ways = {
        "classifier_only": judged(rows, rows.states, known, later),
        "with_text": judged(rows, followed, known, later),
        "text_only": judged(rows, followed, old, later),
    }
    metric = HEADS["single_label"].metrics["macro_f1"]
    return {
        "cut": cut,
        "num_old": int(old.sum()),
        "num_new": int(new.sum()),
        "num_test": int(later.sum()),
        "new_terms": list(made.added),
        "no_retraining": metric(stale),
        **{
            way: paired(metric, stale, after, num_resamples=NUM_RESAMPLES)
            for way, after in ways.items()
        },
    }


def judged(
    rows: Rows, states: NDArray[np.float32], train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> Outcomes:
    """What a classifier trained on some rows says of others."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.05, max_iter=500, class_weight="balanced")
    )
    model.fit(states[train], rows.labels[train])
    probabilities = model.predict_proba(states[test])
    true = np.eye(len(CLASSES))[[CLASSES.index(label) for label in rows.labels[test]]]
    return outcomes(CLASSES, true, probabilities, np.eye(len(CLASSES))[probabilities.argmax(1)])


if __name__ == "__main__":
    main()
