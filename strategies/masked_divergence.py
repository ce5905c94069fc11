"""Masked divergence: trade the gap between what the other coins imply and what a coin did (long only).

Divergence  inferred minus actual return of the same slice, per coin. By the evidence the coin that LAGS
            catches up (`bet = "reversion"`: buy where it is positive, the default); the published rule read
            literally buys the coin that ran ahead (`bet = "continuation"`).
Source      the specification's section 3; its errors are corrected as section 8 says (same-minute
            divergence, fills after the decision, sells never above what is held).
Variant     `entry = "zscore"`: the divergence over its own mean and deviation of the last 1,000 slices (at
            least 100), entries where it is beyond `z_entry`, exits where it has come back past `z_exit`,
            partial profits, a minimum holding time. Stops and trailing stops are risk's.
Gate        a coin is bought where gain x divergence, its expected next return, beats what a round trip costs
            (`round_trip_cost`); where the gain is unknown and a cost is set, nothing is. The published rule knows no
            gate: 0.
"""

from typing import Any, Literal

import numpy as np
from msgspec import Struct
from pydantic import BaseModel, Field, field_validator, model_validator

from bot.core.market import Floats, Integers, Mask
from bot.core.strategy import Block, View
from strategies.telling import Opinion

RECENT = 20


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Returns and gains as fractions (0.008 is 0.8 %), sizes as shares of equity.

    `round_trip_cost` "account" is what a round trip costs on the account: fees, spread and slippage; 0 is no gate.
    """

    bet: Literal["reversion", "continuation"] = "reversion"
    entry: Literal["threshold", "zscore"] = "threshold"
    divergence_threshold: float = Field(0.008, gt=0)
    min_return_threshold: float = Field(0.005, ge=0)
    confidence_min: float = Field(0.3, ge=0, le=1)
    base_position_size: float = Field(0.06, gt=0, le=1)
    max_position_size: float = Field(0.15, gt=0, le=1)
    round_trip_cost: float | Literal["account"] = "account"
    window: int = Field(240, ge=2, le=1_000)
    z_slices: int = Field(1_000, ge=2)
    z_slices_min: int = Field(100, ge=2)
    z_entry: float = Field(2.0, gt=0)
    z_exit: float = Field(0.5, ge=0)
    holding_slices_min: int = Field(10, ge=0)
    partial_profit: float = Field(0.20, gt=0)
    partial_share: float = Field(0.5, gt=0, le=1)

    @field_validator("round_trip_cost", mode="before")
    @classmethod
    def _cost(cls, given: Any) -> float | Literal["account"]:
        """One sentence for whatever is neither; pydantic would say why it is not the one, and why not the other."""
        if given == "account":
            return "account"
        try:
            cost = float(given)
        except (TypeError, ValueError):
            cost = -1.0
        if not 0 <= cost < 1:
            raise ValueError('must be "account", or a fraction like 0.002 for 0.2 %, or 0 for no gate')
        return cost

    @model_validator(mode="after")
    def _in_order(self) -> "Settings":
        if self.base_position_size > self.max_position_size:
            raise ValueError("base_position_size is above max_position_size: lower it, or raise max_position_size")
        if self.z_exit >= self.z_entry:
            raise ValueError("z_exit is not below z_entry: an entry would be an exit at once")
        if self.z_slices_min > self.z_slices:
            raise ValueError("z_slices_min is above z_slices: no entry could ever happen")
        return self


class Judged(Struct, frozen=True, eq=False):
    """Coins [K] by the threshold rule: `enough` for `min_return_threshold`, `worth` its cost; both are for buying."""

    divergence: Floats
    confident: Floats
    considered: Mask
    lagging: Mask
    enough: Mask
    worth: Mask


class MaskedDivergence:
    """`account_cost` is a round trip's on the account, as a fraction: what "account" stands for."""

    wants_forecast = True
    wants_volatility = False

    def __init__(self, settings: Settings, account_cost: float = 0.0) -> None:
        self.settings = settings
        self.cost = account_cost if settings.round_trip_cost == "account" else settings.round_trip_cost
        self.warmup = settings.window + RECENT
        self.rows = RECENT + 1 if settings.entry == "threshold" else settings.z_slices + 1

    def targets(self, view: View) -> Floats:
        """Wanted shares of equity [N]; NaN where the divergence says nothing."""
        if self.settings.entry == "zscore":
            return self._by_zscore(view)
        return self._by_threshold(view)

    def _by_threshold(self, view: View) -> Floats:
        s, weights = self.settings, view.portfolio.weights
        targets = np.full(len(weights), np.nan)
        coins = np.nonzero(np.abs(view.window.divergences(1)[-1]) > s.divergence_threshold)[0]
        if not len(coins):
            return targets
        found, held = self._judged(view, coins), weights[coins]
        buys = found.considered & found.lagging & found.enough & found.worth
        multiplier = np.minimum(found.confident * (np.abs(found.divergence) / s.divergence_threshold) * 2.0, 2.0)
        bought = np.minimum(s.base_position_size * multiplier, s.max_position_size)
        sold = np.minimum(s.base_position_size * found.confident, 0.8 * s.max_position_size)
        targets[coins[buys]] = np.maximum(bought, held)[buys]
        sells = found.considered & ~found.lagging & (held > 0)
        targets[coins[sells]] = np.maximum(held - sold, 0.0)[sells]
        return targets

    def _judged(self, view: View, coins: Integers) -> Judged:
        """What the rule makes of these coins, whose divergence is beyond the threshold."""
        s = self.settings
        divergences = view.window.divergences(RECENT + 1, coins)
        divergence = divergences[-1]
        confident = confidence(divergence, divergences[:-1])
        return Judged(
            divergence,
            confident,
            confident >= s.confidence_min,
            divergence > 0 if s.bet == "reversion" else divergence < 0,
            np.abs(divergence) > s.min_return_threshold,
            self._worth_it(view, coins, divergence),
        )

    def _worth_it(self, view: View, coins: Integers, divergence: Floats) -> Mask:
        """Where the expected return beats the round trip's cost; everywhere when there is none to beat."""
        if not self.cost:
            return np.ones(len(coins), dtype=np.bool_)
        worth: Mask = expected(view, coins, divergence) > self.cost  # unknown is no
        return worth

    def _by_zscore(self, view: View) -> Floats:
        s, portfolio = self.settings, view.portfolio
        z = zscore(view.window.divergences(s.z_slices + 1), s.z_slices_min)
        toward = z if s.bet == "reversion" else -z
        held = portfolio.opened_ms > 0
        now_ms = view.window.newest_ms + view.window.interval_ms
        old_enough = now_ms - portfolio.opened_ms >= s.holding_slices_min * view.window.interval_ms
        targets = np.full(len(z), np.nan)
        worth = self._worth_it(view, np.arange(len(z)), view.window.divergences(1)[-1])
        entries = (toward > s.z_entry) & ~held & worth
        targets[entries] = s.base_position_size
        takes = held & old_enough & (portfolio.mark >= portfolio.entry * (1 + s.partial_profit))
        takes &= portfolio.weights > s.base_position_size * s.partial_share
        targets[takes] = (portfolio.weights * (1 - s.partial_share))[takes]
        exits = held & old_enough & (toward < s.z_exit)
        targets[exits] = 0.0
        return targets

    def quiet(self, block: Block) -> Mask:
        """Where [T] no coin strays by more than the threshold. The z-score needs its own past: never quiet."""
        if self.settings.entry == "zscore" or block.inferred is None:
            return np.zeros(len(block.returns), dtype=np.bool_)
        strays = np.abs(block.inferred - block.returns) > self.settings.divergence_threshold
        return np.logical_not((strays & block.real).any(axis=1))

    def explain(self, view: View, at: int) -> str:
        """The divergence in percent, what it is expected to bring, and what was held against it."""
        divergence = view.window.divergences(1)[-1]
        gain = float(expected(view, np.array([at]), divergence[[at]])[0])
        brings = f", expected {gain:+.2%}" if np.isfinite(gain) else ""
        return f"divergence {divergence[at]:+.2%}{brings} ({self.settings.bet})"

    def hopeless(self, gain: Floats | None) -> str:
        """Where a cost is set: a gain that is unknown, or that makes every coin the bet buys one that is expected to fall."""
        if not self.cost:
            return ""
        if gain is None:
            return "the model does not know what a divergence earns"
        sign = 1.0 if self.settings.bet == "reversion" else -1.0
        return "" if (sign * gain > 0).any() else f"by the model's gain the {self.settings.bet} bet earns on no coin"

    def opinion(self, view: View, at: int) -> Opinion:
        """What it makes of one coin, in the order in which the rule asks."""
        coin = np.array([at])
        divergence = view.window.divergences(1, coin)[-1]
        gain = float(expected(view, coin, divergence)[0])
        refusal = self._refusal if self.settings.entry == "threshold" else self._z_refusal
        return Opinion(gain if np.isfinite(gain) else None, refusal(view, coin, divergence, gain))

    def _refusal(self, view: View, coin: Integers, divergence: Floats, gain: float) -> str:
        s, size = self.settings, abs(float(divergence[0]))
        if not size > s.divergence_threshold:
            return f"{size:.2%} is not above divergence_threshold {s.divergence_threshold:.2%}"
        found = self._judged(view, coin)
        if not found.considered[0]:
            return f"confidence {found.confident[0]:.2f} < {s.confidence_min:.2f}"
        if not found.lagging[0]:
            return "" if view.portfolio.weights[coin[0]] > 0 else "a signal to sell, and none is held"
        if not found.enough[0]:
            return f"{size:.2%} is not above min_return_threshold {s.min_return_threshold:.2%}"
        return "" if found.worth[0] else self._too_dear(gain)

    def _z_refusal(self, view: View, coin: Integers, divergence: Floats, gain: float) -> str:
        s, (at,) = self.settings, coin
        if np.isfinite(self._by_zscore(view)[at]):
            return ""
        z = float(zscore(view.window.divergences(s.z_slices + 1, coin), s.z_slices_min)[0])
        if not np.isfinite(z):
            return f"fewer than z_slices_min {s.z_slices_min} divergences are known"
        toward = z if s.bet == "reversion" else -z
        if view.portfolio.opened_ms[at] > 0:
            return f"z {z:+.1f}: no reason to part with it yet"
        return self._too_dear(gain) if toward > s.z_entry else f"z {z:+.1f} is not beyond z_entry {s.z_entry:g}"

    def _too_dear(self, gain: float) -> str:
        what = f"expected {gain:+.2%}" if np.isfinite(gain) else "what it would earn is unknown"
        return f"{what}, a round trip costs {self.cost:.2%}"


def expected(view: View, coins: Integers, divergence: Floats) -> Floats:
    """The next returns [K] that these coins' divergences [K] stand for: gain x divergence; NaN where it is unknown."""
    if view.forecast is None or view.forecast.gain is None:
        return np.full(len(coins), np.nan)
    found: Floats = view.forecast.gain[coins] * divergence
    return found


def confidence(divergence: Floats, recent: Floats) -> Floats:
    """How much the last divergences [K, N] of a coin bear out the present one [N]: 0 to 1.

    0.7 x share with its sign + 0.3 x min(2, |present| / mean |recent|), at most 1; 0.5 without history.
    """
    known = np.isfinite(recent)
    count = known.sum(axis=0)
    some = np.maximum(count, 1)
    same = (np.sign(recent) == np.sign(divergence)) & known
    consistency = same.sum(axis=0) / some
    mean = np.where(known, np.abs(recent), 0.0).sum(axis=0) / some
    magnitude = np.where(mean > 0, np.minimum(2.0, np.abs(divergence) / np.where(mean > 0, mean, 1.0)), 1.0)
    confident: Floats = np.where(count > 0, np.minimum(1.0, 0.7 * consistency + 0.3 * magnitude), 0.5)
    return confident


def zscore(divergences: Floats, least: int) -> Floats:
    """The last row of divergences [K + 1, N] over the mean and deviation of the K before it; NaN below `least`."""
    past, present = divergences[:-1], divergences[-1]
    known = np.isfinite(past)
    count = known.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.where(known, past, 0.0).sum(axis=0) / some
    spread = np.sqrt(np.where(known, (past - mean) ** 2, 0.0).sum(axis=0) / some)
    usable = (count >= least) & (spread > 0)
    scored: Floats = np.where(usable, (present - mean) / np.where(usable, spread, 1.0), np.nan)
    return scored
