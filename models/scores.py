"""Per-coin scores of inferred returns against actual ones. Shapes [T, N]; NaN and what is not `usable` is left out."""

from typing import Literal

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Mask

STRONG, WEAK = 0.1, 0.05

Strength = Literal["strong", "weak", "none"]


class Summary(Struct, frozen=True):
    """Correlations over coins, and how many are of each strength. None where no coin has one."""

    mean: float | None
    median: float | None
    min: float | None
    max: float | None
    strong: int
    weak: int
    none: int


def correlations(inferred: Floats, actual: Floats, usable: Mask) -> Floats:
    """Pearson correlation of each coin [N]; NaN where fewer than three rows are usable or one side is constant."""
    usable = usable & np.isfinite(inferred) & np.isfinite(actual)
    count = usable.sum(axis=0)
    some = np.maximum(count, 1)
    x = np.where(usable, inferred, 0.0)
    y = np.where(usable, actual, 0.0)
    x = np.where(usable, x - x.sum(axis=0) / some, 0.0)
    y = np.where(usable, y - y.sum(axis=0) / some, 0.0)
    spread = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    defined = (count >= 3) & (spread > 0)
    found: Floats = np.where(defined, (x * y).sum(axis=0) / np.where(defined, spread, 1.0), np.nan)
    return found


def mean_correlation(inferred: Floats, actual: Floats, usable: Mask) -> float | None:
    """The mean over coins that have one; None when no coin has."""
    found = correlations(inferred, actual, usable)
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else None


def explained(inferred: Floats, actual: Floats, usable: Mask) -> Floats:
    """1 - squared error over the squared error of inferring zero, per coin [N]; NaN without movement."""
    usable = usable & np.isfinite(inferred)
    missed = np.where(usable, inferred - actual, 0.0)
    moved = np.where(usable, actual, 0.0)
    total = (moved * moved).sum(axis=0)
    found: Floats = np.where(total > 0, 1.0 - (missed * missed).sum(axis=0) / np.where(total > 0, total, 1.0), np.nan)
    return found


def strength(correlation: float) -> Strength:
    """Strong above 0.1 in size, weak above 0.05, none below or where there is no correlation."""
    if abs(correlation) > STRONG:
        return "strong"
    return "weak" if abs(correlation) > WEAK else "none"


def summary(found: Floats) -> Summary:
    """Correlations [N] in seven numbers."""
    strengths = [strength(float(one)) for one in found]
    counts = [strengths.count(kind) for kind in ("strong", "weak", "none")]
    defined = found[np.isfinite(found)]
    if not len(defined):
        return Summary(None, None, None, None, *counts)
    mean, median, least, most = (float(read(defined)) for read in (np.mean, np.median, np.min, np.max))
    return Summary(mean, median, least, most, *counts)
