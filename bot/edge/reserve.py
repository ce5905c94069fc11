"""Room kept back on the disk, given up when it is full, so that exits can still be journaled (fault P9)."""

import os
import shutil
from pathlib import Path

from bot.edge.trouble import FolderUnusable, JournalFull

RESERVE = "reserve"
MIB = 1_048_576


class Reserve:
    """A file of so many MiB. `trouble` says that it is missing; the bot runs all the same, without entries."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.trouble: JournalFull | None = None
        self._path = folder / RESERVE
        self._mib = mib

    def make(self) -> None:
        """Makes the file unless it is there; only where as much again stays free."""
        wanted = self._mib * MIB
        try:
            if not self._has(wanted) and not self._allocate(wanted):
                folder = self._path.parent
                self.trouble = JournalFull(f"no room for the reserve of {self._mib} MiB: make some in {folder}")
                return
        except OSError as why:
            raise FolderUnusable(f"cannot write {self._path}: {why.strerror}; set storage.folder to your own") from why
        self.trouble = None

    def release(self) -> None:
        """Gives the room up."""
        self._path.unlink(missing_ok=True)
        self.trouble = JournalFull(f"the disk of {self._path.parent} was full and the reserve is in use: make room")

    def _has(self, wanted: int) -> bool:
        return self._path.exists() and self._path.stat().st_size == wanted

    def _allocate(self, wanted: int) -> bool:
        self._path.unlink(missing_ok=True)
        if wanted and shutil.disk_usage(self._path.parent).free < 2 * wanted:
            return False
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if wanted:
                os.posix_fallocate(file, 0, wanted)
        finally:
            os.close(file)
        return True
