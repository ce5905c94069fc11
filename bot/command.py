"""What every verb is made of: named errors end with their own exit code, results are for people or for programs."""

import json
import math
import traceback
from pathlib import Path
from typing import Any

import click


class Verb(click.Command):
    """A verb whose named errors end with their own exit code and a sentence, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from bot.trouble import OUR_BUG, exit_code, sentences

        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as why:  # noqa: BLE001  the outermost edge: a known trouble in a sentence, our bug in full
            code = exit_code(why)
            if code is None:
                traceback.print_exc()
                ctx.exit(OUR_BUG)
            for line in sentences(why):
                click.echo(f"lacuna: {line}", err=True)
            ctx.exit(code)


class Positive(click.FloatRange):
    """A number above 0; click's own ranges let NaN through."""

    def __init__(self, most: float, zero: bool = False) -> None:
        super().__init__(min=0.0, max=most, min_open=not zero)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


def say(result: dict[str, Any], as_json: bool, text: str = "") -> None:
    """The result of a verb: for a program or for a person."""
    if as_json:
        click.echo(json.dumps(result, sort_keys=True))
    else:
        click.echo(
            text or "\n".join(f"{key:>14}  {value}" for key, value in result.items() if value not in ([], ())), err=True
        )


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="A TOML file like config.toml; without it ./config.toml if there is one.",
)
sets = click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting, above the file.")


def settings_of(path: Path | None, sets: tuple[str, ...]) -> Any:
    """The settings in force: the file, ./config.toml where none is named, then the environment, then --set."""
    from bot.config import load

    if path is None and Path("config.toml").exists():
        path = Path("config.toml")
    return load(path, dict(_assignment(text) for text in sets))


def _assignment(text: str) -> tuple[str, Any]:
    """SECTION.KEY=VALUE; the value is JSON where it can be read as such, else text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set {text}: write it as SECTION.KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
