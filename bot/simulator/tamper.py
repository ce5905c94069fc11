"""What the faults of candles do to them: rows of the market, closing frames, pages of REST. Plain functions."""

from itertools import count
from typing import Any

import numpy as np

from bot.core.market import FIELDS, Floats, Panel
from bot.simulator.faults import KINDS, Fault, Schedule
from bot.simulator.market import Source
from bot.simulator.wire import Kline, Row

MEGABYTE = 1_048_576
SHORT_PAGE = 100
EARLIER = {"overlap": 3, "moved": 10}  # rows before the start that was asked for
CLOSING = ("F8", "F9", "F10", "F11", "F12", "F18", "F19")
_INSANE: dict[str, dict[str, Any]] = {
    "nan": {"close": "NaN"},
    "null": {"open": "null"},
    "empty": {"close": '""'},
    "zero": {"open": '"0"', "high": '"0"', "low": '"0"', "close": '"0"'},
    "negative": {"low": '"-1.00000000"'},
    "inf": {"high": '"Infinity"'},
    "huge": {"high": '"1e308"'},
}


class TamperedSource:
    """A source with its suspensions (F14), minutes without trades (F15) and wrong prices (F20)."""

    def __init__(self, source: Source, schedule: Schedule) -> None:
        self._source = source
        self._schedule = schedule
        self.symbols = source.symbols
        self.interval_ms = source.interval_ms
        self.price_decimals, self.volume_decimals = source.price_decimals, source.volume_decimals

    @property
    def first_ms(self) -> int:
        return self._source.first_ms

    @property
    def end_ms(self) -> int | None:
        return self._source.end_ms

    def between(self, start_ms: int, stop_ms: int) -> Panel:
        panel = self._source.between(start_ms, stop_ms)
        faults = [
            one for one in self._schedule.all("F14", "F15", "F20") if one.start_ms < stop_ms and start_ms < one.end_ms
        ]
        if not faults or not len(panel):
            return panel
        values = np.stack([getattr(panel, name) for name in FIELDS])
        present = panel.present.copy()
        for fault in faults:
            hit = (panel.open_ms >= fault.start_ms)[:, None] & (panel.open_ms < fault.end_ms)[:, None]
            hit = hit & np.array([fault.symbol in ("", symbol) for symbol in self.symbols])
            if fault.number == "F20":
                values[:4] = np.where(hit, values[:4] * fault.amount, values[:4])
                continue
            present &= ~hit
            if fault.number == "F14":
                values = np.where(hit, np.nan, values)
            else:
                values[:4] = np.where(hit, self._close_before(fault), values[:4])
                values[4] = np.where(hit, 0.0, values[4])
        o, h, l, c, v = values
        return Panel(panel.symbols, panel.interval_ms, panel.open_ms, o, h, l, c, v, present)

    def _close_before(self, fault: Fault) -> Floats:
        """The last price [N] before the fault's first candle; that candle's open where there is none."""
        first_ms = -(-fault.start_ms // self.interval_ms) * self.interval_ms
        rows = self._source.between(first_ms - self.interval_ms, first_ms + self.interval_ms)
        before: Floats = np.where(np.isfinite(rows.close[0]), rows.close[0], rows.open[-1])
        return before


class Delivery:
    """What becomes of one closing frame: (milliseconds later, the candle) for each frame to send."""

    def __init__(self, schedule: Schedule, ticks: dict[str, float]) -> None:
        self._schedule = schedule
        self._ticks = ticks
        self._turns = count()
        self._held: dict[tuple[str, str], Kline] = {}

    def touched(self, close_ms: int) -> bool:
        """Whether any candle of this close may be sent otherwise than usual."""
        return bool(self._held) or any(self._schedule.now(number, close_ms) for number in CLOSING)

    def of(self, kline: Kline) -> list[tuple[int, Kline]]:
        close_ms = kline.close_ms + 1
        faults = {number: self._schedule.now(number, close_ms, kline.symbol) for number in CLOSING}
        if faults["F12"]:
            return []
        held = self._held.pop((kline.symbol, kline.interval), None)
        if faults["F10"] and held is None:
            self._held[kline.symbol, kline.interval] = kline
            return []
        if fault := faults["F19"]:
            kline = insane(kline, fault.kind or KINDS["F19"][next(self._turns) % len(KINDS["F19"])])
        if fault := faults["F18"]:
            kline = off_grid(kline, fault.kind)
        late_ms = round(faults["F11"].amount * 1000) if faults["F11"] else 0
        frames = [(late_ms, kline)]
        if faults["F8"]:
            frames.append((late_ms, kline))
        if (fault := faults["F9"]) and fault.kind != "rest":
            frames.append((late_ms, revised(kline, fault.amount * self._ticks[kline.symbol])))
        if held is not None:
            frames.append((late_ms, held))
        return frames


def revised(kline: Kline, move: float) -> Kline:
    """The candle with its close, and its high if need be, moved up."""
    close = _number(kline.close) + move
    return kline._replace(close=_text(close), high=_text(max(close, _number(kline.high))))


def insane(kline: Kline, kind: str) -> Kline:
    above = _text(_number(kline.high) * 1.01)
    if kind == "inverted":
        return kline._replace(low=above)
    if kind == "outside":
        return kline._replace(close=above)
    return kline._replace(**_INSANE[kind])


def off_grid(kline: Kline, kind: str) -> Kline:
    moved = {"seconds": kline.open_ms // 1000, "microseconds": kline.open_ms * 1000}
    return kline._replace(open_ms=moved.get(kind, kline.open_ms + 1000))


def oddity(kind: str, now_ms: int, kline: Kline) -> tuple[int, bytes]:
    """A frame nobody asked for, as (websocket opcode, payload)."""
    if kind == "json":
        return 1, b'{"e":"kline","E":' + str(now_ms).encode() + b',"s":"BTC'
    if kind == "binary":
        return 2, b"\x00\xff\xfe\x80lacuna"
    if kind == "event":
        return 1, f'{{"e":"somethingNew","E":{now_ms},"s":"{kline.symbol}","z":{{"a":[1,2,3]}}}}'.encode()
    if kind == "huge":
        return 1, kline.event(now_ms, closed=False, more=f'"padding":"{"x" * MEGABYTE}",').encode()
    return 1, kline.event(now_ms, closed=False, more='"newField":{"deep":[null,1.5]},"w":7,').encode()


def foreign(kline: Kline, kind: str) -> Kline:
    return kline._replace(interval="3m") if kind == "interval" else kline._replace(symbol="FOREIGNUSDT")


class Pages:
    """What becomes of REST's klines answers."""

    def __init__(self, schedule: Schedule, ticks: dict[str, float]) -> None:
        self._schedule = schedule
        self._ticks = ticks
        self._turns = count()

    def kind(self, now_ms: int, name: str) -> str:
        """How this page is spoilt (F17), or ""."""
        fault = self._schedule.now("F17", now_ms, name)
        return (fault.kind or KINDS["F17"][next(self._turns) % len(KINDS["F17"])]) if fault else ""

    def of(self, rows: list[Row], now_ms: int, name: str, kind: str) -> list[Row]:
        """The rows as the faults leave them (F9, F16, F17)."""
        if (fault := self._schedule.now("F16", now_ms, name)) is not None:
            rows = [row for row in rows if row.close_ms + 1 + fault.amount * 1000 <= now_ms]
        for fault in self._schedule.all("F9"):
            if fault.concerns(name):
                rows = [self._revised(row, name, fault) for row in rows]
        if kind == "short":
            return rows[:SHORT_PAGE]
        return rows[::-1] if kind == "reversed" else rows

    def _revised(self, row: Row, name: str, fault: Fault) -> Row:
        if not fault.covers(row.close_ms + 1):
            return row
        close = _number(row.close) + fault.amount * self._ticks[name]
        return row._replace(close=_text(close), high=_text(max(close, _number(row.high))))


def _number(text: str) -> float:
    return float(text.strip('"'))


def _text(value: float) -> str:
    return f'"{value:.8f}"'
