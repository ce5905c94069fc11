"""The engine, told as conversations: events in, wishes out."""

from decimal import Decimal

import numpy as np
import pytest

from bot.core.commands import Cancel, Confirm, Fetch, Infer, Note, Query, Submit, WakeAt
from bot.core.engine import Engine
from bot.core.events import (
    Accepted,
    Canceled,
    CandleClosed,
    CandleRefused,
    Confirmed,
    Forecast,
    Forecasted,
    ForecastFailed,
    History,
    Operator,
    Reconciled,
    Rejected,
    Sent,
    SliceClosed,
    Stopping,
    Unanswered,
    Unfound,
    Verb,
    Wake,
)
from bot.core.market import MINUTE_MS, Floats, Side
from bot.core.memory import remember
from bot.core.snapshot import State
from bot.core.strategy import View
from tests.making import COINS, START_MS, Talk, Wanting, answer, candle, panel, setup, started, walk

HISTORY = walk(12)
NEXT_MS = int(HISTORY.open_ms[-1]) + MINUTE_MS


def flat(rows: int = 12) -> np.ndarray:
    return np.full((rows, 3), 100.0)


def close_slice(talk: Talk, open_ms: int, closes: tuple[float, ...] = (100.0, 100.0, 100.0)) -> Talk:
    """All candles of one slice, 100 ms after its close."""
    talk.now_ms = open_ms + MINUTE_MS + 100
    for symbol, close in zip(COINS, closes, strict=True):
        talk.hears(CandleClosed(candle(symbol, open_ms, close)))
    return talk


def bought(talk: Talk, open_ms: int = NEXT_MS) -> Talk:
    """A talk in which BTC was bought for a third of the account at 100."""
    strategy = talk.engine.strategy
    assert isinstance(strategy, Wanting)
    strategy.weights = [0.3, np.nan, np.nan]
    close_slice(talk, open_ms)
    talk.fill(talk.of(Submit)[0], "100")
    strategy.weights = None
    return talk


def test_the_last_candle_closes_the_slice_and_asks_the_model() -> None:
    """A slice closes the moment its last candle is there; only then is the model asked."""
    talk = started(Wanting(wants_forecast=True), HISTORY)
    talk.hears(CandleClosed(candle(COINS[0], NEXT_MS)), later_ms=MINUTE_MS + 50).says()
    talk.hears(CandleClosed(candle(COINS[1], NEXT_MS))).says()
    talk.hears(CandleClosed(candle(COINS[2], NEXT_MS))).says(Infer)


def test_a_late_forecast_moves_nothing() -> None:
    """A forecast for a slice that is no longer the newest is noted and dropped (fault C9)."""
    talk = started(Wanting(True, [0.3, 0.3, 0.3]), panel(flat()))
    close_slice(talk, NEXT_MS).says(Infer)
    close_slice(talk, NEXT_MS + MINUTE_MS).says(Infer)
    talk.hears(answer(NEXT_MS, [0, 0, 0])).says(Note)
    assert talk.codes == ["forecast.late"]
    talk.hears(answer(NEXT_MS + MINUTE_MS, [0, 0, 0])).says(Submit, Submit, Submit)


def test_a_forecast_that_took_too_long_moves_nothing() -> None:
    """Fault C1: an answer older than forecast_age_max_ms is dropped."""
    talk = started(Wanting(True, [0.3, 0, 0]), panel(flat()))
    close_slice(talk, NEXT_MS)
    talk.hears(answer(NEXT_MS, [0, 0, 0]), later_ms=20_001)
    assert talk.codes == ["forecast.late"]
    assert not talk.of(Submit)


def test_a_slice_is_decided_once() -> None:
    """The same forecast twice leads to one decision (invariant I11)."""
    talk = started(Wanting(True, [0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    talk.hears(answer(NEXT_MS, [0, 0, 0])).says(Submit)
    talk.hears(answer(NEXT_MS, [0, 0, 0])).says(Note)


def test_stragglers_are_asked_for_and_the_hard_limit_closes_without_them() -> None:
    """Faults F11, F12: REST at close + 5 s, the slice at close + 20 s, the late candle noted and not decided on."""
    talk = started(Wanting(weights=[0.3, 0.3, 0.3]), panel(flat()))
    close_ms = NEXT_MS + MINUTE_MS
    talk.hears(CandleClosed(candle(COINS[0], NEXT_MS)), later_ms=MINUTE_MS)
    talk.hears(CandleClosed(candle(COINS[1], NEXT_MS)))
    talk.now_ms = close_ms + 5_000
    talk.hears(Wake())
    fetch = talk.of(Fetch)[0]
    assert isinstance(fetch, Fetch)
    assert (fetch.symbols, fetch.start_ms, fetch.stop_ms) == ((COINS[2],), NEXT_MS, NEXT_MS)
    talk.now_ms = close_ms + 20_000
    talk.hears(Wake())
    assert list(talk.engine.doubt.missing) == [False, False, True]
    assert "risk.absent" in talk.codes  # a third of this small universe is above a fifth
    talk.hears(CandleClosed(candle(COINS[2], NEXT_MS)), later_ms=1_000)
    assert talk.codes == ["candle.late"]
    assert not talk.of(Submit)


def test_a_candle_from_rest_completes_the_slice() -> None:
    """Fault F12: the value fetched at the soft limit is as good as the stream's."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    talk.now_ms = NEXT_MS + MINUTE_MS + 5_500
    for symbol in COINS[:2]:
        talk.hears(CandleClosed(candle(symbol, NEXT_MS)))
    talk.hears(CandleClosed(candle(COINS[2], NEXT_MS), "rest")).says(Submit)


def test_the_same_candle_twice_is_one_decision() -> None:
    """Fault F8: an identical second closing frame is ignored."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS).says(Submit)
    talk.hears(CandleClosed(candle(COINS[2], NEXT_MS))).says()


def test_a_revised_candle_is_noted_and_not_decided_again() -> None:
    """Fault F9: a second version that moved by more than a tick is an alert, never a trade."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    talk.hears(CandleClosed(candle(COINS[2], NEXT_MS, 100.5))).says(Note)
    assert talk.codes == ["candle.revised"]
    assert talk.engine.window.close[-1, 2] == 100.0


def test_a_candle_behind_its_successor_is_kept_but_not_decided_on() -> None:
    """Fault F10: minute m after m + 1 finds its slice closed: noted as late, no decision, order kept."""
    talk = started(Wanting(True), panel(flat()), absent_max=0.5)
    later = NEXT_MS + MINUTE_MS
    talk.now_ms = later + MINUTE_MS + 10
    for symbol in COINS:
        talk.hears(CandleClosed(candle(symbol, later)))
    assert talk.engine.window.newest_ms == later
    for symbol in COINS:
        talk.hears(CandleClosed(candle(symbol, NEXT_MS))).says(Note)
        assert talk.codes == ["candle.late"]


def test_a_silent_symbol_delays_two_slices_and_then_nobody() -> None:
    """Fault F7: after two misses a symbol is not waited for; its next candle brings it back."""
    talk = started(Wanting(True), panel(flat()), absent_max=0.5)
    at_ms = NEXT_MS
    for _ in range(2):
        talk.now_ms = at_ms + MINUTE_MS + 10
        for symbol in COINS[:2]:
            talk.hears(CandleClosed(candle(symbol, at_ms)))
        assert not talk.of(Infer)
        talk.now_ms = at_ms + MINUTE_MS + 20_000
        talk.hears(Wake())
        assert talk.of(Infer)
        at_ms += MINUTE_MS
    talk.now_ms = at_ms + MINUTE_MS + 10
    for symbol in COINS[:2]:
        talk.hears(CandleClosed(candle(symbol, at_ms)))
    assert talk.of(Infer), "the slice closed without the silent symbol"


def test_history_never_trades() -> None:
    """Candles of the past fill the window and lead to nothing but a timer."""
    talk = started(Wanting(weights=[0.3, 0.3, 0.3]), panel(flat()))
    assert all(isinstance(command, WakeAt) for command in talk.said)
    talk.hears(History(panel(flat(30)[:30], NEXT_MS)))
    assert all(isinstance(command, WakeAt) for command in talk.said)


def test_a_slice_long_past_is_missed_not_traded() -> None:
    """Fault F13: what closed minutes ago is recorded as missed."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    talk.now_ms = NEXT_MS + 4 * MINUTE_MS
    talk.hears(SliceClosed(panel(flat(1), NEXT_MS).slice(0)))
    assert talk.codes == ["slice.missed"]


def test_a_buy_fills_and_moves_the_ledger() -> None:
    """30 % of 10,000 at 100 is 30 coins; the fill pays for them."""
    talk = bought(started(Wanting(), panel(flat())))
    assert talk.engine.ledger.holdings["BTC/USDT"].quantity == 30
    assert talk.engine.ledger.cash == 7_000
    assert talk.engine.ledger.balance_error() == 0


def test_a_stop_loss_sells_without_a_forecast() -> None:
    """At 5 % below the entry the position is sold at once, and the coin cools down."""
    strategy = Wanting()
    talk = bought(started(strategy, panel(flat())))
    strategy.weights = [0.3, np.nan, np.nan]
    close_slice(talk, NEXT_MS + MINUTE_MS, (94.0, 100.0, 100.0))
    sell = talk.of(Submit)[0]
    assert isinstance(sell, Submit)
    assert (sell.order.side, sell.order.reason, sell.order.quantity) == (Side.SELL, "stop_loss", Decimal(30))
    talk.fill(sell, "94", "2")
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS, (94.0, 100.0, 100.0))
    assert talk.codes == ["veto"]
    assert not talk.of(Submit)


def test_a_trailing_stop_follows_the_high() -> None:
    """2 % below the highest mark since the entry sells, still in profit."""
    talk = bought(started(Wanting(), panel(flat()), trailing_stop=0.02))
    close_slice(talk, NEXT_MS + MINUTE_MS, (110.0, 100.0, 100.0)).says()
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS, (107.0, 100.0, 100.0))
    assert [command.order.reason for command in talk.of(Submit)] == ["trailing_stop"]


def test_an_unanswered_order_is_asked_for_and_absent_only_behind_the_fence() -> None:
    """Faults O1, O2, O6: UNKNOWN is asked every 2 s; not found before request + 45 s proves nothing."""
    strategy = Wanting(weights=[0.3, np.nan, np.nan])
    talk = started(strategy, panel(flat()))
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    sent_ms = talk.now_ms
    talk.hears(Sent(order.client_id, sent_ms)).hears(Unanswered(order.client_id, "timeout"))
    talk.hears(Wake(), later_ms=2_000)
    assert talk.of(Query)
    talk.hears(Unfound(order.client_id, sent_ms + 45_000))
    assert talk.engine.orders.get(order.client_id).state is State.UNKNOWN  # type: ignore[union-attr]
    assert talk.engine.orders.buying() == {COINS[0]: 3_000}
    talk.hears(Unfound(order.client_id, sent_ms + 45_001))
    assert talk.engine.orders.get(order.client_id).state is State.ABSENT  # type: ignore[union-attr]
    assert talk.engine.orders.buying() == {}


def test_nothing_replaces_an_unknown_order() -> None:
    """The wish that an unknown order may still fulfil is not sent again."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Unanswered(order.client_id, "timeout"))
    close_slice(talk, NEXT_MS + MINUTE_MS)
    assert not talk.of(Submit)


def test_a_fill_is_booked_once_in_any_state() -> None:
    """Faults O13 to O15: a fill after the cancel counts, and its echo does not."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    submit = talk.of(Submit)[0]
    talk.hears(Canceled(submit.order.client_id, "canceled"))
    talk.fill(submit, "100", "7")
    talk.fill(submit, "100", "7")
    assert talk.engine.ledger.holdings["BTC/USDT"].quantity == 30


def test_what_outlives_its_slice_is_cancelled() -> None:
    """Fault O20: an unfilled order is cancelled at the end of its life."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Accepted(order.client_id, "x"))
    talk.hears(Wake(), later_ms=60_000)
    assert [command.client_id for command in talk.of(Cancel)] == [order.client_id]


def test_a_burst_of_rejects_halts() -> None:
    """Fault O22: five rejects within a minute halt trading until a person resumes."""
    strategy = Wanting()
    talk = started(strategy, panel(flat()))
    for number in range(5):
        strategy.weights = [0.3, np.nan, np.nan]
        talk.now_ms = NEXT_MS + number * 10 + MINUTE_MS
        open_ms = NEXT_MS + number * MINUTE_MS
        talk.engine.risk._cooldowns.clear()
        talk.now_ms = NEXT_MS + 10 * MINUTE_MS + number
        talk.hears(SliceClosed(panel(flat(1), open_ms + 9 * MINUTE_MS).slice(0)))
        order = talk.of(Submit)[0].order
        talk.now_ms = NEXT_MS + 11 * MINUTE_MS + number
        talk.hears(Rejected(order.client_id, "-2010", "no"))
    assert talk.engine.risk.level == 3
    assert talk.engine.risk.causes[0].fault == "O22"
    talk.hears(Operator(Verb.RESUME, "me"))
    assert talk.engine.risk.level == 0


def test_a_price_ten_times_off_neither_marks_nor_trades_until_a_second_source_agrees() -> None:
    """Fault F20: no entry and no exit on it; the book's word within 5 % settles it."""
    strategy = Wanting()
    talk = bought(started(strategy, panel(flat())))
    equity = talk.engine.ledger.equity()
    strategy.weights = [0.0, np.nan, np.nan]
    close_slice(talk, NEXT_MS + MINUTE_MS, (1_000.0, 100.0, 100.0))
    assert [type(command) for command in talk.said if not isinstance(command, (WakeAt, Note))] == [Confirm]
    assert talk.engine.equity == equity
    talk.hears(Confirmed("BTC/USDT", 101.0))
    assert talk.codes == ["price.unconfirmed"]
    talk.hears(Confirmed("BTC/USDT", 990.0))
    assert talk.engine.ledger.equity() == equity + 30 * 900


def test_a_refused_candle_stops_entries_until_three_sane_ones() -> None:
    """Fault F19: entries of the symbol wait for three sane candles in a row."""
    strategy = Wanting(weights=[0.3, np.nan, np.nan])
    talk = started(strategy, panel(flat()))
    talk.hears(CandleRefused("BTC/USDT", "NaN"))
    for number in range(2):
        close_slice(talk, NEXT_MS + number * MINUTE_MS)
        assert talk.codes == ["veto"]
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS).says(Submit)


def test_three_failed_forecasts_stop_entries_until_one_succeeds() -> None:
    """Fault C6: a model that answers nonsense three times running stops entries."""
    talk = started(Wanting(True, [0.3, np.nan, np.nan]), panel(flat()))
    for number in range(3):
        close_slice(talk, NEXT_MS + number * MINUTE_MS)
        talk.hears(ForecastFailed(NEXT_MS + number * MINUTE_MS, "NaN"))
    assert talk.engine.risk.level == 1
    close_slice(talk, NEXT_MS + 3 * MINUTE_MS)
    talk.hears(answer(NEXT_MS + 3 * MINUTE_MS, [0, 0, 0]))
    assert talk.of(Submit)


def test_a_drawdown_reduces_and_a_person_leads_back() -> None:
    """Above the drawdown limit what is held is sold; `resume` starts counting anew."""
    talk = bought(started(Wanting(), panel(flat()), drawdown_max=0.05, daily_loss_max=0.05, stop_loss=0.0))
    close_slice(talk, NEXT_MS + MINUTE_MS, (80.0, 100.0, 100.0))
    assert talk.engine.risk.level == 2
    assert [command.order.side for command in talk.of(Submit)] == [Side.SELL]
    talk.hears(Operator(Verb.RESUME, "me"))
    assert talk.engine.risk.level == 0


def test_a_halt_sends_nothing_and_survives_a_restart() -> None:
    """Invariants I12, I14: HALTED sends no order and is part of the snapshot."""
    strategy = Wanting(weights=[0.3, np.nan, np.nan])
    talk = started(strategy, panel(flat()))
    talk.hears(Operator(Verb.HALT, "me"))
    close_slice(talk, NEXT_MS)
    assert not talk.of(Submit)
    again = Engine(talk.engine.setup, strategy)
    other = Talk(again, talk.now_ms).hears(Reconciled(remember(talk.engine, 2, 5)))
    assert other.engine.risk.level == 3


def test_stopping_cancels_entries_and_makes_no_new_intent() -> None:
    """Fault P1: on the way down resting buys are cancelled and nothing new is wanted."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()))
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Accepted(order.client_id, "x"))
    talk.hears(Stopping()).says(Cancel)
    close_slice(talk, NEXT_MS + MINUTE_MS)
    assert not talk.of(Submit)


def test_a_restart_goes_on_where_the_last_session_stood() -> None:
    """Faults P25, P26: positions, stops, highs and the decided slice come back; nothing is bought again."""
    strategy = Wanting()
    talk = bought(started(strategy, panel(flat())))
    close_slice(talk, NEXT_MS + MINUTE_MS, (104.0, 100.0, 100.0))
    snapshot = remember(talk.engine, 2, 5)
    other = Talk(Engine(talk.engine.setup, strategy), talk.now_ms)
    other.hears(Reconciled(snapshot)).hears(History(talk.engine.window.panel()))
    engine = other.engine
    assert engine.ledger.positions() == talk.engine.ledger.positions()
    assert engine.ledger.positions()[0].high == 104.0
    assert engine.ledger.equity() == talk.engine.ledger.equity()
    assert engine.decided_ms == talk.engine.decided_ms
    strategy.weights = [0.31, np.nan, np.nan]
    close_slice(other, NEXT_MS + 2 * MINUTE_MS, (104.0, 100.0, 100.0))
    assert not other.of(Submit)


def test_an_intent_that_may_have_left_is_unknown_after_a_restart() -> None:
    """Fault P4: an intent without an answer is asked for; its fence counts from the restart."""
    strategy = Wanting(weights=[0.3, np.nan, np.nan])
    talk = started(strategy, panel(flat()))
    close_slice(talk, NEXT_MS)
    other = Talk(Engine(talk.engine.setup, strategy), talk.now_ms + 60_000)
    other.hears(Reconciled(remember(talk.engine, 2, 5)))
    (order,) = other.engine.orders.live.values()
    assert (order.state, order.request_ms) == (State.UNKNOWN, other.now_ms)
    other.hears(Wake(), later_ms=2_000)
    assert other.of(Query)
    other.hears(Unfound(order.client_id, other.now_ms))
    assert other.engine.orders.live


def test_the_account_is_what_the_snapshot_says() -> None:
    """A snapshot of another universe is refused, ours is taken to the last digit."""
    talk = bought(started(Wanting(), panel(flat())))
    snapshot = remember(talk.engine, 2, 5)
    assert snapshot.cash == Decimal("7000.000")
    assert snapshot.cash_start == 10_000
    assert snapshot.decided_ms > START_MS


def test_a_checkpoint_in_a_long_outage_keeps_the_marks() -> None:
    """Positions are worth their last known price, also when the whole window is absent candles."""
    talk = bought(started(Wanting(), panel(flat())))
    for number in range(1, 20):
        talk.now_ms = NEXT_MS + number * MINUTE_MS + MINUTE_MS + 20_000
        talk.hears(Wake())
    equity = talk.engine.ledger.equity()
    assert np.isnan(talk.engine.window.close).all()
    snapshot, history = remember(talk.engine, 1, 2), talk.engine.window.panel()
    talk.hears(Reconciled(snapshot)).hears(History(history))
    assert talk.engine.equity == equity == 10_000
    talk.now_ms += MINUTE_MS
    talk.hears(Wake())
    assert "risk.drawdown" not in talk.codes


def test_a_slice_in_which_nobody_has_a_candle_is_decided_without_a_question() -> None:
    """Fault F14 for all: while the exchange is down nothing is asked of the model, and no slice stays undecided."""
    talk = started(Wanting(True), panel(flat()))
    talk.now_ms = NEXT_MS + MINUTE_MS + 20_000
    talk.hears(Wake())
    assert talk.engine.window.newest_ms == talk.engine.decided_ms == NEXT_MS
    assert not talk.of(Infer)
    assert talk.engine.risk.level == 1


def test_a_price_in_doubt_is_no_mark_after_a_restart_either() -> None:
    """Fault F20: a jump nobody has confirmed becomes no mark through a checkpoint or a start, and sells nothing."""
    talk = bought(started(Wanting(), panel(flat())))
    close_slice(talk, NEXT_MS + MINUTE_MS, (10.0, 100.0, 100.0))
    assert talk.of(Confirm)
    snapshot, history = remember(talk.engine, 2, 2), talk.engine.window.panel()
    talk.hears(Reconciled(snapshot)).hears(History(history))
    assert talk.engine.equity == 10_000
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS, (10.0, 100.0, 100.0))
    assert not talk.of(Submit)
    assert talk.of(Confirm)


def test_reduce_does_not_sell_at_a_price_in_doubt() -> None:
    """Fault F20 meets REDUCE: the way down waits for the second source too, and goes on when it agrees."""
    strategy = Wanting()
    talk = bought(started(strategy, panel(flat()), stop_loss=0.0))
    close_slice(talk, NEXT_MS + MINUTE_MS, (9.0, 100.0, 100.0))
    strategy.weights = [0.0, np.nan, np.nan]
    talk.hears(Operator(Verb.REDUCE, "me"))
    assert not talk.of(Submit)
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS, (9.0, 100.0, 100.0))
    assert not talk.of(Submit)
    talk.hears(Confirmed(COINS[0], 9.0))
    close_slice(talk, NEXT_MS + 3 * MINUTE_MS, (9.0, 100.0, 100.0))
    assert [command.order.side for command in talk.of(Submit)] == [Side.SELL]


def test_every_cause_is_told_when_it_opens_and_when_it_ends() -> None:
    """Invariant I36: whatever holds trading back says so once, with its number, and once when it is over."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()), rejects_max=1)
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Rejected(order.client_id, "-2010", "no"))
    told = [(note.code, note.fault) for note in talk.of(Note)]
    assert ("risk.rejects", "O22") in told
    close_slice(talk, NEXT_MS + MINUTE_MS)
    assert "risk.rejects" not in talk.codes
    talk.hears(Operator(Verb.RESUME, "me"))
    assert "risk.rejects.over" in talk.codes
    talk.hears(Operator(Verb.PAUSE, "me"))
    assert talk.codes == ["risk.pause"]
    talk.hears(Operator(Verb.HALT, "me")).hears(Operator(Verb.PAUSE, "me"))
    assert talk.engine.risk.level == 3, "a milder word lifts no halt"


def test_part_of_a_position_is_sold_once() -> None:
    """Invariant I6: what a live sell will take is part of the way to the target, not in addition to it."""
    strategy = Wanting()
    talk = bought(started(strategy, panel(flat())))
    strategy.weights = [0.1, np.nan, np.nan]
    close_slice(talk, NEXT_MS + MINUTE_MS)
    order = talk.of(Submit)[0].order
    assert (order.side, order.quantity) == (Side.SELL, Decimal("19.999"))  # rounded down, from floats
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Accepted(order.client_id, "x"))
    close_slice(talk, NEXT_MS + 2 * MINUTE_MS)
    assert not talk.of(Submit)


def test_live_buys_count_toward_the_exposure() -> None:
    """Invariant I7: what unknown buys may still take leaves that much less room for new ones."""
    strategy = Wanting(weights=[0.3, np.nan, np.nan])
    talk = started(strategy, panel(flat()), exposure_max=0.5)
    close_slice(talk, NEXT_MS)
    order = talk.of(Submit)[0].order
    talk.hears(Sent(order.client_id, talk.now_ms)).hears(Unanswered(order.client_id, "timeout"))
    strategy.weights = [np.nan, 0.3, np.nan]
    close_slice(talk, NEXT_MS + MINUTE_MS)
    (second,) = [command.order for command in talk.of(Submit)]
    assert float(second.quantity) * 100 == 2_000


def test_an_order_is_trimmed_to_order_max() -> None:
    """A target further away than one order may go is reached in several slices, not refused for ever."""
    talk = started(Wanting(weights=[0.3, np.nan, np.nan]), panel(flat()), order_max=0.1)
    close_slice(talk, NEXT_MS)
    (first,) = talk.of(Submit)
    assert first.order.quantity == 10
    talk.fill(first, "100")
    close_slice(talk, NEXT_MS + MINUTE_MS)
    (second,) = talk.of(Submit)
    assert second.order.quantity == 10


def with_volatility(open_ms: int, *volatility: float) -> Forecasted:
    """A forecast of the next hour's volatilities, from a bot without a model of returns."""
    return Forecasted(Forecast(open_ms, np.full(3, np.nan), np.array(volatility)), 0.0)


def test_a_ceiling_on_forecast_volatility_waits_for_the_forecast() -> None:
    """A strategy that wants none is asked with one: the wild coin is not bought and said so, the unknown one is."""
    talk = started(Wanting(weights=[0.2, 0.2, 0.2]), panel(flat()), forecast_volatility_max=0.03)
    close_slice(talk, NEXT_MS).says(Infer)
    talk.hears(with_volatility(NEXT_MS, 0.01, 0.04, np.nan)).says(Note, Submit, Submit)
    assert [one.order.symbol for one in talk.of(Submit)] == [COINS[0], COINS[2]]
    (note,) = talk.of(Note)
    assert (note.code, note.symbol) == ("veto", COINS[1])
    assert "forecast volatility 0.0400 an hour is above risk.forecast_volatility_max 0.0300" in note.text
    assert np.isnan(talk.engine.window.inferred).all()


def test_an_exit_is_not_held_back_by_the_ceiling() -> None:
    """What is held is sold however wild the next hour will be."""
    talk = bought(started(Wanting(), panel(flat())))
    engine = Engine(setup(forecast_volatility_max=0.03), Wanting(weights=[0.0, np.nan, np.nan]))
    other = Talk(engine, talk.now_ms)
    other.hears(Reconciled(remember(talk.engine, 2, 2))).hears(History(panel(flat())))
    close_slice(other, NEXT_MS + MINUTE_MS).says(Infer)
    other.hears(with_volatility(NEXT_MS + MINUTE_MS, 0.5, 0.5, 0.5)).says(Submit)
    assert other.of(Submit)[0].order.side is Side.SELL


def test_a_strategy_that_wants_volatility_decides_on_the_forecast_it_gets() -> None:
    """It waits for the answer, sees the volatilities in its view, and nothing is taken for inferred returns."""

    class Seeing(Wanting):
        wants_volatility = True

        def targets(self, view: View) -> Floats:
            assert view.forecast is not None and view.forecast.volatility is not None
            return 0.001 / view.forecast.volatility

    talk = started(Seeing(), panel(flat()))
    close_slice(talk, NEXT_MS).says(Infer)
    talk.hears(with_volatility(NEXT_MS, 0.01, 0.02, np.nan)).says(Submit, Submit)
    assert [float(one.order.quantity) for one in talk.of(Submit)] == pytest.approx([10.0, 5.0], rel=0.01)
