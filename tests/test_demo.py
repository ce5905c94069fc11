"""The demo's folder: a demo clears what a demo made, and nothing else."""

from pathlib import Path

import pytest

from bot.config import BadConfiguration, load
from bot.demo import prepare
from bot.edge.demo_folder import MARKER, clear, refuse
from bot.edge.lock import FolderLock
from bot.edge.store import Store
from bot.edge.trouble import AlreadyRunning, FolderUnusable, NoJournal
from tests.recording import record


async def test_a_real_ledger_survives_every_demo(tmp_path: Path) -> None:
    """A folder with a journal that no demo made is refused with a sentence, and every byte of it stays."""
    await record(tmp_path, minutes=5)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadConfiguration, match="is not empty and no demo made it") as caught:
        prepare(load(None, {"storage.folder": str(tmp_path)}), None, 3, 1, 60.0, None)
    assert caught.value.exit_code == 78
    assert str(tmp_path) in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_any_other_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """Whatever it is, it is not ours to touch; not even a lock is made in it."""
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BadConfiguration, match="no demo made it"):
        clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


async def test_the_next_demo_begins_afresh_in_a_demos_folder(tmp_path: Path) -> None:
    """Marked when it is made; what a demo journaled is gone for the next one, what others put there is not."""
    folder = tmp_path / "new" / "demo"
    clear(folder)
    assert (folder / MARKER).is_file()
    await record(folder, minutes=5)
    (folder / "notes.txt").write_text("mine")
    clear(folder)
    assert {path.name for path in folder.iterdir()} == {MARKER, "lock", "notes.txt"}
    with pytest.raises(NoJournal), Store(folder):
        pass
    await record(folder, minutes=5)  # the lock does not say that there was more


def test_an_empty_folder_may_be_had_and_one_in_use_may_not(tmp_path: Path) -> None:
    """Fault P16: another demo that trades in it is left alone."""
    clear(tmp_path)
    lock = FolderLock(tmp_path)
    with pytest.raises(AlreadyRunning):
        clear(tmp_path)
    lock.release()
    clear(tmp_path)


def test_a_demos_folder_is_no_place_for_a_real_bot(tmp_path: Path) -> None:
    """`lacuna run` would do there what the next demo deletes."""
    refuse(tmp_path)
    clear(tmp_path)
    with pytest.raises(BadConfiguration, match="is a demo's"):
        refuse(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Fault P29: exit 74 and what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match=r"set storage\.folder"):
        clear(tmp_path / "file")
