"""Parameters, series and forecasters for tests."""

from __future__ import annotations

from typing import Any, Final

from xrnn.series import Forecaster
from xrnn.series.checks import Series
from xrnn.series.forecast.fit import Fit, fit_series
from xrnn.series.forecast.smoothing import with_errors
from xrnn.typing import HostArray

SMALL: Final[dict[str, Any]] = {"horizon": 4, "season": 4}
LEVELS: Final = (0.1, 0.5, 0.9)
TINY: Final[dict[str, Any]] = {"horizon": 3, "context": 6, "season": 4}


def params(**given: Any) -> Any:
    """The checked parameters of a Forecaster."""
    return Forecaster(**given).check_params()


def series(values: HostArray, **more: Any) -> Series:
    return Series(values[:, None] if values.ndim == 1 else values, None, more.pop("name", "s"), **more)


def fit_of(values: HostArray, **given: Any) -> Fit:
    return fit_series([series(values)], params(**SMALL | given))


def forecaster_of(p: Any, fit: Fit) -> Forecaster:
    forecaster = Forecaster()
    forecaster.keep(p, fit)
    return forecaster


def forecast_of(values: HostArray, **given: Any) -> HostArray:
    """The quantiles (F, Q) of the next steps."""
    p = params(**SMALL | given)
    return forecaster_of(p, fit_series([series(values)], p)).forecast(series(values)).values


def smoothed(*arguments: Any) -> HostArray:
    """The forecasts of exponential smoothing alone."""
    return with_errors(*arguments)[0]
