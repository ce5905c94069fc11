"""Gaussian conditionals in closed form: each coin from all that is known but the coin itself.

K  entries of a row: N coins of the newest slice, then those of the slices before, N each.
P  precision [K, K], the inverse of correlation + penalty x identity; x row, 0 where an entry is not known.

With the entries A not known and coin i hidden, the conditional mean of x_i given the rest is

    x_i - q_i / Q_ii,   Q = P - P_.A P_AA^-1 P_A. (the precision once A is gone),   q = Q x = P x - P_.A P_AA^-1 (P x)_A

so what x_i is never enters, and one solve of the size of A serves every coin.
"""

import numpy as np

from bot.core.market import Floats, Mask


class Moments:
    """Exponentially weighted second moments of pairs of entries, each over the rows where both are known.

    `decay` a row. `products` and `weights` [K, K].
    """

    def __init__(self, entries: int, decay: float) -> None:
        self.decay = decay
        self.products = np.zeros((entries, entries))
        self.weights = np.zeros((entries, entries))

    def absorb(self, x: Floats, known: Mask) -> None:
        """More rows [T, K], oldest first; x is 0 where not known."""
        share = np.sqrt(self.decay ** np.arange(len(x) - 1, -1, -1, dtype=np.float64))[:, None]
        shown, weighted = known * share, x * share
        kept = self.decay ** len(x)
        self.products = kept * self.products + weighted.T @ weighted
        self.weights = kept * self.weights + shown.T @ shown

    def correlation(self, floor: float, shrink: float) -> Floats:
        """Correlations [K, K], uncentred, as if each pair had `shrink` more rows of no correlation.

        Pairs that are seldom seen together make a matrix that need not be positive; where an eigenvalue is below
        `floor`, absent entries count as zeros instead, which always is, at the price of weaker correlations.
        """
        own = self.weights.diagonal()
        square = self.products.diagonal() / np.where(own > 0, own, 1.0)
        spread = np.sqrt(np.where(square > 0, square, np.inf))
        pairs = self.weights + shrink
        found = self.products / np.where(pairs > 0, pairs, 1.0) / spread[:, None] / spread[None, :]
        np.fill_diagonal(found, 1.0)
        if is_positive(found, floor):
            return found
        spread = np.sqrt(np.where(square > 0, self.products.diagonal(), np.inf))
        found = self.products / spread[:, None] / spread[None, :]
        np.fill_diagonal(found, 1.0)
        return found


def is_positive(matrix: Floats, floor: float) -> bool:
    """Whether every eigenvalue is above `floor`."""
    try:
        np.linalg.cholesky(matrix - floor * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True


def precision_of(correlation: Floats, penalty: float) -> Floats:
    """The inverse of correlation + penalty x identity, exactly symmetric."""
    inverse = np.linalg.inv(correlation + penalty * np.eye(len(correlation)))
    found: Floats = (inverse + inverse.T) / 2.0
    return found


def infer_each(precision: Floats, x: Floats, known: Mask, coins: int) -> Floats:
    """Conditional means [T, N] of the first `coins` entries of rows x [T, K], each hidden alone; NaN where not known.

    Entries not `known` [T, K] are hidden with it. Rows with the same known entries share one solve. Every row comes out
    the same to the last bit whatever rows are beside it, so that a backtest infers what the bot does live.
    """
    product = _each_times(x, precision)
    found = np.full((len(x), coins), np.nan)
    patterns, which = np.unique(np.packbits(known, axis=1), axis=0, return_inverse=True)
    for pattern in range(len(patterns)):
        rows = np.flatnonzero(which.reshape(-1) == pattern)
        shown = known[rows[0]]
        gone, here = np.flatnonzero(~shown), np.flatnonzero(shown[:coins])
        if not len(here):
            continue
        q, own = product[np.ix_(rows, here)], precision[here, here]
        if len(gone):
            across = precision[np.ix_(gone, here)]
            solved = np.asarray(np.linalg.solve(precision[np.ix_(gone, gone)], across), dtype=np.float64)
            q -= _each_times(product[np.ix_(rows, gone)], solved)
            own = own - np.einsum("ah,ah->h", across, solved)
        found[np.ix_(rows, here)] = x[np.ix_(rows, here)] - q / own
    return found


def _each_times(x: Floats, matrix: Floats) -> Floats:
    """Rows [T, K] times a matrix [K, M], one by one: one product of all would round by how many there are."""
    found = np.empty((len(x), matrix.shape[1]))
    for row, values in enumerate(x):
        np.matmul(values, matrix, out=found[row])
    return found
