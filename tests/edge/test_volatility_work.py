"""The volatility model at work: cold, warmed up, each hour once, its failures, and a start in the middle of an hour."""

import numpy as np
import pytest
from msgspec.structs import replace

from bot.core.hours import hours_of
from bot.core.market import HOUR_MS, MINUTE_MS, Floats, Panel
from bot.edge.volatility_work import LATEST, VolatilityWork
from bot.simulator.synthetic import synthetic_panel
from models.hourly import forecast_ahead
from models.model import BadModel
from models.shipped_volatility import shipped_simple
from models.volatility_model import VolatilityForecast, VolatilityModel
from tests.making import walk

DAYS, COINS = 6, 3
LIVE = 130 * 60  # the bot starts here, on the hour


@pytest.fixture(scope="module")
def minutes() -> Panel:
    return synthetic_panel(COINS, DAYS * 1_440, 5)


class Odd(VolatilityModel):
    """The panel HAR, which counts what it is shown and may be told to misbehave."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        simple = shipped_simple(symbols)
        super().__init__(simple.predictor, simple.factors, simple.fitted_ms)
        self.seen: list[int] = []
        self.trouble: Exception | None = None
        self.says: float | None = None

    def of(self, symbols: tuple[str, ...]) -> "Odd":
        assert symbols == self.symbols
        self.predictor = self.predictor.of(symbols)
        return self

    def observe(self, panel: Panel) -> None:
        self.seen += panel.open_ms.tolist()
        if self.trouble:
            raise self.trouble
        super().observe(panel)

    def forecast(self) -> VolatilityForecast:
        found = super().forecast()
        return found if self.says is None else replace(found, volatility=np.full((1, COINS), self.says))


def work_of(minutes: Panel, model: VolatilityModel | None = None) -> VolatilityWork:
    simple = shipped_simple(minutes.symbols)
    return VolatilityWork(model or shipped_simple(minutes.symbols), simple, MINUTE_MS)


def warmed(minutes: Panel, model: VolatilityModel | None = None, at: int = LIVE) -> VolatilityWork:
    """As the daemon starts it: past hours, the last two of them again as slices."""
    work = work_of(minutes, model)
    work.warm(work.begin(hours_of(minutes.rows(0, at))), minutes.rows(at - 121, at))
    return work


def close_of(minutes: Panel, row: int) -> int:
    return int(minutes.open_ms[row]) + MINUTE_MS


def same(a: Floats, b: Floats) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def test_before_it_is_warm_nothing_is_known(minutes: Panel) -> None:
    """NaN for every coin, whatever it is shown; nothing is forecast, nothing fails."""
    work = work_of(minutes)
    work.observe(minutes.rows(0, 300))
    assert np.isnan(work.at(close_of(minutes, 299))).all()
    assert not work.standing.warm and work.standing.open_ms == work.standing.hours == work.standing.failed == 0


def test_slice_by_slice_it_says_what_a_backtest_says(minutes: Panel) -> None:
    """At each close of four hours, bit for bit; the hour's own last slice has the new forecast already."""
    work = warmed(minutes)
    ahead = forecast_ahead(shipped_simple(minutes.symbols), minutes)
    for row in range(LIVE, LIVE + 240):
        work.observe(minutes.rows(row, row + 1))
        wanted = ahead.at(close_of(minutes, row))
        assert wanted is not None and np.isfinite(wanted).all()
        assert same(work.at(close_of(minutes, row)), wanted), row


def test_a_start_within_an_hour_says_what_a_bot_that_never_stopped_says(minutes: Panel) -> None:
    """Now, and at the end of the hour that it started in, bit for bit."""
    never = warmed(minutes)
    never.observe(minutes.rows(LIVE, LIVE + 97))
    again = warmed(minutes, at=LIVE + 97)
    for row in range(LIVE + 97, LIVE + 130):
        for work in (never, again):
            work.observe(minutes.rows(row, row + 1))
        known = never.at(close_of(minutes, row))
        assert np.isfinite(known).all() and same(known, again.at(close_of(minutes, row))), row


def test_each_hour_is_shown_to_the_model_once(minutes: Panel) -> None:
    """Of the latest past ones and live, told by both or not, however the slices are cut."""
    model = Odd(minutes.symbols)
    work = warmed(minutes, model)
    for row in range(LIVE, LIVE + 150, 7):
        work.observe(minutes.rows(row, min(row + 7, LIVE + 150)))
    hours = hours_of(minutes.rows(0, LIVE + 150)).open_ms.tolist()
    assert model.seen == hours[hours.index(int(minutes.open_ms[LIVE])) - LATEST :]
    assert work.standing.open_ms == hours[-1] and work.standing.hours == 3  # one at the start, two live
    assert np.isfinite(work.standing.realised).all() and work.standing.score.hours == 2


@pytest.mark.parametrize("trouble", [np.linalg.LinAlgError("singular"), FloatingPointError("0/0"), ValueError("odd")])
def test_a_numeric_failure_costs_that_hour(minutes: Panel, trouble: Exception) -> None:
    """Counted with its reason, NaN for the hour, known again from the next close on."""
    model = Odd(minutes.symbols)
    work = warmed(minutes, model)
    model.trouble = trouble
    work.observe(minutes.rows(LIVE, LIVE + 60))
    assert work.standing.failed == 1 and type(trouble).__name__ in work.standing.trouble
    assert np.isnan(work.standing.forecast).all()
    model.trouble = None
    for row in range(LIVE + 60, LIVE + 119):
        work.observe(minutes.rows(row, row + 1))
        assert np.isnan(work.at(close_of(minutes, row))).all()
    work.observe(minutes.rows(LIVE + 119, LIVE + 120))
    assert np.isfinite(work.at(close_of(minutes, LIVE + 119))).all()
    assert work.standing.failed == 1 and np.isfinite(work.standing.forecast).all()


@pytest.mark.parametrize("says", [np.inf, -0.01, 0.0, 1.5])
def test_an_absurd_forecast_is_refused(minutes: Panel, says: float) -> None:
    """Fault C6: infinite, not above 0, or more than the whole price in an hour; the next one is heard again."""
    model = Odd(minutes.symbols)
    work = warmed(minutes, model)
    model.says = says
    work.observe(minutes.rows(LIVE, LIVE + 60))
    assert work.standing.failed == 1 and "forecast volatility of" in work.standing.trouble
    assert np.isnan(work.at(close_of(minutes, LIVE + 59))).all()
    model.says = None
    work.observe(minutes.rows(LIVE + 60, LIVE + 120))
    assert np.isfinite(work.at(close_of(minutes, LIVE + 119))).all() and work.standing.failed == 1


def test_after_warming_up_that_fails_slices_go_on(minutes: Panel) -> None:
    """Told, and NaN; hours are followed all the same, from slices alone; the next warming up may do."""
    model = Odd(minutes.symbols)
    model.trouble = ValueError("odd")
    work = warmed(minutes, model)
    assert work.standing.failed >= 1 and work.standing.trouble == "ValueError: odd"
    assert np.isnan(work.at(close_of(minutes, LIVE - 1))).all()
    model.trouble = None
    work.observe(minutes.rows(LIVE, LIVE + 120))
    assert work.standing.warm and work.standing.hours == 1
    assert work.standing.open_ms == int(minutes.open_ms[LIVE + 119]) + MINUTE_MS - HOUR_MS
    work.warm(work.begin(hours_of(minutes.rows(0, LIVE))), minutes.rows(LIVE - 121, LIVE))
    assert work.standing.warm and np.isfinite(work.at(close_of(minutes, LIVE - 1))).all()


def test_after_hours_that_nobody_saw_it_begins_anew_and_says_the_same(minutes: Panel) -> None:
    """Five hours away: the forecast has run out; warmed up again it is that of a bot that saw everything."""
    work = warmed(minutes)
    back = LIVE + 300
    work.observe(minutes.rows(back, back + 30))
    assert np.isnan(work.at(close_of(minutes, back + 29))).all()
    work.warm(work.begin(hours_of(minutes.rows(0, back + 30))), minutes.rows(back - 91, back + 30))
    ahead = forecast_ahead(shipped_simple(minutes.symbols), minutes.rows(0, back + 90))
    for row in (back + 29, back + 89):
        work.observe(minutes.rows(back + 30, row + 1))
        wanted = ahead.at(close_of(minutes, row))
        assert wanted is not None and same(work.at(close_of(minutes, row)), wanted)


def test_without_past_hours_it_learns_them_from_slices(minutes: Panel) -> None:
    """A coin, or all of them, that no past could be had of: NaN until half a week has been seen."""
    work = work_of(minutes)
    work.warm(work.begin(hours_of(minutes.rows(0, 0))), minutes.rows(0, 121))
    work.observe(minutes.rows(121, 60 * 24))
    assert work.standing.warm and np.isnan(work.at(close_of(minutes, 60 * 24 - 1))).all()
    work.observe(minutes.rows(60 * 24, LIVE))
    assert np.isfinite(work.at(close_of(minutes, LIVE - 1))).all()


def test_slices_that_make_no_hours_are_refused(minutes: Panel) -> None:
    """By a sentence, at the start."""
    simple = shipped_simple(minutes.symbols)
    with pytest.raises(BadModel, match="make no hours"):
        VolatilityWork(simple, simple, 7 * MINUTE_MS)


def test_a_coin_that_is_not_there_changes_nothing_for_the_others() -> None:
    """Its forecast alone is NaN."""
    whole = walk(LIVE + 60, seed=3, start_ms=1_700_006_400_000)
    close = whole.close.copy()
    close[:, 1] = np.nan
    lame = replace(whole, open=close, high=close, low=close, close=close, present=np.isfinite(close))
    found = []
    for minutes in (replace(whole, open=whole.close, high=whole.close, low=whole.close), lame):
        work = warmed(minutes)
        work.observe(minutes.rows(LIVE, LIVE + 60))
        found.append(work.at(close_of(minutes, LIVE + 59)))
    assert np.isnan(found[1][1]) and np.isfinite(found[0]).all()
    assert np.array_equal(found[0][[0, 2]], found[1][[0, 2]])


def test_past_hours_that_overlap_the_slices_or_stop_short_of_them_fit(minutes: Panel) -> None:
    """However many of the last hours the exchange has told, and however long the slices are: one forecast at the close."""
    ahead = forecast_ahead(shipped_simple(minutes.symbols), minutes.rows(0, LIVE + 35))
    wanted = ahead.at(close_of(minutes, LIVE + 34))
    assert wanted is not None
    for told in (LIVE, LIVE - 60):
        for slices in (97, 121, 300, 700):
            work = work_of(minutes)
            begun = work.begin(hours_of(minutes.rows(0, told)))
            work.warm(begun, minutes.rows(LIVE + 35 - slices, LIVE + 35))
            assert same(work.at(close_of(minutes, LIVE + 34)), wanted), (told, slices)
