"""What a person tells a bot, through its data folder: `tell` leaves a file, the bot's `Desk` obeys it.

A file is one order, JSON {"verb": ..., "who": ...}, and its name sorts by the time it was left. It appears whole or
not at all and waits until a bot reads it, so it does not matter whether one runs. It goes when the order is on disk
in the journal: an order is never lost, and after a crash in between it is obeyed once more.
Trust   who may write in the folder may command the bot; the folder is its owner's alone.
Hostile a file that is no order is moved aside, as NAME.refused, and told once (fault S5): links are not followed,
        no more than BYTES_MAX is read, verbs are fixed, nothing that a terminal would obey gets into a log.
"""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec

from bot.core.events import Operator, Verb
from bot.edge.database import FILE
from bot.edge.faults import Faults
from bot.edge.trouble import FolderUnusable, NoJournal

FOLDER = "operator"
REFUSED = ".refused"
BYTES_MAX = 1_024
WHO_MAX = 64
LOOK_S = 1.0  # of wall time, at whatever speed the exchange runs: people wait
FAULT = "S5"
NO_FILE = (errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM)  # a link, a socket, somebody else's


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's content."""

    verb: Verb
    who: Annotated[str, msgspec.Meta(min_length=1, max_length=WHO_MAX)]


class BadOrder(ValueError):
    """A file in the operator's folder that is no order of a person's."""


class Nobody(ValueError):
    """An order must say who gave it, in letters that a log can show."""

    exit_code = 78


class NotTheOwner(Exception):
    """The bot could not read what another user leaves."""

    exit_code = 77


def tell(folder: Path, verb: Verb, who: str, now_ns: int) -> Path:
    """Leaves an order for the bot of a data folder; its file. `now_ns` is the wall clock's nanoseconds.

    Raises NoJournal where no bot has run, NotTheOwner, Nobody and FolderUnusable.
    """
    if not (folder / FILE).exists():
        raise NoJournal(f"there is no {FILE} in {folder}: name the data folder of a bot that has run")
    if not _sayable(who):
        raise Nobody(f"{who!r} is no name: 1 to {WHO_MAX} letters that can be shown")
    if (owner := folder.stat().st_uid) != os.geteuid():
        raise NotTheOwner(f"{folder} belongs to user {owner}: tell its bot as that user")
    path = folder / FOLDER / f"{now_ns:020d}-{os.getpid()}.json"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _leave(path, msgspec.json.encode(Order(verb, who)))
    except OSError as why:
        raise FolderUnusable(f"cannot write {path}: {why.strerror}") from why
    return path


def _leave(path: Path, content: bytes) -> None:
    """A whole file that outlasts a power cut: written beside its place, then given its name."""
    unfinished = path.with_name(f".{path.name}")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    unfinished.rename(path)
    there = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(there)
    finally:
        os.close(there)


def _sayable(who: str) -> bool:
    return 0 < len(who) <= WHO_MAX and who.isprintable()


class Desk:
    """Where a bot finds what people told it. `obey` returns when the order is safe in the journal."""

    def __init__(self, folder: Path, obey: Callable[[Operator], Awaitable[None]], faults: Faults) -> None:
        self._folder = folder / FOLDER
        self._obey = obey
        self._faults = faults
        self._stuck: set[str] = set()

    async def watch(self) -> None:
        """Looks again and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Obeys what waits, in the order it was told. What the disk refuses is told, and tried again next time."""
        with contextlib.ExitStack() as stack:
            try:
                desk = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                stack.callback(os.close, desk)
                waiting = self._waiting(desk)
            except FileNotFoundError:
                return  # nobody has told anything yet
            except OSError as why:
                self._faults.begin(FAULT, f"{self._folder} cannot be read, no order is heard: {why.strerror}")
                return
            self._faults.end(FAULT)
            for name, order in waiting:
                await self._obey(Operator(order.verb, order.who))
                self._remove(desk, name)

    def _waiting(self, desk: int) -> list[tuple[str, Order]]:
        """Every order that waits, by its file's name; what is none goes aside."""
        names = sorted(os.listdir(desk))
        self._stuck &= set(names)
        waiting = []
        for name in names:
            if name.startswith(".") or name.endswith(REFUSED) or name in self._stuck:
                continue
            try:
                waiting.append((name, _read(desk, name)))
            except FileNotFoundError:
                continue  # taken back in the meantime
            except BadOrder as why:
                self._refuse(desk, name, str(why))
        return waiting

    def _refuse(self, desk: int, name: str, why: str) -> None:
        self._stuck.add(name)
        with contextlib.suppress(OSError):  # then it stays, and is left alone
            os.rename(name, name + REFUSED, src_dir_fd=desk, dst_dir_fd=desk)
        self._faults.count(FAULT, f"{self._folder / _shown(name)} is no order, nothing was done: {why}")

    def _remove(self, desk: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=desk)
        except FileNotFoundError:
            pass
        except OSError as why:
            self._stuck.add(name)
            self._faults.count(FAULT, f"{_shown(name)} was obeyed and cannot be deleted: {why.strerror}")


def _read(desk: int, name: str) -> Order:
    """The order in a file. BadOrder for whatever else it is, OSError where the machine has trouble reading."""
    try:  # a pipe would wait for its writer
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=desk)
    except OSError as why:
        if why.errno in NO_FILE:
            raise BadOrder(str(why.strerror)) from why
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise BadOrder("it is no file")
        content = os.read(file, BYTES_MAX + 1)
    finally:
        os.close(file)
    if len(content) > BYTES_MAX:
        raise BadOrder(f"it is longer than {BYTES_MAX} bytes")
    try:
        order = msgspec.json.decode(content, type=Order)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        raise BadOrder(str(why)) from why
    if not _sayable(order.who):
        raise BadOrder("who cannot be shown")
    return order


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
