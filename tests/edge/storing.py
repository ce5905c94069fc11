"""A candle store's candles for tests, and a process that fills a store page by page, to be killed."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from bot.core.market import MINUTE_MS, Floats
from bot.edge.candle_store import Block, CandleStore, Series

SERIES = Series("binance", "1m", "BTC/USDT")
START_MS = 1_706_659_200_000  # 2024-01-31 00:00 UTC: a month ends a day later
PAGE = 400
MINUTES = 2 * 1440


def block(minutes: list[int] | range, salt: float = 0.0) -> Block:
    """Sane candles in these minutes after START_MS; the salt makes another version of them."""
    at = np.array(list(minutes), dtype=np.int64)
    close: Floats = 100 + np.sin(at.astype(np.float64)) + salt
    trades = at % 7  # some minutes without a trade
    volume: Floats = trades * np.float64(1.5)
    return Block(START_MS + at * MINUTE_MS, close, close * 1.01, close * 0.99, close, volume, volume * close, trades)


def fill(folder: Path) -> None:
    """Fetches what is missing, page by page. Every 50th minute has no candle, the exchange's own gap."""
    stop_ms = START_MS + MINUTES * MINUTE_MS
    with CandleStore(folder) as store:
        while missing := store.missing(SERIES, START_MS, stop_ms):
            start_ms, end_ms = missing[0][0], min(missing[0][1], missing[0][0] + PAGE * MINUTE_MS)
            first, last = (start_ms - START_MS) // MINUTE_MS, (end_ms - START_MS) // MINUTE_MS
            store.put(SERIES, block([minute for minute in range(first, last) if minute % 50]))
            store.mark_fetched(SERIES, start_ms, end_ms)


def die_at(rename: int) -> None:
    """From here on this process kills itself at its n-th rename: before it where n is odd, else after it."""
    plain = Path.replace
    left = [rename]

    def replace(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0 and rename % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        done = plain(path, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = replace  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    die_at(int(sys.argv[2]))
    fill(Path(sys.argv[1]))
