"""One bot per data folder, and what the folder remembers of its newest session.

The lock is `flock` on the file `lock` (faults P16, P14): it dies with its process, so there is no pid file to go stale.
The file holds how far the journal had come, so that a database restored from yesterday is noticed.
"""

import errno
import fcntl
import os
from pathlib import Path

import msgspec

from bot.edge.trouble import AlreadyRunning, FolderUnusable

LOCK = "lock"
BYTES_MAX = 4096


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in the journal: the session and the row in it. The journal has come at least this far."""

    session: int = 0
    seq: int = 0


class FolderLock:
    """Held from construction to `release`. Raises AlreadyRunning or FolderUnusable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as why:
            raise FolderUnusable(
                f"cannot write in {folder}: {why.strerror}; set storage.folder to one you own"
            ) from why
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            os.close(self._file)
            if why.errno not in (errno.EAGAIN, errno.EACCES):
                raise FolderUnusable(f"cannot lock {folder / LOCK}: {why.strerror}") from why
            text = f"another bot is running on {folder}: stop it, or give this one its own storage.folder"
            raise AlreadyRunning(text) from why

    def mark(self) -> Mark:
        """How far the journal had come when it was last said; nothing said is the beginning."""
        try:
            return msgspec.json.decode(os.pread(self._file, BYTES_MAX, 0).rstrip(), type=Mark)
        except msgspec.DecodeError:
            return Mark()

    def remember(self, mark: Mark) -> None:
        """Writes how far the journal has come; one sector, so a power cut leaves the old or the new."""
        os.pwrite(self._file, msgspec.json.encode(mark).ljust(64) + b"\n", 0)
        os.fsync(self._file)

    def release(self) -> None:
        os.close(self._file)
