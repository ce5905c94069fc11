"""`lacuna data`: what a candle store holds, whether it can be trusted, into it and out of it, longer from shorter."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from bot.core.market import TIMEFRAMES, compact
from bot.edge.candle_sources import EVER, is_files, source_of, store_at, timeframe_of
from bot.edge.candle_store import Block, CandleStore, Series
from bot.edge.candles import utc
from bot.edge.columns import BadCandles
from bot.edge.manifest import union, without
from bot.edge.month_file import FILE_FIELDS, encode, replace_file
from bot.edge.resample import resample
from bot.edge.verify import verify

T = TypeVar("T")


def list_series(folder: Path) -> dict[str, Any]:
    """Every series of a store: range, candles, gaps of the exchange's own, holes never fetched."""
    store, several = _stored(folder)
    return {"folder": str(folder), "series": [_row(store, series) for series in several]}


def verify_store(folder: Path) -> dict[str, Any]:
    """Every problem of every series; none of them is mended."""
    store, several = _stored(folder)
    with store:
        store.claim()
        found = [(series, verify(store, series)) for series in _progress(several, "verify")]
    problems = [{"series": str(series), "problem": text} for series, texts in found for text in texts]
    return {"folder": str(folder), "series": len(several), "problems": problems}


def convert(
    origin: Path, target: Path, symbols: Sequence[str] | None, exchange: str | None, timeframe: str | None
) -> dict[str, Any]:
    """A folder of files or a table into a store, or a store's series into a folder of SYMBOL.parquet files."""
    into_store = is_files(origin)
    if into_store and exchange is None:
        raise BadCandles(f"{origin} does not tell its exchange: name it with --exchange, like binance")
    source = source_of(origin, symbols, None if into_store else exchange, timeframe)
    if target.is_dir() and is_files(target):
        raise BadCandles(f"{target} holds .parquet files already: name a new folder")
    candles = 0
    with CandleStore(target) as store:
        for symbol in _progress(source.symbols, "convert"):
            block = Block.of(source.read(symbol, FILE_FIELDS, *EVER))
            if exchange is not None and into_store:
                store.put(Series(exchange, timeframe_of(source.interval_ms), symbol), block)
            else:
                replace_file(target / f"{compact(symbol)}.parquet", encode(block))
            candles += len(block)
    return {"folder": str(target), "series": len(source.symbols), "candles": candles}


def resample_store(folder: Path, timeframe: str, shorter: str | None, exchange: str | None) -> dict[str, Any]:
    """Adds the series of a longer timeframe, made from the shortest that fits or from the one named.

    Candles of the longer series at the same times are replaced; where the shorter ones are fetched, it counts as so.
    """
    store, several = _stored(folder)
    chosen = _shorter(folder, several, timeframe, shorter, exchange)
    result = {"folder": str(folder), "timeframe": timeframe, "series": len(chosen)}
    candles = partial = left_out = 0
    with store:
        for series in _progress(chosen, f"resample {timeframe}"):
            made = _resample(store, series, Series(series.exchange, timeframe, series.symbol))
            candles, partial, left_out = candles + made[0], partial + made[1], left_out + made[2]
    return result | {"candles": candles, "partial": partial, "left_out": left_out}


def table(result: dict[str, Any]) -> str:
    """The list of series for people."""
    lines = [f"{'exchange':10}{'':5}{'symbol':14}{'from':18}{'to before':18}{'candles':>12}{'gaps':>7}{'holes':>7}"]
    for row in result["series"]:
        ends = "".join(f"{utc(row[key]) if row[key] is not None else '-':18}" for key in ("start_ms", "stop_ms"))
        counts = f"{row['candles']:>12,}{row['gaps']:>7}{row['holes']:>7}"
        lines.append(f"{row['exchange']:10}{row['timeframe']:5}{row['symbol']:14}{ends}{counts}")
    lines.append("gaps: breaks between the first and the last candle; holes: those of them never fetched")
    return "\n".join(lines)


def _resample(store: CandleStore, series: Series, longer: Series) -> tuple[int, int, int]:
    fetched = store.manifest(series).fetched
    if not fetched:
        return 0, 0, 0
    known = (fetched[0][0], fetched[-1][1])
    made = resample(store.read(series), series.interval_ms, longer.interval_ms, known)
    store.put(longer, made.block)
    step = longer.interval_ms
    whole = union((-(-start_ms // step) * step, stop_ms // step * step) for start_ms, stop_ms in fetched)
    there = store.manifest(longer).fetched
    for new in (part for one in whole for part in without(one, there)):
        store.mark_fetched(longer, *new)
    return len(made.block), made.partial, made.left_out


def _shorter(
    folder: Path, several: list[Series], timeframe: str, shorter: str | None, exchange: str | None
) -> list[Series]:
    """The series to make the longer ones from: of each exchange the shortest timeframe that fits."""
    if timeframe not in TIMEFRAMES:
        raise BadCandles(f"no timeframe {timeframe!r}: there are {', '.join(TIMEFRAMES)}")
    step = TIMEFRAMES[timeframe]
    fits = [
        series
        for series in several
        if series.interval_ms < step
        and step % series.interval_ms == 0
        and exchange in (None, series.exchange)
        and shorter in (None, series.timeframe)
    ]
    if not fits:
        there = ", ".join(sorted({f"{series.exchange}/{series.timeframe}" for series in several}))
        raise BadCandles(f"{folder} has nothing to make {timeframe} from that was asked for: it has {there}")
    shortest = {
        name: min(series.interval_ms for series in fits if series.exchange == name)
        for name in {series.exchange for series in fits}
    }
    return [series for series in fits if series.interval_ms == shortest[series.exchange]]


def _stored(folder: Path) -> tuple[CandleStore, list[Series]]:
    """The store at a folder and its series there; BadCandles where there is none."""
    if is_files(folder):
        raise BadCandles(
            f"{folder} holds .parquet files, no candle store: lacuna data convert {folder} STORE --exchange NAME"
        )
    store, there = store_at(folder)
    several = [series for series in store.series() if (series.exchange, series.timeframe) in there]
    if not several:
        raise BadCandles(f"{folder} holds no candles: fetch some, or name another folder")
    return store, several


def _row(store: CandleStore, series: Series) -> dict[str, Any]:
    manifest = store.manifest(series)
    start_ms, stop_ms = manifest.span or (None, None)
    return {
        "exchange": series.exchange,
        "timeframe": series.timeframe,
        "symbol": series.symbol,
        "start_ms": start_ms,
        "stop_ms": stop_ms,
        "candles": manifest.candles,
        "gaps": len(manifest.gaps),
        "absent": sum(stop - start for start, stop in manifest.gaps) // series.interval_ms,
        "holes": len(manifest.holes),
    }


def _progress(items: Sequence[T], label: str) -> Iterable[T]:
    """A bar on stderr while they are worked through; nothing where nobody watches."""
    console = Console(stderr=True)
    return track(items, label, console=console, transient=True, disable=not console.is_terminal)
