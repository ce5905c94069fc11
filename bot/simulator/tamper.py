"""What the faults of candles do to them: rows of the market, closing frames, pages of REST. Plain functions."""

from itertools import count

import numpy as np

from bot.core.market import FIELDS, Floats, Panel, compact
from bot.simulator.faults import KINDS, Fault, Schedule
from bot.simulator.market import Source
from bot.simulator.wire import Kline, Row

MEGABYTE = 1_048_576
SHORT_PAGE, OVERLAP = 100, 3
CLOSING = ("F8", "F9", "F10", "F11", "F12", "F18", "F19")
_INSANE = {
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
        self._index = {symbol: at for at, symbol in enumerate(source.symbols)}

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
            rows = np.flatnonzero((panel.open_ms >= fault.start_ms) & (panel.open_ms < fault.end_ms))
            at = [self._index[fault.symbol]] if fault.symbol in self._index else range(len(self.symbols))
            cells = np.ix_(rows, list(at))
            if fault.number == "F20":
                values[:4, *cells] *= fault.amount
                continue
            present[cells] = False
            if fault.number == "F14":
                values[:, *cells] = np.nan
            else:
                values[:4, *cells] = self._close_before(fault)[list(at)]
                values[4, *cells] = 0.0
        o, h, l, c, v = values
        return Panel(panel.symbols, panel.interval_ms, panel.open_ms, o, h, l, c, v, present)

    def _close_before(self, fault: Fault) -> Floats:
        """The last price [N] before the fault's first candle; that candle's open where there is none."""
        first = -(-fault.start_ms // self.interval_ms) * self.interval_ms
        pair_of_rows = self._source.between(first - self.interval_ms, first + self.interval_ms)
        opened = pair_of_rows.open[-1]
        return np.where(np.isfinite(pair_of_rows.close[0]), pair_of_rows.close[0], opened) if len(opened) else opened


class Delivery:
    """What becomes of one closing frame: (milliseconds later, the candle) for each frame to send."""

    def __init__(self, schedule: Schedule, ticks: dict[str, float]) -> None:
        self._schedule = schedule
        self._ticks = ticks
        self._turns = count()
        self._held: dict[tuple[str, str], Kline] = {}

    def touched(self, now_ms: int) -> bool:
        """Whether any closing frame of this moment may come otherwise than usual."""
        return bool(self._held) or any(self._schedule.now(number, now_ms) for number in CLOSING)

    def of(self, kline: Kline, now_ms: int) -> list[tuple[int, Kline]]:
        faults = {number: self._schedule.now(number, now_ms, kline.symbol) for number in CLOSING}
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
    close = float(kline.close.strip('"')) + move
    high = max(close, float(kline.high.strip('"')))
    return kline._replace(close=f'"{close:.8f}"', high=f'"{high:.8f}"')


def insane(kline: Kline, kind: str) -> Kline:
    if kind == "inverted":
        return kline._replace(high=kline.low, low=f'"{float(kline.high.strip(chr(34))) * 1.01:.8f}"')
    if kind == "outside":
        return kline._replace(close=f'"{float(kline.high.strip(chr(34))) * 1.01:.8f}"')
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


def page(rows: list[Row], schedule: Schedule, now_ms: int, name: str, interval_ms: int, turn: int) -> list[Row]:
    """A klines answer as the faults of REST leave it (F9, F16, F17)."""
    if (fault := schedule.now("F16", now_ms, name)) is not None:
        rows = [row for row in rows if row.open_ms + interval_ms + fault.amount * 1000 <= now_ms]
    for fault in schedule.all("F9"):
        if fault.concerns(name):
            rows = [_revised_row(row, fault) for row in rows]
    if (fault := schedule.now("F17", now_ms, name)) is not None:
        kind = fault.kind or KINDS["F17"][turn % len(KINDS["F17"])]
        if kind == "reversed":
            rows = rows[::-1]
        elif kind == "short":
            rows = rows[:SHORT_PAGE]
    return rows


def moved_start(schedule: Schedule, now_ms: int, name: str, interval_ms: int, turn: int) -> int:
    """By how many milliseconds a page's start is moved (F17): back for an overlap, forward off the grid when moved."""
    fault = schedule.now("F17", now_ms, name)
    kind = (fault.kind or KINDS["F17"][turn % len(KINDS["F17"])]) if fault else ""
    return {"overlap": -OVERLAP * interval_ms, "moved": -interval_ms // 2}.get(kind, 0)


def _revised_row(row: Row, fault: Fault) -> Row:
    if not fault.covers(row.close_ms + 1):
        return row
    decimals = len(row.close.strip('"').rstrip("0").partition(".")[2])
    close = float(row.close.strip('"')) + fault.amount * 10.0**-decimals
    return row._replace(close=f'"{close:.8f}"', high=f'"{max(close, float(row.high.strip(chr(34)))):.8f}"')


def is_symbol(fault: Fault, name: str) -> bool:
    return compact(fault.symbol) == name
