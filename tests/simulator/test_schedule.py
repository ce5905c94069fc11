"""Faults as text and files: what is meant, or exactly what is wrong."""

import json
from pathlib import Path

import pytest

from bot.core.market import MINUTE_MS
from bot.simulator.faults import NUMBERS, BadFault, Fault, Schedule, load_faults, parse_fault
from bot.simulator.serve import exchange_of, market_of

ORIGIN = 1_700_000_040_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("F1@+120s/30s", Fault("F1", ORIGIN + 120_000, 30.0)),
        ("f7@+5m/2h,symbol=eth/usdt", Fault("F7", ORIGIN + 300_000, 7_200.0, "ETH/USDT")),
        ("F7@+0/90,symbol=ETHUSDT", Fault("F7", ORIGIN, 90.0, "ETH/USDT")),
        ("F11@+1.5s,value=20", Fault("F11", ORIGIN + 1_500, 60.0, "", 20.0)),
        (
            "F19@1700000100000/1m,kind=nan,symbol=BTC/USDT",
            Fault("F19", 1_700_000_100_000, 60.0, "BTC/USDT", 0.0, "nan"),
        ),
    ],
)
def test_a_line_is_a_fault(text: str, fault: Fault) -> None:
    """Number, start, length and options; small letters will do."""
    assert parse_fault(text, ORIGIN) == fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("F99@+1s", "no fault 'F99'"),
        ("F1", "write a fault as"),
        ("F1@soon", "'soon' is no time"),
        ("F1@+1s/never", "'never' is no time"),
        ("F1@+1s/0s", "longer than"),
        ("F1@+1s,symbol", "is no option"),
        ("F1@+1s,colour=red", "no option colour"),
        ("F1@+1s,symbol=B", "is no pair"),
        ("F19@+1s,kind=odd", "no kind 'odd': nan, null"),
        ("F11@+1s,value=much", "could not convert"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, why: str) -> None:
    """BadFault says what is wrong, and ends the process as wrong usage."""
    with pytest.raises(BadFault, match=why) as caught:
        parse_fault(text, ORIGIN)
    assert caught.value.exit_code == 2


def test_a_file_holds_faults(tmp_path: Path) -> None:
    """TOML and JSON hold the same list."""
    toml, as_json = tmp_path / "faults.toml", tmp_path / "faults.json"
    toml.write_text('[[fault]]\nnumber = "F1"\nat = "+120s"\nfor = "30s"\n[[fault]]\nnumber = "F22"\nvalue = 10\n')
    entries = [{"number": "F1", "at": "+120s", "for": "30s"}, {"number": "F22", "value": 10}]
    as_json.write_text(json.dumps({"fault": entries}))
    wanted = (Fault("F1", ORIGIN + 120_000, 30.0), Fault("F22", ORIGIN, 60.0, "", 10.0))
    assert load_faults(toml, ORIGIN) == wanted == load_faults(as_json, ORIGIN)


@pytest.mark.parametrize("content", ["[[fault]]\nnumber = 'F98'", "fault = 3", "not toml", '[fault]\nx = "y"'])
def test_a_bad_file_is_named(tmp_path: Path, content: str) -> None:
    """The error begins with the file."""
    path = tmp_path / "faults.toml"
    path.write_text(content)
    with pytest.raises(BadFault, match=r"faults\.toml"):
        load_faults(path, ORIGIN)
    with pytest.raises(BadFault, match="No such file"):
        load_faults(tmp_path / "none.toml", ORIGIN)


def test_every_feed_fault_of_the_catalogue_has_a_number() -> None:
    """F1 to F25; F26, a name or certificate that is wrong, is the client's address and not the exchange's doing."""
    assert {f"F{number}" for number in range(1, 26)} <= set(NUMBERS)


def test_a_schedule_knows_what_holds_when_and_for_whom() -> None:
    """A fault holds from its start up to its end, for its symbol or for all."""
    schedule = Schedule([Fault("F7", ORIGIN, 60.0, "ETH/USDT"), Fault("F8", ORIGIN + MINUTE_MS)])
    assert schedule.now("F7", ORIGIN - 1, "ETHUSDT") is None
    assert schedule.now("F7", ORIGIN, "ETHUSDT") is not None
    assert schedule.now("F7", ORIGIN, "BTCUSDT") is None
    assert schedule.now("F7", ORIGIN + 60_000, "ETHUSDT") is None
    assert schedule.now("F8", ORIGIN + MINUTE_MS, "BTCUSDT") is not None


def test_a_fault_of_an_unknown_symbol_is_refused() -> None:
    """A typing error in a symbol would be a fault that never happens."""
    with pytest.raises(BadFault, match="XYZ/USDT is not traded"):
        exchange_of(market_of(None, 3, 7), faults=["F7@+1s,symbol=XYZ/USDT"])
