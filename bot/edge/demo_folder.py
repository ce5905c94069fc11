"""Folders that a demo made: the only ones a demo clears, and the only ones a real bot does not trade in.

A file says whose it is. Whatever else a folder holds, a demo refuses it: it may be a ledger that somebody needs.
"""

import contextlib
from pathlib import Path

from bot.config import BadConfiguration
from bot.edge.database import FILE
from bot.edge.lock import LOCK, FolderLock, Mark
from bot.edge.operator import FOLDER as OPERATOR
from bot.edge.trouble import FolderUnusable

FOLDER = "demo-data"
MARKER = "demo"
SAYS = "A demo of lacuna made this folder; the next demo deletes the journal in it.\n"


def clear(folder: Path) -> None:
    """Starts a demo's folder afresh, or makes one. Raises BadConfiguration, FolderUnusable or AlreadyRunning."""
    _check(folder)
    lock = FolderLock(folder)
    try:
        _check(folder)  # nobody began to use it meanwhile, and nobody can now
        (folder / MARKER).write_text(SAYS)
        for path in (*folder.glob(f"{FILE}*"), folder / "reserve"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        for path in (folder / OPERATOR).glob("*"):
            path.unlink()  # what was told to an old demo is not for the next
        lock.remember(Mark())
    except OSError as why:
        raise FolderUnusable(f"cannot write in {folder}: {why.strerror}; set storage.folder to one you own") from why
    finally:
        lock.release()


def refuse(folder: Path) -> None:
    """BadConfiguration for a folder that a demo made: the next demo would delete what is done there."""
    if (folder / MARKER).exists():
        text = f"storage.folder: {folder} is a demo's, which the next demo deletes: name another"
        raise BadConfiguration([text])


def _check(folder: Path) -> None:
    """A demo may have what a demo made, and what holds nothing yet but a lock."""
    if (folder / MARKER).is_file() or not folder.is_dir():
        return  # where there is no folder one is made, or the lock says why it cannot be
    try:
        empty = {path.name for path in folder.iterdir()} <= {LOCK}
    except OSError as why:
        raise FolderUnusable(f"cannot read {folder}: {why.strerror}; set storage.folder to one you own") from why
    if not empty:
        text = f"storage.folder: {folder} is not empty and no demo made it: a demo would delete the journal in it"
        raise BadConfiguration([f"{text}; name a new folder, or leave it out for {FOLDER}"])
