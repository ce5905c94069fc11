"""Synthetic hours whose volatility has a memory and a week: what volatility models can learn something of."""

import numpy as np

from bot.core.market import HOUR_MS, Panel
from models.seasonality import new_york_ms
from models.time_features import hour_of_week
from tests.models.hours import START_MS, panel

STEPS = 24  # moves within an hour


def volatile(rows: int, coins: int = 2, seed: int = 1) -> Panel:
    """Log volatility is a curve of New York's day plus a slow process plus noise; volume follows it."""
    rng = np.random.default_rng(seed)
    open_ms = START_MS + HOUR_MS * np.arange(rows, dtype=np.int64)
    clock = hour_of_week(new_york_ms(open_ms))
    curve = 0.4 * np.sin(2.0 * np.pi * (clock % 24) / 24.0)
    slow = np.empty((rows, coins))
    state = np.zeros(coins)
    for row, shock in enumerate(rng.normal(0.0, 0.15, (rows, coins))):
        slow[row] = state = 0.97 * state + shock
    log = -5.0 + curve[:, None] + slow + rng.normal(0.0, 0.15, (rows, coins))
    moves = rng.normal(0.0, 1.0, (rows, STEPS, coins)) * np.exp(log)[:, None] / np.sqrt(STEPS)
    path = np.log(100.0) + np.cumsum(moves.reshape(rows * STEPS, coins), axis=0).reshape(rows, STEPS, coins)
    before = np.vstack((np.full((1, coins), np.log(100.0)), path[:-1, -1]))
    high, low = np.maximum(path.max(axis=1), before), np.minimum(path.min(axis=1), before)
    volume = np.exp(3.0 + log + rng.normal(0.0, 0.3, (rows, coins)))
    return panel([np.exp(before), np.exp(high), np.exp(low), np.exp(path[:, -1]), volume])
