"""Parameters, series and forecasters for tests."""

from __future__ import annotations

from typing import Any, Final

from xrnn.series import Forecaster
from xrnn.series.forecast.fit import fit_series
from xrnn.series.forecast.series import OneSeries, Settings
from xrnn.series.forecast.smoothing import with_errors
from xrnn.series.one_series import Series
from xrnn.typing import HostArray

SMALL: Final[dict[str, Any]] = {"horizon": 4, "season": 4}
TINY: Final[dict[str, Any]] = {"horizon": 3, "season": 4}


def settings_of(**given: Any) -> Settings:
    """The settings of a Forecaster with these parameters."""
    return Forecaster(**given).check_params().settings


def series(values: HostArray, **more: Any) -> Series:
    return Series(values[:, None] if values.ndim == 1 else values, None, more.pop("name", "s"), **more)


def fit_of(values: HostArray, *, held_out: bool = False, **given: Any) -> OneSeries:
    """A series with the model that is fitted to it."""
    (one,) = fit_series([series(values)], settings_of(**SMALL | given), held_out=held_out)
    return one


def forecaster_of(*values: HostArray, **given: Any) -> Forecaster:
    forecaster = Forecaster(**SMALL | given)
    forecaster.learn([series(each) for each in values])
    return forecaster


def forecast_of(values: HostArray, **given: Any) -> HostArray:
    """The quantiles (F, Q) of the next steps."""
    return forecaster_of(values, **given).forecast(series(values)).forecast


def smoothed(*arguments: Any) -> HostArray:
    """The forecasts of exponential smoothing alone."""
    return with_errors(*arguments)[0]
