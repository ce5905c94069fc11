"""Fault episodes: one alert when one begins and one when it ends, never one per retry (invariant I29).

A fault is named by its number in the catalogue (docs/faults.md): F1 to F26 feed, M market, O orders, A account,
T time, P process, C compute, Q telemetry, S security. An episode is a fault and a symbol, "" for all.
"""

import re
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

CATALOGUE = {"F": 26, "M": 8, "O": 28, "A": 12, "T": 6, "P": 30, "C": 12, "Q": 11, "S": 18}


class Stage(StrEnum):
    BEGAN = "began"
    ENDED = "ended"
    ONCE = "once"


class Alert(Struct, frozen=True):
    """What a person is told. `times` is how often an ended episode was seen."""

    stage: Stage
    fault: str
    symbol: str
    text: str
    times: int = 1


class Episode(Struct, frozen=True):
    """A fault that lasts; `text` is the newest that was said of it."""

    fault: str
    symbol: str
    text: str
    times: int = 1


class Faults:
    """The episodes that are open and how many there were. `on_alert` is called before a method returns."""

    def __init__(self, on_alert: Callable[[Alert], None]) -> None:
        self._on_alert = on_alert
        self._open: dict[tuple[str, str], Episode] = {}
        self._counts: Counter[str] = Counter()

    def begin(self, fault: str, text: str, symbol: str = "") -> None:
        """A fault that lasts is there, or still there: only the first time alerts and counts."""
        _check(fault)
        episode = self._open.get((fault, symbol))
        if episode is not None:
            self._open[fault, symbol] = replace(episode, text=text, times=episode.times + 1)
            return
        self._open[fault, symbol] = Episode(fault, symbol, text)
        self._counts[fault] += 1
        self._on_alert(Alert(Stage.BEGAN, fault, symbol, text))

    def end(self, fault: str, symbol: str = "") -> None:
        """The fault is over; nothing where none was open."""
        _check(fault)
        episode = self._open.pop((fault, symbol), None)
        if episode is not None:
            self._on_alert(Alert(Stage.ENDED, fault, symbol, episode.text, episode.times))

    def count(self, fault: str, text: str, symbol: str = "") -> None:
        """A fault that is over as soon as it is seen. What may repeat by itself is an episode: `begin`."""
        _check(fault)
        self._counts[fault] += 1
        self._on_alert(Alert(Stage.ONCE, fault, symbol, text))

    @property
    def open(self) -> tuple[Episode, ...]:
        """The episodes that last, in the order they began."""
        return tuple(self._open.values())

    @property
    def counts(self) -> dict[str, int]:
        """Episodes and single faults by number, since the start."""
        return dict(self._counts)


def _check(fault: str) -> None:
    found = re.fullmatch(r"([A-Z])([1-9]\d?)", fault)
    if not found or int(found[2]) > CATALOGUE.get(found[1], 0):
        raise ValueError(f"{fault!r} is no fault of the catalogue")
