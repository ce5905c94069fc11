"""Which coins have the hours that a volatility model is fitted on, and what is wrong with the others.

Moved   an hour counts where the coin traded and its Garman-Klass volatility is above 0.
Pairs   what is learned and validated on: an hour that HAR can forecast from, followed by one that moved. Where more
        than half of the hours are missing there are none.
Holes   a coin that is gone for longer than HOLE_MAX comes back as another market; shorter ones are passed over.
"""

import numpy as np
from msgspec import Struct

from bot.core.market import HOUR_MS, Floats, Mask, Panel
from models.har import ROWS_MIN, HarStream
from models.volatility import Estimator, volatility
from models.volatility_inputs import LOOK_BACK
from models.volatility_model import VALIDATION_MIN

TAUGHT_MIN = LOOK_BACK + ROWS_MIN
HOLE_MAX = 168  # hours


class Coverage(Struct, frozen=True):
    """The coins that can be fitted, in the panel's order; why not the others; and the hours that those lack inside."""

    enough: tuple[str, ...]
    wrong: dict[str, str]
    missing: dict[str, int]


def coverage(panel: Panel, validation_ms: int) -> Coverage:
    """What there is of each coin of a panel of hours, before `validation_ms` and from there on."""
    found = volatility(panel, Estimator.GARMAN_KLASS)
    moved = np.isfinite(found) & (found > 0.0) & panel.present
    first = int(np.searchsorted(panel.open_ms, validation_ms))
    paired = _paired(panel, moved)
    wrong = {
        symbol: why
        for at, symbol in enumerate(panel.symbols)
        if (why := _wrong(panel, moved[:, at], paired[:, at], panel.volume[:, at], first))
    }
    enough = tuple(symbol for symbol in panel.symbols if symbol not in wrong)
    lacks = {symbol: int(_holes(panel, moved[:, panel.symbols.index(symbol)]).sum()) for symbol in enough}
    return Coverage(enough, wrong, {symbol: hours for symbol, hours in lacks.items() if hours})


def _paired(panel: Panel, moved: Mask) -> Mask:
    """The hours [T, N] that moved right after one that HAR can forecast from."""
    known = np.concatenate([np.zeros((1, len(panel.symbols)), np.bool_), *_known(panel)])[: len(panel)]
    follows = np.diff(panel.open_ms, prepend=0) == HOUR_MS
    paired: Mask = known & moved & follows[:, None]
    return paired


def _known(panel: Panel) -> list[Mask]:
    return [rows.known for rows in HarStream(panel.symbols).absorb(panel)]


def _wrong(panel: Panel, moved: Mask, paired: Mask, volume: Floats, first: int) -> str:
    """Why these hours of a coin cannot be fitted on; nothing where they can."""
    if not moved.any():
        return "it never moved in an hour that it traded in: leave it out, or give candles with volumes"
    if not np.nansum(volume):
        return "all its volumes are zero, as in a table of closes: give whole candles"
    before, taught, after = (int(hours.sum()) for hours in (moved[:first], paired[:first], paired[first:]))
    if before < TAUGHT_MIN:
        return f"{_hours(before)} to learn from, {TAUGHT_MIN} are needed: give more, or begin validation later"
    if taught < ROWS_MIN:
        return f"{_hours(taught)} to learn from follow known ones, {ROWS_MIN} are needed: give candles with fewer holes"
    if after < VALIDATION_MIN:
        return f"{_hours(after)} to validate on, {VALIDATION_MIN} are needed: give more, or begin validation earlier"
    longest = int(_holes(panel, moved).max())
    if longest > HOLE_MAX:
        return f"{longest} hours in a row are missing, {HOLE_MAX} are allowed: fetch them, or take a range beside them"
    return ""


def _hours(count: int) -> str:
    return f"{count} hour{'s' * (count != 1)}"


def _holes(panel: Panel, moved: Mask) -> Floats:
    """The hours missing between those that are there."""
    found: Floats = np.diff(panel.open_ms[moved]) / HOUR_MS - 1.0
    return found
