"""What a person tells a bot: whole, in order, obeyed once it runs, and nothing else is."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bot.cli import main
from bot.core.events import Operator, Verb
from bot.core.risk import Level
from bot.edge.faults import Alert, Faults
from bot.edge.operator import BYTES_MAX, FOLDER, Desk, Nobody, tell
from bot.edge.store import Store
from bot.edge.trouble import NoJournal
from bot.session import recover_state, replay_all
from tests.making import walk
from tests.recording import HISTORY, Session


class Bot:
    """A desk with someone at it, in a folder where a bot has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "lacuna.sqlite").touch()
        self.heard: list[tuple[str, str]] = []
        self.alerts: list[Alert] = []
        self.waiting_meanwhile: list[int] = []
        self.desk = Desk(folder, self._obey, Faults(self.alerts.append))

    async def _obey(self, order: Operator) -> None:
        self.heard.append((order.verb.value, order.who))
        self.waiting_meanwhile.append(len(self.files))

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / FOLDER).iterdir())

    def leaves(self, name: str, content: bytes) -> Path:
        """A file that somebody else put there."""
        (self.folder / FOLDER).mkdir(exist_ok=True)
        path = self.folder / FOLDER / name
        path.write_bytes(content)
        return path


@pytest.fixture
def bot(tmp_path: Path) -> Bot:
    return Bot(tmp_path)


async def test_orders_are_obeyed_in_the_order_they_were_told(bot: Bot) -> None:
    """All that waited is obeyed once, the oldest first, whatever the folder lists first."""
    for at, verb in ((10**19, Verb.RESUME), (5, Verb.HALT), (70, Verb.FLATTEN)):
        tell(bot.folder, verb, "ann", at)
    await bot.desk.look()
    await bot.desk.look()
    assert bot.heard == [("halt", "ann"), ("flatten", "ann"), ("resume", "ann")]
    assert bot.files == []
    assert bot.alerts == []


async def test_an_order_stays_until_it_is_safe(bot: Bot) -> None:
    """Its file goes when `obey` has come back: who dies meanwhile finds it again."""
    tell(bot.folder, Verb.HALT, "ann", 1)
    tell(bot.folder, Verb.PAUSE, "ann", 2)
    await bot.desk.look()
    assert bot.waiting_meanwhile == [2, 1]


async def test_a_bot_that_nobody_has_told_anything_goes_on(bot: Bot) -> None:
    """No folder is no trouble."""
    await bot.desk.look()
    assert bot.alerts == []


async def test_a_file_still_being_written_is_left_alone(bot: Bot) -> None:
    """An order appears by a rename: what begins with a dot is not there yet."""
    bot.leaves(".00000000000000000001-1.json", b"{")
    await bot.desk.look()
    assert (bot.heard, bot.alerts) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"halt",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"verb": "sell", "who": "ann"}',
        b'{"verb": "halt"}',
        b'{"verb": "halt", "who": ""}',
        b'{"verb": "halt", "who": 7}',
        b'{"verb": "halt", "who": "ann", "more": 1}',
        b'{"verb": "halt", "who": "\\u001b[2J"}',
        b'{"verb": "halt", "who": "\\ud800"}',
        b'{"verb": "halt", "who": "a\\nb"}',
        json.dumps({"verb": "halt", "who": "a" * 65}).encode(),
        json.dumps({"verb": "halt", "who": "ann"}).encode() + b" " * BYTES_MAX,
    ],
)
async def test_what_is_no_order_is_moved_aside_and_told_once(bot: Bot, content: bytes) -> None:
    """Fault S5: it changes nothing, bars no order behind it, and is kept for whoever wants to know."""
    bot.leaves("0.json", content)
    tell(bot.folder, Verb.PAUSE, "ann", 1)
    for _ in range(3):
        await bot.desk.look()
    assert bot.heard == [("pause", "ann")]
    assert [alert.fault for alert in bot.alerts] == ["S5"]
    assert bot.alerts[0].text.isprintable()
    assert bot.files == ["0.json.refused"]
    assert (bot.folder / FOLDER / "0.json.refused").read_bytes() == content


async def test_links_pipes_sockets_and_folders_are_no_orders(bot: Bot) -> None:
    """Nothing is read through them, and nobody waits for a pipe."""
    order = bot.folder / "elsewhere.json"
    order.write_bytes(b'{"verb": "halt", "who": "ann"}')
    desk = bot.folder / FOLDER
    desk.mkdir()
    (desk / "1").symlink_to(order)
    os.mkfifo(desk / "2")
    (desk / "3").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(desk / "4"))
    await bot.desk.look()
    await bot.desk.look()
    assert bot.heard == []
    assert [alert.fault for alert in bot.alerts] == ["S5"] * 4
    assert bot.files == [f"{name}.refused" for name in "1234"]
    assert order.exists()


async def test_a_desk_that_is_a_link_is_not_followed(bot: Bot, tmp_path: Path) -> None:
    """Elsewhere nothing is read or deleted; it is an episode that ends when the link is gone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.json").write_bytes(b'{"verb": "halt", "who": "ann"}')
    (bot.folder / FOLDER).symlink_to(elsewhere)
    await bot.desk.look()
    await bot.desk.look()
    assert (bot.heard, len(list(elsewhere.iterdir()))) == ([], 1)
    (bot.folder / FOLDER).unlink()
    tell(bot.folder, Verb.HALT, "ann", 1)
    await bot.desk.look()
    assert bot.heard == [("halt", "ann")]
    assert [alert.stage.value for alert in bot.alerts] == ["began", "ended"]


def test_what_is_left_is_the_owners_alone(bot: Bot) -> None:
    """Fault S18: nobody else reads or adds orders."""
    path = tell(bot.folder, Verb.HALT, "ann", 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_bytes()) == {"verb": "halt", "who": "ann"}
    assert bot.files == [path.name]


@pytest.mark.parametrize("who", ["", "a" * 65, "a\nb", "\ud800"])
def test_an_order_says_who_gave_it(bot: Bot, who: str) -> None:
    """What the desk would refuse is not left there."""
    with pytest.raises(Nobody):
        tell(bot.folder, Verb.HALT, who, 1)


def test_a_folder_without_a_bot_is_refused(tmp_path: Path) -> None:
    """A wrong name must not look like a bot that was halted."""
    with pytest.raises(NoJournal, match="name the data folder"):
        tell(tmp_path, Verb.HALT, "ann", 1)
    assert list(tmp_path.iterdir()) == []


async def test_a_latched_cause_is_ended_by_telling_so(tmp_path: Path) -> None:
    """A halt told outlives a restart, and ends when a person says resume; the journal has it and replays."""
    session = Session(tmp_path, walk(HISTORY + 40))

    async def obey(order: Operator) -> None:
        session.take(order)
        await session.journal.sync()

    desk = Desk(tmp_path, obey, Faults(lambda alert: None))
    tell(tmp_path, Verb.HALT, "ann", 1)
    await desk.look()
    assert session.engine.risk.level is Level.HALTED
    await session.journal.close(session.now_ms, "stopped")
    session = Session(tmp_path, walk(HISTORY + 40), HISTORY + 1)
    assert [cause.latched for cause in session.engine.risk.causes] == [True]
    tell(tmp_path, Verb.RESUME, "ann", 2)
    await desk.look()
    assert session.engine.risk.level is Level.RUNNING
    await session.journal.close(session.now_ms, "stopped")
    with Store(tmp_path) as store:
        assert all(one.identical for _, one in replay_all(store))
        state = recover_state(store)
        assert [note["text"] for note in store.newest("notes") if note["code"] == "operator.resume"] == [
            "resume by ann"
        ]
    assert state is not None
    assert state.risk.causes == ()


async def test_the_command_line_leaves_an_order_that_the_bot_hears(bot: Bot) -> None:
    """`lacuna tell` needs no running bot, and says whose word it is."""
    command = [sys.executable, "-m", "bot.cli", "tell", "halt", str(bot.folder), "--who", "ann", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verb"] == "halt"
    await bot.desk.look()
    assert bot.heard == [("halt", "ann")]


def test_the_command_line_knows_every_verb() -> None:
    """What the engine obeys can be told."""
    choices = next(one.type.choices for one in main.commands["tell"].params if one.name == "verb")  # type: ignore[attr-defined]
    assert sorted(choices) == sorted(verb.value for verb in Verb)
