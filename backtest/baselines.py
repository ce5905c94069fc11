"""What any result stands beside: buying everything once, and the same trips at random times.

Hold    At the first slice's close the capital is spread in equal parts over the coins that have a price there, one fee is paid,
        and nothing is sold. A coin without a candle, for a while or for good, counts at its last price.
Random  Every trip keeps its coin, its stake and its holding time in slices, and moves to a random place in the life of its coin:
        trips of one coin in random order, none over another, the time to spare divided at random. It enters and leaves at
        closes, and pays `cost` a side: the fee and what fills really were worse than the open after the decision. Profits add
        up in money, so a draw may for a while invest more than there was. Trips still open pay no selling side.
"""

import numpy as np

from backtest.curve import performance
from backtest.statistics import Hold, RandomEntries, Trip
from bot.core.market import Floats, Integers, Panel

DRAWS = 1_000
DRAWS_MIN = 100
PLACES_MAX = 20_000_000  # trips times draws: a few seconds
CELLS_MAX = 1_000_000  # trips times draws of one batch: 8 MB an array
BLOCK = 4_096  # slices: a block of a hundred coins stays in the cache


def known_closes(panel: Panel) -> tuple[Floats, Floats]:
    """The first and the last known close of every coin [N]; NaN for one without any."""
    return _first_known(panel.close), _first_known(panel.close[::-1])


def _first_known(close: Floats) -> Floats:
    found: Floats = close[0].copy()
    for at in np.flatnonzero(np.isnan(found)):
        known = np.isfinite(close[:, at])
        row = int(np.argmax(known))
        found[at] = close[row, at]  # without any the first is as NaN as the rest
    return found


def hold(panel: Panel, capital: float, fee: float) -> Hold | None:
    """Buy and hold of the panel's universe; None where no coin has a price at the first slice."""
    priced = np.flatnonzero(panel.close[0] > 0.0)
    if not len(priced):
        return None
    quantity = capital / (1.0 + fee) / len(priced) / panel.close[0, priced]
    equity = _marked(panel.close, priced, quantity)
    return Hold(len(priced), performance(equity, capital, panel.open_ms, panel.interval_ms), equity)


def _marked(close: Floats, held: Integers, quantity: Floats) -> Floats:
    """The value [T] of these quantities, at the last known closes."""
    equity = np.empty(len(close))
    last = close[0, held]
    whole = len(held) == close.shape[1]
    for start in range(0, len(close), BLOCK):
        block = close[start : start + BLOCK] if whole else close[start : start + BLOCK, held]
        values = block @ quantity
        if np.isnan(values).any():
            block = _carried(block, last)
            values = block @ quantity
        equity[start : start + BLOCK] = values
        last = block[-1]
    return equity


def _carried(block: Floats, before: Floats) -> Floats:
    """Values [T, N] with every gap at the last one before it, `before` [N] ahead of the first row."""
    stacked = np.vstack([before, block])
    rows = np.where(np.isnan(stacked), 0, np.arange(len(stacked))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    carried: Floats = np.take_along_axis(stacked, rows, axis=0)[1:]
    return carried


def random_entries(
    panel: Panel, trips: tuple[Trip, ...], capital: float, cost: float, total_return: float, rng: np.random.Generator
) -> RandomEntries | None:
    """Total returns of the same trips at random times, and how many draws beat `total_return`; None without a trip."""
    if not trips:
        return None
    draws = max(DRAWS_MIN, min(DRAWS, PLACES_MAX // len(trips)))
    profits = np.zeros(draws)
    for symbol in sorted({trip.symbol for trip in trips}):
        mine = [trip for trip in trips if trip.symbol == symbol]
        profits += _at_random(panel, panel.symbols.index(symbol), mine, cost, draws, rng)
    totals = profits / capital
    low, high = np.quantile(totals, [0.05, 0.95])
    better = float(np.mean(totals > total_return))
    return RandomEntries(draws, float(totals.mean()), float(low), float(high), better)


def _life(close: Floats) -> Floats:
    """A coin's closes [T] from its first to its last, every gap at the last one before it; no price of 0 is bought at."""
    close = np.ascontiguousarray(close)
    priced = close > 0.0
    if priced.all():
        return close
    alive = np.flatnonzero(priced)
    if not len(alive):
        return close[:0]
    within = np.where(priced, close, np.nan)[alive[0] : alive[-1] + 1]
    return _carried(within[:, None], within[:1])[:, 0]


def _at_random(panel: Panel, at: int, trips: list[Trip], cost: float, draws: int, rng: np.random.Generator) -> Floats:
    """The profits [draws] of one coin's trips at random places."""
    close = _life(panel.close[:, at])
    if not len(close):
        return np.zeros(draws)
    times = np.array([(trip.entered_ms, trip.exited_ms) for trip in trips])
    rows = np.searchsorted(panel.open_ms, times, side="right")
    length = rows[:, 1] - rows[:, 0]
    stake = np.array([trip.stake for trip in trips])
    leave = np.array([1.0 - cost if trip.closed else 1.0 for trip in trips])
    free = max(len(close) - 1 - int(length.sum()), 0)
    batch = max(1, CELLS_MAX // len(trips))
    profits = []
    for start in range(0, draws, batch):
        shape = (min(batch, draws - start), len(trips))
        order = np.argsort(rng.random(shape), axis=1)
        lasted = length[order]
        entered = np.sort(rng.integers(0, free + 1, shape), axis=1) + np.cumsum(lasted, axis=1) - lasted
        left = np.minimum(entered + lasted, len(close) - 1)  # held beyond the coin's life: to its end
        change = close[left] / close[np.minimum(entered, len(close) - 1)]
        profits.append((stake[order] * (change * leave[order] - (1.0 + cost))).sum(axis=1))
    return np.concatenate(profits)
