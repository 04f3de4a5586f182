"""What positions earn on held-out moments, before and after what it costs to come and go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.market_rows import DIRECTIONS, MOVE, mean_move_bps

NUM_RESAMPLES = 1000
BLOCK_US = 86_400_000_000  # a day: moves that overlap are drawn together
NUM_BLOCKS = 20  # where no row says when it was, or all are of one day
Array = NDArray[np.float64]
Blocks = NDArray[np.int64]


def takings(table: pa.Table, probabilities: Array) -> dict[str, Any]:
    """What is left of the moves of a table's rows [N] where probabilities [N, 3] say to trade.

    A position of one unit is taken where the expected move is larger than the spread and two fees,
    as `decide` has it, held for the horizon, and moves nothing. {} where the table has no moves.
    """
    if MOVE not in table.column_names:
        return {}
    spreads, fees, volatility = (
        numbers(table, name) for name in ("spread_bps", "fee_bps", "volatility_bps")
    )
    costs = spreads + 2.0 * fees
    tilts = probabilities[:, DIRECTIONS.index("up")] - probabilities[:, DIRECTIONS.index("down")]
    means = [
        mean_move_bps(v, s) for v, s in zip(volatility.tolist(), spreads.tolist(), strict=True)
    ]
    expected = tilts * np.array(means)
    sides = np.where(np.abs(expected) > costs, np.sign(expected), 0.0)
    return left_over(sides, numbers(table, MOVE), costs, blocks_of(table))


def left_over(sides: Array, moves: Array, costs: Array, blocks: Blocks) -> dict[str, Any]:
    """What positions of sides [N] (-1, 0, 1) earn of moves [N] at costs [N], in basis points."""
    taken = sides != 0.0
    gross = (sides * moves)[taken]
    return {
        "trades": int(taken.sum()),
        "share_of_moments": float(taken.mean()),
        "gross_bps_a_trade": interval(gross, blocks[taken]),
        "net_bps_a_trade": interval(gross - costs[taken], blocks[taken]),
        "net_bps_in_all": float((gross - costs[taken]).sum()),
    }


def interval(values: Array, blocks: Blocks) -> dict[str, float]:
    """The mean of values [N] with its 95 % interval, whole blocks [N] resampled; {} of none."""
    if not len(values):
        return {}
    names, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, values, len(names))
    counts = np.bincount(places, minlength=len(names))
    drawn = np.random.default_rng(0).integers(0, len(names), (NUM_RESAMPLES, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def blocks_of(table: pa.Table) -> Blocks:
    """The day of each row [N]; where there are no two, as many stretches of equal size."""
    if "time" in table.column_names:
        micros = table["time"].cast(pa.timestamp("us")).cast(pa.int64()).combine_chunks()
        days = np.asarray(micros.fill_null(0)) // BLOCK_US
        if len(np.unique(days)) > 1:
            return days
    return np.arange(table.num_rows) * NUM_BLOCKS // max(table.num_rows, 1)


def numbers(table: pa.Table, name: str) -> Array:
    """A column [N], 0 where it is missing."""
    return np.asarray(table[name].combine_chunks().fill_null(0.0), np.float64)
