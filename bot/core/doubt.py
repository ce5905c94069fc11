"""Which of the newest closes may be taken as marks: one that is absent or jumped away keeps the mark there was.

A jump beyond `jump_max`, up or down, stays in doubt until a second source agrees (fault F20). Arrays are [N], in
universe order; a mark of 0 is none, and what follows it is no jump.
"""

import numpy as np

from bot.core.market import Floats


class Doubt:
    def __init__(self, coins: int, jump_max: float) -> None:
        self._jump_max = jump_max
        self.missing = np.ones(coins, dtype=np.bool_)
        self.jumped = np.zeros(coins, dtype=np.bool_)

    def judge(self, close: Floats, mark: Floats) -> Floats:
        """The marks after these closes; what is missing and what jumped is remembered."""
        self.missing = np.isnan(close)
        self.jumped = ((close > mark * self._jump_max) | (close * self._jump_max < mark)) & (mark > 0)
        marks: Floats = np.where(self.jumped | self.missing, mark, close)
        return marks

    def judge_past(self, closes: Floats, mark: Floats) -> Floats:
        """The marks after a history of closes [T, N]: the last known of each coin is judged, and the newest row."""
        known = np.isfinite(closes)
        newest = len(closes) - 1 - known[::-1].argmax(axis=0)
        last = np.where(known.any(axis=0), closes[newest, np.arange(closes.shape[1])], np.nan)
        marks = self.judge(last, mark)
        self.missing = np.isnan(closes[-1])
        return marks
