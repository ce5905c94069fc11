"""Watches what keeps the journal from the disk: no entries while it lasts, a person told when it begins and ends.

A full disk (fault P9) and a database held by another process (P11) pass: the writer tries again by itself, nothing
is lost, and exits go on as soon as their intents fit. The reserve in use counts as full: it is there for exits.
"""

import asyncio
from collections.abc import Callable

from bot.core.events import Impaired, Repaired
from bot.edge.faults import Faults
from bot.edge.journal import Journal
from bot.edge.trouble import JournalTrouble

PART = "journal"
LOOK_S = 0.5


class Storage:
    """`fault` is the open trouble's number, "" when all is well; what an earlier session left open is given to it."""

    def __init__(
        self, journal: Journal, faults: Faults, post: Callable[[Impaired | Repaired], None], fault: str
    ) -> None:
        self.fault = fault
        self._journal = journal
        self._faults = faults
        self._post = post

    async def watch(self) -> None:
        """Looks at the journal again and again, for ever."""
        while True:
            trouble = self._journal.trouble
            if trouble is not None:
                self.impaired(trouble)
            elif self.fault:
                self._repaired()
            await asyncio.sleep(LOOK_S)

    def impaired(self, why: JournalTrouble) -> None:
        """The journal could not write, for this reason."""
        if why.fault == self.fault:
            return
        if self.fault:
            self._faults.end(self.fault)
        self.fault = why.fault
        self._faults.begin(why.fault, str(why))
        self._post(Impaired(PART, why.fault, str(why)))

    def _repaired(self) -> None:
        self._faults.end(self.fault)
        self.fault = ""
        self._post(Repaired(PART))
