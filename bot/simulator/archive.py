"""The archive host: months and days of klines as zips with their checksums, made when asked for, always the same bytes.

Source  data.binance.vision and exchange-facts 1.5: data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip, daily/
        for days; CSV with the columns of the REST answer; open and close times in microseconds from 2025 on.
There   a day from its end on, a month from three days after its end on. Days have a header line, months have none.
Faults  S16 spoils the first `value` (default 1) downloads of each file: kind corrupted, truncated, gone, members, bomb.
"""

import hashlib
import io
import re
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from bot.simulator.faults import Schedule
from bot.simulator.market import Market
from bot.simulator.wire import INTERVALS, Row, Writer

ROOT = "/data/"
FOLDER = re.compile(r"/data/spot/(monthly|daily)/klines/([A-Z0-9]+)/([0-9]+[smhd])/")
FILE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
MICROSECONDS_FROM_MS = 1_735_689_600_000
MONTH_LATE = timedelta(days=3)
STAMP = (1980, 1, 1, 0, 0, 0)
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
KEPT = 8
BOMB_BYTES = 30_000_000


class Download(msgspec.Struct, frozen=True):
    """A file, of which only the first `sent` bytes arrive."""

    body: bytes
    sent: int


class ArchiveHost:
    def __init__(self, shown: Market, writer: Writer, schedule: Schedule) -> None:
        self._shown, self._writer, self._schedule = shown, writer, schedule
        self._made: dict[str, bytes] = {}
        self._asked: Counter[str] = Counter()

    def download(self, path: str, now_ms: int) -> Download | None:
        """The file of a path; None when there is none (yet)."""
        zipped = path.removesuffix(".CHECKSUM")
        body = self._zip(zipped, now_ms)
        if body is None:
            return None
        name = zipped.rpartition("/")[2]
        if path != zipped:
            text = f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode()
            return Download(text, len(text))
        return self._spoilt(path, name, body, now_ms)

    def _spoilt(self, path: str, name: str, body: bytes, now_ms: int) -> Download | None:
        fault = self._schedule.now("S16", now_ms, path.split("/")[5])
        self._asked[path] += 1
        if fault is None or self._asked[path] > fault.amount:
            return Download(body, len(body))
        middle = len(body) // 2
        match fault.kind or "corrupted":
            case "gone":
                return None
            case "truncated":
                return Download(body, middle)
            case "members":
                body = _zipped("../../evil.csv", b"1")
            case "bomb":
                body = _zipped(name.replace(".zip", ".csv"), bytes(BOMB_BYTES))
            case _:
                body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        return Download(body, len(body))

    def _zip(self, path: str, now_ms: int) -> bytes | None:
        found = FOLDER.match(path)
        if found is None:
            return None
        kind, name, interval = found.groups()
        file = path[found.end() :].removeprefix(f"{name}-{interval}-")
        text = file.removesuffix(".zip")
        at, step = self._writer.index.get(name), INTERVALS.get(interval, 0)
        if at is None or not step or step % self._shown.interval_ms or path.count(name) != 2:
            return None
        if FILE.fullmatch(text) is None or file == text or (kind == "daily") != (len(text) == len("2024-01-31")):
            return None
        try:
            start, stop = _period(text)
        except ValueError:
            return None
        if now_ms < _ms(stop + MONTH_LATE if kind == "monthly" else stop):
            return None
        if path not in self._made:
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            rows = self._rows(at, step, _ms(start), _ms(stop))
            lines = [_line(row) for row in rows]
            table = "\n".join(([HEADER] if kind == "daily" else []) + lines) + "\n"
            self._made[path] = _zipped(f"{name}-{interval}-{text}.csv", table.encode()) if rows else b""
        return self._made[path] or None

    def _rows(self, at: int, step: int, start_ms: int, stop_ms: int) -> list[Row]:
        history = self._shown.history(at, step, start_ms, stop_ms, stop_ms)
        return [row for row in self._writer.rows(at, history, step) if row.open_ms < stop_ms]


def _line(row: Row) -> str:
    micro = row.open_ms >= MICROSECONDS_FROM_MS
    opened = row.open_ms * 1000 if micro else row.open_ms
    closed = (row.close_ms + 1) * 1000 - 1 if micro else row.close_ms
    text = (
        f"{opened},{row.open},{row.high},{row.low},{row.close},{row.volume},{closed},{row.quote_volume},{row.trades},"
        f"{row.taker_volume},{row.taker_quote},0"
    )
    return text.replace('"', "")


def _zipped(name: str, data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, STAMP), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def _period(text: str) -> tuple[datetime, datetime]:
    """The month or day of a file's name. ValueError for none."""
    parts = [int(part) for part in text.split("-")]
    start = datetime(parts[0], parts[1], parts[2] if len(parts) == 3 else 1, tzinfo=UTC)
    if len(parts) == 3:
        return start, start + timedelta(days=1)
    return start, datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1000
