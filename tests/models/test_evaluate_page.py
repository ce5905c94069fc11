"""`lacuna evaluate --report`: one page that needs nothing else, its pictures, and what is refused before any work."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.research import train_model
from tests.models.markets import market
from tests.models.test_research import candle_folder

PICTURES = ("scatter", "coins", "calibration", "decay")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    candle_folder(folder / "candles", market(1_500, 4, absent=0.01))
    train_model("ridge", folder / "candles", folder / "ridge", 0.5)
    return folder


def lacuna(there: Path, *arguments: object) -> Result:
    given = ["evaluate", there / "ridge", "--candles", there / "candles", *arguments]
    return CliRunner().invoke(main, [str(one) for one in given])


class Tables(HTMLParser):
    """Rows of each table of a page, and whether every element that was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, int] = {}
        self.open: list[str] = []
        self.table = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.table = dict(attrs)["id"] or ""
            assert self.table not in self.rows
            self.rows[self.table] = 0
        if tag == "tr":
            self.rows[self.table] += 1
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_every_table_and_picture(there: Path) -> None:
    """A row for each model, coin and slice compared; pictures inside and beside it; no script, nothing to load."""
    report = there / "quality.html"
    result = lacuna(there, "--report", report, "--coin", "c1usdt", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    page = report.read_text()
    tables = Tables()
    tables.feed(page)
    assert tables.open == []
    assert tables.rows["models"] == tables.rows["horizons"] == 2 + len(found["baselines"])
    assert tables.rows["coins"] == 1 + 4
    assert tables.rows["rows"] == 1 + len(found["comparison"]["rows"])
    assert tables.rows["events"] == 1 + sum(one["count"] > 0 for one in found["event_study"])
    assert found["comparison"]["symbol"] == "C1/USDT" and "C1/USDT, slice by slice" in page
    assert f"{found['lag0']['mean']:.4f}" in page
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert "<script" not in page and not re.search(r"""(src|href)=["'](?!data:)""", page)
    for name in PICTURES:
        assert (there / f"quality-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_people_read_the_same_figures(there: Path) -> None:
    """Without --json: models, horizons, events and the compared coin as text."""
    result = lacuna(there, "--steps", 100)
    assert result.exit_code == 0, result.stderr
    for said in (
        "4 coins, 100 slices never fitted on",
        "ridge *",
        "gaussian_wicks",
        "market 60",
        "lagging",
        "C0/USDT, its",
    ):
        assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--coin", "C9/USDT"), 78, "did you mean C"),
        (("--coin", "/"), 78, "--coin"),
        (("--report", "{there}/none/q.html"), 78, "a folder that exists"),
        (("--report", "{there}/q.txt"), 78, "report.html"),
        (("--steps", "3"), 2, "steps"),
    ],
)
def test_what_cannot_be_reported_is_refused(there: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One sentence with what to change."""
    result = lacuna(there, *(one.format(there=there) for one in arguments))
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
