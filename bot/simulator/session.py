"""One websocket connection as the exchange sees it: its subscriptions, its control messages, its life.

Source  exchange-facts 1.1 to 1.3. Error replies carry no id, as documented.
Frames  are written ready-made to the transport, many at once: a candle is encoded once for all its readers.
"""

import asyncio
import json
from collections import deque
from typing import Any

from bot.simulator.limits import Bucket

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
GOING_AWAY, POLICY = 1001, 1008
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
BACKLOG_BYTES = 1_048_576  # above this a reader is too slow: frames that newer ones replace are left out
BACKLOG_MAX_BYTES = 67_108_864  # above this it is cut
LINGER_WALL_S = 1.0


def framed(opcode: int, payload: bytes) -> bytes:
    """One unmasked, final websocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


class BadRequest(ValueError):
    """A control message that is refused with the documented code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Session:
    """`opened_ms` is exchange time. `mute` sends nothing any more and hears nothing (F2)."""

    def __init__(
        self,
        transport: asyncio.Transport,
        combined: bool,
        opened_ms: int,
        now_s: float,
        bucket: Bucket,
        streams_max: int,
    ) -> None:
        self._transport = transport
        self._streams_max = streams_max
        self.combined = combined
        self.streams: dict[str, None] = {}  # a set that keeps its order
        self.opened_ms = opened_ms
        self.opened_s = self.pinged_s = now_s
        self.bucket = bucket
        self.unanswered: deque[tuple[bytes, float, float]] = deque()
        self.shutdown_sent = False
        self.mute = False
        self.closing = False
        self.out: list[bytes] = []
        self.must: list[bytes] = []

    def write(self, opcode: int, payload: bytes) -> None:
        """Sends one frame at once."""
        if not (self.mute or self.closing or self._transport.is_closing()):
            self._transport.write(framed(opcode, payload))

    def flush(self) -> int:
        """Sends what has been queued: `must` always, `out` unless the reader is too slow. Returns the bytes."""
        if not (self.out or self.must):
            return 0
        backlog = self._transport.get_write_buffer_size()
        data = b"".join(self.must + self.out if backlog < BACKLOG_BYTES else self.must)
        self.forget()
        if self.mute or self.closing or self._transport.is_closing():
            return 0
        if backlog > BACKLOG_MAX_BYTES:
            self._transport.abort()
            return 0
        if data:
            self._transport.write(data)
        return len(data)

    def forget(self) -> None:
        """What has been queued is not sent."""
        self.out.clear()
        self.must.clear()

    def close(self, code: int, reason: str) -> None:
        """Says goodbye; what the other side does not end within a second of wall time is cut."""
        self.write(CLOSE, code.to_bytes(2, "big") + reason.encode())
        self.closing = True
        asyncio.get_running_loop().call_later(LINGER_WALL_S, self.cut)

    def cut(self) -> None:
        self.closing = True
        self._transport.abort()

    def ping(self, now_ms: int, now_s: float, wall_s: float) -> None:
        payload = str(now_ms).encode()
        self.pinged_s = now_s
        self.unanswered.append((payload, now_s, wall_s))
        self.write(PING, payload)

    def heard_pong(self, payload: bytes) -> bool:
        """Whether it answered one of our pings; those before it are settled as well."""
        if not any(payload == sent for sent, _, _ in self.unanswered):
            return False
        while self.unanswered.popleft()[0] != payload:
            pass
        return True

    def answer(self, text: str | bytes) -> tuple[str, str]:
        """Does what a control message asks: (its method, the reply)."""
        try:
            method, result, number = self._obey(text)
        except BadRequest as bad:
            return "refused", json.dumps({"code": bad.code, "msg": str(bad)}, separators=(",", ":"))
        return method, json.dumps({"result": result, "id": number}, separators=(",", ":"))

    def _obey(self, text: str | bytes) -> tuple[str, Any, Any]:
        try:
            request = json.loads(text)
        except json.JSONDecodeError as why:
            raise BadRequest(3, f"Invalid JSON: expected value at line {why.lineno} column {why.colno}") from why
        except (UnicodeDecodeError, RecursionError) as why:
            raise BadRequest(3, "Invalid JSON: expected value at line 1 column 1") from why
        if not isinstance(request, dict) or "method" not in request:
            raise BadRequest(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
        method, number = request["method"], request.get("id", "")
        if method not in METHODS:
            listed = ", ".join(f"`{name}`" for name in METHODS)
            raise BadRequest(2, f"Invalid request: unknown variant {method}, expected one of {listed}")
        if not _is_id(number):
            raise BadRequest(2, "Invalid request: request ID must be an unsigned integer")
        params = request.get("params", [])
        if not isinstance(params, list):
            raise BadRequest(2, "Invalid request: params must be an array")
        return method, self._do(method, params), number

    def _do(self, method: str, params: list[Any]) -> Any:
        match method:
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                if not all(isinstance(name, str) for name in params):
                    raise BadRequest(2, "Invalid request: stream name must be a string")
                if method == "SUBSCRIBE":
                    self.subscribe(params)
                else:
                    for name in params:
                        self.streams.pop(name, None)
                return None
            case "LIST_SUBSCRIPTIONS":
                return list(self.streams)
            case "SET_PROPERTY":
                self._property(params, 2)
                if not isinstance(params[1], bool):
                    raise BadRequest(1, "Invalid value type: expected Boolean")
                self.combined = params[1]
                return None
            case _:
                self._property(params, 1)
                return self.combined

    def subscribe(self, names: list[str]) -> None:
        """Any name is taken, known or not; BadRequest above the limit of streams, and none is added."""
        streams = self.streams | dict.fromkeys(names)
        if len(streams) > self._streams_max:
            raise BadRequest(2, "Invalid request: too many parameters")
        self.streams = streams

    def _property(self, params: list[Any], wanted: int) -> None:
        if len(params) > wanted:
            raise BadRequest(2, "Invalid request: too many parameters")
        if not params or not isinstance(params[0], str):
            raise BadRequest(2, "Invalid request: property name must be a string")
        if params[0] != "combined":
            raise BadRequest(0, "Unknown property")
        if len(params) < wanted:
            raise BadRequest(1, "Invalid value type: expected Boolean")


def _is_id(number: Any) -> bool:
    """A signed 64-bit integer, an alphanumeric text of at most 36 characters, or null."""
    if isinstance(number, bool):
        return False
    if isinstance(number, int):
        return -(2**63) <= number < 2**63
    return number is None or (isinstance(number, str) and 0 < len(number) <= 36 and number.isalnum())
