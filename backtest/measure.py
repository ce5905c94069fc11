"""A replay's figures: each part from the file that defines it, put together once.

Order  fills → deals → round trips → coins and months; equity → performance; both → baselines, luck, and the verdict.
Chance comes from the generator that is given: the same result, trials and seed give the same figures.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backtest.baselines import hold, known_closes, random_entries
from backtest.curve import below_peak, performance
from backtest.ended import ended
from backtest.luck import basis_of, luck, sharpe_of
from backtest.result import Result
from backtest.statistics import Hold, Month, Statistics
from backtest.trials import Trial, Trials
from backtest.trips import Deal, coins, costs, deals_of, round_trips, trips_of
from backtest.verdict import held_back, verdict
from bot.core.market import Floats, Integers, Panel


def judged(result: Result, data: str, trials: Trials, now_ms: int, rng: np.random.Generator) -> Statistics:
    """The figures of a result on the history with the hash `data`, which becomes a trial in the ledger."""
    trial = trial_of(result, data, now_ms)
    trials.add(trial)
    return measure(result, trials.others(trial), rng)


def trial_of(result: Result, data: str, now_ms: int) -> Trial:
    """The result as a trial of its strategy family."""
    open_ms, interval_ms = result.panel.open_ms, result.panel.interval_ms
    length = basis_of(open_ms, interval_ms)[1]
    observations = int(open_ms[-1] - open_ms[0]) // length
    ratio = sharpe_of(result.equity, open_ms, interval_ms)
    return Trial(result.name, data, result.settings, ratio, observations, result.digest, now_ms)


def measure(result: Result, others: Sequence[float | None], rng: np.random.Generator) -> Statistics:
    """All figures of a replay of one slice or more, given the Sharpe ratios of the other trials (`Trials.others`)."""
    panel = result.panel
    deals = deals_of(result)
    firsts, lasts = known_closes(panel)
    trips = trips_of(deals, panel, lasts)
    together, spent = round_trips(trips), costs(result, deals)
    earned = performance(result.equity, result.capital, panel.open_ms, panel.interval_ms)
    gone = ended(result, lasts)
    held = hold(panel, result.capital, result.fee)
    side = (spent.fees + sum(deal.execution for deal in deals)) / spent.traded if spent.traded else 0.0
    entries = random_entries(panel, trips, result.capital, side, earned.total_return, rng)
    curve = held.equity if held else None
    chance = luck(result.equity, curve, panel.open_ms, panel.interval_ms, others, rng)
    span_ms = int(panel.open_ms[-1] - panel.open_ms[0])
    return Statistics(
        name=result.name,
        candles=_candles(panel),
        slices=len(panel),
        first_ms=int(panel.open_ms[0]),
        last_ms=int(panel.open_ms[-1]),
        seconds=result.seconds,
        orders=len(result.orders),
        fills=len(result.fills),
        capital=result.capital,
        exposure=float(result.exposure.mean()),
        performance=earned,
        ended=gone,
        round_trips=together,
        costs=spent,
        luck=chance,
        hold=held,
        random_entries=entries,
        coins=coins(deals, trips, panel, firsts, lasts),
        months=months(result, held, deals),
        trips=trips,
        drawdown=below_peak(result.equity),
        verdict=verdict(earned, gone, together, spent, chance, held, entries, span_ms) + held_back(result.notes),
        settings=result.settings,
        digest=result.digest,
    )


def _candles(panel: Panel) -> int:
    return panel.close.size - int(np.count_nonzero(np.isnan(panel.close)))


def months(result: Result, held: Hold | None, deals: list[Deal]) -> tuple[Month, ...]:
    """Every calendar month that a slice opened in, oldest first, with the fills and fees of its time."""
    panel = result.panel
    month = _month_of(panel.open_ms)
    ends = np.append(np.flatnonzero(np.diff(month)), len(month) - 1)
    numbers = month[ends]
    mine = _over(result.equity, ends)
    holds = _over(held.equity, ends) if held else [None] * len(ends)
    fees = np.zeros(len(ends))
    fills = np.zeros(len(ends), dtype=np.int64)
    at = np.searchsorted(numbers, _month_of(np.array([deal.time_ms for deal in deals], dtype=np.int64)))
    at = np.minimum(at, len(ends) - 1)  # a fill after the last slice belongs to the last month
    np.add.at(fees, at, [deal.fee for deal in deals])
    np.add.at(fills, at, 1)
    return tuple(
        Month(1970 + number // 12, number % 12 + 1, own, other, int(count), float(fee))
        for number, own, other, count, fee in zip(numbers.tolist(), mine, holds, fills, fees, strict=True)
    )


def _month_of(times_ms: Integers) -> Integers:
    """Months since January 1970 of times in milliseconds UTC."""
    months: Integers = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return months


def _over(equity: Floats, ends: Integers) -> list[float | None]:
    """The return up to each end from the one before it, from the first value to the first end."""
    values = equity[np.append(0, ends)]
    return [float(b / a - 1.0) if a > 0.0 else None for a, b in pairwise(values)]
