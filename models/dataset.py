"""What models are fed with: returns as slices come, splits by time, deviations known at the time.

Shapes  T slices, oldest first; N symbols.
Causal  row t of every result uses rows up to t alone, and a scale for row t rows before t alone.
Absent  `real` [T, N] is False where there was no real return; values there are 0 and count for nothing.
"""

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Integers, Mask, Panel, returns_of

TRAIN, VALIDATION = 0.70, 0.15


class Split(Struct, frozen=True, eq=False):
    """Three stretches of one panel, in order of time, as views."""

    train: Panel
    validation: Panel
    test: Panel


def split(panel: Panel, train: float = TRAIN, validation: float = VALIDATION) -> Split:
    """The first `train` of the slices, the next `validation` of them, the rest. Never shuffled."""
    first = int(len(panel) * train)
    second = int(len(panel) * (train + validation))
    return Split(panel.rows(0, first), panel.rows(first, second), panel.rows(second, len(panel)))


class Returns(Struct, frozen=True, eq=False):
    """One-step returns [T, N] and where they are real. `follows` [T]: the slice comes right after the one before.

    `wicks` [T, N]: how far the price went beyond both closes, above minus below, as a fraction; 0 where not real or
    where only closes are known. A wick above says that the close is more likely a seller's price.
    """

    open_ms: Integers
    values: Floats
    real: Mask
    follows: Mask
    wicks: Floats

    def __len__(self) -> int:
        return len(self.open_ms)

    def rows(self, start: int, stop: int) -> "Returns":
        """Rows start to stop, as views."""
        at = slice(start, stop)
        return Returns(self.open_ms[at], self.values[at], self.real[at], self.follows[at], self.wicks[at])


class Tape:
    """Turns slices that come in pieces into the returns that the whole would give.

    It remembers the newest slice's closes: the first return of the next piece needs them. Slices not newer than
    `newest_ms` are skipped; the first slice after a hole has no real return.
    """

    def __init__(self, symbols: tuple[str, ...], interval_ms: int) -> None:
        self.symbols = symbols
        self.interval_ms = interval_ms
        self.newest_ms = 0
        self.close = np.full(len(symbols), np.nan)

    def take(self, panel: Panel) -> Returns:
        """The returns of the slices that are new. ValueError when the panel is of another universe or interval."""
        if panel.symbols != self.symbols:
            raise ValueError(
                "the panel's symbols are not the model's, in the model's order: use panel.of(model.symbols)"
            )
        if panel.interval_ms != self.interval_ms:
            raise ValueError(f"the panel's interval is {panel.interval_ms} ms, the model's is {self.interval_ms} ms")
        panel = panel.rows(int(np.searchsorted(panel.open_ms, self.newest_ms, side="right")), len(panel))
        before_ms = np.concatenate(([self.newest_ms], panel.open_ms))
        follows = np.diff(before_ms) == self.interval_ms
        close = np.vstack((self.close, panel.close))
        present = np.vstack((np.zeros((1, len(self.symbols)), dtype=np.bool_), panel.present))
        values, real = returns_of(close, present)
        real &= np.concatenate(([False], follows))[:, None]
        values[~real] = 0.0
        wicks = wicks_of(panel.high, panel.low, close, real)
        if len(panel):
            self.newest_ms = int(panel.open_ms[-1])
            self.close = panel.close[-1].copy()
        return Returns(panel.open_ms, values[1:], real[1:], follows, wicks)


def wicks_of(high: Floats, low: Floats, close: Floats, real: Mask) -> Floats:
    """The wicks [T, N] of candles [T, N]; `close` and `real` [T + 1, N] begin with the slice before them."""
    top, bottom = np.maximum(close[1:], close[:-1]), np.minimum(close[1:], close[:-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (np.maximum(high / top, 1.0) - 1.0) + (np.minimum(low / bottom, 1.0) - 1.0)
    wicks: Floats = np.where(real[1:] & np.isfinite(found), found, 0.0)
    return wicks


def returns_in(panel: Panel) -> Returns:
    """All returns of one panel."""
    return Tape(panel.symbols, panel.interval_ms).take(panel)


class Mean:
    """Exponentially weighted mean per coin, over its real values alone; their mean age is `age` slices."""

    def __init__(self, coins: int, age: float) -> None:
        self.decay = 1.0 - 1.0 / age
        self.sums = np.zeros(coins)
        self.counts = np.zeros(coins)

    def absorb(self, values: Floats, real: Mask) -> None:
        """One more slice: values [N]."""
        self.sums = np.where(real, self.decay * self.sums + values, self.sums)
        self.counts = np.where(real, self.decay * self.counts + 1.0, self.counts)

    def value(self, prior: Floats | float = 0.0, strength: float = 0.0) -> Floats:
        """The means [N], as if `strength` values of mean `prior` had come before; 0 where nothing has."""
        weight = self.counts + strength
        found: Floats = (self.sums + strength * prior) / np.where(weight > 0, weight, 1.0)
        return found


class MeanSquare(Mean):
    """The same of squares."""

    def absorb(self, values: Floats, real: Mask) -> None:
        super().absorb(values * values, real)


def deviation_of(returns: Returns) -> Floats:
    """Root mean square [N] of the real returns; 0 for a coin that has none."""
    squares = np.where(returns.real, returns.values, 0.0) ** 2
    found: Floats = np.sqrt(squares.sum(axis=0) / np.maximum(returns.real.sum(axis=0), 1))
    return found


def standardised(values: Floats, scale: Floats, known: Mask, clip: float) -> Floats:
    """Values over their scale within +-clip; 0 where not known. `scale` is above 0 wherever `known`."""
    found: Floats = np.clip(np.where(known, values, 0.0) / np.where(known, scale, 1.0), -clip, clip)
    return found
