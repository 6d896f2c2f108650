"""A forecaster of series."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from xrnn.files import write_own
from xrnn.models.checkpoint import Kind, Snapshot
from xrnn.models.errors import DataError
from xrnn.models.forecast.data import TOO_FEW, fingerprint, listed, mase_divisor, prepare
from xrnn.models.forecast.model import FORECASTER, Forecast, TrainedForecaster, naive_forecasts
from xrnn.models.forecast.trainer import DEFAULT_STEPS, ForecastTrainer
from xrnn.select import get_backend
from xrnn.series.checks import Series, check_sizes
from xrnn.series.estimator import Estimator, unfitted
from xrnn.series.frames import Form, Names, from_frame, is_frame, names_of
from xrnn.series.inputs import as_numbers, as_series, check_count, feature_names
from xrnn.typing import HostArray


class _Estimator:
    """Each field of a subclass is a parameter: a setting of the model, or the length of the training.

    losses_             the training loss of every update
    feature_names_in_   the names of the columns of X in `fit`, if X was a DataFrame or a list of them
    """

    kind: ClassVar[Kind[Any]]
    trainer: ClassVar[Any]  # the class of the trainer
    trained: ClassVar[Any]  # the class of the trained model

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Raises ValueError for an unknown name."""
        names = list(self.get_params())
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"{name} is no parameter of {type(self).__name__}: expected {', '.join(names)}")
            setattr(self, name, value)
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a checkpoint, which the commands can read.

        overwrite   replace any file at `path`. By default, only an empty file or a checkpoint of the same kind of
                    estimator or command is replaced

        Raises FileExistsError for another file, OSError if the file can't be written, and ValueError if the estimator
        is not fitted.
        """
        content = self.kind.content(self._fitted())
        write_own(path, content, f"{type(self).__name__}.save", self.kind.wrote, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        snapshot = cls.kind.load(Path(path))
        loaded = cls()
        settings = {name: getattr(snapshot.settings, name) for name in loaded._setting_names}
        loaded.set_params(**settings)
        loaded._snapshot = snapshot
        return loaded

    @property
    def trained_(self) -> Any:
        """The trained model, a TrainedModel or a TrainedForecaster."""
        return self.trained(self._fitted())

    @property
    def losses_(self) -> list[float]:
        losses: list[float] = self._fitted().arrays["losses"].tolist()
        return losses

    @property
    def feature_names_in_(self) -> HostArray:
        if (names := self._fitted().feature_names) is None:
            raise AttributeError(f"this {type(self).__name__} was fitted without feature names")
        return np.array(names, dtype=object)

    def _settings(self) -> Any:
        """The settings with the values of the parameters.   Raises ValueError."""
        given = {name: self._setting(name) for name in self._setting_names}
        return self.kind.settings.of(
            {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        )

    def _setting(self, name: str) -> Any:
        """The value of a setting, from that of its parameter."""
        return getattr(self, name)

    def _train(self, settings: Any, data: Any, X: Any, upto: int | None, updates: Callable[[Any], int]) -> None:
        """updates: the trainer → the number of updates.   upto: see `Snapshot`.   Raises ValueError."""
        names = feature_names(X)
        trainer = self.trainer(settings, data, get_backend())
        trainer.upto = upto
        last = updates(trainer)
        trainer.run(lambda: trainer.steps >= last)
        trainer.calibrate()
        self._snapshot: Snapshot[Any] = replace(trainer.snapshot(), feature_names=names)
        if hasattr(X, "__array__"):  # scikit-learn's convention for arrays, whose second axis is time here
            self.n_features_in_ = np.asarray(X).shape[1]

    def _fitted(self) -> Snapshot[Any]:
        if not self.__sklearn_is_fitted__():
            raise unfitted(self)
        return self._snapshot

    @property
    def _setting_names(self) -> list[str]:
        """The parameters that are settings."""
        return [each.name for each in fields(self.kind.settings) if each.name in self.get_params()]

    def __sklearn_is_fitted__(self) -> bool:
        return "_snapshot" in vars(self)

    estimator_type: ClassVar[str | None] = None
    __sklearn_tags__ = Estimator.__sklearn_tags__
    __repr__ = Estimator.__repr__


@dataclass(eq=False, repr=False, kw_only=True)
class Forecaster(_Estimator):
    """The next `horizon` values of series: the model and the training of `xrnn forecast`, whose settings these are.

        forecaster = Forecaster(horizon=12, season=12).fit(X)      # X (n, T), (n, T, 1), or a list of (Tᵢ,)
        forecaster.predict()                                       # (n, 12), after the last values of X
        forecaster.predict(X_new)                                  # of other series
        forecaster.predict_quantiles(X_new)                        # (n, 12, Q); the quantiles are in levels_

        forecaster.fit(X, known=K)                                 # K (n, T, k) or a list of (Tᵢ, k): known columns
        forecaster.predict(known=K_future)                         # (n, 12, k), of the steps ahead
        forecaster.predict(X_new, known=K_new)                     # (n, T + 12, k), of the rows of X_new and the steps

    With pandas, a Series is one series. A DataFrame is wide, with a column for each series, if its index holds times.
    It is long if `id` names the column that tells the series apart. If only `target` is given, it holds one series.
    Forecasts then have the same form, and the season follows from the times:

        Forecaster(horizon=12).fit(y).predict()                    # y: a Series → a Series with the next times
        Forecaster(horizon=12, id="shop", time="day", target="sold", known="price").fit(table).predict(known=later)

    horizon          number of steps to forecast
    context          number of steps that a forecast is made from; 0: three seasons, or two horizons if longer
    season           steps in a season; 0: from the times of pandas' objects and of files, else 1
    quantiles        to forecast besides the median: a list of numbers between 0 and 1, or text with commas between them
    calendar         "auto": a second season from the times, the week or the year, if it helps on left-out rows; or
                     "none"
    cell             "rnn", "lstm", "gru", "min-gru", "min-lstm", "slstm", "lru", or the name of a registered cell
    hidden, layers   size of the hidden state, and number of recurrent layers
    heads            number of heads; Wh connects only units of the same head
    dropout          probability of dropout, between layers and after the last one
    noise            added to the context in training, in standard deviations of the window
    decay            weight decay
    lr, batch        highest learning rate of Adam, 0 to choose it by left-out windows; and windows per update
    steps            number of updates; None to choose it by left-out windows, up to 500
    seed             of all random draws: the same seed gives the same results
    id, time, target, known   names of columns of a DataFrame; known: a list, or text with commas between the names

    NaN is a missing value, or padding after the last value. All rows are trained on. `save` writes the files of
    `xrnn forecast`. Raises ValueError for invalid parameters, and if all series are too short or constant. If only
    some are, a warning names them. Forecasts of series that are too short for the model repeat their last values.
    """

    horizon: int = 12
    context: int = 0
    season: int = 0
    quantiles: str | Sequence[float] = "0.1,0.9"
    calendar: str = "auto"
    cell: str = "gru"
    hidden: int = 32
    heads: int = 1
    layers: int = 1
    dropout: float = 0.2
    noise: float = 0.2
    decay: float = 0.03
    lr: float = 0.0
    batch: int = 64
    steps: int | None = None
    seed: int = 0
    id: str = ""
    time: str = ""
    target: str = ""
    known: str | Sequence[str] = ""

    kind = FORECASTER
    trainer = ForecastTrainer
    trained = TrainedForecaster

    def fit(self, X: Any, y: None = None, *, known: Any = None) -> Self:
        """Learn from series.   X (n, T), (n, T, 1), a list of (Tᵢ,) or (Tᵢ, 1), or pandas' Series or DataFrame

        known   columns whose future values will be given to `predict`: (n, T, k), or a list of (Tᵢ, k). Rows of padding
                are not used. With a Series or a wide DataFrame: a DataFrame with the same index, maybe with later rows
        """
        series, form = self._read(X, known, 0)
        self._fit(series, series if form else X)
        self._form = form
        return self

    def _fit(self, series: list[Series], X: Any) -> None:
        """X: what the estimator was given"""
        if self.steps is not None:
            check_count("steps", self.steps)
        settings = self._settings()
        data = prepare(series, settings, backtest=False)
        if data.left_out:
            warnings.warn(data.left_out, stacklevel=3)
        self._train(settings, data, X, self.steps, lambda trainer: self.steps or DEFAULT_STEPS)
        self._series = series  # for `predict` without X

    def _read(self, X: Any, known: Any, ahead: int, columns: int | None = None) -> tuple[list[Series], Form | None]:
        """The series in X with known columns of `ahead` later rows, and the form of a pandas object.

        columns   the number of known columns of the model; None before `fit`

        Raises ValueError.
        """
        names = Names(self.id, self.time, self.target, names_of(self.known))
        if is_frame(X, names):
            return from_frame(X, known, names)
        series = _one_channel(X)
        if known is None and ahead and not columns:
            return series, None
        return _with_known(series, known, ahead, columns, X=X), None

    def _setting(self, name: str) -> Any:
        value = super()._setting(name)
        if name in ("quantiles", "known") and not isinstance(value, str):
            return ",".join(map(str, np.atleast_1d(value).tolist()))
        return value

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator in a file that `save` or the command wrote.   Raises ValueError."""
        loaded = super().load(path)
        return loaded.set_params(steps=loaded._fitted().upto)

    @property
    def levels_(self) -> tuple[float, ...]:
        """The quantiles, with the median."""
        levels: tuple[float, ...] = self._fitted().settings.levels
        return levels

    def predict(self, X: Any = None, *, known: Any = None) -> Any:
        """The medians of the next steps of X, or of the series of `fit` → (n, horizon) float64, or as X in pandas.

        known   the known columns of the steps ahead, after the last values of `fit`; with X, of its rows and the steps
                ahead. Rows after these are not used: X may be padded with NaN. In pandas, a DataFrame with the times or
                the columns of that of `fit`, whose rows up to the last values are not used
        """
        return self._predict(X, known, self.levels_.index(0.5))

    def predict_quantiles(self, X: Any = None, *, known: Any = None) -> Any:
        """The quantiles of the next steps → (n, horizon, Q) float64.   known: see `predict`

        In pandas, a column for each quantile; of a wide DataFrame, the columns (series, quantile).
        """
        return self._predict(X, known, None)

    def _predict(self, X: Any, known: Any, level: int | None) -> Any:
        """level: the number of the quantile; None for all"""
        trained, facts = self.trained_, self._fitted().facts
        if X is not None:
            series, form = self._read(X, known, facts.horizon, facts.known)
        else:
            if "_series" not in vars(self):
                raise ValueError("got no X, and a loaded Forecaster keeps no series: expected X; give the series")
            series, form = self._series, self._form
            if form:
                series = form.extended(series, known) if known is not None else series
            elif known is not None or facts.known:
                series = _with_known(series, known, facts.horizon, facts.known)
        forecasts = _forecasts(trained, [(each, None) for each in series], stacklevel=4)
        if form:
            return form.values(forecasts, level)
        values = np.stack([each.values for each in forecasts])
        return values if level is None else values[..., level]

    def score(self, X: Any, y: None = None, *, known: Any = None) -> float:
        """-MASE of forecasts of the last `horizon` values of X from the values before them: 0 is perfect.

        The mean over series. A series whose known values do not change before its last `horizon` values has no MASE: it
        is left out, with a warning. Raises ValueError if all are. Also warns if X is the data of `fit`, which the model
        has learnt.

        known   the known columns of the rows of X
        """
        F, season, trained = self._fitted().facts.horizon, self._fitted().facts.season, self.trained_
        series, _ = self._read(X, known, 0, self._fitted().facts.known)
        if fingerprint(series) == self._fitted().fingerprint:
            warnings.warn(
                "X is the data of `fit`, whose last values the model has learnt: expected later or other series; use "
                "cross_validation(X)",
                stacklevel=2,
            )
        targets = [each.values[: _rows(each), 0] for each in series]
        if (rows := min(map(len, targets))) <= F:
            raise ValueError(f"X has series of {rows} steps: expected more than the horizon of {F}")
        cuts = [(each, len(values) - F) for each, values in zip(series, targets, strict=True)]
        scores = np.array(
            [
                np.nanmean(np.abs(forecast.median - values[-F:])) / mase_divisor(values[:-F], season)
                for values, forecast in zip(targets, _forecasts(trained, cuts, stacklevel=3), strict=True)
            ]
        )
        if undefined := [each.id or each.name for each, score in zip(series, scores, strict=True) if np.isnan(score)]:
            line = f"not scored: {listed(undefined, len(series))}: {TOO_FEW}"
            if len(undefined) == len(series):
                raise ValueError(f"{line}; give series that change before their last {F} values")
            warnings.warn(line, stacklevel=2)
        return -float(np.nanmean(scores))

    def cross_validation(
        self, X: Any, horizon: int | None = None, step: int | None = None, windows: int = 3, *, known: Any = None
    ) -> Any:
        """Forecasts of the last rows of X, by models that are trained only on the rows before each cutoff.

        The cutoffs are `step` rows apart, the last one a horizon before the end. Returns a table with a row for each
        series, cutoff and step ahead: a dict of columns, or a DataFrame if X is pandas' own. The columns are `series`;
        `cutoff`, the time of the last row that the model saw, or the number of rows; `step`, from 1; `time`; `value`;
        and the quantiles, by their text: "0.1".

        horizon   None: that of the estimator
        step      None: the horizon
        known     the known columns of the rows of X

        A series without values before a cutoff is left out there, with a warning. Raises ValueError if all are.
        """
        F = self.horizon if horizon is None else horizon
        step = F if step is None else step
        for name, value in (("horizon", F), ("step", step), ("windows", windows)):
            check_count(name, value)
        series, form = self._read(X, known, 0)
        keys = form.keys if form else range(len(series))
        model = type(self)(**self.get_params() | {"horizon": F})
        table: dict[str, list[Any]] = {}
        # with the number of rows from the first value to the last
        parts = [(key, each, _rows(each) - _missing_rows(each)) for key, each in zip(keys, series, strict=True)]
        farthest = F + (windows - 1) * step
        short = [str(key) for key, _, rows in parts if rows <= farthest]
        if len(short) == len(parts):
            raise ValueError(
                f"X has series of at most {max(rows for *_, rows in parts)} rows: expected more than the {farthest} "
                "after the first cutoff; lower windows, step or horizon"
            )
        if short:
            warnings.warn(f"no value before the first cutoffs: {listed(short, len(parts))}", stacklevel=2)
        for back in range(farthest, F - 1, -step):
            used = [(key, each, _rows(each) - back) for key, each, rows in parts if rows > back]
            seen = [_first_rows(each, cut) for _, each, cut in used]
            model._fit(seen, seen)
            forecasts = _forecasts(model.trained_, [(each, cut) for _, each, cut in used], stacklevel=3)
            for (key, each, cut), of_series in zip(used, forecasts, strict=True):
                times = each.times or range(1, len(each.values) + 1)
                for row, forecast in enumerate(of_series.values.tolist(), start=cut):
                    columns = {
                        "series": key,
                        "cutoff": times[cut - 1],
                        "step": row - cut + 1,
                        "time": times[row],
                        "value": float(each.values[row, 0]),
                    } | {f"{q:g}": value for q, value in zip(model.levels_, forecast, strict=True)}
                    for name, value in columns.items():
                        table.setdefault(name, []).append(value)
        if form:
            indices = {name: form.index(table[name]) for name in ("cutoff", "time")}
            return importlib.import_module("pandas").DataFrame(table | indices)
        return {name: np.array(column) for name, column in table.items()}


def _rows(series: Series) -> int:
    """The number of rows up to the last value of the target."""
    return int(np.flatnonzero(~np.isnan(series.values[:, 0]))[-1]) + 1


def _missing_rows(series: Series) -> int:
    """The number of rows before the first value of the target."""
    return int(np.flatnonzero(~np.isnan(series.values[:, 0]))[0])


def _forecasts(
    trained: TrainedForecaster, parts: Sequence[tuple[Series, int | None]], *, stacklevel: int
) -> list[Forecast]:
    """The forecast of each series after its first rows, None for all. Warns if some forecasts are naive."""
    forecasts = [trained.forecast(each, rows) for each, rows in parts]
    if line := naive_forecasts(forecasts):
        warnings.warn(str(DataError(line)), stacklevel=stacklevel)
    return forecasts


def _first_rows(series: Series, count: int) -> Series:
    return replace(series, values=series.values[:count], times=series.times and series.times[:count])


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
        given = as_numbers(of_series, f"known[{i}]")
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
