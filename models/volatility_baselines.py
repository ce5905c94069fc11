"""What a volatility model has to beat, fitted on the same hours.

Persistence and EWMA are used as they are, for they are what they are; the others with validation's factors.
"""

from collections.abc import Callable

from bot.core.market import Panel
from models.ewma import Ewma
from models.garch import Kind, fit_garch
from models.har import Form, fit_har
from models.model import BadModel
from models.volatility_model import Predictor, VolatilityModel, calibrated, uncorrected

Fitter = Callable[[Panel], Predictor]

PLAIN: dict[str, Fitter] = {
    "persistence": lambda train: Ewma(train.symbols, 0.0),
    "ewma": lambda train: Ewma(train.symbols),
}
FITTED: dict[str, Fitter] = {
    "garch": lambda train: fit_garch(Kind.GARCH, train),
    "egarch": lambda train: fit_garch(Kind.EGARCH, train),
    "har-levels": lambda train: fit_har(Form.LEVELS, train),
    "har": lambda train: fit_har(Form.LOGS, train),
    "har-clock": lambda train: fit_har(Form.CLOCK, train),
    "har-plus": lambda train: fit_har(Form.PLUS, train),
    "har-plus-raw": lambda train: fit_har(Form.PLUS_RAW, train),
    "har-panel": lambda train: fit_har(Form.PANEL, train),
}
BASELINES = (*PLAIN, *FITTED)


def fit_baseline(name: str, seen: Panel, validation_ms: int) -> VolatilityModel:
    """Fitted before `validation_ms`, its factors from there on. BadModel for an unknown name or too few hours."""
    train = seen.rows(0, int(seen.open_ms.searchsorted(validation_ms)))
    if name in PLAIN:
        return uncorrected(PLAIN[name](train), seen, validation_ms)
    if name in FITTED:
        return calibrated(FITTED[name](train), seen, validation_ms)
    raise BadModel(f"no baseline {name!r}: there are {', '.join(BASELINES)}")
