"""Small students trained in this process by the very loop that a worker runs."""

import dataclasses
import shutil

import numpy as np
import torch
from safetensors.torch import load_file

from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.network import table_facts
from spt_core.families.tabular.reading import Encoder
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import MemoryShard
from spt_core.signature import Signature

CONFIG = TrainingConfig(
    num_epochs=3,
    batch_size=32,
    learning_rate=1e-2,
    evaluation_strategy="epoch",
    network=TabularConfig(num_bins=6, student_hidden=(12, 6)),
)


class Reports:
    """Takes reports like Ray Train: keeps the metrics and copies the checkpoints."""

    def __init__(self, folder):
        self.metrics, self.folders, self._root = [], [], folder

    def __call__(self, metrics, folder):
        self.metrics.append(dict(metrics))
        if folder is not None:
            self.folders.append(self._root / str(len(self.folders)))
            shutil.copytree(folder, self.folders[-1])

    def values(self, name):
        return [metrics[name] for metrics in self.metrics if name in metrics]

    @property
    def best(self):
        """The weights that the run ends with."""
        return load_file(self.folders[-1] / BEST)


def encoded(task, num_rows, seed=0):
    """(signature, features, labels) of the task's sample with its canonical columns."""
    table = task.sample(num_rows, seed)
    fields = [
        dataclasses.replace(field, categories=tuple(sorted(set(table[field.name].to_pylist()))))
        if field.kind == "category"
        else field
        for field in task.fields
    ]
    signature = Signature(fields=tuple(fields))
    labels = np.asarray(table[task.label], np.float32)
    return signature, Encoder(signature).table(table), labels


def shard(features, labels, *, weights=None):
    weights = np.ones(len(labels), np.float32) if weights is None else weights
    return MemoryShard((features, labels, weights.astype(np.float32)), seed=0)


def run_of(rows, config=CONFIG, role="student"):
    """The run of a network on (signature, features, labels)."""
    signature, features, labels = rows
    return TrainingRun(
        learner=LEARNER,
        signature=signature,
        role=role,
        config=config,
        facts=table_facts(signature, config.network, features, labels),
        num_rows=len(labels),
        row_bytes=row_bytes(len(signature.columns)),
        scoring_rows=SCORING_ROWS,
    )


def fitted(rows, folder, config=CONFIG, *, validation=None, resume=None, weights=None):
    """The Reports of a student's run on (signature, features, labels)."""
    _, features, labels = rows
    reports = Reports(folder)
    fit(
        run_of(rows, config),
        shard(features, labels, weights=weights),
        None if validation is None else shard(*validation),
        report=reports,
        resume=resume,
    )
    return reports


def network(rows, reports, config=CONFIG):
    """The student that a run ends with, its baseline taken from its rows."""
    made = LEARNER.network(run_of(rows, config))
    made.load_state_dict(reports.best)
    made.set_baseline(torch.from_numpy(rows[1]))
    return made.eval()
