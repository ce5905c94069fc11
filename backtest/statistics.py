"""What is said of a replay: every figure, once, with its unit. `measure.py` fills these in; `as_dict` is the results file.

Shares   returns, drawdowns, exposures and rates are shares (0.05 is five per cent); drawdowns are positive.
Money    quote asset, floats. Times and lengths are milliseconds. Prices, fees and slippage as they were filled.
A year   is 365 days of 24 hours: 525,600 minutes (spec 8.2). Sharpe and Sortino ratios are annual, risk-free rate 0.
None     where a figure has no meaning (no trades, a flat curve, one slice, a ruined account); never NaN or infinite.
"""

import msgspec
from msgspec import Struct

from bot.core.market import DAY_MS, Floats

SECOND_MS = 1_000
YEAR_MS = 365 * DAY_MS


class Ended(Struct, frozen=True):
    """What of the final equity stands in coins that have no candle in the last slice, at their last known closes.

    `worth` is money, `share` of the final equity (None of an account without any), `total_return_at_zero` the replay's
    if these coins are worth nothing: one that is traded no more can seldom be sold at its last price.
    """

    symbols: tuple[str, ...]
    worth: float
    share: float | None
    total_return_at_zero: float


class Drawdown(Struct, frozen=True):
    """The deepest fall of a curve from its peak, and how long the curve stood below a peak.

    `depth` share of the peak lost; `peak_ms`, `trough_ms` and `recovered_ms` (None: not yet) are the closes it began,
    ended and was made good at; `length_ms` from the peak to the recovery or the end; `longest_ms` the longest time below
    any peak; `underwater` the share of slices below one.
    """

    depth: float
    peak_ms: int
    trough_ms: int
    recovered_ms: int | None
    length_ms: int
    longest_ms: int
    underwater: float


class Performance(Struct, frozen=True):
    """What a curve of equity earned and how unevenly, from its returns slice by slice. `curve.py` has the formulas."""

    final_equity: float
    total_return: float
    annual_return: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    drawdown: Drawdown


class Trip(Struct, frozen=True):
    """A round trip of one coin, from flat to flat. `trips.py` says what flat is and how it is counted.

    `entry` and `exit` are average prices before fees (`exit` is the mark where the trip is still open); `stake` is the money
    paid for coins, `fees` both sides, `slippage` against the closes the decisions saw; `profit` after all fees.
    `reason` and `exit_reason` are those of the first and the last order.
    """

    symbol: str
    entered_ms: int
    exited_ms: int
    closed: bool
    quantity: float
    entry: float
    exit: float
    stake: float
    fees: float
    slippage: float
    profit: float
    reason: str
    exit_reason: str

    @property
    def gain(self) -> float | None:
        """Profit as a share of the stake."""
        return self.profit / self.stake if self.stake else None

    @property
    def holding_ms(self) -> int:
        return self.exited_ms - self.entered_ms


class RoundTrips(Struct, frozen=True):
    """Closed round trips together; a trip wins when its profit after fees is above zero (spec 8.4).

    `profit_factor` money won over money lost (None without a loss), `expectancy` mean profit of a trip, `gain` its mean
    as a share of the stake, `open` trips not over at the end (not counted in anything else here).
    """

    count: int
    open: int
    wins: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    gain: float | None
    best: float | None
    worst: float | None
    holding_ms: float | None


class Costs(Struct, frozen=True):
    """What trading cost. `traded` is the value of all fills, `turnover` that over mean equity, also for a year.

    `slippage` is what fills were worse (better: negative) than the close their decision saw. `break_even_fee` is the fee a
    side at which the same fills earn nothing (`trips.py`); negative where they lose even without a fee.
    """

    fee: float
    fees: float
    slippage: float
    traded: float
    turnover: float | None
    turnover_annual: float | None
    break_even_fee: float | None


class Coin(Struct, frozen=True):
    """One coin's part. `profit` is realised and marked, after fees: summed over coins it is final equity - capital.

    `hold_return` is the coin's own, from its first to its last known close; `holding_ms` the mean of closed trips.
    """

    symbol: str
    fills: int
    trips: int
    wins: int
    win_rate: float | None
    profit: float
    fees: float
    slippage: float
    traded: float
    holding_ms: float | None
    hold_return: float | None


class Month(Struct, frozen=True):
    """A calendar month (UTC), or the part of it that was played, from the last close before it to its last close."""

    year: int
    month: int
    total_return: float | None
    hold_return: float | None
    fills: int
    fees: float


class Interval(Struct, frozen=True):
    """The middle `level` of the bootstrap's draws."""

    low: float
    high: float
    level: float = 0.9


class Luck(Struct, frozen=True):
    """How much of it may be chance. `luck.py` has the formulas and sources.

    Minutes are autocorrelated, so inference is on returns of whole `basis`-long periods ("day", "hour" or "slice"), of which
    there are `observations`; `sharpe` is annual on that basis. `probabilistic_sharpe` is the probability that the true ratio
    is above 0, `deflated_sharpe` that it is above `sharpe_by_chance`, the best of `trials` worthless ones. The intervals
    are from a stationary bootstrap of `draws` draws with blocks of `block` periods on average; `versus_hold` is of the
    difference in total return.
    """

    basis: str
    observations: int
    sharpe: float | None
    skewness: float | None
    kurtosis: float | None
    trials: int
    sharpe_by_chance: float | None
    probabilistic_sharpe: float | None
    deflated_sharpe: float | None
    block: float | None
    draws: int
    total_return: Interval | None
    annual_return: Interval | None
    sharpe_interval: Interval | None
    versus_hold: Interval | None


class Hold(Struct, frozen=True, eq=False):
    """Buy and hold of the same universe; `equity` [T] is its curve. `baselines.py` says how it is bought."""

    coins: int
    performance: Performance
    equity: Floats


class RandomEntries(Struct, frozen=True):
    """The same trips at random times, at the same costs: total returns of `draws` draws, their mean and 5 to 95 % band.

    `better` is the share of draws that earned more than the replay did.
    """

    draws: int
    mean: float
    low: float
    high: float
    better: float


class Statistics(Struct, frozen=True, eq=False):
    """All that is said of one replay. `seconds` is the replay's own time, `candles` how many there were to see.

    `hold` is None where no coin had a price at the first slice, `random_entries` None without a trip. `drawdown` [T] is the
    share below the peak at each slice, for the report. `months` are oldest first, `coins` in universe order, `trips` by entry.
    """

    name: str
    candles: int
    slices: int
    first_ms: int
    last_ms: int
    seconds: float
    orders: int
    fills: int
    capital: float
    exposure: float
    performance: Performance
    ended: Ended
    round_trips: RoundTrips
    costs: Costs
    luck: Luck
    hold: Hold | None
    random_entries: RandomEntries | None
    coins: tuple[Coin, ...]
    months: tuple[Month, ...]
    trips: tuple[Trip, ...]
    drawdown: Floats
    verdict: str
    settings: dict[str, object]
    digest: str


def as_dict(statistics: Statistics) -> dict[str, object]:
    """The results file: the keys of spec 9 and everything else, without the curves and the single trips."""
    found = statistics
    performance = _plain(found.performance)
    luck = _plain(found.luck)
    hold = None if found.hold is None else {"coins": found.hold.coins} | _plain(found.hold.performance)
    return {
        "strategy": found.name,
        "candles": found.candles,
        "slices": found.slices,
        "first_ms": found.first_ms,
        "last_ms": found.last_ms,
        "seconds": found.seconds,
        "candles_per_second": found.candles / found.seconds if found.seconds > 0 else None,
        "orders": found.orders,
        "fills": found.fills,
        "round_trips": found.round_trips.count,
        "capital": found.capital,
        "exposure": found.exposure,
        **performance,
        "ended": _plain(found.ended),
        "max_drawdown": found.performance.drawdown.depth,
        **_plain(found.costs),
        "trips": _plain(found.round_trips),
        "probabilistic_sharpe": found.luck.probabilistic_sharpe,
        "deflated_sharpe": found.luck.deflated_sharpe,
        "luck": luck,
        "hold": hold,
        "random_entries": None if found.random_entries is None else _plain(found.random_entries),
        "coins": [_plain(coin) for coin in found.coins],
        "months": [_plain(month) for month in found.months],
        "verdict": found.verdict,
        "settings": found.settings,
        "digest": found.digest,
    }


def _plain(value: Struct) -> dict[str, object]:
    made: dict[str, object] = msgspec.to_builtins(value)
    return made
