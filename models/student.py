"""Student's t with six degrees of freedom: the shape of log volatility's surprises.

Why six  what won on real hours (volatility-findings); its distribution has a closed form, so no library is asked.
Source   Abramowitz and Stegun 26.7.4, the sum for an even number of degrees.
"""

import math

import numpy as np

from bot.core.market import Floats

DEGREES = 6
LOG_CONSTANT = math.lgamma((DEGREES + 1) / 2) - math.lgamma(DEGREES / 2) - 0.5 * math.log(DEGREES * math.pi)


def below(t: Floats) -> Floats:
    """How likely Student's t is to be below these values."""
    square = DEGREES / (DEGREES + t * t)  # the squared cosine
    found: Floats = 0.5 + 0.5 * t / np.sqrt(DEGREES + t * t) * (1.0 + square * (0.5 + 0.375 * square))
    return found


def quantile(share: float) -> float:
    """Below it lies this share. By bisection: it is asked a few times in all."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"a share must be between 0 and 1, not {share}")
    low, high = -1e3, 1e3
    for _ in range(100):
        middle = 0.5 * (low + high)
        if float(below(np.array(middle))) < share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
