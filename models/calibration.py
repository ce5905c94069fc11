"""Whether what was expected came: means of both in bins of equal count, the lowest expectations first."""

import numpy as np
from msgspec import Struct

from bot.core.market import Floats

BINS = 20


class Bin(Struct, frozen=True):
    """`count` entries with neighbouring expectations: the mean of those, and of what came."""

    expected: float
    actual: float
    count: int


def calibrate(expected: Floats, actual: Floats, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins of arrays of one shape; an entry that is NaN in either is left out, and so is an empty bin."""
    known = np.isfinite(expected) & np.isfinite(actual)
    expected, actual = expected[known], actual[known]
    order = np.argsort(expected, kind="stable")
    parts = (part for part in np.array_split(order, bins) if len(part))
    return tuple(Bin(float(expected[part].mean()), float(actual[part].mean()), len(part)) for part in parts)
