"""Parameters that are checked before any work, studies that go on, and what a search is worth."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.forecasts import Forecasts, history_hash, returns_of
from backtest.luck import sharpe_of
from backtest.parameters import Choice, Parameter, Range, check, deepest, parse_all, with_values
from backtest.run import rows_needed
from backtest.study import StoredStudy, StudyBusy, StudyUnusable
from backtest.sweep import Part, Tried, best_of, overfitting_of, parts_of, period_of, search, tried_of
from backtest.trials import Trials
from bot.config import BadConfiguration, load
from tests.models.markets import market

OWN = "strategies.masked-divergence."
SETTINGS = load(
    None,
    {
        "account.cash": 10_000.0,
        "market.window": 30,
        "risk.volatility_max": 0.0,
        f"{OWN}window": 30,
        f"{OWN}min_return_threshold": 0.0,
        f"{OWN}round_trip_cost": 0.0,
    },
)
BASE = SETTINGS.model_dump(mode="json")
PARAMETERS = parse_all([f"{OWN}divergence_threshold=0.002:0.008:log", f"{OWN}bet=reversion,continuation"])
ROWS, COINS = 500, 4


def whole() -> Part:
    """Five hundred minutes, with forecasts that are as good as noise."""
    panel = market(ROWS, COINS)
    noise = np.random.default_rng(2).normal(0, 0.001, panel.close.shape)
    return Part(panel, rows_needed(SETTINGS, 2), Forecasts(noise), history_hash(panel))


def searched() -> Part:
    part = whole()
    return parts_of(part, 0.3, part.first, history_hash)[0]


@contextmanager
def studied(folder: Path, seed: int = 1, workers: int = 1, **what: Any) -> Iterator[StoredStudy]:
    with closing(StoredStudy(folder, "study", {"seed": seed} | what, PARAMETERS, workers, seed)) as study:
        yield study


def run(folder: Path, trials: int, seed: int = 1, workers: int = 1) -> list[Tried]:
    """Searches on until there are so many trials; all of them, the oldest first."""
    with studied(folder, seed, workers) as study, closing(Trials(folder / "trials.sqlite")) as ledger:
        search(study, BASE, searched(), {"model": ""}, trials, workers, ledger, 0, lambda done, of: None)
        return sorted(tried_of(study), key=lambda one: one.number)


def same(one: list[Tried], other: list[Tried]) -> bool:
    def told(tried: list[Tried]) -> list[object]:
        return [(each.number, each.values, each.worth, each.fills) for each in tried]

    return told(one) == told(other)


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("a.b=1:2", Range("a.b", 1, 2)),
        ("a.b=0.1:2:log", Range("a.b", 0.1, 2, log=True)),
        ("a.b=3:9:int", Range("a.b", 3, 9, whole=True)),
        ("a.b=3:9:log:int", Range("a.b", 3, 9, log=True, whole=True)),
        ("a.b=x, y", Choice("a.b", ("x", "y"))),
        ("a.b=true,2,0.5", Choice("a.b", (True, 2, 0.5))),
    ],
)
def test_a_parameter_is_read_as_it_is_written(text: str, parameter: Parameter) -> None:
    """Ranges of numbers, in proportion or whole, and choices."""
    assert parse_all([text]) == (parameter,)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "name what to vary"),
        (["a.b"], "write it as"),
        (["a.b=3"], "one value is nothing to choose from"),
        (["a.b=3:1"], "3 is not below 1"),
        (["a.b=x:1"], "'x' is no number"),
        (["a.b=nan:1"], "'nan' is no number"),
        (["a.b=0:1:log"], "begins above 0"),
        (["a.b=0.5:4:int"], "lie between whole numbers"),
        (["a.b=1:2:lin"], "'lin' is neither log nor int"),
        (["a.b=1,1"], "a choice is there twice"),
        (["a.b=1:2", "a.b=3:4"], "is given twice"),
        ([f"{OWN}divergence_treshold=0.1:0.2"], f"did you mean {OWN}divergence_threshold?"),
        (["risk.stop_loss=0.1:2"], "risk.stop_loss: Input should be less than 1 (at 2.0)"),
        ([f"{OWN}z_slices=30:90"], "for whole numbers write :int"),
        ([f"{OWN}bet=reversion,momentum"], "(at momentum)"),
        (["account.fee_bps=1:2"], "and nothing else"),
        (["strategies.hold.invested=0.1:0.9"], "and nothing else"),
        (["risk.stop_loss.x=1:2"], "stop_loss is not a section"),
        (["nothing.at_all=1:2"], "no such setting"),
        ([f"{OWN}z_exit=2.5:3", f"{OWN}z_entry=1:2"], "no combination"),
    ],
)
def test_what_cannot_be_searched_is_said_before_any_work(texts: list[str], words: str) -> None:
    """A line says which parameter, and what is wrong with it."""
    with pytest.raises(BadConfiguration) as why:
        check(parse_all(texts), SETTINGS)
    assert words in str(why.value)
    assert all(line.startswith("--param") for line in why.value.errors)


def test_every_wrong_parameter_has_its_line() -> None:
    """All errors at once, as the settings tell theirs."""
    with pytest.raises(BadConfiguration) as why:
        check(parse_all(["risk.stop_loss=0.1:2", "risk.x=1:2", "planner.trade_min=0:0.1"]), SETTINGS)
    assert len(why.value.errors) == 2


def test_settings_that_contradict_each_other_somewhere_are_searched_elsewhere(tmp_path: Path) -> None:
    """Values that only together are refused stop no search: such a trial is passed over and counts as one."""
    parameters = parse_all([f"{OWN}base_position_size=0.05:0.3", f"{OWN}max_position_size=0.05:0.3"])
    check(parameters, SETTINGS)
    with (
        closing(StoredStudy(tmp_path, "study", {}, parameters, 1, 1)) as study,
        closing(Trials(tmp_path / "trials.sqlite")) as ledger,
    ):
        search(study, BASE, searched(), {"model": ""}, 12, 1, ledger, 0, lambda done, of: None)
        assert study.asked == 12
        assert 0 < len(study.done()) < 12


def test_all_trials_begin_where_the_deepest_can() -> None:
    """The furthest look back of all combinations, here of a whole range and a choice together."""
    parameters = parse_all([f"{OWN}entry=threshold,zscore", f"{OWN}z_slices=200:400:int"])
    assert rows_needed(deepest(parameters, SETTINGS), 2) == 401
    assert rows_needed(deepest(PARAMETERS, SETTINGS), 2) == rows_needed(SETTINGS, 2)


def test_the_held_out_part_begins_where_the_searched_one_ends() -> None:
    """No decided slice is in both or in none; forecasts go with their slices; each part has a name of its own."""
    part = whole()
    one, other = parts_of(part, 0.3, 40, history_hash)
    decided = [*one.panel.open_ms[one.first :], *other.panel.open_ms[other.first :]]
    assert decided == part.panel.open_ms[part.first :].tolist()
    assert len(other.panel) - other.first == round((ROWS - part.first) * 0.3)
    for each in (one, other):
        assert each.forecasts is not None and part.forecasts is not None
        rows = np.searchsorted(part.panel.open_ms, each.panel.open_ms)
        assert np.array_equal(returns_of(each.forecasts), returns_of(part.forecasts)[rows])
    assert len({part.data, one.data, other.data}) == 3


def test_a_trial_is_the_replay_of_its_settings(tmp_path: Path) -> None:
    """Worth, return and fills are those of a backtest with the same values; the ledger has every trial once."""
    found = run(tmp_path, 4)
    part = searched()
    for one in found:
        result = part.play(with_values(BASE, one.values), {"model": ""})
        worth = sharpe_of(result.equity, result.panel.open_ms, result.panel.interval_ms)
        assert one.worth == (worth or 0.0)
        assert (one.fills, one.total_return) == (len(result.fills), result.equity[-1] / result.capital - 1)
    with closing(Trials(tmp_path / "trials.sqlite")) as ledger:
        rows = ledger._base.execute("select count(*), count(distinct data) from trials").fetchone()
    assert rows == (4, 1)


def test_the_same_seed_draws_the_same_trials_and_another_does_not(tmp_path: Path) -> None:
    """Randomness is the seed's alone."""
    one, again, other = (run(tmp_path / name, 5, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert same(one, again)
    assert not same(one, other)


def test_a_study_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    """Four trials and then fourteen are the fourteen of one run, past the draws at random; again the same is nothing new."""
    run(tmp_path / "a", 4)
    stopped = run(tmp_path / "a", 14)
    assert same(stopped, run(tmp_path / "b", 14))
    assert same(stopped, run(tmp_path / "a", 14))
    assert len(stopped) == 14


def test_a_trial_that_was_under_way_is_done_with_its_values(tmp_path: Path) -> None:
    """What was asked and never told, as after a kill, is told by the next run; nothing is asked twice."""
    with studied(tmp_path) as study:
        asked = [study.ask() for _ in range(2)]
    found = run(tmp_path, 3)
    assert [(one.number, one.values) for one in found[:2]] == asked
    assert len(found) == 3


@pytest.mark.slow
def test_workers_do_not_race(tmp_path: Path) -> None:
    """Two processes find the same trials every time."""
    assert same(run(tmp_path / "a", 6, workers=2), run(tmp_path / "b", 6, workers=2))


def test_another_search_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """What differs is named, and the study is as it was."""
    with studied(tmp_path, candles="x"):
        pass
    with pytest.raises(BadConfiguration, match="another candles"), studied(tmp_path, candles="y"):
        pass
    with studied(tmp_path, candles="x") as study:
        assert study.asked == 0


def test_a_study_has_one_writer(tmp_path: Path) -> None:
    """A second process is told to wait; a file that is something else is said to be."""
    with studied(tmp_path), pytest.raises(StudyBusy, match="another process"), studied(tmp_path):
        pass
    (tmp_path / "study" / "study.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StudyUnusable, match="move it away"), studied(tmp_path):
        pass
    with pytest.raises(BadConfiguration, match="use letters"):
        StoredStudy(tmp_path, "../x", {}, PARAMETERS, 1, 1)


def test_values_that_were_not_drawn_when_the_process_ended_are_drawn_as_they_would_have_been(tmp_path: Path) -> None:
    """A kill between two draws of one trial changes neither of them."""
    with studied(tmp_path / "a") as study:
        number, values = study.ask()
    with studied(tmp_path / "b") as study:
        study._study.ask()
    with studied(tmp_path / "b") as study:
        assert study.under_way() == [(number, values)]


def ask_and_die(folder: Path) -> None:
    """Does two trials, begins a third and is gone."""
    run(folder, 2)
    with studied(folder) as study:
        study.ask()
        os.kill(os.getpid(), 9)


@pytest.mark.slow
def test_a_killed_process_leaves_a_study_that_goes_on(tmp_path: Path) -> None:
    """After SIGKILL in the middle of a trial the study ends as one that nobody killed."""
    process = multiprocessing.get_context("spawn").Process(target=ask_and_die, args=(tmp_path / "a",))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert same(run(tmp_path / "a", 5), run(tmp_path / "b", 5))


def tried(number: int, returns: list[float], worth: float = 0.0) -> Tried:
    return Tried(number, {}, worth, 0.0, 1, np.array(returns))


def test_trials_that_trade_alike_are_one_opinion() -> None:
    """Of equal curves the better placed stands for all."""
    found = best_of([tried(3, [0.1, 0.2]), tried(1, [0.1, 0.2]), tried(2, [0.1, 0.1]), tried(0, [0.3, 0.1])], 2)
    assert [one.number for one in found] == [3, 2]


def test_a_real_edge_is_no_overfitting_and_noise_is() -> None:
    """One trial that earns every period among noise is chosen everywhere; noise alone is chosen wrongly as often as not."""
    rng = np.random.default_rng(4)
    noise = [tried(at, rng.normal(0, 0.01, 160).tolist()) for at in range(20)]
    edge = tried(20, rng.normal(0.01, 0.01, 160).tolist())
    with_edge, without = overfitting_of([edge, *noise]), overfitting_of(noise)
    assert with_edge is not None and with_edge.probability < 0.01
    assert without is not None and without.probability > 0.2
    assert overfitting_of([]) is None
    assert overfitting_of([edge, tried(21, [])]) is None


def test_trials_are_compared_on_the_longest_period_there_is_enough_of() -> None:
    """Days of three months, hours of three days, minutes of an hour."""
    minute = 60_000
    spans = {90 * 1_440: 1_440, 3 * 1_440 + 1: 60, 200: 1}
    for rows, minutes in spans.items():
        assert period_of(np.arange(rows) * minute, minute) == minutes * minute
