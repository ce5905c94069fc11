"""Logs: people's format on a terminal, one JSON object a line otherwise; never a secret, never in the way.

Times    UTC to the millisecond, from the clock that is handed in.
Secrets  a field whose name says key, secret, signature, token or password, and what looks like one inside any
         text, is masked before a line is made, tracebacks and the libraries' own messages included (fault S1).
Foreign  control characters in texts are escaped: no message can forge a line or move the cursor (fault S15).
Stuck    a thread writes; when nobody reads, or the stream is gone, lines are dropped and counted (fault P24).
"""

import contextlib
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from bot.config import Logs as Settings

LINES_MAX = 2_000
TEXT_MAX = 16_384
SECRET_MAX = 256
CLOSE_S = 1.0
MASK = "[masked]"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

SECRET_NAME = re.compile(
    r"(?i)(api|private|access|auth).?key|secret|signature|token|passw|passphrase|authorization|^key$"
)
SECRET_TEXT = re.compile(
    r"""(?ix)
    (?P<name> ["']? (?<![\w-]) [\w-]*? (?: api.?key | secret | signature | token | passw\w* | passphrase | authorization
        | mbx-apikey | bapi-sign ) \w* ["']? \s* (?: [=:] | => ) \s* )
    (?P<quote> ["']? ) (?: (?: bearer | basic ) \s+ )? [^\s"'&,;)}\]]+
    | (?P<user> \b [a-z][a-z0-9+.-]{0,20} :// [^\s/:@]* : ) [^\s/@]+ (?= @ )
    | -----BEGIN [^-]* PRIVATE\ KEY-----.*?(?: -----END [^-]* PRIVATE\ KEY----- | \Z )
    """,
    re.DOTALL,
)
HINTS = ("key", "secret", "signature", "token", "passw", "passphrase", "authorization", "bapi-sign", "://")
BARE_KEY = re.compile(r"(?<![A-Za-z0-9])(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])[A-Za-z0-9]{64}(?![A-Za-z0-9])")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Fields = MutableMapping[str, Any]


class Lines:
    """A stream that is written by its own thread."""

    def __init__(self, stream: TextIO) -> None:
        self._refused = 0  # each counted by one thread alone
        self._lost = 0
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Takes a line and returns at once."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._refused += 1

    @property
    def dropped(self) -> int:
        """Lines nobody will read."""
        return self._refused + self._lost

    def close(self) -> None:
        """Writes what is left, for two seconds at most."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._stream.write(line + "\n")
                if self._queue.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # a closed pipe, a full disk, a closed file
                self._lost += 1


class Output:
    """What structlog calls a logger: every level is a line."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.write(line)

    debug = info = warning = error = critical = exception = log = msg


class Libraries(logging.Handler):
    """Hands what libraries log to the same place, through the same masking."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        with_trace = {"exc_info": record.exc_info} if record.exc_info else {}
        level = min(record.levelno, logging.CRITICAL) // 10 * 10 or logging.DEBUG
        log.log(level, record.getMessage(), library=record.name, **with_trace)


def configure(settings: Settings, now_ms: Callable[[], int], stream: TextIO, secrets: Iterable[str] = ()) -> Lines:
    """Sets structlog and the libraries' logging up; returns the stream's writer, to close and to count.

    `secrets` are masked wherever they appear, whatever they look like.
    """
    lines = Lines(stream)
    people = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    masks = [secret for secret in secrets if secret]
    render: list[Any] = [structlog.processors.JSONRenderer(ensure_ascii=False, default=repr)]
    if people:
        colours = stream.isatty() and not os.environ.get("NO_COLOR")
        render = [_indent_trace, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=_no_formatter)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamp(now_ms),
            structlog.processors.format_exc_info,
            _clean(masks),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=lambda *_: Output(lines),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, Libraries)]:
        root.removeHandler(handler)
    root.addHandler(Libraries(level=logging.WARNING))
    return lines


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with everything that looks like a key, secret or signature masked, and cut when it is very long."""
    if len(text) > TEXT_MAX:
        kept = mask(text[:TEXT_MAX], secrets)[:-SECRET_MAX]  # half a secret at the cut looks like none
        return f"{kept} ... and {len(text) - TEXT_MAX + SECRET_MAX} more"
    for secret in secrets:
        text = text.replace(secret, MASK)
    small = text.lower()
    if any(hint in small for hint in HINTS):  # most texts have none, and the expression is slow
        text = SECRET_TEXT.sub(_masked, text)
    return BARE_KEY.sub(MASK, text) if len(text) >= 64 else text


def escape(text: str) -> str:
    """The text on one line, without control characters, lone surrogates or marks that turn its direction."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _masked(found: re.Match[str]) -> str:
    if found["name"]:
        return f"{found['name']}{found['quote']}{MASK}"
    return f"{found['user']}{MASK}" if found["user"] else MASK


def _clean(secrets: list[str]) -> Callable[[Any, str, Fields], Fields]:
    def plain(name: str, value: Any) -> Any:
        if SECRET_NAME.search(name) and value is not None:
            return MASK
        match value:
            case bool() | int() | float() | None:
                return value
            case dict():
                return {escape(str(key)): plain(str(key), item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [plain("", item) for item in value]
            case _:
                text = mask(str(value), secrets)
                if name == "exception":
                    return "\n".join(escape(line) for line in text.split("\n"))
                return escape(text)

    def clean(_: Any, __: str, fields: Fields) -> Fields:
        return {name: plain(name, value) for name, value in fields.items()}

    return clean


def _stamp(now_ms: Callable[[], int]) -> Callable[[Any, str, Fields], Fields]:
    def stamp(_: Any, __: str, fields: Fields) -> Fields:
        moment = datetime.fromtimestamp(now_ms() / 1000, UTC)
        fields["timestamp"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
        return fields

    return stamp


def _indent_trace(_: Any, __: str, fields: Fields) -> Fields:
    """Sets a traceback in from the margin, so that no line of it can pass for a line of the log."""
    trace = fields.get("exception")
    if isinstance(trace, str):
        fields["exception"] = "\n".join(f"    | {line}" for line in trace.splitlines())
    return fields


def _no_formatter(stream: TextIO, exc_info: Any) -> None:
    """Tracebacks are formatted and masked before the renderer sees them."""
