"""Public market data: files of bars, and of an order book's stream -> labelled rows.

Fees, and the spread where bars have none, are what the notes of the data set say: the files tell
neither.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spt_core.artifacts import read_bytes
from spt_core.data.market import Bar, Event, Quote, Trade
from spt_core.data.market_rows import MarketRows, market_rows

BARS_HORIZON_S = 900.0
BARS_STEP_S = 300.0
BTC_TICK = 1.0  # USD
BTC_FEE_BPS = 7.0
BOOK_HORIZON_S = 2.0
BOOK_STEP_S = 0.1
BOOK_FEE_BPS = 10.0
SYMBOLS = ("btcusdt", "ethusdt")


def read_ohlcv(folder: str) -> pa.Table:
    """Moments of the BTC-PERP minute bars, one in five minutes, labelled 15 minutes ahead."""
    return btc_rows(folder).table


def btc_rows(folder: str) -> MarketRows:
    """The same, with the moves."""
    return market_rows(
        btc_bars(folder), horizon_s=BARS_HORIZON_S, fee_bps=BTC_FEE_BPS, step_s=BARS_STEP_S
    )


def btc_bars(folder: str) -> Iterator[Bar]:
    """The minute bars of BTC-PERP, one tick wide."""
    table = _csv(f"{folder}/btc-perp-20211231-20220201_1m.csv.gz")
    columns = (_seconds(table), *(_floats(table, name) for name in _PRICES), _floats(table, _SIZE))
    for time_s, opened, high, low, close, volume in zip(*columns, strict=True):
        yield Bar(time_s, opened, high, low, close, volume, BTC_TICK)


def read_index(folder: str) -> pa.Table:
    """Daily returns of the S&P 500 in percent, by trading day."""
    table = _csv(f"{folder}/sp500_index_daily.csv.gz")
    returns = 100.0 * np.diff(np.log(np.array(_floats(table, "close"))))
    sessions = np.array(table["date"].cast(pa.string()).to_pylist()[1:], "datetime64[D]")
    return pa.table(
        {
            "instrument": ["SP500"] * len(returns),
            "session": sessions.astype("datetime64[us]"),
            "return_pct": returns,
            "loss_pct": np.maximum(-returns, 0.0),
        }
    )


def gbpusd_rows(folder: str) -> MarketRows:
    """Moments of the GBPUSD minute bars with their own spread, a fee of 0 and no volume."""
    return market_rows(
        gbpusd_bars(folder), horizon_s=BARS_HORIZON_S, fee_bps=0.0, step_s=BARS_STEP_S
    )


def gbpusd_bars(folder: str) -> Iterator[Bar]:
    """Middle prices between the bars of bids and of asks."""
    bids, asks = (_csv(f"{folder}/gbpusd-m1-{side}-2012.csv.gz") for side in ("bid", "ask"))
    rows = bids.join(asks, "timestamp", right_suffix="_ask", join_type="inner")
    rows = rows.sort_by("timestamp")
    pairs = (zip(_floats(rows, n), _floats(rows, f"{n}_ask"), strict=True) for n in _PRICES)
    for time_s, *sides in zip(_seconds(rows), *pairs, strict=True):
        opened, high, low, close = ((bid + ask) / 2.0 for bid, ask in sides)
        bid, ask = sides[-1]
        yield Bar(time_s, opened, high, low, close, 0.0, ask - bid)


def read_binance(folder: str) -> pa.Table:
    """Moments of both order books in order of time, ten a second, labelled two seconds ahead."""
    tables = [_named(binance_rows(folder, symbol).table, symbol) for symbol in SYMBOLS]
    return pa.concat_tables(tables).sort_by("time")


def binance_rows(folder: str, symbol: str) -> MarketRows:
    """Moments of one order book, with the moves."""
    return market_rows(
        binance_events(folder, symbol),
        horizon_s=BOOK_HORIZON_S,
        fee_bps=BOOK_FEE_BPS,
        step_s=BOOK_STEP_S,
    )


def binance_events(folder: str, symbol: str) -> Iterator[Event]:
    """Best quotes and trades by the time at which they were received; depth is left out."""
    content = gzip.decompress(read_bytes(f"{folder}/spot/{symbol}_20240808.gz"))
    for line in io.BytesIO(content):
        received_ns, _, message = line.partition(b" ")
        if b'@bookTicker"' in message[:60]:
            data = json.loads(message)["data"]
            book = (float(data[key]) for key in ("b", "B", "a", "A"))
            yield Quote(int(received_ns) / 1e9, *book)
        elif b'@trade"' in message[:60]:
            data = json.loads(message)["data"]
            yield Trade(
                int(received_ns) / 1e9, float(data["p"]), float(data["q"]), is_buy=not data["m"]
            )


_PRICES = ("open", "high", "low", "close")
_SIZE = "volume"


def _named(table: pa.Table, symbol: str) -> pa.Table:
    return table.append_column("instrument", pa.array([symbol] * table.num_rows))


def _csv(uri: str) -> pa.Table:
    content = io.BytesIO(gzip.decompress(read_bytes(uri)))
    return pyarrow.csv.read_csv(content, read_options=pyarrow.csv.ReadOptions(use_threads=False))


def _seconds(table: pa.Table) -> list[float]:
    times = table["timestamp"].cast(pa.timestamp("us"))
    return pc.divide(times.cast(pa.int64()).cast(pa.float64()), 1e6).to_pylist()


def _floats(table: pa.Table, name: str) -> list[float]:
    return table[name].cast(pa.float64()).to_pylist()
