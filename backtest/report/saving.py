"""Puts a finished text where it belongs: whole or not at all."""

import os
from pathlib import Path


class ReportUnwritable(Exception):
    """A file of the report cannot be written."""

    exit_code = 74


def save(path: Path, text: str) -> None:
    """Writes beside `path` and takes its place, so that nobody reads half a file. Raises ReportUnwritable."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        unfinished.replace(path)
    except OSError as why:
        unfinished.unlink(missing_ok=True)
        text = f"cannot write {path}: {why.strerror or why}: name a folder that exists, can be written to and has room"
        raise ReportUnwritable(text) from why
