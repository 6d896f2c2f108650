"""Parameters, models and forecasters for tests, without a complete training."""

from __future__ import annotations

from typing import Any

from xrnn.backend import Backend
from xrnn.select import get_backend
from xrnn.series import Forecaster
from xrnn.series.forecast.data import ForecastData
from xrnn.series.forecast.model import ForecastModel, plan
from xrnn.series.forecast.training import ForecastTraining
from xrnn.series.forecast.windows import ForecastFacts


def params(**given: Any) -> Any:
    """The checked parameters of a Forecaster."""
    return Forecaster(**given).check_params()


def changed(p: Any, **given: Any) -> Any:
    """`p` with other values."""
    return params(**{name: getattr(p, name) for name in Forecaster().get_params()} | given)


def model_of(p: Any, facts: ForecastFacts, backend: Backend) -> ForecastModel:
    return ForecastModel(plan(p, facts).make(backend), p, facts)


def training_of(p: Any, data: ForecastData, updates: int | None = None, backend: Any = "numpy") -> ForecastTraining:
    return ForecastTraining(p, data, get_backend(backend), updates)


def forecaster_of(training: ForecastTraining) -> Forecaster:
    """The estimator with the model of a training, whatever its state."""
    forecaster = Forecaster()
    forecaster._keep(training)
    return forecaster
