"""What goes wrong on purpose, when, and for whom: faults by their number in the catalogue.

Times   `start_ms` is exchange time, `duration_s` exchange seconds. A fault of candles hits those that close inside
        its time (F8 to F12, F19), or open inside it (F14, F15, F20); one of connections hits those open when it begins.
Text    F1@+120s/30s: at 120 s after the exchange's start, for 30 s. Options follow: F7@+60s/5m,symbol=ETH/USDT,
        value=3,kind=nan. Instead of +120s also milliseconds since 1970.
Files   TOML or JSON with a list `fault` of tables {at = "+120s", number = "F1", for = "30s", symbol, value, kind}.
Errors  BadFault names what cannot be read and every unknown number.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bot.core.market import BadSymbol, compact, pair

NUMBERS = {
    "F1": "silent: connections open at the start get no data, pings go on",
    "F2": "half-open: connections open at the start are neither read, answered nor pinged; never closed",
    "F3": "the 24-hour cut: connections open at the start are closed",
    "F4": "serverShutdown to connections open at the start, which are closed at the end",
    "F5": "all connections are cut, new ones accepted and closed at once",
    "F6": "the message limit is `value` (default 1) a second",
    "F7": "one symbol never sends",
    "F8": "the closing frame comes twice",
    "F9": "a second closing frame, and REST, with the close moved by `value` (default 5) ticks; kind rest: REST alone",
    "F10": "the closing frame of minute m comes after that of m + 1",
    "F11": "the closing frame comes `value` (default 10) seconds late",
    "F12": "the closing frame never comes",
    "F13": "all connections are cut and none accepted; kind rest: REST is away as well",
    "F14": "suspension: no candles exist, status BREAK",
    "F15": "minutes without trades",
    "F16": "REST lacks every candle younger than `value` (default 5) seconds after its close",
    "F17": "REST pages: kind overlap, reversed, short, moved; without a kind all of them in turn",
    "F18": "open times: kind shifted, seconds, microseconds; without a kind shifted by 1 s",
    "F19": "closing frames with insane values: kind nan, null, empty, zero, negative, inf, huge, inverted, outside;"
    " without a kind all of them in turn",
    "F20": "candles with prices times `value` (default 10), in the stream and in REST; quotes stay right",
    "F21": "every second a frame: kind json, binary, event, fields, huge (over 1 MiB); without a kind the first four",
    "F22": "flood: `value` (default 50) times the usual partial frames",
    "F23": "every second a frame of a foreign symbol; kind interval: of a foreign interval",
    "F24": "the oldest connection gets no data",
    "F25": "streams and REST away: cut, refused, unanswered",
    "A1": "REST answers 429 with Retry-After until the end",
    "A2": "REST answers 418 with Retry-After until the end",
    "M6": "REST answers 503, code -1016",
    "O4": "REST: kind html (with 200), empty, broken, cut, error (500); without a kind html",
    "S16": "archives: the first `value` (default 1) downloads of each file are spoilt: kind corrupted, truncated, gone,"
    " members (another member's name), bomb; without a kind corrupted",
    "T6": "REST's time is `value` (default 60) seconds wrong; kind late: answered `value` (default 3) seconds late",
}
KINDS = {
    "F9": ("rest",),
    "F13": ("rest",),
    "F17": ("overlap", "reversed", "short", "moved"),
    "F18": ("shifted", "seconds", "microseconds"),
    "F19": ("nan", "null", "empty", "zero", "negative", "inf", "huge", "inverted", "outside"),
    "F21": ("json", "binary", "event", "fields", "huge"),
    "F23": ("interval",),
    "O4": ("html", "empty", "broken", "cut", "error"),
    "S16": ("corrupted", "truncated", "gone", "members", "bomb"),
    "T6": ("late",),
}
VALUES = {"F6": 1.0, "F9": 5.0, "F11": 10.0, "F16": 5.0, "F20": 10.0, "F22": 50.0, "S16": 1.0, "T6": 60.0}
DURATION_S = 60.0
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "ms": 0.001}
_TEXT = re.compile(r"(?P<number>[A-Za-z]+\d+)@(?P<at>[^/,]+)(?:/(?P<length>[^,]+))?(?P<options>(?:,.*)?)\Z")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)\Z")


class BadFault(ValueError):
    """A fault that cannot be read."""

    exit_code = 2


class Fault(msgspec.Struct, frozen=True):
    """One fault. `symbol` "" is every symbol; `value` 0 and `kind` "" take what the number says by default."""

    number: str
    start_ms: int
    duration_s: float = DURATION_S
    symbol: str = ""
    value: float = 0.0
    kind: str = ""

    def __post_init__(self) -> None:
        if self.number not in NUMBERS:
            raise BadFault(f"no fault {self.number!r} here: there are {', '.join(NUMBERS)}")
        if self.kind and self.kind not in KINDS.get(self.number, ()):
            raise BadFault(
                f"{self.number} has no kind {self.kind!r}: {', '.join(KINDS.get(self.number, ())) or 'none'}"
            )
        if not self.duration_s > 0:
            raise BadFault(f"{self.number} must last longer than {self.duration_s} s")
        if self.symbol:
            try:
                msgspec.structs.force_setattr(self, "symbol", pair(self.symbol))
            except BadSymbol as why:
                raise BadFault(str(why)) from why

    @property
    def end_ms(self) -> int:
        return self.start_ms + round(self.duration_s * 1000)

    @property
    def amount(self) -> float:
        """The value, or the number's own default."""
        return self.value or (3.0 if self.kind == "late" else VALUES.get(self.number, 0.0))

    def covers(self, time_ms: int) -> bool:
        return self.start_ms <= time_ms < self.end_ms

    def concerns(self, name: str) -> bool:
        """Whether it is about this symbol, by its compact name."""
        return not self.symbol or compact(self.symbol) == name


def parse_fault(text: str, origin_ms: int) -> Fault:
    """F1@+120s/30s as a fault; `origin_ms` is when the exchange starts. BadFault says what is wrong."""
    found = _TEXT.match(text.strip())
    if not found:
        raise BadFault(f"{text!r}: write a fault as F1@+120s/30s, options after commas (symbol=, value=, kind=)")
    options = dict(_option(text, part) for part in found["options"].split(",") if part)
    length = _seconds(text, found["length"]) if found["length"] else DURATION_S
    return _made(text, found["number"], _time(text, found["at"], origin_ms), length, options)


def load_faults(path: Path, origin_ms: int) -> tuple[Fault, ...]:
    """The faults of a TOML or JSON file. BadFault names the file and the entry."""
    try:
        content = path.read_text(encoding="utf-8")
        read = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except OSError as why:
        raise BadFault(f"{path}: {why.strerror}") from why
    except ValueError as why:
        raise BadFault(f"{path}: {why}") from why
    entries = read.get("fault") if isinstance(read, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadFault(f"{path}: a list named fault is needed, each with number, at, for")
    return tuple(_entry(f"{path}: fault {at}", dict(entry), origin_ms) for at, entry in enumerate(entries, 1))


def _entry(where: str, entry: dict[str, object], origin_ms: int) -> Fault:
    number, at = str(entry.pop("number", "")), str(entry.pop("at", "+0s"))
    length = _seconds(where, str(entry.pop("for", f"{DURATION_S}s")))
    options = {key: str(value) for key, value in entry.items()}
    return _made(where, number, _time(where, at, origin_ms), length, options)


def _made(where: str, number: str, start_ms: int, length: float, options: dict[str, str]) -> Fault:
    if unknown := sorted(set(options) - {"symbol", "value", "kind"}):
        raise BadFault(f"{where}: no option {', '.join(unknown)}: there are symbol, value, kind")
    try:
        value = float(options.get("value", 0.0))
        return Fault(number.upper(), start_ms, length, options.get("symbol", ""), value, options.get("kind", ""))
    except ValueError as why:
        raise BadFault(f"{where}: {why}") from why


def _option(text: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise BadFault(f"{text!r}: {part!r} is no option: write symbol=, value= or kind=")
    return key.strip(), value.strip()


def _seconds(where: str, text: str) -> float:
    found = _LENGTH.match(text.strip())
    if not found:
        raise BadFault(f"{where!r}: {text!r} is no time: write 90s, 5m, 2h or 500ms")
    return float(found[1]) * UNITS[found[2]]


def _time(where: str, text: str, origin_ms: int) -> int:
    if text.startswith("+"):
        return origin_ms + round(_seconds(where, text[1:]) * 1000)
    if text.isdigit():
        return int(text)
    raise BadFault(f"{where!r}: {text!r} is no time: write +120s, or milliseconds since 1970")


class Schedule:
    """The faults of one exchange, asked for by number and time."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._by_number: dict[str, list[Fault]] = {}
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        for fault in faults:
            self._by_number.setdefault(fault.number, []).append(fault)

    def all(self, *numbers: str) -> Sequence[Fault]:
        """Every fault of these numbers, whenever it is."""
        return [fault for number in numbers for fault in self._by_number.get(number, ())]

    def now(self, number: str, now_ms: int, name: str = "") -> Fault | None:
        """The fault of this number at this time, for this symbol when one is named."""
        for fault in self._by_number.get(number, ()):
            if fault.covers(now_ms) and (not name or fault.concerns(name)):
                return fault
        return None
