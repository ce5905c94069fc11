"""The documents say what is: verbs, settings, faults and tests that are named exist."""

import re
from pathlib import Path

import click
import pytest

from bot.cli import main
from bot.config import Settings
from bot.edge.faults import CATALOGUE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FAULTS = (ROOT / "docs/faults.md").read_text()


def test_the_readme_names_every_verb_and_no_other() -> None:
    """The table of verbs is the command line's."""
    table = README[README.index("## The verbs") : README.index("Every verb has")]
    named = {
        word
        for line in table.splitlines()
        for word in re.findall(r"`([a-z-]+)", line.partition("| ")[2].partition("|")[0])
    }
    assert named == set(main.commands)


def test_every_verb_has_an_example_in_its_help() -> None:
    """`lacuna VERB --help` shows how it is used."""
    for name, command in main.commands.items():
        commands = command.commands.values() if isinstance(command, click.Group) else [command]
        for verb in commands:
            assert "Example: lacuna" in (verb.help or ""), name


def test_settings_the_readme_sets_exist() -> None:
    """`--set section.key=...` in the README names real settings."""
    for section, key in re.findall(r"--set '?(?!section\.)([a-z]+)\.([a-z_]+)", README):
        annotation = Settings.model_fields[section].annotation
        assert key in annotation.model_fields, f"{section}.{key}"  # type: ignore[union-attr]


def test_every_fault_of_the_feed_the_process_and_time_is_documented_with_its_tests() -> None:
    """docs/faults.md lists them, and the tests it names are there and mention the fault."""
    rows = dict(re.findall(r"^\| ([A-Z]\d+) \| .* \| ([^|]*) \|$", FAULTS, re.MULTILINE))
    for group in "FTP":
        assert {f"{group}{number}" for number in range(1, CATALOGUE[group] + 1)} <= set(rows)
    for fault, tests in rows.items():
        for name in re.findall(r"`([\w/]+\.py)`", tests):
            text = (ROOT / "tests" / name).read_text()
            spans = [(int(a), int(b)) for a, b in re.findall(rf"\b{fault[0]}(\d+) to {fault[0]}(\d+)", text)]
            number = int(fault[1:])
            assert re.search(rf"\b{fault}\b", text) or any(low <= number <= high for low, high in spans), (fault, name)


@pytest.mark.parametrize(
    ("folder", "begins", "ends"),
    [
        ("bot/core", "## What is where in the core", "## What is where among the models"),
        ("models", "## What is where among the models", "## What holds everywhere"),
    ],
)
def test_files_the_architecture_names_exist(folder: str, begins: str, ends: str) -> None:
    """ARCHITECTURE.md's maps are the folders'."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"(?<![\w/])(\w+\.py)\b", text[text.index(begins) : text.index(ends)]))
    assert named == {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
