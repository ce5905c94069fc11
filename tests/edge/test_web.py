"""The status server: what it answers, what it refuses, and that nobody can hold up the bot through it."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.config import Web as Settings
from bot.edge import web as web_module
from bot.edge.clock import Clock
from bot.edge.metrics import Metrics
from bot.edge.web import CONNECTIONS_MAX, LIFE_S, PortTaken, Web

STATUS: dict[str, Any] = {
    "mode": "paper",
    "exchange": "binance",
    "strategy": "masked-divergence",
    "model": "models/mine",
    "architecture": "gaussian",
    "session": 3,
    "quote": "USDT",
    "started_ms": 1_700_000_000_000,
    "now_ms": 1_700_010_012_000,
    "ready": "",
    "equity": {
        "equity": 10_231.52,
        "cash": Decimal("4120.10"),
        "start": 10_000,
        "exposure": 0.597,
        "drawdown": 0.012,
        "realised": Decimal("188.2"),
        "fees": Decimal("21.03"),
        "history": [[1_700_000_000_000 + 60_000 * n, 10_000 + n + 40 * ((n * 37) % 11 - 5)] for n in range(166)],
    },
    "risk": {
        "state": "NO_ENTRIES",
        "causes": [{"fault": "F20", "symbol": "DOGE/USDT", "code": "price_jump", "text": "jumped to 0.9 from 0.09"}],
    },
    "feed": {"connections": 1, "reconnects": 2, "last_candle_ms": 1_700_010_000_000, "lag_s": 0.31},
    "positions": [
        {
            "symbol": f"{coin}/USDT",
            "quantity": Decimal("12.5"),
            "entry": 98.2,
            "mark": 101.1,
            "weight": 0.12,
            "profit": 36.25 - 20 * place,
            "opened_ms": 1_700_005_000_000,
        }
        for place, coin in enumerate(("BTC", "ETH", "SOL", "LINK"))
    ],
    "orders": [
        {
            "symbol": "<script>alert(1)</script>",
            "side": "buy",
            "quantity": "1.50",
            "limit": None,
            "filled": "1.50",
            "state": "filled",
            "created_ms": 1_700_010_000_000,
            "reason": "fell 0.41 % behind the 110 others, 3.2 times its usual spread",
        }
    ],
    "slices": [
        {
            "open_ms": 1_700_009_940_000,
            "present": 109,
            "total": 111,
            "outcome": "partial",
            "decision_s": 0.0007,
            "orders": 1,
        }
    ],
    "forecasts": {
        "asked": 166,
        "answered": 163,
        "skipped": 1,
        "late": 2,
        "failed": 0,
        "last_ms": 1.25,
        "p50_ms": 1.21,
        "p99_ms": 3.9,
    },
    "volatility": {
        "model": "pretrained",
        "architecture": "sph-net",
        "of_ms": 1_700_010_000_000,
        "warm": True,
        "hours": 31,
        "failed": 1,
        "fallbacks": 62,
        "clamped": 3,
        "scored": 30,
        "qlike": 0.3125,
        "qlike_har": 0.3333,
        "coverage": 0.795,
        "coins": [
            {"symbol": "PEPE/USDT", "forecast": 0.0123, "realised": None, "fallback": True},
            {"symbol": "BTC/USDT", "forecast": 0.0041, "realised": 0.0038, "fallback": False},
        ],
    },
    "divergences_ms": 1_700_009_940_000,
    "divergences": [
        {
            "symbol": "XRP/USDT",
            "divergence": 0.0041,
            "inferred": 0.0012,
            "actual": -0.0029,
            "expected": 0.0003,
            "cost": 0.0022,
            "fate": "left",
            "why": "expected +0.03%, a round trip costs 0.22%",
        },
        {
            "symbol": "ADA/USDT",
            "divergence": -0.002,
            "inferred": 0.0,
            "actual": 0.002,
            "expected": None,
            "cost": 0.0,
            "fate": "vetoed",
            "why": "<b>pause</b>",
        },
    ],
    "faults": [{"fault": "F7", "symbol": "LUNA/USDT", "text": "no frame for 2 closes", "times": 14}],
    "fault_counts": {"F7": 1, "F1": 2},
}


MODEL = ("models/mine · gaussian", "last 1.3 ms · p50 1.2 ms · p99 3.9 ms", "163 of 166 forecasts answered", "2 late",
         "0.030 %", "0.22 %", "a round trip costs 0.22%", "vetoed")  # fmt: skip


VOLATILITY = ("pretrained · sph-net", "QLIKE 0.313, HAR 0.333", "80 % within 80 % intervals", "30 hours scored",
              "31 hours forecast · 1 failed · 62 coin hours by the fallback · 3 clamped", "PEPE/USDT", "1.230 %", "0.380 %",
              ">fallback<")  # fmt: skip


class Server:
    """A running server whose answers a test can change."""

    def __init__(self) -> None:
        self.why_not = ""
        self.asked = 0
        self.now_s = 1000.0
        self.web = self.make(0)

    def make(self, port: int) -> Web:
        metrics = Metrics("0.1.0", "paper", "binance", "USDT")
        clock = Clock(monotonic=lambda: self.now_s)
        return Web(Settings(port=port), clock, metrics.text, lambda: self.why_not, self.status)

    def status(self) -> dict[str, Any]:
        self.asked += 1
        return STATUS

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        """Status, content type, body."""
        url = f"http://127.0.0.1:{self.web.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), await answer.text()

    async def say(self, *parts: bytes) -> bytes:
        """Raw bytes to the port, and all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.web.start()
    yield server
    await server.web.stop()


async def test_metrics_are_served_as_prometheus_reads_them(server: Server) -> None:
    """The text format with its version in the content type."""
    code, kind, text = await server.get("/metrics")
    assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE lacuna_slices_total counter" in text


async def test_health_and_readiness(server: Server) -> None:
    """Alive while the loop turns; ready only when the last slice was decided in time, else 503 with the reason."""
    assert (await server.get("/healthz"))[0] == 200
    assert (await server.get("/readyz"))[0] == 200
    server.why_not = "slice 12:01 is 40 s late"
    assert (await server.get("/readyz"))[::2] == (503, "slice 12:01 is 40 s late\n")
    assert (await server.get("/healthz"))[0] == 200


async def test_status_is_json(server: Server) -> None:
    """The state as given, money included."""
    code, kind, text = await server.get("/status")
    assert (code, kind) == (200, "application/json")
    assert json.loads(text)["equity"]["cash"] == "4120.10"


async def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    """One text with no other host in it, under a policy that forbids any."""
    url = f"http://127.0.0.1:{server.web.port}/"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")
    assert "default-src 'none'" in policy
    assert "innerHTML" not in text


async def test_it_serves_no_control(server: Server) -> None:
    """Nothing can be changed through it: other methods and paths are refused (fault S13)."""
    async with aiohttp.ClientSession() as session:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/", "/status", "/metrics", "/halt"):
                async with session.request(method, f"http://127.0.0.1:{server.web.port}{path}") as answer:
                    assert answer.status in (404, 405)
    assert (await server.get("/../../etc/passwd"))[0] == 404


async def test_another_name_for_this_machine_is_refused(server: Server) -> None:
    """A web page whose name was pointed at 127.0.0.1 cannot read the account."""
    assert (await server.get("/status", Host="evil.example"))[0] == 403
    assert (await server.get("/status", Host="localhost:9464"))[0] == 200
    assert (await server.get("/status", Host="[::1]:1"))[0] == 200
    assert b" 403 " in await server.say(b"GET /status HTTP/1.0\r\n\r\n")


async def test_bodies_and_long_headers_are_refused(server: Server) -> None:
    """Nobody can make the bot read much (fault Q7)."""
    host = b"Host: 127.0.0.1\r\n"
    assert b" 413 " in await server.say(b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 9\r\n\r\n123456789")
    assert b" 400 " in await server.say(b"GET / HTTP/1.1\r\n" + host + b"X: " + b"x" * 10_000 + b"\r\n\r\n")
    assert b" 400 " in await server.say(b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n" + host + b"\r\n")


async def test_texts_are_made_once_a_second(server: Server) -> None:
    """However often it is asked for, the state is gathered once."""
    for _ in range(20):
        await server.get("/status")
    assert server.asked == 1


async def test_hostile_scrapers_do_not_hold_up_the_loop(server: Server) -> None:
    """Fault Q7: hundreds of connections that never finish a request stall nothing; the surplus is turned away."""
    slow = [await asyncio.open_connection("127.0.0.1", server.web.port) for _ in range(300)]
    for _, writer in slow:
        writer.write(b"GET /metrics HTTP/1.1\r\n")
    async with asyncio.timeout(5):
        for _ in range(20):
            await asyncio.sleep(0.005)
    runner = server.web._runner
    assert runner is not None and runner.server is not None
    assert len(runner.server.connections) == CONNECTIONS_MAX
    for _, writer in slow:
        writer.close()
    await asyncio.sleep(0.01)
    assert (await server.get("/healthz"))[0] == 200


async def test_a_connection_that_lasts_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not come to the end of a request within LIFE_S is cut, and gets no answer."""
    monkeypatch.setattr(web_module, "REAP_EVERY_S", 0.01)
    server = Server()
    await server.web.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.web.port)
    writer.write(b"GET /metrics")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    server.now_s += LIFE_S + 1
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await server.web.stop()


async def test_a_taken_port_is_named_with_what_to_change(server: Server) -> None:
    """Fault Q6: the port, the host and the setting stand in the error."""
    other = server.make(server.web.port)
    with pytest.raises(PortTaken, match=rf"port {server.web.port} on 127.0.0.1 is taken: set web\.port") as taken:
        await other.start()
    assert taken.value.exit_code == 78
    await other.stop()


async def test_port_minus_one_serves_nothing() -> None:
    """A bot without a window starts and stops all the same."""
    silent = Server().make(-1)
    await silent.start()
    assert silent.port == -1
    await silent.stop()


async def test_stopping_frees_the_port(server: Server) -> None:
    """The next start can have it at once."""
    port = server.web.port
    await server.web.stop()
    again = server.make(port)
    await again.start()
    assert again.port == port
    await again.stop()


async def test_the_page_shows_the_state_and_runs_nothing_of_it(server: Server, tmp_path: Path) -> None:
    """In a real browser: the figures are there, and a symbol that looks like code is text (fault S14)."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("looking at the page takes a Chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}"]
    command = [browser, *flags, "--virtual-time-budget=1500", "--dump-dom", f"http://127.0.0.1:{server.web.port}/"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(tmp_path)}
    )
    text = (await asyncio.wait_for(process.communicate(), 60))[0].decode()
    for shown in (
        "10,231.52",
        "59.7 %",
        "no entries",
        "DOGE/USDT",
        "connected",
        "LINK/USDT",
        "109 of 111",
        "XRP/USDT",
        *MODEL,
        *VOLATILITY,
    ):
        assert shown in text, shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;b&gt;pause&lt;/b&gt;" in text
    assert "<script>alert" not in text
