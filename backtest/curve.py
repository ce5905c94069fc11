"""What a curve of equity earned: returns, their spread, ratios of the two, drawdowns, the same curve on longer periods.

Shapes   equity [T] at the closes of slices opened at open_ms [T], T at least 1; it begins with the capital or what it bought.
Returns  r_t = equity_t / equity_{t-1} - 1, T - 1 of them, simple. A hole in the times counts as one step.
Annual   sqrt(year / interval) for spreads and ratios; (1 + total)^(year / span) - 1 for the return, the span from the first
         close to the last.
Sources  Sharpe, "The Sharpe Ratio", 1994: mean / deviation (n - 1), benchmark 0. Sortino and van der Meer, 1991: mean /
         root mean square of min(r, 0) over all n. Young, 1991 (Calmar): annual return / maximum drawdown.
"""

import numpy as np

from backtest.statistics import YEAR_MS, Drawdown, Performance
from bot.core.market import Floats, Integers

FLAT = 1e-14  # a deviation below this is rounding: equity near 1 has steps of 2e-16


def performance(equity: Floats, capital: float, open_ms: Integers, interval_ms: int) -> Performance:
    """All figures of a curve that `capital` paid for."""
    final = float(equity[-1])
    total = final / capital - 1.0
    span_ms = int(open_ms[-1] - open_ms[0])
    yearly = annual_return(total, span_ms)
    fall = drawdown(equity, open_ms + interval_ms)
    returns = returns_of(equity)
    periods = YEAR_MS / interval_ms
    return Performance(
        final_equity=final,
        total_return=total,
        annual_return=yearly,
        volatility=volatility(returns, periods),
        sharpe=sharpe(returns, periods),
        sortino=sortino(returns, periods),
        calmar=None if yearly is None or not fall.depth else yearly / fall.depth,
        drawdown=fall,
    )


def returns_of(equity: Floats) -> Floats:
    """Simple returns [T - 1]; none at all of an account that was ruined, whose ratios mean nothing."""
    if np.any(equity <= 0.0):
        return np.empty(0)
    returns: Floats = equity[1:] / equity[:-1] - 1.0
    return returns


def annual_return(total: float, span_ms: float) -> float | None:
    """The total return as a rate a year, compounded; None without a span or beyond what a float holds."""
    if span_ms <= 0:
        return None
    with np.errstate(over="ignore"):
        rate = float(np.float64(max(1.0 + total, 0.0)) ** (YEAR_MS / span_ms)) - 1.0
    return rate if np.isfinite(rate) else None


def volatility(returns: Floats, periods: float) -> float | None:
    """Standard deviation (n - 1) of the returns, annual."""
    return float(returns.std(ddof=1) * np.sqrt(periods)) if len(returns) > 1 else None


def sharpe(returns: Floats, periods: float) -> float | None:
    """Mean over standard deviation, annual; None where nothing moved."""
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / spread * np.sqrt(periods)) if spread > FLAT else None


def sortino(returns: Floats, periods: float) -> float | None:
    """Mean over the root mean square of losses, annual; None without a loss."""
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)) if len(returns) > 1 else 0.0
    return float(returns.mean() / downside * np.sqrt(periods)) if downside > FLAT else None


def below_peak(equity: Floats) -> Floats:
    """Share of the highest value so far that is lost, at each slice [T]."""
    peak = np.maximum.accumulate(equity)
    below: Floats = np.zeros_like(equity)
    np.divide(peak - equity, peak, out=below, where=peak > 0.0)
    return below


def drawdown(equity: Floats, close_ms: Integers) -> Drawdown:
    """The deepest fall, and the longest time below a peak."""
    below = below_peak(equity)
    trough = int(np.argmax(below))
    peaks = np.flatnonzero(below <= 0.0)  # the first slice is one
    after = int(np.searchsorted(peaks, trough))
    depth = float(below[trough])
    peak = int(peaks[after - 1]) if depth > 0.0 else trough
    recovered = int(peaks[after]) if after < len(peaks) else None
    end = len(equity) - 1 if recovered is None else recovered
    edges = close_ms[np.append(peaks, len(equity) - 1)]
    lasted = np.diff(edges)[np.diff(np.append(peaks, len(equity))) > 1]
    return Drawdown(
        depth=depth,
        peak_ms=int(close_ms[peak]),
        trough_ms=int(close_ms[trough]),
        recovered_ms=None if recovered is None else int(close_ms[recovered]),
        length_ms=int(close_ms[end] - close_ms[peak]),
        longest_ms=int(lasted.max(initial=0)),
        underwater=float(np.mean(below > 0.0)),
    )


def resampled(equity: Floats, open_ms: Integers, period_ms: int) -> Floats:
    """The curve at its first slice and every `period_ms` after it; what is left at the end is dropped, a hole carries on."""
    whole = int(open_ms[-1] - open_ms[0]) // period_ms
    times = open_ms[0] + period_ms * np.arange(whole + 1)
    values: Floats = equity[np.searchsorted(open_ms, times, side="right") - 1]
    return values
