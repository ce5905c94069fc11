"""Logs: masked, on one line, timed by our clock, and never in the way."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bot.config import Logs as Settings
from bot.edge.logs import LINES_MAX, MASK, TEXT_MAX, Libraries, Lines, configure, escape, mask

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "canary-secret-4711"
SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdce15ce1ee1a1a2a3b4c5d"
NOW_MS = 1_700_000_000_123


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, Libraries)]:
        root.removeHandler(handler)


class Log:
    """A configured log and what it wrote."""

    def __init__(self, **settings: Any) -> None:
        self.stream = io.StringIO()
        self.lines = configure(Settings(**settings), lambda: NOW_MS, self.stream, [SECRET])
        self.log = structlog.get_logger()

    @property
    def text(self) -> str:
        self.lines.close()
        return self.stream.getvalue()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_a_pipe_gets_json_with_our_time() -> None:
    """One object a line: time in UTC from the clock we handed in, level, event, fields."""
    log = Log()
    log.log.info("slice.decided", symbol="BTC/USDT", orders=2)
    assert log.objects == [
        {
            "symbol": "BTC/USDT",
            "orders": 2,
            "event": "slice.decided",
            "level": "info",
            "timestamp": "2023-11-14T22:13:20.123Z",
        }
    ]


def test_a_terminal_gets_peoples_format() -> None:
    """On a real terminal the line is no JSON."""
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:
        lines = configure(Settings(), lambda: NOW_MS, terminal, [])
        structlog.get_logger().info("slice.decided", orders=2)
        lines.close()
        shown = os.read(master, 4_096).decode()
    os.close(master)
    assert "slice.decided" in shown
    assert "2023-11-14T22:13:20.123Z" in shown
    assert not shown.startswith("{")


def test_quiet_levels_write_nothing() -> None:
    """What is below the level costs no line."""
    log = Log(level="warning")
    log.log.info("no")
    log.log.warning("yes")
    assert [line["event"] for line in log.objects] == ["yes"]


LEAKS = [
    f"GET https://api.binance.com/api/v3/account?timestamp=1&signature={SIGNATURE}",
    f"headers: {{'X-MBX-APIKEY': '{KEY}', 'Accept': '*/*'}}",
    f'{{"apiKey":"{KEY}","secret":"{SECRET}"}}',
    f"api_key = {KEY}",
    f"Authorization: Bearer {KEY}",
    f"the key is {KEY}.",
    f"wss://user:{SECRET}@broker.example/mqtt",
    f"password={SECRET}&next=1",
    f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n-----END EC PRIVATE KEY-----",
    f"plainly {SECRET} in the middle",
]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_a_line(leak: str, form: str) -> None:
    """Canaries in messages, fields, nested fields, exceptions and libraries' messages come out masked (fault S1)."""
    log = Log(format=form)
    log.log.info(leak)
    log.log.info("field", text=leak, deep={"list": [leak, {"more": leak}]})
    try:
        raise RuntimeError(leak)
    except RuntimeError:
        log.log.exception("failed")
        logging.getLogger("ccxt").exception("library said %s", leak)
    text = log.text
    for canary in (KEY, SECRET, SIGNATURE):
        assert canary not in text
    assert text.count(MASK) >= 6


def test_a_field_named_as_a_secret_is_masked_whatever_it_holds() -> None:
    """Short, odd or numeric: the name alone is enough."""
    log = Log()
    log.log.info("x", api_key="short", apiKey=17, secret={"a": 1}, listen_token="t", nested={"password": "p"})
    [line] = log.objects
    assert {line[name] for name in ("api_key", "apiKey", "secret", "listen_token")} == {MASK}
    assert line["nested"] == {"password": MASK}


@pytest.mark.parametrize(
    "text",
    [
        "fell 0.41 % behind the 110 others, 3.2 times its usual spread",
        f"model sha256 {SIGNATURE}",
        "client lac3-1b2f-17-4 of BTC/USDT at 41250.10",
        "wss://stream.binance.com:9443/ws",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Digests, ids, prices and addresses are readable."""
    assert mask(text) == text


@pytest.mark.parametrize("shift", range(-100, 20, 7))
def test_a_secret_at_the_cut_of_a_long_text_does_not_show(shift: int) -> None:
    """A megabyte of text is cut, and a key across the cut leaves not even its first half."""
    text = "x " * ((TEXT_MAX + shift) // 2) + KEY + " x" * 500_000
    shown = mask(text)
    assert len(shown) < TEXT_MAX + 100
    assert KEY[:16] not in shown


@pytest.mark.parametrize("piece", ["a-", "api_key ", "a://", "-----BEGIN ", "A1b2", "token=", "x"])
def test_hostile_text_is_masked_in_no_time(piece: str) -> None:
    """No text makes the masking slow: twenty of the longest take well under a second."""
    began = time.process_time()
    for _ in range(20):
        mask(piece * 100_000)
    assert time.process_time() - began < 1


@given(st.text())
def test_no_text_can_forge_a_line(text: str) -> None:
    """Whatever an exchange says stays on its line and cannot move the cursor (fault S15)."""
    safe = escape(text)
    assert safe.isprintable() or not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in safe)
    assert len(safe.splitlines()) <= 1
    safe.encode()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_hostile_message_is_one_line(form: str) -> None:
    """Newlines and terminal codes from outside are shown escaped, in both formats."""
    log = Log(format=form)
    log.log.info("order.rejected", reason="no\n2023-01-01 [info] order.filled\x1b[2J\u202egnorw")
    text = log.text
    assert len(text.splitlines()) == 1
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_a_traceback_cannot_forge_a_line() -> None:
    """On a terminal every line of a traceback is set in from the margin, the exception's own text included."""
    log = Log(format="console")
    try:
        raise RuntimeError("bad\n2023-11-14T22:13:20.123Z [info] order.filled")
    except RuntimeError:
        log.log.exception("failed")
    first, *rest = log.text.splitlines()
    assert "failed" in first
    assert rest
    assert all(line.startswith("    | ") for line in rest)


def test_libraries_speak_through_the_same_door() -> None:
    """Warnings of libraries are lines of the log with the library's name; their chatter is not."""
    log = Log()
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("websockets").info("chatter")
    [line] = log.objects
    assert (line["library"], line["level"]) == ("asyncio", "error")


def test_configuring_twice_does_not_double_the_lines() -> None:
    """The newest configuration alone writes."""
    Log()
    log = Log()
    logging.getLogger("asyncio").error("once")
    assert len(log.objects) == 1


def test_a_stuck_reader_costs_lines_and_nothing_else() -> None:
    """Fault P24: a pipe nobody reads fills up; writing goes on at once, and the lost lines are counted."""
    reader, writer = os.pipe()
    lines = Lines(open(writer, "w"))  # noqa: SIM115
    done = threading.Event()

    def write() -> None:
        for _ in range(LINES_MAX + 5_000):
            lines.write("x" * 100)
        done.set()

    threading.Thread(target=write).start()
    assert done.wait(5)
    assert lines.dropped > 1_000
    os.set_blocking(reader, False)
    while lines._thread.is_alive():
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            if lines._queue.empty():
                lines.write("last")
                lines.close()
    lines._stream.close()
    os.close(reader)


def test_a_closed_stream_costs_lines_and_nothing_else() -> None:
    """Fault P24: when stdout is gone, lines are counted as dropped and no call raises."""
    stream = io.StringIO()
    stream.close()
    lines = Lines(stream)
    for _ in range(10):
        lines.write("x")
    lines.close()
    assert lines.dropped == 10


def test_a_process_whose_log_is_closed_ends_well(tmp_path: Path) -> None:
    """A real process whose reader went away goes on working and exits 0."""
    program = (
        "import sys, pathlib\n"
        "from bot.config import Logs\n"
        "from bot.edge.logs import configure\n"
        "import structlog\n"
        "lines = configure(Logs(), lambda: 0, sys.stderr)\n"
        "for n in range(5000): structlog.get_logger().info('x' * 200, n=n)\n"
        "lines.close()\n"
        f"pathlib.Path({str(tmp_path / 'done')!r}).write_text(str(lines.dropped))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(30) == 0
    assert int((tmp_path / "done").read_text()) > 0
