"""A recorded session without sockets: the real engine, paper exchange and journal on a seeded walk of candles."""

from collections import deque
from decimal import Decimal
from pathlib import Path

import numpy as np

from bot.config import Settings, Storage
from bot.core.commands import Cancel, Query, Submit
from bot.core.events import AnyEvent, CandleClosed, Forecast, Forecasted, History, Reconciled, Sent, Wake
from bot.core.fills import FillModel
from bot.core.market import MINUTE_MS, Candle, Panel, Quote
from bot.core.memory import remember
from bot.core.paper import PaperExchange
from bot.edge.journal import Journal
from bot.edge.store import Store
from bot.session import build_engine, continue_from, recorded_as, recover
from tests.making import COINS, instruments, walk

SETTINGS = Settings.model_validate(
    {
        "market": {"window": 5},
        "account": {"cash": 10_000},
        "strategies": {
            "masked-divergence": {
                "window": 5,
                "divergence_threshold": 0.001,
                "min_return_threshold": 0.0,
                "round_trip_cost": 0.0,
            }
        },
        "storage": {"reserve_mib": 0},
    }
)
COSTS = FillModel(Decimal(10), "received", Decimal(2), Decimal(0), Decimal("0.5"))
HISTORY = 30


class Session:
    """One session on disk, driven by hand: `minute` plays one row of a panel."""

    def __init__(self, folder: Path, panel: Panel, start_row: int = HISTORY, settings: Settings = SETTINGS) -> None:
        self.panel = panel
        self.journal = Journal(folder, Storage(reserve_mib=0))
        with Store(folder) as store:
            past = recover(store, settings)
        symbols = panel.symbols
        self.engine = build_engine(settings, symbols, 0)
        self.now_ms = int(panel.open_ms[start_row])
        number = self.journal.open_session(self.now_ms, recorded_as(settings, 0), symbols)
        rules = instruments(symbols)
        self.snapshot = continue_from(past, self.engine, number, Decimal(10_000), rules)
        held = {holding.symbol.partition("/")[0]: holding.quantity for holding in self.snapshot.holdings}
        self.exchange = PaperExchange(rules, COSTS, 0, {"USDT": self.snapshot.cash} | held, trades=number * 1_000_000)
        self._rng = np.random.default_rng(number)
        self._inbox: deque[AnyEvent] = deque()
        self.take(Reconciled(self.snapshot))
        self.take(History(panel.rows(max(0, start_row - HISTORY), start_row)))

    def take(self, event: AnyEvent) -> None:
        """One event and everything it leads to."""
        self._inbox.append(event)
        while self._inbox:
            heard = self._inbox.popleft()
            commands = self.engine.handle(heard, self.now_ms)
            self.journal.append(self.now_ms, heard, commands)
            for command in commands:
                if isinstance(command, Submit):
                    self._inbox.append(Sent(command.order.client_id, self.now_ms))
                    self._inbox.extend(self.exchange.submit(command.order, self.now_ms))
                elif isinstance(command, Cancel):
                    self._inbox.extend(self.exchange.cancel(command.client_id))
                elif isinstance(command, Query):
                    self._inbox.extend(self.exchange.query(command.client_id, self.now_ms))

    def minute(self, row: int) -> None:
        """Quotes inside the minute, then its candles, then a forecast; and the timer of the soft limit."""
        panel, open_ms = self.panel, int(self.panel.open_ms[row])
        self.now_ms = open_ms + 2_000
        for at, symbol in enumerate(panel.symbols):
            price = float(panel.open[row, at])
            quote = Quote(symbol, self.now_ms, round(price * 0.9999, 2), 50.0, round(price * 1.0001, 2), 50.0)
            for report in self.exchange.quote(quote):
                self.take(report)
        self.now_ms = open_ms + MINUTE_MS + 50
        for at, symbol in enumerate(panel.symbols):
            values = [float(getattr(panel, name)[row, at]) for name in ("open", "high", "low", "close", "volume")]
            opened, high, low, close, volume = values
            self.take(CandleClosed(Candle(symbol, open_ms, opened, high, low, close, volume, volume, 1)))
        inferred = self._rng.normal(0, 0.003, len(panel.symbols))
        self.now_ms += 20
        self.take(Forecasted(Forecast(open_ms, inferred), 0.001))
        self.now_ms = open_ms + MINUTE_MS + 5_000
        self.take(Wake())

    def checkpoint(self) -> None:
        snapshot = remember(self.engine, self.engine.session, self.engine.strategy.rows)
        history = self.engine.window.panel()
        self.take(Reconciled(snapshot))
        self.take(History(history))


async def record(folder: Path, minutes: int = 40, checkpoint_at: int = 0, seed: int = 1) -> Session:
    """A whole session, closed in order."""
    session = Session(folder, walk(HISTORY + minutes, COINS, seed))
    for row in range(HISTORY, HISTORY + minutes):
        session.minute(row)
        if row == checkpoint_at:
            session.checkpoint()
    await session.journal.close(session.now_ms, "stopped")
    return session
