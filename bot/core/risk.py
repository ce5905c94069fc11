"""Risk has the last word: it holds trading back by state, trims targets, and alone approves orders.

States   RUNNING < NO_ENTRIES < REDUCE < HALTED; the state is the highest level of the open causes, and every
         cause names what tripped. NO_ENTRIES lets exits go on, REDUCE sells what is held, HALTED sends nothing.
Latched  causes (loss, drawdown, bursts, a person's word) are ended by a person's `resume` alone; the others end
         by themselves when their reason does.
Limits   shares of equity unless a unit is in the name; a limit of 0 is off where it says so.
"""

from collections import deque
from enum import IntEnum
from itertools import takewhile

import numpy as np
from msgspec import Struct
from pydantic import BaseModel, Field, model_validator

from bot.core.commands import Approved
from bot.core.market import DAY_MS, Floats, Integers, Side
from bot.core.planner import Wish
from bot.core.snapshot import Cause, RiskMemory
from bot.core.strategy import Portfolio

MINUTE_MS = 60_000


class Level(IntEnum):
    RUNNING = 0
    NO_ENTRIES = 1
    REDUCE = 2
    HALTED = 3


class Limits(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What the bot may risk. Shares of equity; times in milliseconds; 0 turns a stop or ceiling off.

    An `exposure_max` above 1 leaves it to the cash alone how much is bought.
    """

    position_max: float = Field(0.15, gt=0, le=1)
    exposure_max: float = Field(0.95, gt=0, le=10)
    order_max: float = Field(0.15, gt=0, le=1)
    orders_per_slice_max: int = Field(300, ge=1)
    orders_per_minute_max: int = Field(600, ge=1)
    orders_per_day_max: int = Field(20_000, ge=1)
    daily_loss_max: float = Field(0.05, gt=0, le=1)
    drawdown_max: float = Field(0.20, gt=0, le=1)
    stale_after_ms: int = Field(25_000, gt=0)
    forecast_age_max_ms: int = Field(20_000, gt=0)
    absent_max: float = Field(0.20, ge=0, le=1)
    volatility_max: float = Field(0.01, ge=0)
    volatility_slices: int = Field(60, ge=2, le=1_000)
    forecast_volatility_max: float = Field(0.0, ge=0)
    stop_loss: float = Field(0.05, ge=0, lt=1)
    trailing_stop: float = Field(0.0, ge=0, lt=1)
    cooldown_ms: int = Field(900_000, ge=0)
    sane_candles_min: int = Field(3, ge=1)
    price_jump_max: float = Field(5.0, gt=1)
    price_jump_pause_ms: int = Field(1_800_000, ge=0)
    rejects_max: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _one_position_fits(self) -> "Limits":
        if self.position_max > self.exposure_max:
            raise ValueError("risk.position_max is above risk.exposure_max: lower it, or raise exposure_max")
        if self.daily_loss_max > self.drawdown_max:
            raise ValueError("risk.daily_loss_max is above risk.drawdown_max: the drawdown would always trip first")
        return self


class Veto(Struct, frozen=True):
    """A symbol's wish that risk refused, and why."""

    symbol: str
    reason: str


class Risk:
    def __init__(self, symbols: tuple[str, ...], limits: Limits) -> None:
        self.symbols = symbols
        self.limits = limits
        self._index = {symbol: at for at, symbol in enumerate(symbols)}
        self._causes: dict[tuple[str, str], Cause] = {}
        self.opened: list[Cause] = []
        self.ended: list[Cause] = []
        self.equity_peak = 0.0
        self.day = 0
        self.equity_day_start = 0.0
        self._equity_floor = 0.0
        self._cooldowns: dict[str, int] = {}
        self._orders_ms: deque[int] = deque(maxlen=limits.orders_per_day_max + 1)
        self._rejects_ms: deque[int] = deque(maxlen=limits.rejects_max)
        self._slice_orders = (0, 0)
        self.slices = 0
        self.broken_at = np.zeros(len(symbols), dtype=np.int64)
        self.level = Level.RUNNING

    # -- memory

    def remember(self) -> RiskMemory:
        return RiskMemory(
            tuple(self._causes.values()),
            self.equity_peak,
            self.day,
            self.equity_day_start,
            dict(self._cooldowns),
            tuple(self._orders_ms),
            tuple(self._rejects_ms),
        )

    def restore(self, memory: RiskMemory) -> None:
        self._causes = {(cause.code, cause.symbol): cause for cause in memory.causes}
        self.equity_peak, self.day = memory.equity_peak, memory.day
        self.equity_day_start = memory.equity_day_start
        self._set_floor()
        self._cooldowns = dict(memory.cooldowns)
        self._orders_ms = deque(memory.recent_orders_ms, maxlen=self._orders_ms.maxlen)
        self._rejects_ms = deque(memory.recent_rejects_ms, maxlen=self._rejects_ms.maxlen)
        self._settle()

    @property
    def streaks(self) -> Integers:
        """How many sane candles in a row each symbol [N] had."""
        return self.slices - self.broken_at

    # -- causes

    @property
    def causes(self) -> tuple[Cause, ...]:
        return tuple(self._causes.values())

    def trip(self, cause: Cause) -> None:
        """Opens a cause, or moves the end of one that is open."""
        key = (cause.code, cause.symbol)
        if key not in self._causes:
            self.opened.append(cause)
        self._causes[key] = cause
        self._settle()

    def clear(self, code: str, symbol: str = "") -> None:
        """Ends a cause that is over, if it was open."""
        if (code, symbol) in self._causes:
            self._end([self._causes[code, symbol]])

    def resume(self, equity: float) -> None:
        """A person leads trading back: latched causes end, losses count from here."""
        self._end([cause for cause in self._causes.values() if cause.latched])
        self.equity_peak = self.equity_day_start = equity
        self._set_floor()
        self._rejects_ms.clear()

    def expire(self, now_ms: int) -> None:
        """Ends what was only for a time."""
        if self._causes:
            self._end([cause for cause in self._causes.values() if cause.until_ms and now_ms >= cause.until_ms])

    def _end(self, over: list[Cause]) -> None:
        for cause in over:
            del self._causes[cause.code, cause.symbol]
        self.ended += over
        self._settle()

    def _settle(self) -> None:
        levels = [cause.level for cause in self._causes.values() if not cause.symbol]
        self.level = Level(max(levels, default=0))

    # -- what every slice tells

    def observe(self, equity: float, now_ms: int) -> None:
        """Daily loss and drawdown at the newest marks."""
        day = now_ms // DAY_MS
        if day != self.day or equity > self.equity_peak:
            if day != self.day:
                self.day, self.equity_day_start = day, equity
            self.equity_peak = max(self.equity_peak, equity)
            self._set_floor()
        if equity >= self._equity_floor:
            return
        limits = self.limits
        drawdown = 1 - equity / self.equity_peak if self.equity_peak > 0 else 0.0
        if drawdown > limits.drawdown_max:
            text = f"drawdown {drawdown:.2%} is above risk.drawdown_max {limits.drawdown_max:.2%}"
            self.trip(Cause("drawdown", Level.REDUCE, text, latched=True))
        loss = 1 - equity / self.equity_day_start if self.equity_day_start > 0 else 0.0
        if loss > limits.daily_loss_max:
            text = f"today's loss {loss:.2%} is above risk.daily_loss_max {limits.daily_loss_max:.2%}"
            self.trip(Cause("daily_loss", Level.NO_ENTRIES, text, latched=True))

    def before_a_limit(self, equity: Floats) -> int:
        """The slices of one day, out of these equities [S], before the first at which a loss limit is reached."""
        limits = self.limits
        peak = np.maximum(np.maximum.accumulate(equity), self.equity_peak)
        floor = np.maximum(peak * (1 - limits.drawdown_max), self.equity_day_start * (1 - limits.daily_loss_max))
        below = equity < floor
        return int(below.argmax()) if below.any() else len(equity)

    def pass_over(self, slices: int, equity_max: float) -> None:
        """Slices of the same day in which nothing happened."""
        self.slices += slices
        if equity_max > self.equity_peak:
            self.equity_peak = equity_max
            self._set_floor()

    def _set_floor(self) -> None:
        """The equity below which a limit has been reached."""
        limits = self.limits
        at_drawdown = self.equity_peak * (1 - limits.drawdown_max)
        self._equity_floor = max(at_drawdown, self.equity_day_start * (1 - limits.daily_loss_max))

    def stops(self, entry: Floats, high: Floats, mark: Floats) -> dict[int, str]:
        """The positions whose stop-loss or trailing stop the marks have reached, each with its reason.

        `entry` and `high` [N] are NaN where nothing is held.
        """
        limits = self.limits
        hits = {}
        if limits.trailing_stop:
            fell = (high > entry) & (mark <= high * (1 - limits.trailing_stop))
            hits = {int(at): "trailing_stop" for at in np.nonzero(fell)[0]}
        if limits.stop_loss:
            lost = mark <= entry * (1 - limits.stop_loss)
            hits |= {int(at): "stop_loss" for at in np.nonzero(lost)[0]}
        return hits

    def cool_down(self, symbol: str, now_ms: int) -> None:
        """After a stop, this coin is not bought again for a while."""
        if self.limits.cooldown_ms:
            self._cooldowns[symbol] = now_ms + self.limits.cooldown_ms

    # -- targets and orders

    def trim(
        self,
        targets: Floats,
        portfolio: Portfolio,
        buying: Floats,
        volatility: float,
        now_ms: int,
        ahead: Floats | None = None,
    ) -> tuple[Floats, list[Veto]]:
        """The targets [N] within the limits: entries refused are NaN, each with its reason.

        `buying` [N] are the shares of equity that live buys may still take. `volatility` is the market's of late, a
        slice; `ahead` [N] the coins' forecast of the next hour, NaN where not known, None where nothing forecasts it.
        """
        if self.level is Level.HALTED:
            return np.full_like(targets, np.nan), self._all_vetoed(targets, portfolio)
        if self.level is Level.REDUCE:
            return np.where(portfolio.weights > 0, 0.0, np.nan), self._all_vetoed(targets, portfolio)
        trimmed, weights, limits = targets.copy(), portfolio.weights, self.limits
        entering = (targets > weights).nonzero()[0].tolist()
        vetoes = []
        for at in entering:
            most = min(limits.position_max, float(weights[at] + buying[at]) + limits.order_max)
            reason = self._entry_refusal(at, volatility, 0.0 if ahead is None else float(ahead[at]), now_ms)
            if reason:
                vetoes.append(Veto(self.symbols[at], reason))
                trimmed[at] = np.nan
            else:
                trimmed[at] = max(min(float(targets[at]), most), float(weights[at]))  # never forces a sale (P19)
        if len(vetoes) < len(entering):
            self._fit_exposure(trimmed, weights, buying, entering)
        return trimmed, vetoes

    def _all_vetoed(self, targets: Floats, portfolio: Portfolio) -> list[Veto]:
        reason = self.reason()
        return [Veto(self.symbols[at], reason) for at in np.nonzero(targets > portfolio.weights)[0]]

    def _entry_refusal(self, at: int, volatility: float, ahead: float, now_ms: int) -> str:
        limits, symbol = self.limits, self.symbols[at]
        if self.level is not Level.RUNNING:
            return self.reason()
        own = [cause for cause in self._causes.values() if cause.symbol == symbol]
        if own:
            return own[0].text
        if limits.volatility_max and volatility > limits.volatility_max:
            return f"volatility {volatility:.4f} is above risk.volatility_max {limits.volatility_max:.4f}"
        ceiling = limits.forecast_volatility_max
        if ceiling and ahead > ceiling:  # not known is not above
            return f"forecast volatility {ahead:.4f} an hour is above risk.forecast_volatility_max {ceiling:.4f}"
        streak = int(self.streaks[at])
        if streak < limits.sane_candles_min:
            return f"{streak} sane candles in a row, risk.sane_candles_min is {limits.sane_candles_min}"
        if self._cooldowns.get(symbol, 0) > now_ms:
            return f"cooling down for another {(self._cooldowns[symbol] - now_ms) / 1000:.0f} s after a stop"
        return ""

    def _fit_exposure(self, targets: Floats, weights: Floats, buying: Floats, entering: list[int]) -> None:
        """Scales the entries so that what is held, is being bought and will be ordered stays within exposure_max.

        A live buy may fill whatever we want now, also one of a coin that is to be sold (invariant I7).
        """
        entries = {at: float(targets[at] - weights[at] - buying[at]) for at in entering}
        entries = {at: entry for at, entry in entries.items() if entry > 0}  # NaN, a veto, is no entry
        kept = float(np.add.reduce(np.fmin(targets, weights))) + float(np.add.reduce(buying))
        room = max(0.0, self.limits.exposure_max - kept)
        wanted = sum(entries.values())
        if wanted > room:
            for at, entry in entries.items():
                targets[at] = weights[at] + buying[at] + entry * (room / wanted)

    def approve(
        self, wish: Wish, client_id: str, equity: float, life_ms: int, open_ms: int, now_ms: int
    ) -> Approved | Veto:
        """The only maker of Approved orders: size, rate and sanity, and the state once more."""
        if self.level is Level.HALTED:
            return Veto(wish.symbol, self.reason())
        entry = wish.side is Side.BUY
        if entry and self.level is not Level.RUNNING:
            return Veto(wish.symbol, self.reason())
        if not (wish.quantity.is_finite() and wish.price.is_finite() and wish.quantity > 0 and wish.price > 0):
            text = f"an order of {wish.quantity} {wish.symbol} at {wish.price} is no order"
            self.trip(Cause("insane_order", Level.HALTED, text, latched=True, fault="O24"))
            return Veto(wish.symbol, text)
        share = float(wish.quantity) * float(wish.price) / equity if equity > 0 else np.inf
        if entry and share > self.limits.order_max * 1.001:  # trimmed before: a thousandth for the rounding of marks
            return Veto(wish.symbol, f"{share:.2%} of equity is above risk.order_max {self.limits.order_max:.2%}")
        refusal = self._rate_refusal(open_ms, now_ms)
        if refusal:
            self.trip(Cause("order_rate", Level.HALTED, refusal, latched=True, fault="O23"))
            return Veto(wish.symbol, refusal)
        return Approved(client_id, wish.symbol, wish.side, wish.quantity, wish.limit, life_ms, open_ms, wish.reason)

    def _rate_refusal(self, open_ms: int, now_ms: int) -> str:
        limits = self.limits
        self._slice_orders = (open_ms, self._slice_orders[1] + 1 if self._slice_orders[0] == open_ms else 1)
        if self._slice_orders[1] > limits.orders_per_slice_max:
            return f"more than risk.orders_per_slice_max {limits.orders_per_slice_max} orders in one slice"
        while self._orders_ms and self._orders_ms[0] <= now_ms - DAY_MS:
            self._orders_ms.popleft()
        if len(self._orders_ms) >= limits.orders_per_day_max:
            return f"more than risk.orders_per_day_max {limits.orders_per_day_max} orders in a day"
        recent = takewhile(lambda at_ms: at_ms > now_ms - MINUTE_MS, reversed(self._orders_ms))  # a day's are many
        minute = sum(1 for _ in recent)
        if minute >= limits.orders_per_minute_max:
            return f"more than risk.orders_per_minute_max {limits.orders_per_minute_max} orders in a minute"
        self._orders_ms.append(now_ms)
        return ""

    def rejected(self, code: str, now_ms: int) -> None:
        """Counts a reject; a burst of them halts trading (fault O22)."""
        self._rejects_ms.append(now_ms)
        full = len(self._rejects_ms) == self.limits.rejects_max
        if not full or self._rejects_ms[0] < now_ms - MINUTE_MS:
            return
        text = f"{self.limits.rejects_max} rejects within a minute, the last {code}"
        self.trip(Cause("rejects", Level.HALTED, text, latched=True, fault="O22"))

    def reason(self) -> str:
        """Why the state is what it is, in words; "" while running."""
        worst = [cause.text for cause in self._causes.values() if not cause.symbol and cause.level == self.level]
        return "; ".join(worst) if self.level else ""
