"""A forecaster of series, and its forecasts."""

from __future__ import annotations

import importlib
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

import numpy as np

from xrnn.checks import check_size
from xrnn.files import printable, quoted
from xrnn.series.errors import DataError
from xrnn.series.estimator import Estimator, parse_quantiles
from xrnn.series.forecast.closed_days import without_closed_days
from xrnn.series.forecast.effects import Effect, effects
from xrnn.series.forecast.fit import as_fitted, drift, fit_series, scores_of, seasonal_naive
from xrnn.series.forecast.linear import are_enough
from xrnn.series.forecast.series import LEAST_ROWS, TOO_FEW, Model, OneSeries, Settings, fill, first_row
from xrnn.series.inputs import as_series, with_known
from xrnn.series.one_series import Series, checked, is_complete, left_out_line
from xrnn.series.reading.frames import Form, form_of
from xrnn.series.reading.tables import names_in
from xrnn.series.scale import Scale
from xrnn.series.steps import show, weekday_names

_MOST_NAMED: Final = 5  # outliers of a series


def listed(what: str, names: Sequence[str], count: int, why: str = TOO_FEW) -> str:
    """A line: which of `count` series are `what`, and why; empty if none is."""
    return f"{what} {len(names):,} of {count:,} series ({quoted(', '.join(names))}): {why}" if names else ""


def complete_places(series: Sequence[Series]) -> list[int]:
    """The places of the series that have a value in each column.   Raises DataError if none has."""
    places = [i for i, each in enumerate(series) if is_complete(each)]
    if not places:
        checked(series[0], to_forecast=True)  # it raises the error
    return places


def naive_forecasts(series: Sequence[OneSeries]) -> str:
    """A line: which forecasts are naive; empty if none is."""
    return listed("naive forecasts for", [one.id for one in series if one.flawed], len(series))


def notes_on_new(series: Sequence[OneSeries], show_param: Callable[[str], str] = str) -> list[str]:
    """Lines about series to predict: which are short, which have no logarithms, and which values are left out.

    show_param   see `closed_lines`
    """
    short = [one.id for one in series if one.is_short and not one.flawed]
    too_short = f"fewer rows than the {series[0].model.context} that the model reads; give the complete history"
    without_logs = [one.id for one in series if one.model.log and one.has_no_logs]
    new = "they have values of 0 or below, unlike the series of the training; correct these values if they are errors"
    lines = [
        listed("wider intervals for", short, len(series), too_short),
        listed("forecasts without logarithms for", without_logs, len(series), new),
    ]
    return [*filter(None, lines), *closed_lines(series, show_param), *outlier_lines(series), *wrong_known_lines(series)]


def closed_lines(series: Sequence[OneSeries], show_param: Callable[[str], str] = str) -> list[str]:
    """Lines about rows that are left out, of closed days or of rarely open weekdays; [] without any.

    show_param   the text for the name of a parameter, such as that of its option
    """
    lines = []
    if found := [one for one in series if one.given.idle_rows]:
        count = sum(one.given.idle_rows for one in found)
        lines.append(
            f"{_name_or_count(found)}: {count:,} rows of 0 or empty cells count as closed days, and steps are "
            f"{found[0].model.step}; closed days are neither forecast nor scored; if the rows are of open days, give "
            f"{show_param('season')} 7"
        )
    if found := [one for one in series if one.given.rare_rows]:
        days = [day for one in found for day in one.given.rare_rows]
        weekdays = weekday_names({day.weekday() for day in days if isinstance(day, datetime)})
        what = (
            f"the open {weekdays} {show(days[0])} is" if len(days) == 1 else f"{len(days)} open days on {weekdays} are"
        )
        first = "" if len(days) == 1 else f", the first of them {show(days[0])}"
        lines.append(
            f"{_name_or_count(found)}: {what} left out{first}, since nearly all others there are closed, and "
            f"steps are {found[0].model.step}; to keep them, give a row of 0 for each closed day, and "
            f"{show_param('season')} 7"
        )
    return lines


def _name_or_count(series: Sequence[OneSeries]) -> str:
    return printable(series[0].name) if len(series) == 1 else f"{len(series):,} series"


def known_lines(series: Sequence[OneSeries]) -> list[str]:
    """A line for each series with known values ahead that are far outside those of the rows before."""
    lines = []
    for one in series:
        found = [] if one.flawed else one.new_known()
        if not found:
            continue
        row, k, least, greatest = found[0]
        column = f"known column {quoted(known_name(one, k))}"
        value = f"{one.given.values[row, 1 + k]:.6g} in {_place(one, row)}"
        more = f" ({len(found):,} such values)" if len(found) > 1 else ""
        before = f"and from {least:.6g} to {greatest:.6g} in the rows before the forecast"
        if least == greatest:
            before = f"and {least:.6g} in all rows before the forecast, so its effect is unknown"
        lines.append(f"{printable(one.name)}: {column} is {value}, {before}{more}; correct it if it is a typing error")
    return lines


def wrong_known_lines(series: Sequence[OneSeries]) -> list[str]:
    """A line for each series with known values before the forecast that count as typing errors."""
    lines = []
    for one in series:
        found = [
            f"column {quoted(known_name(one, k))} is {one.given.values[row, 1 + k]:.6g} in {_place(one, row)}, and "
            f"from {least:.6g} to {greatest:.6g} in the others"
            for (row, k), (least, greatest) in one.left_out.known.items()
        ]
        if found:
            what = "known values that look like typing errors, so that their rows are left out; correct them"
            lines.append(f"{printable(one.name)}: {what}: {_first(found)}")
    return lines


def effect_lines(series: Sequence[OneSeries]) -> list[str]:
    """Lines about the known columns that have no effect in the fit of these series, and why."""
    model = series[0].model
    used = [one for one in series if not one.flawed]
    if not (model.known and used):
        return []
    m = model.season
    K = model.known
    columns = [one.columns[: one.cut, : model.known] for one in used]
    never_changes = np.all([np.ptp(column, axis=0) == 0 for column in columns], axis=0)
    is_seasonal = np.all([(column[m:] == column[:-m]).all(axis=0) for column in columns], axis=0) & ~never_changes
    reasons = {
        "never change in the rows before the forecast": never_changes,
        "are the same in each season": is_seasonal,
    }
    changes = sum(int((~np.isnan(one.changes()[0])).sum()) for one in used)
    lines = list[str]()
    if not are_enough(changes, len(model.effect)):
        del reasons["are the same in each season"]  # of so few rows, this may be chance
        if not never_changes.all():
            lines.append(
                f"the known columns are not used: finding their effect takes {len(model.effect) + 2:,} changes over a "
                f"season, and the rows have {changes:,}; give more rows{', or fewer known columns' if K > 1 else ''}"
            )
    return lines + [
        f"known columns that {reason} are not used: "
        + quoted(", ".join(known_name(used[0], k) for k in np.flatnonzero(applies).tolist()))
        for reason, applies in reasons.items()
        if applies.any()
    ]


def known_name(one: OneSeries, k: int) -> str:
    """The name of a known column; its number, from 1, if it has none."""
    names = one.given.channel_names
    return names[1 + k] if names else str(k + 1)


def known_names(one: OneSeries) -> list[str]:
    """The names of all known columns."""
    return [known_name(one, k) for k in range(one.model.known)]


def outlier_lines(series: Sequence[OneSeries]) -> list[str]:
    """Lines for each series: which values are left out of the fit, and which last ones may be errors or a new level."""
    lines = []
    for one in series:
        found = [_outlier(one, row, expected) for row, expected in one.left_out.outliers.items()]
        if found:
            why = "values far from those of the rows around are left out of the fit"
            lines.append(f"{printable(one.name)}: {why}: {_first(found)}")
        if one.constant is not None:
            lines.append(
                f"{printable(one.name)}: all values before {_place(one, 0)} are {one.constant:.6g}, and none later; "
                f"only the {one.cut:,} rows after them are used"
            )
        if one.left_out.factor != 1:
            lines.append(_change_of_unit(one))
        elif new_level := one.left_out.new_level:
            shown = "; ".join(_outlier(one, row, expected) for row, expected in new_level.items())
            lines.append(
                f"{printable(one.name)}: the last values may be errors or a new level, so the forecast follows them, "
                f"and its intervals reach to the level before: {shown}; correct them if they are errors"
            )
    return lines


def _change_of_unit(one: OneSeries) -> str:
    rows, factor = one.left_out.new_level, one.left_out.factor
    times = f"{factor:g} times" if factor > 1 else f"1/{1 / factor:.0f} of"
    convert = f"divides them by {factor:g}" if factor > 1 else f"multiplies them by {1 / factor:.0f}"
    return (
        f"{printable(one.name)}: the last {len(rows)} values, from {_place(one, min(rows))} on, are about {times} "
        f"those before. The fit {convert}, and the forecast is of their size; if the unit has changed, give all rows "
        "in one unit"
    )


def _first(found: Sequence[str]) -> str:
    """The first of these, and how many more there are."""
    more = [f"and {len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
    return "; ".join([*found[:_MOST_NAMED], *more])


def _outlier(one: OneSeries, row: int, expected: float) -> str:
    """ "2024-06-28: 48,000, 9.2 times the usual 5,213". Beside values around 0, a ratio would say nothing."""
    value = float(one.target[row])
    usual = f"the usual is {expected:,.4g}"
    if (one.seen > 0).all() and 1.5 < (ratio := value / expected) < 1e3:
        usual = f"{ratio:.{0 if ratio > 10 else 1}f} times the usual {expected:,.4g}"
    return f"{_place(one, row)}: {value:,.6g}, {usual}"


def _place(one: OneSeries, row: int) -> str:
    times = one.given.times or ()
    return show(times[row]) if row < len(times) else f"row {row + 1 + one.skipped}"


def _scores(one: OneSeries) -> dict[str, float]:
    """The scores of the forecast of a series whose values ahead are known, by name; NaN for an unknown score."""
    m = one.model.season
    cut = one.cut
    origins = np.array([one.cut])
    past = fill(one.target[:cut], m)
    rows = one.rows_ahead
    actual = one.target[None, rows]
    steps = int(rows[-1]) + 1 - cut
    known = ~np.isnan(actual[0])
    others = {"naive": seasonal_naive(past, origins, steps, 1), "drift": drift(past, origins, steps)}
    if m <= cut:
        others["seasonal_naive"] = seasonal_naive(past, origins, steps, m)
    others = {name: values[:, rows - cut] for name, values in others.items()}
    of_model, of_others = ("mase", "smape", "coverage", "pinball"), ("naive", "seasonal_naive", "drift")
    scores = dict.fromkeys((*of_model, *(f"mase_{name}" for name in of_others)), np.nan)
    if known.any():
        others = {name: values[:, known] for name, values in others.items()}
        quantiles = one.forecast[None, known]
        found = scores_of(actual[:, known], quantiles, others, one.model.levels, one.mase_divisor)
        scores |= {name: found["model"][name] for name in of_model}
        scores |= {f"mase_{name}": found[name]["mase"] for name in others}
    return scores


@dataclass(eq=False, kw_only=True)
class Forecaster(Estimator):
    """The next `horizon` values of series: the model of `xrnn forecast`, whose options these are.

        forecaster = Forecaster(horizon=12, season=12).fit(X)      # X (n, T), (n, T, 1), or a list of (Tᵢ,)
        forecaster.predict()                                       # (n, 12), after the last values of X
        forecaster.predict(X_new)                                  # of other series
        forecaster.predict(horizon=6)                              # (n, 6), fewer steps
        forecaster.predict_quantiles(X_new)                        # (n, 12, Q); the quantiles are in levels_

        forecaster.fit(X, known=K)                                 # K (n, T, k) or a list of (Tᵢ, k): known columns
        forecaster.predict(known=K_future)                         # (n, 12, k), of the steps ahead
        forecaster.predict(X_new, known=K_new)                     # (n, T + 12, k), of the rows of X_new and the steps

    With pandas, a Series is one series. A DataFrame is wide, with a column for each series, if its index holds times.
    It is long if `id` names the column that tells the series apart. If only `target` is given, it holds one series.
    Names may be numbers. Forecasts then have the same form, and the season follows from the times:

        Forecaster(horizon=12).fit(y).predict()                    # y: a Series → a Series with the next times
        Forecaster(horizon=12, id="shop", time="day", target="sold", known="price").fit(table)

    horizon          number of steps to forecast: 14 for two weeks of days; closed days without rows are no steps
    season           steps after which the pattern of the values comes again: 7 for a week of days. 0: from the times
                     (12 if monthly, 7 if daily, …), or 1 without times
    quantiles        quantiles to forecast besides the median; 80 % of the values should lie between 0.1 and 0.9
    id               column with the name of the series of each row, such as shop; without it, a table is one series
    time             column of times, or two, such as year,month; by default the column of dates
    target           column to forecast; by default the only one
    known            columns whose values in the steps ahead are known, too, such as price,promotion. They stand in
                     rows after the last value of the target, with an empty target

    In Python, an index of a DataFrame that holds times comes before a column of dates.

    NaN is a missing value, or padding after the last value. A series without a value to forecast, or without one in a
    known column, is left out, and a warning names it: its forecasts are NaN; in pandas it has none. All rows are
    trained on. `save` writes the files of `xrnn forecast`. Raises ValueError for invalid parameters, and if all series
    are too short or constant. If only some are, their forecasts repeat their last values, and a warning names them. A
    value that is far from those of the rows around is left out of the fit, and a warning names it. A warning also names
    two or three last values that may be errors or a new level: the forecast follows them. It also says if the last
    values are 10, 100 or 1000 times those before, or such a share of them, as after a change of unit: the forecast has
    their unit.
    """

    horizon: int = 12
    season: int = 0
    quantiles: str | Sequence[float] = "0.1,0.9"
    id: str = ""
    time: str = ""
    target: str = ""
    known: str | Sequence[str] = ""
    model_: Model = field(init=False, repr=False)  # from `fit`

    job = "xrnn forecaster"
    writer = "xrnn forecast"

    def fit(self, X: Any, y: None = None, *, known: Any = None) -> Self:
        """Learn from series.   X (n, T), (n, T, 1), a list of (Tᵢ,) or (Tᵢ, 1), or pandas' Series or DataFrame

        known   columns whose future values will be given to `predict`: (n, T, k), or a list of (Tᵢ, k). Rows of padding
                are not used. In a DataFrame, they are columns that Forecaster(known=) names
        """
        series, form = self._read(X, known, 0)
        places = complete_places(series)
        fitted = self.learn([series[i] for i in places])
        if line := left_out_line(series):
            warnings.warn(line, stacklevel=2)
        for line in [*closed_lines(fitted), *outlier_lines(fitted), *wrong_known_lines(fitted), *effect_lines(fitted)]:
            warnings.warn(line, stacklevel=2)
        if getattr(X, "ndim", 0) > 1:
            self.n_features_in_ = X.shape[1]  # as in scikit-learn
        self._last = series, form  # for `predict` without X
        keys = form.ids if form else range(len(series))
        self._effects = effects(fitted, known_names(fitted[0]), [keys[i] for i in places])
        return self

    def learn(self, series: Sequence[Series]) -> list[OneSeries]:
        """Learn from series, the known columns beside the target → these series, with the model.   Raises DataError."""
        params = self.check_params()
        fitted = fit_series(series, params.settings)
        self._finish_fit(params, model_=fitted[0].model)
        return fitted

    @property
    def settings(self) -> Settings:
        """What the fit of a model needs of the parameters.   self: from `check_params`"""
        return Settings(horizon=self.horizon, season=self.season, levels=parse_quantiles(str(self.quantiles)))

    def _read(self, X: Any, known: Any, ahead: int, columns: int | None = None) -> tuple[list[Series], Form | None]:
        """The series in X with known columns of `ahead` later rows, and the form of a pandas object.

        Some series may not be complete, see `complete_places`.

        X         None after `fit`: its series
        columns   the number of known columns of the model; None before `fit`

        Raises ValueError.
        """
        params = self.check_params() if columns is None else self._fitted()
        known_names = names_in(str(params.known))
        names = [name for name in (params.id, params.time, params.target, *known_names) if name]
        if X is None and columns is not None:
            if "_last" not in vars(self):
                raise ValueError("got no X: a loaded Forecaster keeps no training series; pass X")
            series, form = self._last
        elif form := form_of(X, params.id, params.time, params.target, known_names):
            series = form.series()
        else:
            series = as_series(X, to_forecast=True)
            if series[0].channels > 1:
                raise ValueError(
                    f"X[0] has {series[0].channels} channels, but a forecast has one; X is (n, T), one series a row"
                )
        if columns is None and names and not (form and hasattr(X, "columns")):
            raise ValueError(f"X has no column {names[0]!r}; give a DataFrame, or leave the names out")
        if form and known is not None:
            raise ValueError("got known= for pandas' X; name known columns in X by Forecaster(known=)")
        if form:
            step = "" if columns is None else self.model_.step
            used = without_closed_days([one for one in series if is_complete(one)], params.season, step)
            series = [used.pop(0) if is_complete(one) else one for one in series]
        return series if form else with_known(series, known, ahead, columns), form

    @property
    def levels_(self) -> tuple[float, ...]:
        """The quantiles, with the median."""
        return self._fitted_model.levels

    @property
    def effects_(self) -> list[Effect]:
        """The effects of the known columns on each series of `fit`; those that the rows can't tell are left out.

        A loaded Forecaster keeps none: AttributeError.
        """
        self._fitted()  # raises NotFittedError
        if "_effects" not in vars(self):
            raise AttributeError("a loaded Forecaster keeps no training series, and so no effects; fit it")
        return self._effects

    @property
    def _fitted_model(self) -> Model:
        self._fitted()  # raises NotFittedError
        return self.model_

    def predict(self, X: Any = None, *, known: Any = None, horizon: int | None = None) -> Any:
        """The medians of the next steps of X, or of the series of `fit` → (n, horizon) float64, or as X in pandas.

        known     the known columns of the steps ahead, after the last values of `fit`; with X, of its rows and the
                  steps ahead. Rows after these are not used: X may be padded with NaN. In pandas, they are columns of X
        horizon   the number of steps, up to that of the model; None: all of them
        """
        return self._predict(X, known, horizon, self.levels_.index(0.5))

    def predict_quantiles(self, X: Any = None, *, known: Any = None, horizon: int | None = None) -> Any:
        """The quantiles of the next steps → (n, horizon, Q) float64.   known, horizon: see `predict`

        In pandas, a column for each quantile; of a wide DataFrame, the columns (series, quantile).
        """
        return self._predict(X, known, horizon, None)

    def _predict(self, X: Any, known: Any, horizon: int | None, level: int | None) -> Any:
        """level: the number of the quantile; None for all"""
        model = self._fitted_model
        steps = model.horizon if horizon is None else check_size("horizon", horizon)
        if steps > model.horizon:
            raise ValueError(
                f"horizon is {steps}, but the model was trained for {model.horizon}; give a lower one, or fit again"
            )
        series, form = self._read(X, known, steps, model.known)
        places = complete_places(series)
        forecasts = self._forecasts([series[i] for i in places], stacklevel=4, steps=steps)
        notes = [left_out_line(series), *notes_on_new(forecasts)] if X is not None else []
        for line in filter(None, [*notes, *known_lines(forecasts)]):
            warnings.warn(line, stacklevel=3)
        if form:
            return form.only(places).values(forecasts, level)
        values = np.full((len(series), steps, len(model.levels)), np.nan)
        values[places] = [one.forecast for one in forecasts]
        return values if level is None else values[..., level]

    def score(self, X: Any, y: None = None, *, known: Any = None) -> float:
        """-MASE of forecasts of the last `horizon` values of X from the values before them: 0 is perfect.

        The mean over series. A series whose known values do not change before its last `horizon` values has no MASE,
        and is left out. Raises ValueError if all are.

        known   the known columns of the rows of X
        """
        model = self._fitted_model
        F = model.horizon
        series, _ = self._read(X, known, 0, model.known)
        forecasts = self._forecasts([series[i] for i in complete_places(series)], F, stacklevel=3)
        if line := left_out_line(series):
            warnings.warn(line, stacklevel=2)
        scores = [np.nanmean(np.abs(one.median - one.target[one.rows_ahead])) / one.mase_divisor for one in forecasts]
        if np.isnan(scores).all():
            raise ValueError(f"X has {TOO_FEW}; give series that change before their last {F} values")
        return -float(np.nanmean(scores))

    def cross_validation(
        self, X: Any, step: int | None = None, windows: int = 3, *, known: Any = None, scores: bool = False
    ) -> Any:
        """Forecasts of the last rows of X, by models that are trained only on the rows before each cutoff.

        The cutoffs are `step` rows apart, the last one a horizon before the end. Returns a table with a row for each
        series, cutoff and step ahead: a dict of columns, or a DataFrame if X is pandas' own. The columns are `series`;
        `cutoff`, the time of the last row that the model saw, or the number of rows; `step`, from 1; `time`; `value`;
        and the quantiles, by their text: "0.1".

        step      None: the horizon
        known     the known columns of the rows of X
        scores    True: a row for each series and cutoff, with the scores of its forecast: `mase`, the mean absolute
                  error divided by the mean change over a season before the cutoff; `smape`, in percent; `coverage`, the
                  share of values in the interval; `pinball`, the mean loss of the quantiles, divided as `mase`; and
                  `mase_naive`, `mase_seasonal_naive` and `mase_drift` of naive forecasts. NaN for an unknown score

        A series without values before a cutoff is left out there. Raises ValueError if all are at the first one.
        """
        series, form = self._read(X, known, 0)
        F = self.horizon
        step = F if step is None else check_size("step", step)
        farthest = F + (check_size("windows", windows) - 1) * step
        if (most := max(len(one.target_rows) for one in series)) <= farthest:
            raise ValueError(f"X has only {most} rows, and needs more than {farthest}; lower windows, step or horizon")
        places = complete_places(series)
        if line := left_out_line(series):
            warnings.warn(line, stacklevel=2)
        series = [series[i] for i in places]
        keys = form.only(places).ids if form else places
        model = type(self)(**self.get_params())
        rows = list[dict[str, Any]]()
        for back in range(farthest, F - 1, -step):
            used = {key: each for key, each in zip(keys, series, strict=True) if len(each.target_rows) > back}
            model.learn([one.part(0, one.target_rows.stop - back) for one in used.values()])
            forecasts = model._forecasts([*used.values()], back, stacklevel=3)
            for key, each in zip(used, forecasts, strict=True):
                cut = each.cut
                times = each.given.times or range(1 + each.skipped, len(each.target) + 1 + each.skipped)
                of_cutoff = {"series": key, "cutoff": times[cut - 1]}
                if scores:
                    rows.append(of_cutoff | _scores(each))
                    continue
                for i, (place, quantiles) in enumerate(zip(each.rows_ahead, each.forecast.tolist(), strict=True), 1):
                    of_step = {"step": i, "time": times[place], "value": float(each.target[place])}
                    named = {f"{q:g}": value for q, value in zip(model.levels_, quantiles, strict=True)}
                    rows.append(of_cutoff | of_step | named)
        table = {name: [row[name] for row in rows] for name in rows[0]}
        if form:
            indices = {name: form.index(table[name]) for name in ("cutoff", "time") if name in table}
            return importlib.import_module("pandas").DataFrame(table | indices)
        return {name: np.array(column) for name, column in table.items()}

    def forecast(self, series: Series, rows: int | None = None, steps: int | None = None) -> OneSeries:
        """A series with its forecast of the steps after the first `rows` rows; by default, after the last known value.

        steps   the number of steps; by default, as many as the model was trained for

        Raises DataError if the series has no value, other times, or lacks known columns.
        """
        model = self._fitted_model
        given = as_fitted(without_closed_days([series], self.season, model.step)[0], model)
        if rows and given.closed and series.times:  # it may have more rows, or fewer
            rows = bisect_right(given.times or (), series.times[rows - 1])
        series = given
        if np.isnan(series.values[:rows, 0]).all():
            raise DataError(f"{series.name} has no value before the steps to forecast; leave it out")
        start, constant = first_row(series, rows)
        one = OneSeries(series.part(start), model, None if rows is None else rows - start)
        one.skipped = start
        one.constant = constant
        one.steps = steps or model.horizon
        one.check_known()
        return one

    def _forecasts(
        self, series: Sequence[Series], back: int = 0, *, stacklevel: int, steps: int | None = None
    ) -> list[OneSeries]:
        """The series with their forecasts, from `back` rows before its end. Warns if some forecasts are naive."""
        forecasts = [self.forecast(one, max(one.target_rows.stop - back, 0), steps) for one in series]
        if line := naive_forecasts(forecasts):
            warnings.warn(line, stacklevel=stacklevel)
        return forecasts

    def _complete(self, fitted: dict[str, Any]) -> dict[str, Any]:
        model = fitted["model_"]
        return fitted | {"model_": Model(**model | {"known_scale": Scale(**model["known_scale"])})}

    def _try(self) -> None:
        model = self._fitted_model
        levels = self._fitted().settings.levels
        F = model.horizon
        rows = model.season + LEAST_ROWS
        names = model.channel_names
        has_linear = model.linear.shape == (model.context + 1, F) and 1 <= model.season <= model.context
        has_scale = (model.known_scale.deviation > 0).all()
        has_names = names is None or [*map(type, names)] == [str] * (1 + model.known)
        has_widening = model.widening.shape == (model.context,) and (model.widening >= 1).all()
        has_offsets = model.offsets.shape == (2, F, len(model.levels))
        fits = has_linear and has_scale and has_names and has_widening and has_offsets
        if not (fits and model.levels == levels and isinstance(model.step, str)):
            raise ValueError("model_ has a linear part, a scale, names or levels that do not fit")
        values = np.column_stack([np.arange(1.0, rows + 1), np.tile(model.known_scale.mean, (rows, 1))])
        days = np.arange(rows + F).astype("M8[D]").astype("M8[s]").tolist()
        one = OneSeries(Series(values, None, "", times=tuple(days)), model)
        if one.forecast.shape != (F, len(model.levels)) or not np.isfinite(one.forecast).all():
            raise ValueError("a forecast is not finite, or has another shape")
