"""An exchange's rules where nobody states them: steps as fine as the candles' own numbers, so that none is rounded."""

from decimal import Decimal

import numpy as np

from bot.core.market import Floats, Instrument, Integers, Panel

DECIMALS_MAX = 8
QUANTITY_MAX = Decimal(9_000_000_000)
NOTIONAL_MIN = Decimal(5)  # in the quote coin, as Binance has it for most pairs against USDT
CHUNK = 8_192
ROWS_SEEN = 20_000


def decimals_of(*fields: Floats) -> Integers:
    """The fewest decimals [N], at most 8, that write every number of the columns [T, N] without loss."""
    found = np.zeros(fields[0].shape[1], dtype=np.int64)
    for field in fields:
        for first in range(0, len(field), CHUNK):
            _widen(found, np.nan_to_num(field[first : first + CHUNK], posinf=0.0, neginf=0.0))
    return found


def _widen(found: Integers, values: Floats) -> None:
    """Raises the decimals [N] until they write these rows [T, N] too."""
    open_at = np.flatnonzero(found < DECIMALS_MAX)
    while len(open_at):
        scaled = values[:, open_at] * 10.0 ** found[open_at]
        smallest = 10.0 ** (found[open_at] - DECIMALS_MAX).astype(np.float64)  # what the last decimal would show
        lost = (np.abs(scaled - np.rint(scaled)) > smallest / 2 + 1e-15 * np.abs(scaled)).any(axis=0)
        open_at = open_at[lost]
        found[open_at] += 1
        open_at = open_at[found[open_at] < DECIMALS_MAX]


def instruments_of(panel: Panel) -> tuple[Instrument, ...]:
    """What may be ordered of each symbol: on the steps of its candles, for at least NOTIONAL_MIN.

    Some ROWS_SEEN rows, evenly spread, tell the steps: years of candles would tell the same, only later.
    """
    some = slice(None, None, max(1, len(panel) // ROWS_SEEN))
    prices = decimals_of(panel.open[some], panel.high[some], panel.low[some], panel.close[some])
    volumes = decimals_of(panel.volume[some])
    return tuple(
        Instrument(symbol, _step(price), _step(volume), _step(volume), QUANTITY_MAX, NOTIONAL_MIN)
        for symbol, price, volume in zip(panel.symbols, prices.tolist(), volumes.tolist(), strict=True)
    )


def _step(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)
