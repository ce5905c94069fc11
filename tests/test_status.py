"""`lacuna status`: what a folder says, for programs and for people."""

from decimal import Decimal
from pathlib import Path

import pytest

from bot.status import status_of, text_of
from tests.recording import record


async def test_what_is_held_is_told_with_its_value_entry_and_gain(tmp_path: Path) -> None:
    """Each position stands in the text, the largest first, by the marks of the last slice."""
    session = await record(tmp_path)
    ledger = session.engine.ledger
    found = status_of(tmp_path)
    assert {symbol: Decimal(row["quantity"]) for symbol, row in found["positions"].items()} == {
        symbol: held.quantity for symbol, held in ledger.holdings.items()
    }
    assert len(found["positions"]) > 1
    for symbol, row in found["positions"].items():
        held, mark = ledger.holdings[symbol], float(ledger.mark[session.panel.symbols.index(symbol)])
        assert row["value"] == pytest.approx(float(held.quantity) * mark)
        assert row["entry"] == pytest.approx(float(held.cost / held.quantity))
        assert row["gain"] == pytest.approx(float(held.quantity) * mark - float(held.cost))
    values = [row["value"] for row in found["positions"].values()]
    assert values == sorted(values, reverse=True)
    lines = text_of(found).splitlines()
    for symbol, row in found["positions"].items():
        (line,) = [line for line in lines if line.startswith(symbol) and "entered at" in line]
        assert row["quantity"] in line
        assert f"{row['value']:,.2f}" in line
        assert f"gain {row['gain']:+,.2f}" in line
