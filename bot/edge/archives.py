"""Binance's bulk archives: a month or a day of one symbol's klines as a zip, with its SHA-256 beside it.

Source  data.binance.vision: data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip and .zip.CHECKSUM, daily/ for
        single days; columns as in the REST answer; open times in microseconds since 2025, in milliseconds before.
Trust   nothing that the checksum does not confirm, one member of the expected name, no more bytes than so many
        candles can have (threat S16), every candle in its period, on the grid, in order and possible.
Errors  BadArchive (exit 74) after TRIES downloads, also where the address does not answer.
"""

import asyncio
import hashlib
import io
import re
import zipfile
import zlib
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.market import FIELDS, TIMEFRAMES, compact
from bot.edge.candle_store import Series
from bot.edge.clock import Clock
from bot.edge.columns import BadCandles, Column, check_on_grid, check_times, check_values
from bot.edge.month_file import Block

TRIES, BACKOFF_S, RETRY_AFTER_MAX_S = 4, 1.0, 600.0
AT_ONCE = 4
TIMEOUT_S = 120.0
FIRST_MS = 1_498_867_200_000  # 2017-07-01: Binance is no older
ROW_BYTES_MAX, HEADER_BYTES_MAX = 400, 1_000
MICROSECONDS_FROM = 10**14
COLUMNS = ("open_ms", *FIELDS, "close_ms", "quote_volume", "trades", "taker_volume", "taker_quote", "ignored")
WHOLE = {"open_ms", "close_ms", "trades"}
ABSENT, BUSY = 404, (429, 500, 502, 503, 504)


class BadArchive(Exception):
    """An archive that cannot be had or trusted."""

    exit_code = 74


class Period(msgspec.Struct, frozen=True, order=True):
    """A calendar month or day (UTC), from `start_ms` to before `stop_ms`; `text` as archives name it."""

    start_ms: int
    stop_ms: int
    text: str

    @property
    def kind(self) -> str:
        return "monthly" if len(self.text) == len("2024-01") else "daily"


def months_of(start_ms: int, stop_ms: int) -> list[Period]:
    """The months that [start, stop) has a part of, oldest first."""
    day = datetime.fromtimestamp(start_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found: list[Period] = []
    while (first_ms := int(day.timestamp()) * 1000) < stop_ms:
        after = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
        found.append(Period(first_ms, int(after.timestamp()) * 1000, f"{day:%Y-%m}"))
        day = after
    return found


def days_of(month: Period) -> list[Period]:
    """Its days."""
    day_ms = TIMEFRAMES["1d"]
    starts = range(month.start_ms, month.stop_ms, day_ms)
    return [Period(at, at + day_ms, f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}") for at in starts]


def path_of(series: Series, period: Period) -> str:
    """The path of the zip below the host."""
    name = f"{compact(series.symbol)}-{series.timeframe}-{period.text}.zip"
    return f"data/spot/{period.kind}/klines/{compact(series.symbol)}/{series.timeframe}/{name}"


class Archives:
    """An archive host. `downloads` counts files taken in, `refused` those thrown away."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.downloads = self.refused = 0
        self._url = url.rstrip("/")
        self._clock = clock
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def block(self, series: Series, period: Period) -> Block | None:
        """The candles of a period; None when the host has no such file. Raises BadArchive."""
        path = path_of(series, period)
        trouble = ""
        async with self._gate:
            for attempt in range(TRIES):
                if attempt:
                    await self._clock.sleep(BACKOFF_S * 2**attempt)
                try:
                    found = await self._once(path, series, period)
                except (aiohttp.ClientError, TimeoutError) as why:
                    trouble = f"the download failed ({type(why).__name__})"
                except BadArchive as why:
                    self.refused += 1
                    trouble = str(why)
                else:
                    self.downloads += found is not None
                    return found
        raise BadArchive(f"{path}: {trouble}, {TRIES} times in a row: try later, or fetch with --source rest")

    async def _once(self, path: str, series: Series, period: Period) -> Block | None:
        rows_max = (period.stop_ms - period.start_ms) // series.interval_ms
        bytes_max = rows_max * ROW_BYTES_MAX + HEADER_BYTES_MAX
        data = await self._get(path, bytes_max)
        if data is None:
            return None
        checksum = await self._get(f"{path}.CHECKSUM", HEADER_BYTES_MAX)
        if checksum is None:
            raise BadArchive("there is no checksum file beside it")
        check(data, checksum)
        return await asyncio.to_thread(decode, data, series, period, bytes_max)

    async def _get(self, path: str, bytes_max: int) -> bytes | None:
        """The file; None when there is none."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=max(TIMEOUT_S / self._clock.speed, 10.0))
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        async with self._session.get(f"{self._url}/{path}", allow_redirects=False) as answer:
            if answer.status == ABSENT:
                return None
            if answer.status in BUSY:
                await self._clock.sleep(min(_seconds(answer.headers.get("Retry-After", "")), RETRY_AFTER_MAX_S))
            if answer.status != 200:
                raise BadArchive(f"the host answers with status {answer.status}")
            parts: list[bytes] = []
            async for part in answer.content.iter_chunked(1 << 16):
                parts.append(part)
                bytes_max -= len(part)
                if bytes_max < 0:
                    raise BadArchive("it is larger than so many candles can be")
            return b"".join(parts)


def check(data: bytes, checksum: bytes) -> None:
    """Refuses data that the text of a .CHECKSUM file does not confirm."""
    named = re.match(rb"\s*([0-9a-fA-F]{64})\b", checksum)
    if named is None:
        raise BadArchive("its checksum file holds no SHA-256")
    if hashlib.sha256(data).hexdigest() != named[1].decode().lower():
        raise BadArchive("its SHA-256 is not the one in its checksum file")


def decode(data: bytes, series: Series, period: Period, bytes_max: int) -> Block:
    """The candles of a zip. Raises BadArchive for anything but one sane table of this series and period."""
    expected = f"{compact(series.symbol)}-{series.timeframe}-{period.text}.csv"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if names != [expected]:
                raise BadArchive(f"it holds {', '.join(map(repr, names[:3])) or 'nothing'}, not {expected}")
            with archive.open(expected) as member:
                text = member.read(bytes_max + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as why:
        raise BadArchive(f"it is no whole zip ({type(why).__name__})") from why
    if len(text) > bytes_max:
        raise BadArchive("it unpacks to more than so many candles can be")
    return _block(text, series, period)


def _block(text: bytes, series: Series, period: Period) -> Block:
    columns = _columns(text)
    open_ms = columns["open_ms"]
    in_microseconds = open_ms >= MICROSECONDS_FROM
    if (in_microseconds & (open_ms % 1000 != 0)).any():
        raise BadArchive("it has times between two milliseconds")
    open_ms = np.where(in_microseconds, open_ms // 1000, open_ms)
    values = np.stack([columns[name] for name in (*FIELDS, "quote_volume")])
    column = Column(open_ms, values, columns["trades"])
    try:
        check_times("it", open_ms)
        check_on_grid("it", open_ms, series.interval_ms)
        check_values("it", column)
    except BadCandles as why:
        raise BadArchive(str(why)) from why
    if len(open_ms) and not period.start_ms <= open_ms[0] <= open_ms[-1] < period.stop_ms:
        raise BadArchive(f"it has candles from outside {period.text}")
    return Block.of(column)


def _columns(text: bytes) -> dict[str, NDArray[Any]]:
    """The table by column, its header left out where it has one."""
    import pyarrow as pa
    from pyarrow import csv

    header = not text[:1].isdigit()
    kinds = {name: pa.int64() if name in WHOLE else pa.float64() for name in COLUMNS}
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(column_names=list(COLUMNS), skip_rows=int(header), use_threads=False),
            convert_options=csv.ConvertOptions(column_types=kinds, null_values=[]),
        )
    except pa.ArrowException as why:
        raise BadArchive(f"its rows cannot be read: {str(why).splitlines()[0]}") from why
    if not len(table):
        raise BadArchive("it has no rows")
    return {name: table[name].to_numpy() for name in COLUMNS}


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0
