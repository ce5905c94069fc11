"""A running hash of what was done: equal runs have equal digests, whatever the pump."""

import hashlib

from bot.core.commands import AnyCommand, Cancel, Submit
from bot.core.events import AnyEvent, Filled
from bot.edge.encoding import encode_commands, encode_event


class Digest:
    """Of every order, every cancel and every fill, in their order. Questions, timers and notes do not count."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def happened(self, event: AnyEvent) -> None:
        """Takes in an event, if it is a fill."""
        if isinstance(event, Filled):
            self._hash.update(encode_event(event))

    def wished(self, command: AnyCommand) -> None:
        """Takes in a command, if it is an order or a cancel."""
        if isinstance(command, (Submit, Cancel)):
            self._hash.update(encode_commands([command]))

    @property
    def value(self) -> str:
        return self._hash.hexdigest()
