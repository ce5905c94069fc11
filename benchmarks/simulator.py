"""What the simulated exchange costs: its share of one core with one client that reads everything.

Run  python -m benchmarks.simulator   (111 coins, klines and book tickers, 10 s of wall time for each speed)
The client is another process and only counts bytes, so the share is the exchange's own.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

import aiohttp

from benchmarks.tables import Row, table
from bot.simulator.serve import exchange_of, market_of
from bot.simulator.synthetic import synthetic_panel

COINS, SECONDS = 111, 10.0
SPEEDS = (1.0, 10.0, 60.0, 200.0, 600.0)


def read(url: str, streams: list[str], done: Connection) -> None:
    """Subscribes to everything and reads until the exchange is gone."""
    asyncio.run(_read(url, streams))
    done.send(True)


async def _read(url: str, streams: list[str]) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/stream", max_msg_size=0) as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        async for _ in socket:
            pass


async def measure(speed: float) -> Row:
    exchange = exchange_of(market_of(None, COINS, 7), speed)
    await exchange.start()
    names = [symbol.replace("/", "").lower() for symbol in exchange.market.symbols]
    streams = [f"{name}@{kind}" for name in names for kind in ("kline_1m", "bookTicker")]
    done, theirs = multiprocessing.Pipe()
    client = multiprocessing.get_context("spawn").Process(target=read, args=(exchange.stream_url, streams, theirs))
    client.start()
    while not exchange.frames_sent:
        await asyncio.sleep(0.05)
    frames, cpu, wall = exchange.frames_sent, time.process_time(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    frames = exchange.frames_sent - frames
    await exchange.stop()
    await asyncio.to_thread(client.join, 10)
    done.close()
    return {
        "speed": speed,
        "coins": COINS,
        "frames/s": round(frames / wall),
        "core": f"{cpu / wall:.1%}",
        "us/frame": round(cpu / max(frames, 1) * 1e6, 1),
    }


def generate() -> Row:
    began = time.perf_counter()
    minutes = 10_080
    synthetic_panel(COINS, minutes)
    seconds = time.perf_counter() - began
    return {
        "synthetic coins": COINS,
        "minutes": minutes,
        "seconds": round(seconds, 2),
        "us/row": round(seconds / minutes * 1e6),
    }


async def main() -> None:
    print(table([await measure(speed) for speed in SPEEDS]))
    print(table([generate()]))


if __name__ == "__main__":
    asyncio.run(main())
