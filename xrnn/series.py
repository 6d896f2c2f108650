"""Estimators of time series in scikit-learn's conventions.

Importing this module needs NumPy only. If scikit-learn is installed, its base class is used: `clone` and grid searches
then work.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from xrnn.select import get_backend
from xrnn.typing import HostArray

if TYPE_CHECKING:
    from xrnn.jobs.series.series import Series

try:
    _Base: Any = importlib.import_module("sklearn.base").BaseEstimator
except ImportError:
    _Base = object


class Forecaster(_Base):  # type: ignore[misc]
    """The next `horizon` values of series: the model and the training of `xrnn forecast`, whose settings these are.

        forecaster = Forecaster(horizon=12, season=12).fit(X)      # X (n, T), (n, T, 1), or a list of (Tᵢ,)
        forecaster.predict()                                       # (n, 12), after the last values of X
        forecaster.predict(X_new)                                  # of other series
        forecaster.predict_quantiles(X_new)                        # (n, 12, Q); the quantiles are in levels_

    NaN is a missing value. All rows are trained on. The files that `save` writes are those of `xrnn forecast`, and
    `xrnn predict` reads them. Raises ValueError for invalid settings, and for series that are too short or constant.
    """

    def __init__(
        self,
        *,
        horizon: int = 12,
        context: int = 0,
        season: int = 1,
        quantiles: str = "0.1,0.9",
        cell: str = "gru",
        hidden: int = 32,
        layers: int = 1,
        dropout: float = 0.2,
        noise: float = 0.2,
        decay: float = 0.03,
        lr: float = 0.001,
        batch: int = 64,
        steps: int = 500,
        seed: int = 0,
    ) -> None:
        self.horizon, self.context, self.season, self.quantiles = horizon, context, season, quantiles
        self.cell, self.hidden, self.layers, self.dropout = cell, hidden, layers, dropout
        self.noise, self.decay, self.lr, self.batch = noise, decay, lr, batch
        self.steps, self.seed = steps, seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Raises ValueError for an unknown name."""
        names = list(self.get_params())
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name} is no parameter of Forecaster: expected {', '.join(names)}")
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: None = None) -> Self:
        """Learn from series.   X (n, T), (n, T, 1), or a list of (Tᵢ,) or (Tᵢ, 1)"""
        from xrnn.jobs.errors import JobError
        from xrnn.jobs.forecast.data import prepare
        from xrnn.jobs.forecast.forecast_settings import ForecastSettings
        from xrnn.jobs.forecast.forecast_trainer import ForecastTrainer

        series = _as_series(X)
        settings = {name: value for name, value in self.get_params().items() if name != "steps"}
        try:
            given = ForecastSettings(**settings)
            trainer = ForecastTrainer(given, prepare(series, given, backtest=False), get_backend())
            for _ in range(self.steps):
                trainer.step()
            self._use(trainer.snapshot())
        except JobError as error:
            raise ValueError(str(error)) from error
        self._remember(series, trainer.losses)
        return self

    def predict(self, X: Any = None) -> HostArray:
        """The medians of the next steps of X, or of the series of `fit` → (n, horizon) float64."""
        medians: HostArray = self.predict_quantiles(X)[..., self._fitted().settings.levels.index(0.5)]
        return medians

    def predict_quantiles(self, X: Any = None) -> HostArray:
        """The quantiles of the next steps → (n, horizon, Q) float64."""
        from xrnn.jobs.errors import JobError

        forecasting = self._fitted()
        series = self._series if X is None else _as_series(X)
        if series is None:
            raise ValueError("got no X, and a loaded Forecaster keeps no series: expected X; give the series")
        try:
            return np.stack([forecasting.forecast(each).values for each in series])
        except JobError as error:
            raise ValueError(str(error)) from error

    def score(self, X: Any, y: None = None) -> float:
        """-MASE of forecasts of the last `horizon` values of X from the values before them: 0 is perfect."""
        from xrnn.jobs.forecast.evaluate import seasonal_differences

        F, season = self._fitted().shape.horizon, self._fitted().shape.season
        values = [each.values[:, 0] for each in _as_series(X)]
        if min(map(len, values)) <= F:
            raise ValueError(f"X has series of {min(map(len, values))} steps: expected more than the horizon of {F}")
        errors = np.abs(self.predict([each[:-F] for each in values]) - [each[-F:] for each in values])
        units = [seasonal_differences(each[:-F], season) or 1.0 for each in values]
        return -float(np.nanmean(errors / np.array(units)[:, None]))

    def save(self, path: str | Path) -> None:
        """Write a checkpoint of `xrnn forecast`."""
        from xrnn.jobs.forecast.forecast_checkpoint import FORECAST_CHECKPOINTS

        self._fitted()
        FORECAST_CHECKPOINTS.save(Path(path), self._snapshot)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The forecaster in a checkpoint of `xrnn forecast` or of `save`."""
        from xrnn.jobs.forecast.forecast_checkpoint import FORECAST_CHECKPOINTS

        snapshot = FORECAST_CHECKPOINTS.load(Path(path))
        loaded = cls()
        names = [name for name in loaded.get_params() if name != "steps"]
        loaded.set_params(**{name: getattr(snapshot.settings, name) for name in names}, steps=snapshot.step)
        loaded._remember(None, snapshot.arrays["losses"].tolist())
        loaded._use(snapshot)
        return loaded

    def _remember(self, series: list[Series] | None, losses: list[float]) -> None:
        self._series, self.losses_ = series, losses

    def _use(self, snapshot: Any) -> None:
        from xrnn.jobs.forecast.predict import Forecasting

        self._snapshot, self.forecasting_ = snapshot, Forecasting(snapshot)
        self.levels_ = self.forecasting_.settings.levels

    def _fitted(self) -> Any:
        if not hasattr(self, "forecasting_"):
            raise ValueError("this Forecaster is not fitted: expected `fit` first; call fit(X)")
        return self.forecasting_


def _as_series(X: Any) -> list[Series]:
    """Raises ValueError."""
    from xrnn.jobs.errors import JobError
    from xrnn.jobs.series.series import checked

    series: list[Series] = []
    for i, each in enumerate(X):
        values = np.asarray(each, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != 1:
            raise ValueError(
                f"X[{i}] has shape {np.shape(each)}: expected (T,) or (T, 1); X is (n, T), one series a row"
            )
        try:
            series.append(checked(values, None, f"X[{i}]"))
        except JobError as error:
            raise ValueError(str(error)) from error
    if not series:
        raise ValueError("X holds no series: expected at least one")
    return series
