"""Rows as a table for people."""

import argparse
import json
from collections.abc import Callable, Sequence

Row = dict[str, float | int | str]


def table(rows: Sequence[Row]) -> str:
    """The rows with aligned columns, numbers to the right."""
    names = list(rows[0])
    cells = [names] + [[str(row[name]) for name in names] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    numeric = [all(not isinstance(row[name], str) or not row[name] for row in rows) for name in names]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        for line in cells
    )


def run(doc: str | None, costs: Callable[[], Sequence[Row]]) -> None:
    """The command line of a benchmark without options: its table, or with --json its rows."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = costs()
    print(json.dumps(found) if as_json else table(found))
