"""The journal's bytes: exact, the same in every process, and refused when they are not ours."""

import os
import subprocess
import sys
from decimal import Decimal
from types import UnionType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bot.core import commands, events, market, snapshot
from bot.edge.encoding import BadRecord, decode_commands, decode_event, encode_commands, encode_event

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INTEGER = st.integers(-(2**62), 2**62)
FLOAT = st.floats(width=64)
MONEY = st.decimals(allow_nan=False, allow_infinity=False)
COINS = 3


def floats(*shape: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float64, shape, elements=FLOAT)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of one of our classes, built field by field from its annotations."""
    return st.builds(kind, **{field.name: of(field.name, field.type) for field in msgspec.structs.fields(kind)})


def of(name: str, wanted: Any) -> st.SearchStrategy[Any]:
    shape = {"forecasts": (2, COINS)}.get(name, (COINS,))
    plain = {str: TEXT, int: INTEGER, float: FLOAT, Decimal: MONEY, bool: st.booleans()}
    if wanted == market.Floats:
        return floats(*shape)
    if wanted == market.Mask:
        return hnp.arrays(np.bool_, shape)
    if wanted == market.Integers:
        return hnp.arrays(np.int64, shape)
    if wanted is market.Panel:
        return panels()
    if wanted in plain:
        return plain[wanted]
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return values(wanted)
    if wanted == tuple[str, ...]:
        return st.lists(TEXT, max_size=3).map(tuple)
    if wanted == tuple[int, ...]:
        return st.lists(INTEGER, max_size=3).map(tuple)
    if getattr(wanted, "__origin__", None) is tuple:
        return st.lists(of(name, wanted.__args__[0]), max_size=2).map(tuple)
    if getattr(wanted, "__origin__", None) is dict:
        return st.dictionaries(TEXT, of(name, wanted.__args__[1]), max_size=3)
    if wanted == market.Floats | None:
        return st.none() | floats(*shape)
    if isinstance(wanted, UnionType) and type(None) in wanted.__args__ and len(wanted.__args__) == 2:
        (given,) = (kind for kind in wanted.__args__ if kind is not type(None))
        if issubclass(given, msgspec.Struct):
            return st.none() | values(given)
    return st.from_type(wanted)


@st.composite
def panels(draw: st.DrawFn) -> market.Panel:
    rows = draw(st.integers(0, 4))
    fields = {name: draw(floats(rows, COINS)) for name in market.FIELDS}
    times = np.arange(rows, dtype=np.int64) * 60_000
    present = draw(hnp.arrays(np.bool_, (rows, COINS)))
    return market.Panel(("A/B", "C/B", "D/B"), 60_000, times, **fields, present=present)


EVENTS = list(events.AnyEvent.__args__)
COMMANDS = list(commands.AnyCommand.__args__)


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, arrays and NaN included."""
    if isinstance(left, np.ndarray):
        return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())
    if isinstance(left, msgspec.Struct):
        return type(left) is type(right) and all(
            same(getattr(left, f), getattr(right, f)) for f in left.__struct_fields__
        )
    if isinstance(left, tuple | list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float | Decimal):
        return type(left) is type(right) and repr(left) == repr(right)
    return type(left) is type(right) and bool(left == right)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was(kind: Any) -> None:
    """An event of any kind, with any content, decodes to the same event and encodes to the same bytes again."""

    @settings(max_examples=25, deadline=None)
    @given(values(kind))
    def check(event: Any) -> None:
        record = encode_event(event)
        assert same(event, decode_event(record))
        assert encode_event(decode_event(record)) == record

    check()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of([values(kind) for kind in COMMANDS]), max_size=4))
def test_commands_come_back_as_they_were(wishes: list[Any]) -> None:
    """Any list of commands decodes to the same commands, in their order."""
    record = encode_commands(wishes)
    assert same(wishes, decode_commands(record))
    assert encode_commands(decode_commands(record)) == record


@given(MONEY)
def test_money_is_exact(amount: Decimal) -> None:
    """A Decimal keeps every digit and its exponent: 1.10 stays 1.10."""
    fill = events.Filled("c", "A/B", "1", market.Side.BUY, amount, amount, amount, "B", 1)
    decoded = decode_event(encode_event(fill))
    assert isinstance(decoded, events.Filled)
    assert str(decoded.price) == str(amount)


def test_views_and_columns_encode_as_their_values() -> None:
    """How an array lies in memory does not show in its bytes."""
    table = np.arange(12.0).reshape(4, 3)
    for array in (table[::2, 1], np.asfortranarray(table)[::2, 1], table[::2, 1].astype(">f8")):
        assert encode_event(_forecast(array)) == encode_event(_forecast(np.array([1.0, 7.0])))


def test_the_order_of_a_mapping_does_not_show() -> None:
    """Two equal snapshots whose dicts were filled in another order have the same bytes."""
    memory = snapshot.RiskMemory((), 1.0, 1, 1.0, {"a": 1, "b": 2}, (), ())
    other = msgspec.structs.replace(memory, cooldowns={"b": 2, "a": 1})
    assert encode_event(_reconciled(memory)) == encode_event(_reconciled(other))


def test_another_process_writes_the_same_bytes() -> None:
    """The hash seed and the time zone of a process leave no trace in the bytes."""
    program = (
        "from tests.edge.test_journal_encoding import _reconciled, snapshot, encode_event\n"
        "memory = snapshot.RiskMemory((), 1.0, 1, 1.0, {str(n): n for n in range(50)}, (1, 2), ())\n"
        "print(encode_event(_reconciled(memory)).hex())"
    )
    written = set()
    for seed, zone in (("1", "UTC"), ("777", "Asia/Tokyo")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": "."}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        written.add(done.stdout)
    assert len(written) == 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_by_name(record: bytes) -> None:
    """Bytes that are no event raise BadRecord and nothing else."""
    with pytest.raises(BadRecord):
        decode_event(record)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise_anything_but_their_name(data: st.DataObject) -> None:
    """A record with one byte changed is refused as BadRecord or is another valid event; it never crashes."""
    record = bytearray(encode_event(events.Forecasted(events.Forecast(1, np.arange(3.0), np.ones(3)), 0.5)))
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_event(bytes(record))
    except BadRecord:
        return
    assert isinstance(found, events.Event)


def test_an_array_of_another_type_or_size_is_refused() -> None:
    """Lying dtypes, shapes that do not match the bytes and objects are refused, not reshaped."""
    good = msgspec.msgpack.decode(encode_event(_forecast(np.arange(3.0))))
    for lie in (["<i8", [3], bytes(24)], ["|O", [3], bytes(24)], ["<f8", [4], bytes(24)], ["<f8", [-1], bytes(24)]):
        good["forecast"]["returns"] = lie
        with pytest.raises(BadRecord):
            decode_event(msgspec.msgpack.encode(good))


def test_decoded_arrays_cannot_be_changed() -> None:
    """The past is never edited: arrays from the journal are read-only."""
    decoded = decode_event(encode_event(_forecast(np.arange(3.0))))
    assert isinstance(decoded, events.Forecasted)
    with pytest.raises(ValueError, match="read-only"):
        decoded.forecast.returns[0] = 1.0


def _forecast(returns: Any) -> events.Forecasted:
    return events.Forecasted(events.Forecast(1, returns), 0.5)


def _reconciled(memory: snapshot.RiskMemory) -> events.Reconciled:
    zero = Decimal(0)
    empty = np.zeros((0, 1))
    state = snapshot.Snapshot(
        1,
        ("A/B",),
        60_000,
        (),
        "B",
        zero,
        zero,
        (),
        {},
        zero,
        zero,
        (),
        memory,
        0,
        0,
        np.zeros(0, np.int64),
        empty,
        np.zeros(1),
    )
    return events.Reconciled(state)
