"""Consecutive slices of one coin, inferred beside actual, as the published quality report shows them.

Percent    of the divergence: of the actual return's size; "infinite" where that is below TINY and the divergence is not.
Direction  match where both have one sign, else neutral where both are below NEUTRAL in size, else opposite.
Accuracy   the share of matches among all rows.
"""

from typing import Literal

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Integers
from models.scores import correlations

ROWS_MAX = 200
TINY, NEUTRAL = 1e-8, 0.001

Direction = Literal["match", "neutral", "opposite"]


class Row(Struct, frozen=True):
    """One slice, named by its open; returns as fractions."""

    open_ms: int
    inferred: float
    actual: float
    divergence: float
    divergence_percent: float | Literal["infinite"]
    direction: Direction


class Comparison(Struct, frozen=True):
    """The rows of one coin; slices in which it was absent or not inferred have none."""

    symbol: str
    rows: tuple[Row, ...]
    direction_accuracy: float | None
    correlation: float | None


def compare(symbol: str, open_ms: Integers, inferred: Floats, actual: Floats) -> Comparison:
    """The last ROWS_MAX slices of [T] arrays; NaN in either is no row."""
    open_ms, inferred, actual = open_ms[-ROWS_MAX:], inferred[-ROWS_MAX:], actual[-ROWS_MAX:]
    known = np.isfinite(inferred) & np.isfinite(actual)
    columns = open_ms[known].tolist(), inferred[known].tolist(), actual[known].tolist()
    rows = tuple(_row(*values) for values in zip(*columns, strict=True))
    matches = sum(row.direction == "match" for row in rows)
    (correlation,) = correlations(inferred[:, None], actual[:, None], known[:, None])
    return Comparison(
        symbol, rows, matches / len(rows) if rows else None, float(correlation) if np.isfinite(correlation) else None
    )


def _row(open_ms: int, inferred: float, actual: float) -> Row:
    divergence = inferred - actual
    return Row(open_ms, inferred, actual, divergence, _percent(divergence, actual), direction(inferred, actual))


def _percent(divergence: float, actual: float) -> float | Literal["infinite"]:
    if abs(actual) >= TINY:
        return 100.0 * divergence / abs(actual)
    return "infinite" if abs(divergence) >= TINY else 0.0


def direction(inferred: float, actual: float) -> Direction:
    """How the two point."""
    if np.sign(inferred) == np.sign(actual):
        return "match"
    return "neutral" if max(abs(inferred), abs(actual)) < NEUTRAL else "opposite"
