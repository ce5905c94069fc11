"""The probability that the best of many trials was chosen for its luck.

Source  Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting", 2015: combinatorially symmetric
        cross-validation (CSCV). The history is cut into S blocks; for every choice of half of them the trial with the best
        Sharpe ratio there is ranked among all on the other half; omega = rank / (trials + 1), and the probability is the
        share of choices with logit(omega) <= 0: the winner is no better than the median out of sample.
Shapes  returns [T, K] of K trials on the same T periods. T need not divide by S: the oldest rows too many are left out.
"""

from itertools import combinations

import numpy as np
from msgspec import Struct

from backtest.curve import FLAT
from bot.core.market import Floats, Integers

BLOCKS = 16
CELLS_MAX = 4_000_000


class Overfitting(Struct, frozen=True, eq=False):
    """`probability` of overfitting over `choices` of blocks; `logits` [choices] of the winners' ranks out of sample.

    `loss` is the share of choices whose winner lost money out of sample; `slope` what a unit of the winner's ratio in sample
    was worth out of it (least squares; None where all winners were equally good).
    """

    probability: float
    loss: float
    slope: float | None
    trials: int
    blocks: int
    choices: int
    logits: Floats


def cscv(returns: Floats, blocks: int = BLOCKS) -> Overfitting | None:
    """CSCV of trial returns [T, K]; None with under two trials or under two rows a block. `blocks` is even."""
    if blocks < 2 or blocks % 2:
        raise ValueError(f"CSCV takes an even number of blocks, not {blocks}")
    rows, trials = returns.shape
    if trials < 2 or rows < 2 * blocks:
        return None
    size = rows // blocks
    cut = returns[rows - size * blocks :].reshape(blocks, size, trials)
    centre = cut.mean(axis=(0, 1))  # squares of what is left without it keep their digits
    cut = cut - centre
    sums = _Sums(size, centre, cut.sum(axis=1), (cut**2).sum(axis=1))
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    batch = max(1, CELLS_MAX // trials)
    parts = [_ranked(sums, chosen[start : start + batch]) for start in range(0, len(chosen), batch)]
    inside, outside, earned, rank = (np.concatenate(part) for part in zip(*parts, strict=True))
    omega = rank / (trials + 1.0)
    logits = np.log(omega / (1.0 - omega))
    spread = inside.var()
    slope = float(np.mean((inside - inside.mean()) * (outside - outside.mean())) / spread) if spread > FLAT else None
    return Overfitting(
        probability=float(np.mean(logits <= 0.0)),
        loss=float(np.mean(earned < 0.0)),
        slope=slope,
        trials=trials,
        blocks=blocks,
        choices=len(chosen),
        logits=logits,
    )


class _Sums(Struct, frozen=True, eq=False):
    """Of each block: its rows, and [S, K] sums and sums of squares of the returns less `centre` [K]."""

    size: int
    centre: Floats
    first: Floats
    second: Floats


def _ranked(sums: _Sums, chosen: Integers) -> tuple[Floats, Floats, Floats, Floats]:
    """For each choice [C, S/2] of blocks: the winner's ratio inside and outside, its mean return and rank outside."""
    taken = np.zeros((len(chosen), len(sums.first)))
    np.put_along_axis(taken, chosen, 1.0, axis=1)
    inside, _ = _ratios(sums, taken)
    outside, mean = _ratios(sums, 1.0 - taken)
    winner = np.argmax(inside, axis=1)[:, None]
    own = np.take_along_axis(outside, winner, axis=1)
    rank = (outside < own).sum(axis=1) + ((outside == own).sum(axis=1) + 1.0) / 2.0  # ties share their ranks
    best = np.take_along_axis(inside, winner, axis=1)[:, 0]
    return best, own[:, 0], np.take_along_axis(mean, winner, axis=1)[:, 0], rank


def _ratios(sums: _Sums, taken: Floats) -> tuple[Floats, Floats]:
    """Sharpe ratios of one period and mean returns [C, K] on the blocks taken; 0 for a trial that never moved."""
    count = sums.size * taken.sum(axis=1)[:, None]
    mean = taken @ sums.first / count
    spread = np.sqrt(np.maximum(taken @ sums.second - count * mean**2, 0.0) / (count - 1.0))
    mean = mean + sums.centre
    ratio: Floats = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > FLAT)
    return ratio, mean
