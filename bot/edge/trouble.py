"""What can go wrong with the data folder, by name, each with its catalogue number and exit code.

Exit codes  78 configuration, 77 permission, 75 try later, 74 input/output, 70 our bug.
"""


class JournalTrouble(Exception):
    """The root. `fault` is the catalogue's number, `exit_code` what the process ends with if it must."""

    fault = ""
    exit_code = 74


class JournalFull(JournalTrouble):
    """No room: what was to be written is not on disk, so nothing that depends on it may be done."""

    fault = "P9"


class JournalBroken(JournalTrouble):
    """The disk failed a write or an fsync. Never tried again: the process ends and a restart checks."""

    fault = "P10"


class JournalLocked(JournalTrouble):
    """Another process holds the database: nothing was written within the wait."""

    fault = "P11"
    exit_code = 75


class JournalCorrupt(JournalTrouble):
    """The database is damaged or gone. It is never replaced by an empty one."""

    fault = "P12"


class JournalNewer(JournalTrouble):
    """The database was written by a newer version."""

    fault = "P13"
    exit_code = 78


class JournalStale(JournalTrouble):
    """The database is older than the folder remembers: a restored or incomplete copy."""

    fault = "P14"
    exit_code = 78


class AlreadyRunning(JournalTrouble):
    """Another bot holds this folder."""

    fault = "P16"
    exit_code = 75


class FolderUnusable(JournalTrouble):
    """The folder cannot be made or written."""

    fault = "P29"


class JournalBehind(JournalTrouble):
    """The writer cannot keep up and its queue is full: no event may be lost, so the process ends."""


class WriterDied(JournalTrouble):
    """The writer thread ended by a bug of ours."""

    exit_code = 70


class NoJournal(JournalTrouble):
    """There is no journal in the folder yet."""

    exit_code = 78
