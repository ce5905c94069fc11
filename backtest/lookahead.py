"""The proof that no decision looks ahead: everything after a slice is replaced, and nothing at or before it may move.

Future  at each of several cuts the candles after it become another market's; forecasts, targets and orders decided up
        to the cut must be the same, bit for bit.
Quiet   a strategy that tells where it has no opinion is replayed skipping those slices too: the same orders and fills.
Past    at each cut the strategy is asked again with only `warmup` and `rows` slices in its window and the same
        forecasts: the same targets, so its warm-up is long enough. It is asked of an account that holds nothing, and at
        the first slice from the cut on at which the replay held something, of the account it had there. A model's own
        memory is told beside it: how its inference at the cut, started so late, correlates with the one that saw
        everything.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import zip_longest

import numpy as np
from msgspec import Struct, structs

from backtest.forecasts import Forecasts, infer_ahead, returns_of
from backtest.simulate import Delays, Replay, Venue
from bot.building import setup_of
from bot.config import Settings
from bot.core.engine import capacity
from bot.core.events import Forecast
from bot.core.market import FIELDS, Floats, Panel
from bot.core.recording import Account, Recorded
from bot.core.rules import instruments_of
from bot.core.strategy import Portfolio, Sparing, Strategy, View
from bot.core.window import Sight, Window
from bot.edge.broker import fill_model
from models.hourly import HourlyForecasts
from models.model import Model

Progress = Callable[[int, int], None]
Ahead = Callable[[Panel], HourlyForecasts]  # the volatilities of a panel, forecast by a model that has seen none of it


class Looked(Struct, frozen=True):
    """What was compared. `first_difference` is "" when nothing moved; `restarted` correlates a model's inferences."""

    compared: int
    identical: bool
    first_difference: str
    cuts: int
    restarted: float | None


class Proof:
    """Replays of one history with one strategy and model, with other futures and shorter pasts."""

    def __init__(
        self,
        settings: Settings,
        panel: Panel,
        first: int,
        model: Model | None,
        build: Callable[[], Strategy],
        volatility: Ahead | None = None,
    ) -> None:
        self._settings = settings
        self._panel = panel
        self._first = first
        self._model = model
        self._build = build
        self._volatility = volatility
        self._strategy = build()
        self._venue = Venue(
            instruments_of(panel), fill_model(settings.account), Delays(latency_ms=settings.account.latency_ms)
        )
        self.compared = 0

    def look(self, cuts: int, rng: np.random.Generator, progress: Progress) -> Looked:
        """Cuts the history at `cuts` slices, the last first decided one included, and compares."""
        rows = np.unique(np.linspace(self._first, len(self._panel) - 2, cuts).astype(int)).tolist()
        whole, forecasts = self._replay(self._panel, [int(self._panel.open_ms[cut]) for cut in rows])
        difference, restarted = self._skipping(whole, forecasts), []
        for number, cut in enumerate(rows):
            difference = difference or self._future(whole, forecasts, cut, rng)
            difference = difference or self._past(forecasts, cut, self._nothing(cut))
            if self._model is not None and forecasts is not None:
                restarted.append(self._restarted(forecasts, cut))
            progress(number + 1, len(rows))
        for at_ms, account in _recorded(whole).accounts_at.items():
            difference = difference or self._past(forecasts, int(np.searchsorted(self._panel.open_ms, at_ms)), account)
        known = [one for one in restarted if one is not None]
        return Looked(self.compared, not difference, difference, len(rows), float(np.mean(known)) if known else None)

    def _replay(self, panel: Panel, held_from: Sequence[int] = ()) -> tuple[Replay, Forecasts | None]:
        forecasts = infer_ahead(self._model, panel) if self._model is not None else None
        if self._volatility is not None:
            forecasts = structs.replace(forecasts or Forecasts(None), volatility=self._volatility(panel))
        setup = setup_of(self._settings, panel.symbols, 2)
        cash = Decimal(repr(self._settings.account.cash))
        strategy = Recorded(self._build(), held_from)
        replay = Replay(panel, self._first, setup, strategy, self._venue, cash, forecasts)
        replay.run()
        return replay, forecasts

    def _skipping(self, whole: Replay, forecasts: Forecasts | None) -> str:
        """A strategy that says where it is quiet must do the same when it is taken at its word, as backtests do."""
        strategy = self._build()
        if not isinstance(strategy, Sparing):
            return ""
        setup = setup_of(self._settings, self._panel.symbols, 2)
        cash = Decimal(repr(self._settings.account.cash))
        replay = Replay(self._panel, self._first, setup, strategy, self._venue, cash, forecasts)
        replay.run_skipping()
        self.compared += 1
        return "" if replay.digest.value == whole.digest.value else "skipping what it calls quiet changes its orders"

    def _future(self, whole: Replay, forecasts: Forecasts | None, cut: int, rng: np.random.Generator) -> str:
        """Another future after row `cut`: the first thing up to it that moved."""
        other, inferred = self._replay(another_future(self._panel.rows(0, min(cut + 50, len(self._panel))), cut, rng))
        cut_ms = int(self._panel.open_ms[cut])
        for row in range(self._first, cut + 1):
            at_ms = int(self._panel.open_ms[row])
            what = f"slice {at_ms}, with another future after {cut_ms}"
            self.compared += 2
            if not _same_forecast(_forecast(forecasts, self._panel, row), _forecast(inferred, self._panel, row)):
                return f"{what}: the forecast moved"
            if not _same(_recorded(whole).targets_at.get(at_ms), _recorded(other).targets_at.get(at_ms)):
                return f"{what}: the targets moved"
        before, after = _ordered(whole, cut_ms), _ordered(other, cut_ms)
        self.compared += len(before)
        if before != after:
            pairs = zip_longest(before, after)
            moved = next(one or other for one, other in pairs if one != other)
            return f"with another future after {cut_ms}: order {moved[0]} moved"
        return ""

    def _past(self, forecasts: Forecasts | None, row: int, account: Account) -> str:
        """Only as much past as the strategy says it needs: its targets for this account must be the same."""
        needed = max(self._strategy.warmup, self._strategy.rows) + 1
        if row + 1 <= needed:
            return ""
        self.compared += 1
        if _same(self._opinion(forecasts, row, account, row + 1), self._opinion(forecasts, row, account, needed)):
            return ""
        what = f"slice {int(self._panel.open_ms[row])}, holding {len(account.held)} coins"
        return f"{what}: with only {needed} slices of the past the targets are others: the warm-up is too short"

    def _nothing(self, row: int) -> Account:
        """An account that holds nothing."""
        coins, cash = len(self._panel.symbols), self._settings.account.cash
        nothing, nan = np.zeros(coins), np.full(coins, np.nan)
        owned = Portfolio(cash, cash, nothing, nan, nan, np.zeros(coins, dtype=np.int64), self._panel.close[row])
        return Account(owned, np.zeros(0, dtype=np.int64))

    def _opinion(self, forecasts: Forecasts | None, newest: int, account: Account, rows: int) -> Floats | None:
        """What the strategy wants of this account at row `newest`, with `rows` slices to look at."""
        panel = self._panel
        window = Window(
            panel.symbols, panel.interval_ms, max(rows, capacity(setup_of(self._settings, (), 2), self._strategy))
        )
        for row in range(newest + 1 - rows, newest + 1):
            window.push(panel.slice(row))
            if forecasts is not None and forecasts.returns is not None:
                window.infer(forecasts.returns[row])
        forecast = _forecast(forecasts, panel, newest)
        return self._strategy.targets(View(Sight(window), forecast, account.held, lambda: account.portfolio))

    def _restarted(self, forecasts: Forecasts, cut: int) -> float | None:
        """The correlation of the model's inference at `cut` with that of one started just before."""
        assert self._model is not None
        needed = capacity(setup_of(self._settings, (), self._model.warmup), self._strategy)
        late = self._model.infer_panel(self._panel.rows(max(0, cut + 1 - needed), cut + 1))[-1]
        told = returns_of(forecasts)[cut]
        known = np.isfinite(late) & np.isfinite(told)
        if known.sum() < 3 or not late[known].std() or not told[known].std():
            return None
        return float(np.corrcoef(late[known], told[known])[0, 1])


def another_future(panel: Panel, cut: int, rng: np.random.Generator) -> Panel:
    """The panel [T, N] with other candles after row `cut`: prices moved by up to a third, some absent, no volume kept."""
    shape = (len(panel) - cut - 1, len(panel.symbols))
    factor = np.exp(np.clip(np.cumsum(rng.normal(0, 0.02, shape), axis=0), -0.3, 0.3))
    gone = rng.random(shape) < 0.05
    changed = {}
    for name in FIELDS:
        field = getattr(panel, name).copy()
        field[cut + 1 :] *= factor if name != "volume" else rng.random(shape)
        field[cut + 1 :][gone] = np.nan
        changed[name] = field
    present = panel.present.copy()
    present[cut + 1 :] &= ~gone
    return structs.replace(panel, **changed, present=present)


def _forecast(forecasts: Forecasts | None, panel: Panel, row: int) -> Forecast | None:
    """What a decision at this row is told."""
    if forecasts is None:
        return None
    open_ms = int(panel.open_ms[row])
    returns = np.full(len(panel.symbols), np.nan) if forecasts.returns is None else forecasts.returns[row]
    return Forecast(open_ms, returns, forecasts.volatility_at(open_ms + panel.interval_ms), forecasts.gain_at(row))


def _same_forecast(one: Forecast | None, other: Forecast | None) -> bool:
    if one is None or other is None:
        return one is other
    volatility = [None if forecast.volatility is None else forecast.volatility.tobytes() for forecast in (one, other)]
    return one.returns.tobytes() == other.returns.tobytes() and volatility[0] == volatility[1]


def _recorded(replay: Replay) -> Recorded:
    strategy = replay.engine.strategy
    assert isinstance(strategy, Recorded)
    return strategy


def _same(one: Floats | None, other: Floats | None) -> bool:
    if one is None or other is None or np.isnan(one).all() or np.isnan(other).all():
        empty = [which is None or bool(np.isnan(which).all()) for which in (one, other)]
        return empty[0] == empty[1]
    return one.tobytes() == other.tobytes()


def _ordered(replay: Replay, until_ms: int) -> list[tuple[str, ...]]:
    """What was ordered up to this slice."""
    live = replay.engine.orders.live
    found = [order for order in (replay.orders | live).values() if order.open_ms <= until_ms]
    told = [
        (order.client_id, order.symbol, order.side.value, str(order.quantity), str(order.limit), order.reason)
        for order in found
    ]
    return sorted(told, key=lambda one: int(one[0].rpartition("-")[2]))
