"""A search for settings, and what it is worth: the best of many trials is judged as the best of many.

Parts     the first part of the history is searched, the rest is held out: the best few and the settings as they were are
          replayed on it once, each with a fresh account.
Worth     of a trial is its annual Sharpe ratio on the basis of inference (`luck.sharpe_of`), 0 where it never moved.
Trials    every one goes to the trial ledger before it is told to the study, so that none is forgotten and none counts twice.
PBO       combinatorially symmetric cross-validation (`overfitting.cscv`) of all trials' returns on the searched part, of the
          longest of day, hour and slice that gives PERIODS_MIN of them.
Sources   Bergstra and others, "Algorithms for Hyper-Parameter Optimization", 2011 (TPE); Bailey and others, as luck.py and
          overfitting.py have them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from optuna.trial import FrozenTrial

from backtest.crew import Crew, Seen
from backtest.curve import resampled, returns_of
from backtest.forecasts import Forecasts
from backtest.measure import trial_of
from backtest.overfitting import BLOCKS, Overfitting, cscv
from backtest.parameters import Value, with_values
from backtest.result import Result
from backtest.run import play, rows_needed
from backtest.simulate import Progress
from backtest.statistics import Statistics
from backtest.study import StoredStudy
from backtest.trials import Trial, Trials
from backtest.verdict import SURE
from bot.config import BadConfiguration, Settings
from bot.core.market import DAY_MS, HOUR_MS, Floats, Integers, Panel

PERIODS_MIN = 4 * BLOCKS


class Part(Struct, frozen=True, eq=False):
    """A part of the history: the rows from `first` on are decided, those before are its past. `data` is its hash."""

    panel: Panel
    first: int
    forecasts: Forecasts | None
    data: str

    def play(self, settings: Settings, models: dict[str, object]) -> Result:
        """A replay of this part from a fresh account; `models` name what it is replayed with, for the list of trials."""
        return play(settings, self.panel, self.first, self.forecasts, tried=models)


class Job(Struct, frozen=True):
    """One trial to be replayed: its number, values, whole settings, and what the ledger wants to know."""

    number: int
    settings: dict[str, Any]
    first: int
    models: dict[str, object]
    data: str
    now_ms: int


class Outcome(Struct, frozen=True, eq=False):
    """What a trial did. `returns` are per period of the cross-validation; `trial` is its line in the ledger."""

    worth: float
    total_return: float
    fills: int
    returns: Floats
    trial: Trial


class Tried(Struct, frozen=True, eq=False):
    """A trial that was done."""

    number: int
    values: dict[str, Value]
    worth: float
    total_return: float
    fills: int
    returns: Floats


def parts_of(whole: Part, held_out: float, needed: int, hashed: Any) -> tuple[Part, Part]:
    """The searched and the held-out part of a history; `hashed` names a panel. The second's past is the end of the first."""
    cut = len(whole.panel) - round((len(whole.panel) - whole.first) * held_out)

    def part(start: int, stop: int, first: int) -> Part:
        panel = whole.panel.rows(start, stop)
        told = whole.forecasts
        if told is not None and told.returns is not None:
            told = replace(told, returns=told.returns[start:stop])
        return Part(panel, first, told, hashed(panel))

    return part(0, cut, whole.first), part(cut - needed, len(whole.panel), needed)


def period_of(open_ms: Integers, interval_ms: int) -> int:
    """The length of the periods that trials are compared on, in milliseconds."""
    span_ms = int(open_ms[-1] - open_ms[0])
    return next((length for length in (DAY_MS, HOUR_MS) if span_ms // length >= PERIODS_MIN), interval_ms)


def replayed(seen: Seen, job: Job) -> Outcome:
    """Replays one trial on what is seen, which is the searched part."""
    part = Part(seen.panel, job.first, seen.forecasts, job.data)
    result = part.play(with_values(job.settings, {}), job.models)
    trial = trial_of(result, job.data, job.now_ms)
    open_ms, interval_ms = result.panel.open_ms, result.panel.interval_ms
    returns = returns_of(resampled(result.equity, open_ms, period_of(open_ms, interval_ms)))
    total = float(result.equity[-1]) / result.capital - 1.0
    return Outcome(trial.sharpe or 0.0, total, len(result.fills), returns, trial)


def search(
    study: StoredStudy,
    base: dict[str, Any],
    part: Part,
    models: dict[str, object],
    trials: int,
    workers: int,
    ledger: Trials,
    now_ms: int,
    progress: Progress,
) -> None:
    """Goes on with a study until `trials` have been begun and ended, those of earlier runs included."""

    def jobs() -> Iterator[Job]:
        for number, values in _wanted(study, trials):
            try:
                settings = with_values(base, values)
                if rows_needed(settings, 2) > part.first:
                    raise BadConfiguration([f"trial {number} looks back further than the candles reach"])
            except BadConfiguration:
                study.refuse(number)
                continue
            yield Job(number, settings.model_dump(mode="json"), part.first, models, part.data, now_ms)

    done = study.asked - len(study.under_way())
    progress(done, trials)
    with Crew(max(1, min(workers, trials - done)), Seen(part.panel, part.forecasts)) as crew:
        for job, found in crew.each(replayed, jobs()):
            ledger.add(found.trial)
            kept = {"total_return": found.total_return, "fills": found.fills, "returns": found.returns.tolist()}
            study.tell(job.number, found.worth, kept)
            progress(job.number + 1, trials)


def _wanted(study: StoredStudy, trials: int) -> Iterator[tuple[int, dict[str, Value]]]:
    """What an earlier run began, then new trials. Asked for one by one, so each knows those told before it."""
    yield from study.under_way()
    while study.asked < trials:
        yield study.ask()


def tried_of(study: StoredStudy) -> list[Tried]:
    """All trials that were done, the best first, the older of equals first."""
    found = [_tried(trial) for trial in study.done()]
    return sorted(found, key=lambda one: (-one.worth, one.number))


def _tried(trial: FrozenTrial) -> Tried:
    kept = trial.user_attrs
    assert trial.value is not None
    returns = np.array(kept["returns"], dtype=np.float64)
    return Tried(
        trial.number, dict(sorted(trial.params.items())), trial.value, kept["total_return"], kept["fills"], returns
    )


def best_of(tried: Sequence[Tried], count: int) -> list[Tried]:
    """The best trials with different outcomes: settings that trade alike are no second opinion."""
    found: list[Tried] = []
    for one in tried:
        if len(found) < count and not any(np.array_equal(one.returns, other.returns) for other in found):
            found.append(one)
    return found


def overfitting_of(tried: Sequence[Tried]) -> Overfitting | None:
    """The probability of overfitting; None with too few trials or periods. A ruined account is no column."""
    length = max((len(one.returns) for one in tried), default=0)
    columns = [one.returns for one in sorted(tried, key=lambda one: one.number) if len(one.returns) == length]
    return cscv(np.column_stack(columns)) if columns and length else None


def verdict(
    trials: int, best: Statistics, after: Statistics, unchanged: Statistics, overfitting: Overfitting | None
) -> str:
    """What the search was worth, in one sentence: the best's figures on both parts, beside the settings as they were."""
    chance = best.luck.deflated_sharpe
    risk = overfitting.probability if overfitting else None
    found = (
        f"The best of {trials} trials had a Sharpe ratio of {_number(best.luck.sharpe)} a year where it was searched for and"
        f" {_number(after.luck.sharpe)} on the held-out part, where it {_earned(after)} and the settings as they were"
        f" {_earned(unchanged)}"
    )
    tried = f"the best of {best.luck.trials} worthless trials"
    doubts = []
    if chance is None:
        doubts.append(f"whether it beats {tried} cannot be told")
    elif chance < SURE:
        doubts.append(f"it beats {tried} with a probability of {chance:.1%} only")
    if risk is None:
        doubts.append("whether the choice was overfitted cannot be told from so little")
    elif risk > 1.0 - SURE:
        doubts.append(f"the choice was overfitted with a probability of {risk:.1%}")
    if after.performance.total_return <= 0.0:
        doubts.append("it earned nothing on candles it was not chosen on")
    if doubts:
        return f"{found}: not distinguishable from luck, {', '.join(doubts)}."
    return (
        f"{found}: more than luck explains, with a deflated Sharpe ratio of {chance:.2f} after {best.luck.trials} trials"
        f" and a probability of overfitting of {risk:.1%}."
    )


def _earned(figures: Statistics) -> str:
    total = figures.performance.total_return
    return f"{'earned' if total > 0 else 'lost'} {abs(total):.2%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
