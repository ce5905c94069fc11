"""Whether a stored series can be trusted: its files against the manifest, its candles against what can be."""

import hashlib
from collections.abc import Iterator

import numpy as np

from bot.edge.candle_store import CandleStore, Series
from bot.edge.candles import utc
from bot.edge.columns import BadCandles, grid_troubles, read_unchecked, time_troubles, value_troubles
from bot.edge.manifest import Manifest
from bot.edge.month_file import FILE_FIELDS, month_files, month_of


def verify(store: CandleStore, series: Series) -> list[str]:
    """What is wrong with a series, a sentence each; [] when nothing is. The caller has claimed the store.

    Duplicates, times out of order, off the grid or in the wrong month, impossible candles, files that are not what
    was written, and holes: missing candles that the exchange was never asked for.
    """
    try:
        manifest = store.manifest(series)
    except BadCandles as why:
        return [str(why)]
    found = [trouble for name in _names(store, series, manifest) for trouble in _month(store, series, manifest, name)]
    holes = manifest.holes
    if holes:
        missing = sum(stop - start for start, stop in holes) // series.interval_ms
        start, stop = max(holes, key=lambda hole: hole[1] - hole[0])
        found.append(
            f"{series}: {missing} candles are missing in {len(holes)} holes, the longest from {utc(start)} to before"
            f" {utc(stop)}: fetch them"
        )
    return found


def _names(store: CandleStore, series: Series, manifest: Manifest) -> list[str]:
    return sorted({*manifest.months, *(path.stem for path in month_files(store.path(series)))})


def _month(store: CandleStore, series: Series, manifest: Manifest, name: str) -> Iterator[str]:
    """What is wrong with one month's file."""
    path = store.path(series) / f"{name}.parquet"
    entry = manifest.months.get(name)
    mend = "remove it and manifest.json beside it, and fetch the month again"
    try:
        data = path.read_bytes()
        column = read_unchecked(path, FILE_FIELDS, check_pages=True)
    except OSError as why:
        yield f"{path} cannot be read: {why.strerror}: remove manifest.json beside it and fetch the month again"
        return
    except BadCandles as why:
        yield str(why)
        return
    if entry is None:
        yield f"{path} is not in the manifest: {mend}"
    elif hashlib.sha256(data).hexdigest() != entry.sha256:
        yield f"{path} is not the file that was written (sha256): {mend}"
    elif not len(column.open_ms) or month_of(column.open_ms, data, series.interval_ms) != entry:
        yield f"{path} is not what the manifest says of it: {mend}"
    months = column.open_ms.astype("datetime64[ms]").astype("datetime64[M]")
    foreign = months != np.datetime64(name)
    if foreign.any():
        yield f"{path}: the candle at {column.open_ms[np.argmax(foreign)]} is of another month"
    for troubles in (
        time_troubles(column.open_ms),
        grid_troubles(column.open_ms, series.interval_ms),
        value_troubles(column),
    ):
        yield from (f"{path}: {trouble}" for trouble in troubles)
