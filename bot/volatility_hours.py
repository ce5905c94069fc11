"""The hours of a candle folder, as volatility models are fitted on and scored with: one way to read them for both.

Store    hours where it has them, else its shortest candles; of shorter candles the complete hours are made.
Errors   BadConfiguration, BadCandles: what is there, and what to give.
"""

from collections.abc import Sequence
from pathlib import Path

from bot.config import BadConfiguration
from bot.core.hours import hours_of
from bot.core.market import HOUR_MS, MINUTE_MS, TIMEFRAMES, Panel
from bot.edge.candle_sources import is_files, store_at
from bot.edge.candles import load_panel
from bot.history import say_remarks
from bot.timerange import TimeRange


def hours_in(candles: Path, symbols: Sequence[str], span: TimeRange) -> Panel:
    """The hours in the range, at least one; `symbols` empty: of all. What was made of shorter candles is said."""
    timeframe = None if is_files(candles) else _timeframe(candles)
    panel = load_panel(candles, symbols or None, span.start_ms, span.stop_ms, timeframe=timeframe)
    if panel.interval_ms == HOUR_MS:
        return panel
    length = f"{panel.interval_ms / MINUTE_MS:g}-minute candles"
    try:
        hours = hours_of(panel)
    except ValueError:
        raise BadConfiguration([f"{candles} holds {length}, of which no hours are made: fetch 1h candles"]) from None
    if not len(hours):
        raise BadConfiguration([f"{candles}: not one whole hour of {length} is in the range: give more of them"])
    made = "1 complete hour is" if len(hours) == 1 else f"{len(hours)} complete hours are"
    say_remarks((f"{made} made of {length}; `lacuna data resample` makes them once for all",))
    return hours


def _timeframe(candles: Path) -> str | None:
    """Hours where the store has them, else its shortest candles; None for an empty store."""
    there = {name for _, name in store_at(candles)[1]}
    return "1h" if "1h" in there else min(there, key=lambda name: TIMEFRAMES[name], default=None)
