"""Episodes: one alert at the start, one at the end, whatever happens between (invariant I29)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.edge.faults import CATALOGUE, Alert, Episode, Faults, Stage


def test_an_episode_alerts_when_it_begins_and_when_it_ends() -> None:
    """A thousand retries in between alert nobody."""
    alerts: list[Alert] = []
    faults = Faults(alerts.append)
    for attempt in range(1_000):
        faults.begin("F5", f"attempt {attempt}")
    faults.end("F5")
    faults.end("F5")
    assert alerts == [
        Alert(Stage.BEGAN, "F5", "", "attempt 0"),
        Alert(Stage.ENDED, "F5", "", "attempt 999", 1_000),
    ]
    assert faults.counts == {"F5": 1}
    assert faults.open == ()


def test_symbols_have_episodes_of_their_own() -> None:
    """One coin's recovery does not end another's trouble."""
    faults = Faults(lambda alert: None)
    faults.begin("F7", "silent", "BTC/USDT")
    faults.begin("F7", "silent", "ETH/USDT")
    faults.end("F7", "BTC/USDT")
    assert faults.open == (Episode("F7", "ETH/USDT", "silent"),)
    assert faults.counts == {"F7": 2}


def test_a_fault_that_does_not_last_is_counted_each_time() -> None:
    """A refused order is over at once: counted, told, and nothing stays open."""
    alerts: list[Alert] = []
    faults = Faults(alerts.append)
    faults.count("O5", "balance", "BTC/USDT")
    faults.count("O5", "balance", "BTC/USDT")
    assert [alert.stage for alert in alerts] == [Stage.ONCE, Stage.ONCE]
    assert faults.counts == {"O5": 2}
    assert faults.open == ()


def test_the_catalogue_has_151_faults() -> None:
    """As many as its page says, each accepted."""
    numbers = [f"{kind}{number}" for kind, last in CATALOGUE.items() for number in range(1, last + 1)]
    faults = Faults(lambda alert: None)
    for number in numbers:
        faults.count(number, "")
    assert len(faults.counts) == 151


@pytest.mark.parametrize("name", ["", "F", "F0", "F27", "f1", "F01", "X1", "F1 ", "P100", "risk"])
def test_a_number_that_is_not_in_the_catalogue_is_our_bug(name: str) -> None:
    """A typo never becomes a counter nobody looks at."""
    faults = Faults(lambda alert: None)
    with pytest.raises(ValueError, match="no fault"):
        faults.begin(name, "")
    with pytest.raises(ValueError, match="no fault"):
        faults.count(name, "")
    with pytest.raises(ValueError, match="no fault"):
        faults.end(name)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["F1", "P9"]), st.sampled_from(["", "A/B"]))))
def test_beginnings_and_ends_alternate(steps: list[tuple[bool, str, str]]) -> None:
    """Whatever order things are said in, each episode's alerts go began, ended, began, ended."""
    alerts: list[Alert] = []
    faults = Faults(alerts.append)
    for begins, fault, symbol in steps:
        if begins:
            faults.begin(fault, "text", symbol)
        else:
            faults.end(fault, symbol)
    for key in {(alert.fault, alert.symbol) for alert in alerts}:
        stages = [alert.stage for alert in alerts if (alert.fault, alert.symbol) == key]
        assert stages == [Stage.BEGAN, Stage.ENDED] * (len(stages) // 2) + [Stage.BEGAN] * (len(stages) % 2)
        assert ((len(stages) % 2) == 1) == (key in {(episode.fault, episode.symbol) for episode in faults.open})
