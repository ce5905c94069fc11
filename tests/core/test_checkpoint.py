"""A checkpoint is invisible: an engine that takes one and one that does not say the same ever after."""

from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.commands import AnyCommand, Submit, WakeAt
from bot.core.engine import Engine
from bot.core.events import AnyEvent, CandleClosed, CandleRefused, ForecastFailed, History, Reconciled, Wake
from bot.core.market import MINUTE_MS
from bot.core.memory import genesis, remember
from bot.core.strategy import View
from bot.edge.encoding import encode_commands
from tests.making import COINS, Talk, Wanting, answer, candle, instruments, setup, walk

HISTORY = walk(12)
FIRST_MS = int(HISTORY.open_ms[-1]) + MINUTE_MS
SLICES = 14
CANDLE = st.sampled_from(("stream", "stream", "stream", "rest", "late", "lost", "early", "refused", "jump", "forecast"))


class Swinging(Wanting):
    """Buys and sells by the newest close, so that orders come and go."""

    def targets(self, view: View) -> np.ndarray:
        close = view.window.close[-1]
        return np.where(np.isnan(close), np.nan, np.where(np.floor(np.nan_to_num(close) * 100) % 3, 0.2, 0.0))


def scenes(kinds: list[str]) -> list[tuple[int, list[AnyEvent]]]:
    """What each slice brings, with its time: candles that come in time, late, early, by REST, or not at all."""
    script: list[tuple[int, list[AnyEvent]]] = []
    rng = np.random.default_rng(7)
    for number in range(SLICES):
        open_ms = FIRST_MS + number * MINUTE_MS
        now: list[AnyEvent] = []
        late: list[AnyEvent] = []
        early: list[AnyEvent] = []
        for coin, symbol in enumerate(COINS):
            kind = kinds[number * len(COINS) + coin]
            close = round(100 + float(rng.normal()), 2) * (9 if kind == "jump" else 1)
            one = CandleClosed(candle(symbol, open_ms, close), "rest" if kind in ("rest", "refused") else "stream")
            if kind == "refused":
                now += [CandleRefused(symbol, "NaN"), one]
            elif kind == "forecast":
                now.append(ForecastFailed(open_ms, "NaN"))
                now.append(one)
            elif kind != "lost":
                (late if kind == "late" else early if kind == "early" else now).append(one)
        if script and early:
            script[-1][1].extend(early)
        elif early:
            now += early
        script.append((open_ms + MINUTE_MS + 100, now))
        script.append((open_ms + MINUTE_MS + 20_000, [Wake(), *late]))
    return script


def play(kinds: list[str], checkpoint: int) -> list[list[AnyCommand]]:
    """All that an engine says about these scenes; before scene `checkpoint` it takes one."""
    made = setup(rows=10, stop_loss=0.05, absent_max=0.5)
    engine = Engine(made, Swinging(wants_forecast=True))
    talk = Talk(engine, FIRST_MS)
    talk.hears(Reconciled(genesis(made, 1, Decimal(10_000), instruments()))).hears(History(HISTORY))
    said = []
    for number, (now_ms, events) in enumerate(scenes(kinds)):
        if number == checkpoint:
            snapshot, history = remember(engine, 1, 2), engine.window.panel()
            talk.hears(Reconciled(snapshot)).hears(History(history))
        talk.now_ms = now_ms
        for event in events:
            said.append(tell(talk, event))
        if engine.window.newest_ms > engine.decided_ms:
            said.append(tell(talk, answer(engine.window.newest_ms, [0.0, 0.0, 0.0])))
    return said


def tell(talk: Talk, event: AnyEvent) -> list[AnyCommand]:
    """What one event leads to, timers aside; orders are filled at once."""
    talk.hears(event)
    said: list[AnyCommand] = [command for command in talk.said if not isinstance(command, WakeAt)]
    for number, command in enumerate(said):
        if isinstance(command, Submit):
            at = talk.engine.setup.symbols.index(command.order.symbol)
            talk.fill(command, str(talk.engine.ledger.mark[at]), f"{command.order.client_id}-{number}")
    return said


@settings(max_examples=150)
@given(st.lists(CANDLE, min_size=3 * SLICES, max_size=3 * SLICES), st.integers(1, 2 * SLICES - 1))
def test_a_checkpoint_changes_nothing(kinds: list[str], checkpoint: int) -> None:
    """Late, lost, refused, early and jumping candles, failed forecasts: no command differs for a checkpoint taken."""
    plain, taken = play(kinds, checkpoint=-1), play(kinds, checkpoint)
    assert [encode_commands(said) for said in taken] == [encode_commands(said) for said in plain]
