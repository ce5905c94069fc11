"""The features of a candle by name: formula, source, what they need to be known, what they are where it is 0/0.

Notation  o, h, l, c, v the candle's open, high, low, close, volume; x[-k] k slices earlier; mean, sum and std over the
          last n slices, this one included; tp = (h + l + c) / 3; d = c - c[-1], c the last known close.
Order     the nine price features, then the thirty engineered ones; a stored model names its inputs by it.
"""

from typing import Literal

from msgspec import Struct


class Needs(Struct, frozen=True):
    """What a feature is known by. `span` slices, at least half of them real `candles`, or linked ones (`returns`).

    A `price`: a close known `span` slices ago. `time` is always known.
    """

    kind: Literal["candles", "returns", "price", "time"]
    span: int = 1


class Feature(Struct, frozen=True):
    """One column. `neutral` stands where numerator and denominator vanish."""

    name: str
    formula: str
    source: str
    needs: Needs
    neutral: float = 0.0


ONE, DAY = Needs("candles"), Needs("candles", 24)
RETURN, RETURNS = Needs("returns"), Needs("returns", 24)
TIME = Needs("time")
QUOTE = "spec 6, price features; logs for the reason of spec 8.13"
PRICE = "spec 6, price features"
CLOCK = "spec 6; the hour in which the candle opened, UTC"
PAPERS = "models/volatility.py"

REGISTRY: tuple[Feature, ...] = (
    Feature("log_open", "ln o", QUOTE, ONE),
    Feature("log_high", "ln h", QUOTE, ONE),
    Feature("log_low", "ln l", QUOTE, ONE),
    Feature("log_close", "ln c", QUOTE, ONE),
    Feature("log_volume", "ln(1 + v)", QUOTE, ONE),
    Feature("log_return", "ln(c / c[-1])", PRICE, RETURN),
    Feature("log_return_size", "|ln(c / c[-1])|", PRICE, RETURN),
    Feature("range", "(h - l) / c", PRICE, ONE),
    Feature("body", "|c - o| / o", PRICE, ONE),
    Feature("garman_klass_1", "root of the candle's variance", PAPERS, ONE),
    Feature("parkinson_1", "root of the candle's variance", PAPERS, ONE),
    Feature("rogers_satchell_1", "root of the candle's variance", PAPERS, ONE),
    Feature("garman_klass_6", "root of the mean variance over 6", PAPERS, Needs("candles", 6)),
    Feature("garman_klass_24", "root of the mean variance over 24", PAPERS, DAY),
    Feature("parkinson_24", "root of the mean variance over 24", PAPERS, DAY),
    Feature("rogers_satchell_24", "root of the mean variance over 24", PAPERS, DAY),
    Feature("yang_zhang_24", "root of the variance over 24", PAPERS, RETURNS),
    Feature("realised_24", "std of ln(c / c[-1]) over 24, sample", PAPERS, RETURNS),
    Feature("garman_klass_spread_24", "std of garman_klass_1 over 24, sample", "volatility of volatility", DAY),
    Feature("momentum_1", "c / c[-1] - 1", "rate of change; TA-Lib ROCP", Needs("price", 1)),
    Feature("momentum_6", "c / c[-6] - 1", "rate of change; TA-Lib ROCP", Needs("price", 6)),
    Feature("momentum_12", "c / c[-12] - 1", "rate of change; TA-Lib ROCP", Needs("price", 12)),
    Feature("momentum_24", "c / c[-24] - 1", "rate of change; TA-Lib ROCP", Needs("price", 24)),
    Feature("momentum_48", "c / c[-48] - 1", "rate of change; TA-Lib ROCP", Needs("price", 48)),
    Feature("rsi_6", "100 g / (g + b), g = sum max(d, 0), b = sum max(-d, 0) over 6",
            "simple means as published, Cutler's; not Wilder's", Needs("price", 6), 50.0),
    Feature("rsi_14", "the same over 14", "simple means as published, Cutler's; not Wilder's", Needs("price", 14), 50.0),
    Feature("bollinger_width", "4 s / mean c, s = std of c over 20, of the population", "Bollinger; TA-Lib BBANDS(20, 2)",
            Needs("price", 19)),
    Feature("bollinger_position", "(c - lower) / (upper - lower), bands mean c -+ 2 s", "Bollinger's %b",
            Needs("price", 19), 0.5),
    Feature("atr_14", "mean over 14 of max(h, c[-1]) - min(l, c[-1]), over c", "true range: TA-Lib TRANGE; simple mean",
            Needs("returns", 14)),
    Feature("atr_24", "the same over 24", "true range: TA-Lib TRANGE; simple mean", RETURNS),
    Feature("macd", "(m - e9(m)) / c, m = e12(c) - e26(c), e_n = e_n[-1] + 2 / (n + 1) (x - e_n[-1])",
            "Appel's histogram; from the first close on, as pandas ewm(adjust=False)", Needs("price", 33)),
    Feature("volume_ratio_24", "v / mean v over 24", "spec 6", DAY, 1.0),
    Feature("volume_change", "v / v[-1] - 1", "spec 6", RETURN),
    Feature("obv_momentum_24", "sum sign(d) v / sum v over 24", "Granville's on-balance volume, its change as a share", DAY),
    Feature("vwap_deviation_24", "c / (sum tp v / sum v) - 1 over 24", "spec 6; typical prices", DAY),
    Feature("hour_sin", "sin(2 pi hour / 24)", CLOCK, TIME),
    Feature("hour_cos", "cos(2 pi hour / 24)", CLOCK, TIME),
    Feature("weekday_sin", "sin(2 pi weekday / 7), Monday 0", CLOCK, TIME),
    Feature("weekday_cos", "cos(2 pi weekday / 7), Monday 0", CLOCK, TIME),
)  # fmt: skip

FEATURES: tuple[str, ...] = tuple(feature.name for feature in REGISTRY)
PRICES = 9  # so many of them are price features
AT = {name: at for at, name in enumerate(FEATURES)}


def columns(first: str, last: str) -> slice:
    """The columns from one feature to another, both included."""
    return slice(AT[first], AT[last] + 1)
