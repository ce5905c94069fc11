"""What the Binance codec costs: frames a second on one core, sanity checks included.

    python -m benchmarks.codec [--frames 200000] [--json]

Beside each row stands json.loads of the same frames in the same run, which checks nothing and makes no values.
The kline mix is what 111 coins send: 29 forming frames to one closing frame.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.tables import Row, table
from bot.core.market import MINUTE_MS, compact
from bot.exchanges.binance import Codec

COINS = 111
PER_CLOSE = 30
ROUNDS = 5
START_MS = 1_700_000_040_000
SYMBOLS = tuple(f"COIN{at}/USDT" for at in range(COINS))


def kline(number: int) -> bytes:
    """One combined kline frame as the documentation shows it."""
    name, closed = compact(SYMBOLS[number % COINS]), number % PER_CLOSE == 0
    open_ms, price = START_MS + MINUTE_MS * (number // COINS), f"{100 + number % 977 / 100:.8f}"
    values = {"t": open_ms, "T": open_ms + MINUTE_MS - 1, "s": name, "i": "1m", "f": 19862761, "L": 19862790}
    values |= {"o": price, "c": price, "h": price, "l": price, "v": "25877.00000000", "n": 30, "x": closed}
    values |= {"q": "9116.04600000", "V": "58.00000000", "Q": "20.46240000", "B": "0"}
    data = {"e": "kline", "E": open_ms + 1_963, "s": name, "k": values}
    return json.dumps({"stream": f"{name.lower()}@kline_1m", "data": data}, separators=(",", ":")).encode()


def quote(number: int) -> bytes:
    """One combined book ticker frame."""
    name = compact(SYMBOLS[number % COINS])
    values = {"u": 400900217 + number, "s": name, "b": "25.35190000", "B": "31.21", "a": "25.36520000", "A": "40.66"}
    return json.dumps({"stream": f"{name.lower()}@bookTicker", "data": values}, separators=(",", ":")).encode()


def rate(read: Callable[[bytes], Any], frames: Sequence[bytes]) -> float:
    """Frames a second, the best of a few rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for frame in frames:
            read(frame)
        best = max(best, len(frames) / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description="what the codec costs")
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    codec = Codec(SYMBOLS, "1m")
    rows: list[Row] = []
    for name, make in (("klines", kline), ("book tickers", quote)):
        frames = [make(number) for number in range(arguments.frames)]
        ours, plain = rate(codec.decode, frames), rate(json.loads, frames)
        rows.append(
            {
                "frames": name,
                "codec_per_s": round(ours),
                "json_per_s": round(plain),
                "ratio": round(ours / plain, 1),
                "codec_us": round(1e6 / ours, 2),
            }
        )
    print(json.dumps(rows) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
