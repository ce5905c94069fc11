"""The archive host: what is there when, and how it is spoilt."""

import hashlib
import io
import zipfile

import aiohttp
import pytest

from bot.core.market import Panel
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.simulator.talking import ask, trading

FOLDER = "/data/spot/{}/klines/BTCUSDT/1h/BTCUSDT-1h-{}.zip"
DAYS = 40


@pytest.fixture(scope="module")
def panel() -> Panel:
    """From 1 January 2024."""
    return synthetic_panel(2, (2 * DAYS + 2) * 1_440)


async def get(exchange: SimulatedExchange, path: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(exchange.rest_url + path) as answer:
        return answer.status, await answer.read()


def table(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


async def test_a_file_its_checksum_and_the_rest_answer_agree(panel: Panel) -> None:
    """One member named like the zip, rows as REST has them, always the same bytes."""
    async with trading(panel=panel, history=DAYS * 1_440, speed=1.0) as exchange:
        path = FOLDER.format("monthly", "2024-01")
        status, data = await get(exchange, path)
        assert status == 200 and (await get(exchange, path))[1] == data
        named = (await get(exchange, path + ".CHECKSUM"))[1].decode()
        assert named == f"{hashlib.sha256(data).hexdigest()}  BTCUSDT-1h-2024-01.zip\n"
        _, rows, _ = await ask(
            exchange, "/api/v3/klines", symbol="BTCUSDT", interval="1h", startTime=START_MS, limit=744
        )
    assert table(data) == [",".join(str(value) for value in row) for row in rows]


async def test_a_file_is_there_when_its_time_is_over(panel: Panel) -> None:
    """Days at once and with a header line, months three days later; no others, and no other names."""
    async with trading(panel=panel, history=DAYS * 1_440 + 60, speed=1.0) as exchange:
        there = {
            FOLDER.format("monthly", "2024-01"): 200,
            FOLDER.format("monthly", "2024-02"): 404,
            FOLDER.format("monthly", "2023-12"): 404,
            FOLDER.format("daily", "2024-02-09"): 200,
            FOLDER.format("daily", "2024-02-10"): 404,
            FOLDER.format("daily", "2024-02-30"): 404,
            FOLDER.format("daily", "2024-01"): 404,
            FOLDER.format("monthly", "2024-01").replace("BTC", "NOSUCH"): 404,
            "/data/spot/monthly/klines/BTCUSDT/1h/ETHUSDT-1h-2024-01.zip": 404,
            "/data/spot/monthly/klines/BTCUSDT/1h/../../x": 404,
        }
        assert {path: (await get(exchange, path))[0] for path in there} == there
        day = table((await get(exchange, FOLDER.format("daily", "2024-02-09")))[1])
    assert day[0].startswith("open_time,") and len(day) == 25


async def test_only_the_first_downloads_are_spoilt(panel: Panel) -> None:
    """Fault S16: `value` of them for each file; the checksum stays right; a cut one ends in the middle."""
    path = FOLDER.format("monthly", "2024-01")
    for kind in ("corrupted", "members", "bomb"):
        async with trading(f"S16@+0s/1h,value=2,kind={kind}", panel=panel, history=DAYS * 1_440, speed=1.0) as exchange:
            several = [(await get(exchange, path))[1] for _ in range(4)]
            named = (await get(exchange, path + ".CHECKSUM"))[1].decode()
        right = [hashlib.sha256(data).hexdigest() in named for data in several]
        assert right == [False, False, True, True]
    async with trading("S16@+0s/1h,kind=truncated", panel=panel, history=DAYS * 1_440, speed=1.0) as exchange:
        with pytest.raises(aiohttp.ClientPayloadError):
            await get(exchange, path)
        assert len(table((await get(exchange, path))[1])) == 744
    async with trading("S16@+0s/1h,kind=gone", panel=panel, history=DAYS * 1_440, speed=1.0) as exchange:
        assert [(await get(exchange, path))[0] for _ in range(2)] == [404, 200]
