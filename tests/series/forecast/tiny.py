"""Parameters and forecasters for tests."""

from __future__ import annotations

from typing import Any

from xrnn.series import Forecaster
from xrnn.series.forecast.fit import Fit


def params(**given: Any) -> Any:
    """The checked parameters of a Forecaster."""
    return Forecaster(**given).check_params()


def changed(p: Any, **given: Any) -> Any:
    """`p` with other values."""
    return params(**{name: getattr(p, name) for name in Forecaster().get_params()} | given)


def forecaster_of(p: Any, fit: Fit) -> Forecaster:
    forecaster = Forecaster()
    forecaster.keep(p, fit)
    return forecaster
