"""Events and commands as bytes and back: what the journal stores.

Format  msgpack by msgspec. An event or command is a map with its class name under "type"; a Decimal is its
        exact text; an array is (dtype, shape, bytes) in C order, little endian.
Holds   the same value gives the same bytes in any process (map keys are sorted), and decodes to an equal value.
        Decoded arrays are read-only views.
Text    must be valid Unicode: who makes an event of foreign text removes lone surrogates first.
Errors  BadRecord for bytes that are no such value.
"""

import math
from typing import Any

import msgspec
import numpy as np

from bot.core.commands import AnyCommand
from bot.core.events import AnyEvent

DTYPES = {"<f8": np.dtype("<f8"), "<i8": np.dtype("<i8"), "|b1": np.dtype("|b1")}


class BadRecord(ValueError):
    """Bytes that are no event and no list of commands of ours."""


def encode_event(event: AnyEvent) -> bytes:
    return _ENCODER.encode(event)


def decode_event(record: bytes) -> AnyEvent:
    try:
        return _EVENT.decode(record)
    except (msgspec.DecodeError, ValueError) as why:
        raise BadRecord(f"no event: {why}") from why


def encode_commands(commands: list[AnyCommand]) -> bytes:
    return _ENCODER.encode(commands) if commands else NOTHING


def decode_commands(record: bytes) -> list[AnyCommand]:
    try:
        return _COMMANDS.decode(record)
    except (msgspec.DecodeError, ValueError) as why:
        raise BadRecord(f"no commands: {why}") from why


def _plain(value: object) -> tuple[str, tuple[int, ...], bytes]:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"{type(value).__name__} has no place in an event")
    dtype = value.dtype.newbyteorder("<") if value.dtype.byteorder == ">" else value.dtype
    if dtype.str not in DTYPES:
        raise NotImplementedError(f"an array of {value.dtype} has no place in an event")
    return dtype.str, value.shape, value.astype(dtype, copy=False).tobytes()


def _array(wanted: Any, plain: Any) -> Any:
    """The array behind its plain form; `wanted` is the field's annotation, an NDArray."""
    try:
        name, shape, content = plain
        dtype = DTYPES[name]
        if dtype.type is not wanted.__args__[1].__args__[0]:
            raise BadRecord(f"an array of {name} where {wanted} belongs")
        if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != len(content):
            raise BadRecord(f"{len(content)} bytes are no {name} array of shape {shape}")
        return np.frombuffer(content, dtype).reshape(shape)
    except (TypeError, KeyError, ValueError) as why:
        raise BadRecord(f"no array: {why}") from why


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic")
_EVENT: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent, dec_hook=_array)
_COMMANDS: msgspec.msgpack.Decoder[list[AnyCommand]] = msgspec.msgpack.Decoder(list[AnyCommand])
NOTHING = _ENCODER.encode([])
