"""Complete hours from slices: what a volatility model reads, made of what the bot sees.

Values    the first known open, the highest high, the lowest low, the last known close, the sum of the known volumes.
Complete  an hour is there once all of its slices are: one that the tape begins in, or that has a hole, is left out.
Presence  a coin is there in an hour if it traded in one of its slices and at most ABSENT_MAX of them are not known.
"""

from collections.abc import Sequence

import numpy as np

from bot.core.market import FIELDS, HOUR_MS, Floats, Integers, Mask, Panel

ABSENT_MAX = 0.1


class Hours:
    """Slices in, in order; the hours that they complete out. ValueError where slices do not fill an hour evenly."""

    def __init__(self, symbols: tuple[str, ...], interval_ms: int) -> None:
        if interval_ms <= 0 or HOUR_MS % interval_ms:
            raise ValueError(f"slices of {interval_ms} ms make no hours: the length must divide {HOUR_MS}")
        self.symbols = symbols
        self.interval_ms = interval_ms
        self._pending: list[Panel] = []
        self._newest_ms = -1

    def absorb(self, panel: Panel) -> Panel:
        """The hours that these slices complete; slices not newer than the newest seen are ignored."""
        fresh = panel.rows(int(np.searchsorted(panel.open_ms, self._newest_ms, side="right")), len(panel))
        if not len(fresh):
            return _nothing(self.symbols, HOUR_MS)
        self._newest_ms = int(fresh.open_ms[-1])
        running_ms = (self._newest_ms + self.interval_ms) // HOUR_MS * HOUR_MS  # the hour that is not over yet
        earliest = self._pending[0] if self._pending else fresh
        if int(earliest.open_ms[0]) >= running_ms:
            self._pending.append(_copied(fresh))
            return _nothing(self.symbols, HOUR_MS)
        both = joined([*self._pending, fresh])
        over = int(np.searchsorted(both.open_ms, running_ms))
        self._pending = [_copied(both.rows(over, len(both)))] if over < len(both) else []
        return _hours(both.rows(0, over))


def hours_of(panel: Panel) -> Panel:
    """The complete hours of a panel. ValueError where its slices do not fill an hour evenly."""
    return Hours(panel.symbols, panel.interval_ms).absorb(panel)


def _hours(panel: Panel) -> Panel:
    """The hours of slices of which none is of an hour that goes on."""
    slices, coins = HOUR_MS // panel.interval_ms, len(panel.symbols)
    hours, first, counts = np.unique(panel.open_ms // HOUR_MS, return_index=True, return_counts=True)
    whole = counts == slices
    at = first[whole, None] + np.arange(slices)
    parts = {name: getattr(panel, name)[at] for name in (*FIELDS, "present")}  # [H, slices, N]
    known = np.isfinite(parts["close"])
    missing = np.count_nonzero(~known, axis=1) if slices else np.zeros((0, coins))
    present = parts["present"].any(axis=1) & (missing <= ABSENT_MAX * slices)
    return Panel(
        panel.symbols,
        HOUR_MS,
        hours[whole] * HOUR_MS,
        _where(present, _picked(parts["open"], known.argmax(axis=1))),
        _where(present, np.where(known, parts["high"], -np.inf).max(axis=1)),
        _where(present, np.where(known, parts["low"], np.inf).min(axis=1)),
        _where(present, _picked(parts["close"], slices - 1 - known[:, ::-1].argmax(axis=1))),
        _where(present, np.where(known, parts["volume"], 0.0).sum(axis=1)),
        present,
    )


def _where(present: Mask, values: Floats) -> Floats:
    found: Floats = np.where(present, values, np.nan)
    return found


def _picked(values: Floats, at: Integers) -> Floats:
    found: Floats = np.take_along_axis(values, at[:, None], axis=1)[:, 0]
    return found


def joined(several: Sequence[Panel]) -> Panel:
    """The rows of all, in this order; of the same coins and interval."""
    if len(several) == 1:
        return several[0]
    names = ("open_ms", *FIELDS, "present")
    arrays = (np.concatenate([getattr(one, name) for one in several]) for name in names)
    return Panel(several[0].symbols, several[0].interval_ms, *arrays)


def _copied(panel: Panel) -> Panel:
    """The same rows, which keep no larger array alive."""
    arrays = (getattr(panel, name).copy() for name in ("open_ms", *FIELDS, "present"))
    return Panel(panel.symbols, panel.interval_ms, *arrays)


def _nothing(symbols: tuple[str, ...], interval_ms: int) -> Panel:
    rows = (0, len(symbols))
    none = np.empty(rows)
    present = np.empty(rows, dtype=np.bool_)
    return Panel(symbols, interval_ms, np.empty(0, dtype=np.int64), none, none, none, none, none, present)
