"""A seeded synthetic market: returns with one truth planted in them, as candles without end.

Factors  a common factor and five sectors, each with volatility that clusters (GARCH) and Student-t tails.
Truth    leaders follow the factors at once; laggards take most of what the factors did 1 to 3 minutes later. Every
         coin also strays from its value and comes back within minutes. Both are far stronger than in real markets:
         what a model finds here proves the model works, not that it would earn anything.
Candles  on the tick; small coins have minutes without any trade. Prices and volumes are of the size people know.
Chunks   of 240 rows; chunk k draws from (seed, k) alone and continues the state chunk k - 1 left, so a market of any
         length is the beginning of the same endless one.
Shapes   T rows, N coins, S sectors, F = 1 + S + N processes: common, sectors, each coin's own.
"""

import msgspec
import numpy as np

from bot.core.market import FIELDS, MINUTE_MS, Floats, Integers, Mask, Panel
from bot.simulator.coins import names_and_prices

CHUNK = 240
SECTORS = 5
LAG_MAX = 3
START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
ARCH, GARCH = 0.12, 0.85  # the news' and the past's share in the next variance; the rest is the long-run mean
SHOCK_MAX = 25.0  # squared shocks above this feed the variance no further: Student tails would blow it up
TAIL = 4.0  # degrees of freedom
PULL = np.log(2) / (5 * 1_440)  # per row towards the first price: an endless walk would leave its ticks behind
TRADES_LARGEST, TRADES_SMALLEST = 3_000.0, 3.0  # a minute
QUOTE_LARGEST, QUOTE_SMALLEST = 3e6, 5e3  # volume a minute in quote currency


class Recipe(msgspec.Struct, frozen=True):
    """What the market is like. Standard deviations are of one-minute log returns."""

    common: float = 0.0016
    sector: float = 0.0007
    own: float = 0.0006
    stray: float = 0.0014
    stray_stays: float = 0.4
    lagging: float = 0.4
    lag_share: float = 0.75


WILD = Recipe(common=0.0024, sector=0.00105, own=0.0009, stray=0.0021)  # so that a minute of a demo shows some trades


class Coins(msgspec.Struct, frozen=True, eq=False):
    """What stays the same of each coin, arrays [N]. `lag` 0 is a leader."""

    symbols: tuple[str, ...]
    price: Floats
    price_decimals: Integers
    volume_decimals: Integers
    beta: Floats
    sector: Integers
    lag: Integers
    trades: Floats
    quote_volume: Floats


class State(msgspec.Struct, eq=False):
    """What one chunk leaves to the next."""

    variance_F: Floats
    factors_LN: Floats
    stray_N: Floats
    value_N: Floats
    close_N: Floats


def coins_of(count: int, seed: int, recipe: Recipe) -> Coins:
    """The coins of a market: the larger, the more trades; BTC and ETH always lead."""
    names, prices = names_and_prices(count)
    rng = np.random.default_rng([seed, 0])
    price = np.array(prices)
    magnitude = np.floor(np.log10(price)).astype(np.int64)
    smallness = np.arange(count) / max(count - 1, 1)
    lags = rng.integers(1, LAG_MAX + 1, count)
    lag = np.where(rng.random(count) < recipe.lagging, lags, 0)
    lag[:2] = 0
    return Coins(
        tuple(names),
        price,
        np.clip(5 - magnitude, 0, 8),
        np.clip(magnitude + 1, 0, 8),
        np.clip(rng.normal(1.0, 0.2, count), 0.5, 1.6),
        np.arange(count) % SECTORS,
        lag,
        TRADES_LARGEST * (TRADES_SMALLEST / TRADES_LARGEST) ** smallness,
        QUOTE_LARGEST * (QUOTE_SMALLEST / QUOTE_LARGEST) ** smallness,
    )


class Generator:
    """Makes the chunks of one market in order."""

    def __init__(self, count: int, seed: int, recipe: Recipe | None = None) -> None:
        self._recipe = recipe or Recipe()
        self._seed = seed
        self.coins = coins_of(count, seed, self._recipe)
        self._made = 0
        value = np.log(self.coins.price)
        self._state = State(
            np.ones(1 + SECTORS + count), np.zeros((LAG_MAX, count)), np.zeros(count), value, self._round(np.exp(value))
        )

    def chunk(self) -> tuple[Floats, Mask]:
        """The next 240 rows: values [5, T, N] in the order of FIELDS, and which of them traded [T, N]."""
        rng = np.random.default_rng([self._seed, 1, self._made])
        self._made += 1
        coins, state = self.coins, self._state
        moves_TN, spread_TN = self._moves(rng)
        moves_TN += PULL * (np.log(coins.price) - state.value_N)
        value_TN = state.value_N + np.cumsum(moves_TN, axis=0)
        before_TN = np.vstack([state.value_N[None], value_TN[:-1]])
        activity_TN = np.exp(0.4 * rng.standard_normal(moves_TN.shape)) * (1.0 + 0.5 * np.abs(moves_TN) / 0.001)
        traded_TN = rng.random(moves_TN.shape) >= np.exp(-coins.trades * activity_TN)
        opened, closed = self._round(np.exp(before_TN)), self._round(np.exp(value_TN))
        wicks = np.abs(rng.standard_normal((2, *moves_TN.shape))) * 0.35 * spread_TN
        high = np.maximum(self._round(np.maximum(opened, closed) * np.exp(wicks[0])), np.maximum(opened, closed))
        low = np.minimum(self._round(np.minimum(opened, closed) * np.exp(-wicks[1])), np.minimum(opened, closed))
        step = 10.0**-coins.volume_decimals
        steps = np.maximum(np.floor(coins.quote_volume * activity_TN / closed / step), 1.0)
        volume = np.round(steps * step, 8)
        last = _last_traded(np.vstack([state.close_N[None], closed]), traded_TN)
        values = np.stack([opened, high, low, closed, volume])
        values[:4] = np.where(traded_TN, values[:4], last)
        values[4] = np.where(traded_TN, values[4], 0.0)
        state.value_N, state.close_N = value_TN[-1].copy(), values[3, -1].copy()
        return values, traded_TN

    def _moves(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Log returns [T, N] of the coins, and their standard deviation of the moment."""
        recipe, coins, state = self._recipe, self.coins, self._state
        count = len(coins.symbols)
        shocks_TF = rng.standard_t(TAIL, (CHUNK, 1 + SECTORS + count)) / np.sqrt(TAIL / (TAIL - 2))
        strays_TN = rng.standard_t(TAIL, (CHUNK, count)) / np.sqrt(TAIL / (TAIL - 2)) * recipe.stray
        deviation_TF = np.empty_like(shocks_TF)
        variance = state.variance_F
        stray_TN = np.empty_like(strays_TN)
        stray = state.stray_N
        for row in range(CHUNK):
            deviation_TF[row] = np.sqrt(variance)
            shocks_TF[row] *= deviation_TF[row]
            news = np.minimum(shocks_TF[row] ** 2, SHOCK_MAX)
            variance = (1.0 - ARCH - GARCH) + ARCH * news + GARCH * variance
            stray = recipe.stray_stays * stray + strays_TN[row] * deviation_TF[row, 1 + SECTORS :]
            stray_TN[row] = stray
        factors_TN = coins.beta * recipe.common * shocks_TF[:, :1]
        factors_TN = factors_TN + recipe.sector * shocks_TF[:, 1 + coins.sector]
        known_TN = np.vstack([state.factors_LN, factors_TN])
        late_TN = np.take_along_axis(known_TN, np.arange(CHUNK)[:, None] + LAG_MAX - coins.lag, axis=0)
        share = np.where(coins.lag > 0, recipe.lag_share, 0.0)
        own_TN = recipe.own * shocks_TF[:, 1 + SECTORS :]
        back_TN = np.diff(stray_TN, axis=0, prepend=state.stray_N[None])
        state.variance_F, state.stray_N = variance, stray
        state.factors_LN = factors_TN[-LAG_MAX:]
        spread_TN = np.hypot(recipe.common * deviation_TF[:, :1], recipe.stray * deviation_TF[:, 1 + SECTORS :])
        return (1.0 - share) * factors_TN + share * late_TN + own_TN + back_TN, spread_TN

    def _round(self, prices: Floats) -> Floats:
        """Prices on the tick, never below one."""
        scale = 10.0**self.coins.price_decimals
        rounded: Floats = np.maximum(np.rint(prices * scale), 1.0) / scale
        return rounded


def _last_traded(closes: Floats, traded: Mask) -> Floats:
    """The last traded close at each row [T, N]; `closes` [T + 1, N] begins with the one known before."""
    rows = np.arange(1, len(closes))[:, None]
    at = np.maximum.accumulate(np.where(traded, rows, 0), axis=0)
    found: Floats = np.take_along_axis(closes, at, axis=0)
    return found


def synthetic_panel(
    coins: int, minutes: int, seed: int = 7, start_ms: int = START_MS, recipe: Recipe | None = None
) -> Panel:
    """The first `minutes` of the market of this seed."""
    generator = Generator(coins, seed, recipe)
    chunks = [generator.chunk() for _ in range(-(-minutes // CHUNK))]
    values = np.concatenate([chunk for chunk, _ in chunks], axis=1)[:, :minutes]
    traded = np.concatenate([traded for _, traded in chunks])[:minutes]
    open_ms = start_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)
    o, h, l, c, v = values
    return Panel(generator.coins.symbols, MINUTE_MS, open_ms, o, h, l, c, v, traded)


class SyntheticSource:
    """The endless market: makes what is asked for and remembers the last `keep` minutes (a `Source`)."""

    end_ms = None

    def __init__(
        self, coins: int, seed: int = 7, start_ms: int = START_MS, recipe: Recipe | None = None, keep: int = 7_200
    ) -> None:
        self._generator = Generator(coins, seed, recipe)
        self.coins = self._generator.coins
        self.symbols = self.coins.symbols
        self.interval_ms = MINUTE_MS
        self.first_ms = start_ms
        self.price_decimals, self.volume_decimals = self.coins.price_decimals, self.coins.volume_decimals
        self._keep = max(keep, CHUNK)
        self._rows = 0
        self._values, self._traded = self._room()

    def between(self, start_ms: int, stop_ms: int) -> Panel:
        """The rows that open in [start, stop), as views that stay as they are; rows long past are gone."""
        while self.first_ms + self._rows * MINUTE_MS < stop_ms:
            self._extend()
        first = max(0, -(-(start_ms - self.first_ms) // MINUTE_MS))
        stop = min(self._rows, max(first, -(-(stop_ms - self.first_ms) // MINUTE_MS)))
        open_ms = self.first_ms + MINUTE_MS * np.arange(first, stop, dtype=np.int64)
        o, h, l, c, v = self._values[:, first:stop]
        return Panel(self.symbols, MINUTE_MS, open_ms, o, h, l, c, v, self._traded[first:stop])

    def _room(self) -> tuple[Floats, Mask]:
        """New arrays, touched so that memory is flat from the beginning."""
        shape = (self._keep + self._keep // 4 + CHUNK, len(self.symbols))
        return np.full((len(FIELDS), *shape), np.nan), np.zeros(shape, dtype=np.bool_)

    def _extend(self) -> None:
        if self._rows + CHUNK > self._traded.shape[0]:
            values, traded = self._room()  # not moved in place: views of the old arrays may be held
            gone = self._rows - self._keep
            values[:, : self._keep] = self._values[:, gone : self._rows]
            traded[: self._keep] = self._traded[gone : self._rows]
            self._values, self._traded, self._rows = values, traded, self._keep
            self.first_ms += gone * MINUTE_MS
        stop = self._rows + CHUNK
        self._values[:, self._rows : stop], self._traded[self._rows : stop] = self._generator.chunk()
        self._rows = stop
