"""A forecaster of series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from xrnn.models.data.series import Series, check_sizes
from xrnn.models.forecast.data import mase_divisor, prepare
from xrnn.models.forecast.model import FORECASTER, TrainedForecaster
from xrnn.models.forecast.trainer import ForecastTrainer
from xrnn.series.estimator import Estimator, SeriesLike, as_series, check_count
from xrnn.typing import HostArray


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(Estimator):
    """The next `horizon` values of series: the model and the training of `xrnn forecast`, whose settings these are.

        forecaster = Forecaster(horizon=12, season=12).fit(X)      # X (n, T), (n, T, 1), or a list of (Tᵢ,)
        forecaster.predict()                                       # (n, 12), after the last values of X
        forecaster.predict(X_new)                                  # of other series
        forecaster.predict_quantiles(X_new)                        # (n, 12, Q); the quantiles are in levels_

        forecaster.fit(X, known=K)                                 # K (n, T, k) or a list of (Tᵢ, k): known columns
        forecaster.predict(known=K_future)                         # (n, 12, k), of the steps ahead
        forecaster.predict(X_new, known=K_new)                     # (n, T + 12, k), of the rows of X_new and the steps

    horizon          number of steps to forecast
    context          number of steps that a forecast is made from; 0: three seasons, or two horizons if longer
    season           steps in a season; 0: from the times of series that were read from files, else 1
    quantiles        to forecast besides the median: numbers between 0 and 1 with commas between them
    base             the forecast that the recurrent layers correct: "linear", or "naive", the seasonal naive one
    cell             "rnn", "lstm", "gru", or the name of a registered cell
    hidden, layers   size of the hidden state, and number of recurrent layers
    heads            number of heads; Wh connects only units of the same head
    dropout          probability of dropout, between layers and after the last one
    noise            added to the context in training, in standard deviations of the window
    decay            weight decay
    lr, batch        highest learning rate of Adam, and windows per update
    steps            number of updates
    seed             of all random draws: the same seed gives the same results

    NaN is a missing value, or padding after the last value. All rows are trained on. `save` writes the files of
    `xrnn forecast`. Raises ValueError for invalid parameters, and for series that are too short or constant.
    """

    horizon: int = 12
    context: int = 0
    season: int = 0
    quantiles: str = "0.1,0.9"
    base: str = "linear"
    cell: str = "gru"
    hidden: int = 32
    heads: int = 1
    layers: int = 1
    dropout: float = 0.2
    noise: float = 0.2
    decay: float = 0.03
    lr: float = 0.001
    batch: int = 64
    steps: int = 500
    seed: int = 0

    kind = FORECASTER
    trainer = ForecastTrainer
    trained = TrainedForecaster
    other_columns = True  # a forecast is made of later steps, which have other names

    def fit(self, X: SeriesLike, y: None = None, *, known: SeriesLike | None = None) -> Self:
        """Learn from series.   X (n, T), (n, T, 1), or a list of (Tᵢ,) or (Tᵢ, 1)

        known   columns whose future values will be given to `predict`: (n, T, k), or a list of (Tᵢ, k). Rows of padding
                are not used
        """
        check_count("steps", self.steps)
        settings, series = self._settings(), _with_known(_one_channel(X), known, 0, X=X)
        self._train(settings, prepare(series, settings, backtest=False), X, self.steps, lambda trainer: self.steps)
        self._series = series  # for `predict` without X
        return self

    @classmethod
    def load(cls, path: str | Path) -> Self:
        loaded = super().load(path)
        return loaded.set_params(steps=loaded._fitted().step)

    @property
    def levels_(self) -> tuple[float, ...]:
        """The quantiles, with the median."""
        levels: tuple[float, ...] = self._fitted().settings.levels
        return levels

    def predict(self, X: SeriesLike | None = None, *, known: SeriesLike | None = None) -> HostArray:
        """The medians of the next steps of X, or of the series of `fit` → (n, horizon) float64.

        known   the known columns of the steps ahead, after the last values of `fit`; with X, of its rows and the steps
                ahead. Rows after these are not used: X may be padded with NaN
        """
        medians: HostArray = self.predict_quantiles(X, known=known)[..., self.levels_.index(0.5)]
        return medians

    def predict_quantiles(self, X: SeriesLike | None = None, *, known: SeriesLike | None = None) -> HostArray:
        """The quantiles of the next steps → (n, horizon, Q) float64.   known: see `predict`"""
        if X is not None:
            self._check_features(X)
        return self._quantiles(X, known)

    def _quantiles(self, X: Any, known: Any) -> HostArray:
        trained, facts = self.trained_, self._fitted().facts
        series = vars(self).get("_series") if X is None else _one_channel(X)
        if series is None:
            raise ValueError("got no X, and a loaded Forecaster keeps no series: expected X; give the series")
        if known is not None or facts.known:
            series = _with_known(series, known, facts.horizon, facts.known, X=X)
        return np.stack([trained.forecast(each).values for each in series])

    def stream(self, rows: Iterable[HostArray]) -> Iterator[HostArray | None]:
        """The quantiles of the next steps (horizon, Q) after each row (1,) of a series; None while it is too short."""
        streamed: Iterator[HostArray | None] = self.trained_.stream(rows)
        return streamed

    def score(self, X: SeriesLike, y: None = None, *, known: SeriesLike | None = None) -> float:
        """-MASE of forecasts of the last `horizon` values of X from the values before them: 0 is perfect.

        known   of the rows of X
        """
        F, season = self._fitted().facts.horizon, self._fitted().facts.season
        self._check_features(X)
        series, trained = _with_known(_one_channel(X), known, 0, self._fitted().facts.known, X=X), self.trained_
        values = [each.values[:, 0] for each in series]
        if min(map(len, values)) <= F:
            raise ValueError(f"X has series of {min(map(len, values))} steps: expected more than the horizon of {F}")
        medians = np.stack([trained.forecast(each, len(each.values) - F).median for each in series])
        errors = np.abs(medians - [each[-F:] for each in values])
        divisors = [mase_divisor(each[:-F], season) for each in values]
        return -float(np.nanmean(errors / np.array(divisors)[:, None]))


def _one_channel(X: Any) -> list[Series]:
    series = as_series(X)
    if series[0].channels > 1:
        raise ValueError(f"X[0] has {series[0].channels} channels: expected one; X is (n, T), one series a row")
    return series


def _with_known(
    series: list[Series], known: Any, ahead: int, columns: int | None = None, *, X: Any = None
) -> list[Series]:
    """The series with known columns beside the target, whose values are missing in the `ahead` steps.

    known     for each series: (T + ahead, K); also (ahead, K) if the series has its known columns already
    columns   K of the model; None before `fit`
    X         the series with their padding, whose length T may have too

    Raises ValueError.
    """
    if known is None:
        if columns:
            raise ValueError(f"known is None: expected the {columns} known columns of `fit`; give known=")
        return series
    if columns == 0:
        raise ValueError("got known, but `fit` had no known columns: expected None; leave it out")
    if len(known) != len(series):
        raise ValueError(f"known has {len(known)} items: expected one for each of the {len(series)} series")
    together = []
    for i, (each, of_series) in enumerate(zip(series, known, strict=True)):
        given = np.asarray(of_series, dtype=np.float64)
        past = each.values[:, 1:]
        expected = (ahead if past.size else len(each.values) + ahead, past.shape[1] or columns)
        padded = 0 if X is None or isinstance(X[i], Series) else len(np.asarray(X[i])) + ahead
        given = given[: expected[0]] if given.ndim == 2 and len(given) == padded else given
        if given.ndim != 2 or given.shape[0] != expected[0] or given.shape[1] != (expected[1] or given.shape[1]):
            raise ValueError(f"known[{i}] has shape {given.shape}: expected {(expected[0], expected[1] or 'K')}")
        values = np.full((len(each.values) + ahead, 1 + given.shape[1]), np.nan)
        values[: len(each.values), 0] = each.values[:, 0]
        values[:, 1:] = np.concatenate([past, given]) if past.size else given
        check_sizes(values, f"known[{i}]")
        together.append(Series(values, each.label, each.name))
    return together
