"""Coins whose candles end before the replay does: delisted, halted, or lost by whoever kept the candles.

A coin has ended when it has no candle in the last slice. The curve of equity keeps what is held of it at its last known
close, though nobody may buy it there; this says how much that is, and what the result is without it.
"""

from decimal import Decimal

import numpy as np

from backtest.result import Result
from backtest.statistics import Ended
from bot.core.market import Floats, Side


def ended(result: Result, lasts: Floats) -> Ended:
    """What is held of them at the end; `lasts` [N] are the last known closes."""
    panel = result.panel
    gone = {panel.symbols[at]: float(lasts[at]) for at in np.flatnonzero(np.isnan(panel.close[-1]))}
    held = dict.fromkeys(gone, Decimal(0))
    for fill in result.fills:
        if fill.symbol in gone:
            held[fill.symbol] += fill.quantity if fill.side is Side.BUY else -fill.quantity
            if fill.fee_asset == fill.symbol.partition("/")[0]:
                held[fill.symbol] -= fill.fee
    owned = tuple(symbol for symbol, quantity in held.items() if quantity)
    worth = sum((float(held[symbol]) * gone[symbol] for symbol in owned), 0.0)
    final = float(result.equity[-1])
    return Ended(owned, worth, worth / final if final > 0.0 else None, (final - worth) / result.capital - 1.0)
