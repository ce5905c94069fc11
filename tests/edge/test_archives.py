"""Bulk archives: what is taken for true and what is refused."""

import hashlib
import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bot.edge.archives import BadArchive, Period, check, days_of, decode, months_of, path_of
from bot.edge.candle_store import Series
from bot.edge.month_file import Block
from bot.exchanges.binance import Codec
from bot.simulator.archive import HEADER

RECORDED = (
    Path(__file__).parents[3] / "shared/data/payloads/recorded/binance_spot_rest_klines_BTCUSDT_1h_2024-03-01.json"
)
SERIES = Series("binance", "1h", "BTC/USDT")
HOUR_MS = 3_600_000
MARCH = months_of(1_709_251_200_000, 1_709_251_200_001)[0]
JANUARY_2025 = months_of(1_735_689_600_000, 1_735_689_600_001)[0]
BYTES_MAX = 400_000


def row(open_ms: int, price: str = "100.5") -> str:
    return f"{open_ms},{price},101.0,99.0,100.0,2.5,{open_ms + HOUR_MS - 1},251.25,7,1.0,100.5,0"


def zipped(text: str, name: str = "BTCUSDT-1h-2024-03.csv") -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return sink.getvalue()


def read(text: str, period: Period = MARCH) -> Block:
    return decode(zipped(text, f"BTCUSDT-1h-{period.text}.csv"), SERIES, period, BYTES_MAX)


def test_months_and_days_are_the_calendars() -> None:
    """UTC; a leap February has 29 days; December ends in January; names and paths are the host's."""
    months = months_of(1_701_388_800_000, 1_709_251_200_001)
    assert [month.text for month in months] == ["2023-12", "2024-01", "2024-02", "2024-03"]
    assert all(one.stop_ms == two.start_ms for one, two in pairwise(months))
    days = days_of(months[2])
    assert len(days) == 29 and days[-1].text == "2024-02-29" and days[-1].stop_ms == MARCH.start_ms
    assert path_of(SERIES, MARCH) == "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-03.zip"
    assert path_of(SERIES, days[0]) == "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.zip"


def test_an_archive_is_the_rest_answer() -> None:
    """Columns, values and trades of recorded REST rows, written as the archive has them, come out as REST's candles."""
    if not RECORDED.exists():
        pytest.skip("no recorded REST answers beside the repository")
    rows = json.loads(RECORDED.read_text())
    block = read("\n".join(",".join(str(value) for value in one) for one in rows) + "\n")
    candles, refused = Codec(("BTC/USDT",), "1h").decode_klines("BTC/USDT", rows)
    assert not refused and len(block) == len(candles) == 744
    for name in Block.__struct_fields__:
        assert getattr(block, name).tolist() == [getattr(one, name) for one in candles]


@pytest.mark.parametrize("header", ["", HEADER + "\n"])
@pytest.mark.parametrize(("period", "unit"), [(MARCH, 1), (JANUARY_2025, 1_000)])
def test_times_are_milliseconds_or_microseconds_with_a_header_or_none(header: str, period: Period, unit: int) -> None:
    """Since 2025 microseconds; some files have a header line; a month may have breaks."""
    opens = [period.start_ms, period.start_ms + HOUR_MS, period.start_ms + 5 * HOUR_MS]
    block = read(header + "\n".join(row(at * unit) for at in opens) + "\n", period)
    assert block.open_ms.tolist() == opens
    assert block.open[0] == 100.5 and block.trades.tolist() == [7, 7, 7] and np.all(block.quote_volume == 251.25)


FIRST = MARCH.start_ms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("hello\n", "cannot be read|no rows"),
        (row(FIRST) + ",1\n", "cannot be read"),
        (row(FIRST, "1O0.5"), "cannot be read"),
        (row(FIRST, "NaN"), "no price"),
        (row(FIRST, "0"), "no price"),
        (row(FIRST, "150"), "outside"),
        (row(FIRST + 1_000), "off the grid"),
        (row(FIRST * 1_000 + 1), "between two milliseconds"),
        (row(FIRST) + "\n" + row(FIRST), "twice"),
        (row(FIRST + HOUR_MS) + "\n" + row(FIRST), "later"),
        (row(FIRST - HOUR_MS), "outside 2024-03"),
        (row(MARCH.stop_ms), "outside 2024-03"),
        (row(FIRST // 1_000), "century"),
    ],
)
def test_a_table_that_cannot_be_true_is_refused(text: str, why: str) -> None:
    """Numbers that are none, impossible candles, times twice, out of order, off the grid, out of the month."""
    with pytest.raises(BadArchive, match=why):
        read(text)


def test_a_checksum_that_differs_is_refused() -> None:
    """Whatever else stands in the checksum file."""
    data = zipped(row(FIRST))
    good = hashlib.sha256(data).hexdigest()
    check(data, f"{good}  BTCUSDT-1h-2024-03.zip\n".encode())
    with pytest.raises(BadArchive, match="is not the one"):
        check(data + b"x", f"{good}  BTCUSDT-1h-2024-03.zip\n".encode())
    for broken in (b"", b"<html>", good[:63].encode()):
        with pytest.raises(BadArchive, match="no SHA-256"):
            check(data, broken)


def test_a_zip_that_is_not_whole_or_not_ours_is_refused() -> None:
    """Threat S16: cut, garbage, another member's name, two members, more bytes than so many candles can have."""
    data = zipped(row(FIRST))
    for broken in (data[: len(data) // 2], b"PK\x03\x04garbage", b""):
        with pytest.raises(BadArchive, match="no whole zip"):
            decode(broken, SERIES, MARCH, BYTES_MAX)
    for name in ("../../evil.csv", "ETHUSDT-1h-2024-03.csv", "BTCUSDT-1h-2024-02.csv"):
        with pytest.raises(BadArchive, match="it holds"):
            decode(zipped(row(FIRST), name), SERIES, MARCH, BYTES_MAX)
    with pytest.raises(BadArchive, match="unpacks to more"):
        decode(zipped("1" * 10_000_000), SERIES, MARCH, BYTES_MAX)
