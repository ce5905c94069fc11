"""A sweep's memory: one Optuna study in one SQLite file, in a folder of its own, which one process at a time may write.

Same      what the trials are trials of (settings, parameters, candles, model, seed) is kept in it; another sweep under the
          same name is refused, with what differs.
Resumed   trials that were under way when a process was killed keep their values and are done again, first and in order;
          a trial's draw depends on the seed, its number and the trials told before it. So a sweep that was killed ends as
          one that was not.
Errors    StudyUnusable, StudyBusy; BadConfiguration for another sweep's name.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from backtest.parameters import Choice, Parameter, Range, Value
from bot.config import BadConfiguration
from bot.edge.lock import FolderLock
from bot.edge.trouble import AlreadyRunning, FolderUnusable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE = "study.sqlite"
WHAT = "what"
BROKEN = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError)


class StudyUnusable(Exception):
    """The study's file cannot be read or written."""

    exit_code = 74


class StudyBusy(Exception):
    """Another process works on the study."""

    exit_code = 75


class StoredStudy:
    """The study `name` below `folder`, made when it is not there; held until `close`."""

    def __init__(
        self, folder: Path, name: str, what: Mapping[str, Any], parameters: Sequence[Parameter], workers: int, seed: int
    ) -> None:
        if not NAME.fullmatch(name):
            raise BadConfiguration([f"--name {name!r}: use letters, digits, '.', '_' and '-', 64 at most"])
        self.path = folder / name / FILE
        self._seed = seed
        self._liar = workers > 1  # what is under way counts as bad until it is known, so that it is not drawn twice
        self._parameters = tuple(parameters)
        try:
            self._lock = FolderLock(folder / name)
        except AlreadyRunning as why:
            raise StudyBusy(f"another process works on the sweep {name}: wait for it, or give another --name") from why
        except FolderUnusable as why:
            raise StudyUnusable(f"the folder {folder / name} cannot be written: name another with --research") from why
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{self.path}")
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            self._agree(name, dict(what))
        except BROKEN as why:
            self._lock.release()
            raise StudyUnusable(f"{self.path} cannot be used: {why}; move it away, or give another --name") from why
        except BadConfiguration:
            self._lock.release()
            raise

    def _agree(self, name: str, what: dict[str, Any]) -> None:
        before = self._study.user_attrs.get(WHAT)
        if before is None:
            self._study.set_user_attr(WHAT, what)
        elif before != what:
            different = ", ".join(sorted(key for key in what if before.get(key) != what[key])) or "version"
            text = f"there is a sweep of this name with another {different}: give another --name, or repeat its own"
            raise BadConfiguration([f"--name {name}: {text}"])

    def close(self) -> None:
        self._study._storage.remove_session()
        self._lock.release()

    @property
    def asked(self) -> int:
        """Trials that were begun, done or not."""
        return len(self._trials())

    def under_way(self) -> list[tuple[int, dict[str, Value]]]:
        """Trials that a process did not end, oldest first, with their values."""
        begun = self._trials(TrialState.RUNNING)
        return [(one.number, self._values(optuna.Trial(self._study, one._trial_id))) for one in begun]

    def done(self) -> list[FrozenTrial]:
        """Trials that were told a value, oldest first."""
        return self._trials(TrialState.COMPLETE)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def ask(self) -> tuple[int, dict[str, Value]]:
        """A new trial: its number and values."""
        trial = self._study.ask()
        return trial.number, self._values(trial)

    def _values(self, trial: optuna.Trial) -> dict[str, Value]:
        """A trial's values: those it has, and the others drawn, each by its own seed, whatever was drawn before it."""
        found: dict[str, Value] = {}
        for at, parameter in enumerate(self._parameters):
            self._study.sampler = self._sampler((self._seed, trial.number, at))
            found[parameter.key] = _drawn(trial, parameter)
        return found

    def _sampler(self, seed: tuple[int, ...]) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            word = int(np.random.SeedSequence(seed).generate_state(1)[0])
            return optuna.samplers.TPESampler(seed=word, constant_liar=self._liar)

    def tell(self, number: int, value: float, attributes: Mapping[str, Any]) -> None:
        """The value of a trial, and what else is kept of it."""
        trial = self._trials()[number]
        for key, attribute in attributes.items():
            self._study._storage.set_trial_user_attr(trial._trial_id, key, attribute)
        self._study.tell(number, value)

    def refuse(self, number: int) -> None:
        """A trial whose values the settings do not allow together."""
        self._study.tell(number, state=TrialState.PRUNED)


def _drawn(trial: optuna.Trial, parameter: Parameter) -> Value:
    match parameter:
        case Choice(key=key, values=values):
            chosen = trial.suggest_categorical(key, values)
            assert isinstance(chosen, (bool, int, float, str))
            return chosen
        case Range(key=key, low=low, high=high, log=log, whole=True):
            return trial.suggest_int(key, int(low), int(high), log=log)
        case Range(key=key, low=low, high=high, log=log):
            return trial.suggest_float(key, low, high, log=log)
