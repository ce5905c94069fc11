"""Rows as a table for people."""

from collections.abc import Sequence

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
