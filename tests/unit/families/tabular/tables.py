"""Random tables of any shape, and networks of random weights over them."""

import numpy as np
import torch

from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.network import table_facts, table_network
from spt_core.signature import Field, Signature

CONFIG = TabularConfig(
    num_bins=6, student_hidden=(12, 6), teacher_members=3, teacher_width=8, teacher_dropout=0.0
)


def signature(num_numbers, sizes=()):
    """Numbers n0, n1, ... and categories c0, c1, ... of that many values each."""
    numbers = [Field(name=f"n{i}", kind="number", required=False) for i in range(num_numbers)]
    categories = [
        Field(name=f"c{i}", kind="category", categories=tuple(f"v{v}" for v in range(size)))
        for i, size in enumerate(sizes)
    ]
    return Signature(fields=(*numbers, *categories))


def rows(signed, num_rows=64, seed=0):
    """Encoded rows with missing numbers, unseen categories, and a row of nothing known."""
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(num_rows, len(signed.numbers))) * 2
    numbers[draw.random(numbers.shape) < 0.2] = np.nan
    indices = [draw.integers(0, size, num_rows) for size in signed.cardinalities]
    made = np.column_stack([numbers, *indices]).astype(np.float32)
    made[0, : len(signed.numbers)] = np.nan
    made[0, len(signed.numbers) :] = 0
    return made


def labels(num_rows=64):
    return (np.arange(num_rows) % 2).astype(np.float32)


def network(signed, role="student", config=CONFIG, seed=0):
    torch.manual_seed(seed)
    sample = rows(signed, 64, seed=9)
    facts = table_facts(signed, config, sample, labels())
    return table_network(signed, role, config, facts).eval()


def student(signed, config=CONFIG, seed=0):
    """A student far from its initial state: wide weights, a calibration and a baseline."""
    made = network(signed, "student", config, seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made.calibrate((1.3, 0.6, -0.4))
    made.set_baseline(torch.from_numpy(rows(signed, 200, seed=5)))
    return made
