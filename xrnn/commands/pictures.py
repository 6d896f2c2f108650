"""The pictures of the training commands, drawn by Matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from xrnn.series.checks import escaped
from xrnn.series.forecast.data import ForecastData
from xrnn.series.forecast.model import Forecast
from xrnn.series.forecast.scores import ForecastScores, seasonal_naive
from xrnn.series.forecast.series import ForecastSeries
from xrnn.typing import HostArray

# Suffix → the metadata key for the name of the program.
FORMATS: Final = {".png": "Software", ".svg": "Creator", ".pdf": "Creator"}
_MOST_COUNTS: Final = 30  # with more labels, the cells show no counts, which would overlap
_MOST_NAMES: Final = 60  # with more labels, the axes show no names
_MOST_PAIRS: Final = 5
_LONGEST: Final = 16  # characters of a label
_BEFORE: Final = 3  # horizons or backtests that are shown before the forecasts


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to draw."""

    size: tuple[float, float]  # inches
    draw: Callable[[Any], None]  # fills a Matplotlib figure

    def content(self, path: Path) -> bytes | None:
        """The drawn picture, in the format of the suffix of `path`; None if Matplotlib is not installed."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasAgg(figure)
        self.draw(figure)
        suffix = path.suffix.lower()
        content = io.BytesIO()
        with warnings.catch_warnings():
            # Matplotlib draws a box for a letter that its font lacks, and warns.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(content, dpi=150, format=suffix[1:], metadata={FORMATS[suffix]: "xrnn"})
        return content.getvalue()


# ---- losses ----


def _draw_losses(axes: Any, losses: Sequence[float], unit: str) -> None:
    """The losses of all updates, and their moving average."""
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="each step")
    window = max(1, len(losses) // 50)
    if window > 1:
        means = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        axes.plot(steps[window - 1 :], means, color="tab:blue", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel=unit, ylim=(0, None), xlim=(1, max(2, len(losses))))
    axes.grid(alpha=0.3)


def _draw_training(axes: Any, estimator: Any, unit: str) -> None:
    """Draw the losses of all updates; with early stopping, also the validation loss of each epoch."""
    losses, validation = estimator.losses_, estimator.validation_losses_
    if not losses:  # convolutions
        axes.axis("off")
        return
    _draw_losses(axes, losses, unit)
    if validation:
        per_epoch, best = len(losses) // len(validation), validation.index(min(validation)) + 1
        updates = np.arange(1, len(validation) + 1) * per_epoch
        axes.plot(updates, validation, color="tab:orange", label="validation")
        axes.axvline(best * per_epoch, color="tab:orange", linestyle=":", label=f"best epoch: {best:,}")
    axes.legend()


# ---- classify ----


def confusion_picture(estimator: Any, labels: Sequence[str], counts: HostArray) -> Picture:
    """The losses of all updates beside the confusion matrix. The picture grows with the number of labels.

    counts   [i, j]: the number of series with label i that were predicted as j
    """
    side = min(4.6 + 0.13 * max(0, len(labels) - 10), 11.0)  # inches

    def draw(figure: Any) -> None:
        axes = figure.subplot_mosaic([["losses", "matrix"], ["pairs", "matrix"]], height_ratios=(4, 1.6))
        names = [_short(label) for label in labels]
        _draw_training(axes["losses"], estimator, "nats per series")
        _draw_confusion(figure, axes["matrix"], names, counts)
        _write_pairs(axes["pairs"], names, counts)

    return Picture((2.4 * side, side), draw)


def _draw_confusion(figure: Any, axes: Any, labels: Sequence[str], counts: HostArray) -> None:
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the row")
    right, n = counts.trace(), counts.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {right / n:.3f} ({right:,} of {n:,})")
    if len(labels) > _MOST_NAMES:
        return
    size = min(10.0, 240 / len(labels))  # points
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 2 else 0, fontsize=size)
    axes.set_yticks(places, labels, fontsize=size)
    if len(labels) > _MOST_COUNTS:
        return
    for (i, j), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}", ha="center", va="center", color=color, fontsize=size)


def most_confused(counts: HostArray, most: int) -> list[tuple[int, int, int]]:
    """Up to `most` wrong pairs (true label, predicted label, count), the largest count first."""
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = ((*map(int, np.unravel_index(place, wrong.shape)), int(wrong.flat[place])) for place in order)
    return [(i, j, count) for i, j, count in pairs if count]


def _write_pairs(axes: Any, labels: Sequence[str], counts: HostArray) -> None:
    axes.axis("off")
    pairs = most_confused(counts, _MOST_PAIRS)
    lines = [f"{count:,} × {labels[i]} predicted as {labels[j]}" for i, j, count in pairs]
    axes.text(0, 1, "\n".join(["most confused:", *lines] if lines else ["no series confused"]), va="top")


def _short(label: str) -> str:
    """The label, shortened, with `$` escaped: Matplotlib would read a formula."""
    label = escaped(label)
    return (label if len(label) <= _LONGEST else f"{label[:_LONGEST]}…").replace("$", r"\$")


# ---- regress ----


def regression_picture(estimator: Any, targets: HostArray, predicted: HostArray) -> Picture:
    """The losses of all updates beside a plot of the predicted numbers against the true ones."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _draw_training(left, estimator, "mean squared error / variance")
        ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
        right.plot(ends, ends, color="tab:gray", linewidth=0.8)
        right.scatter(targets, predicted, s=12, alpha=0.6)
        right.set(
            xlabel="true", ylabel="predicted", title=f"mean absolute error {np.abs(targets - predicted).mean():.4g}"
        )
        right.grid(alpha=0.3)

    return Picture((10.5, 4.2), draw)


# ---- forecast ----


def forecast_picture(
    series: ForecastSeries,
    forecast: Forecast,
    base: str,
    past: ForecastData | None,
    tested: HostArray,
    scores: dict[str, dict[str, ForecastScores]],
) -> Picture:
    """The steps after the last row of a series; above them, if it is scored, its forecasts of the held-out rows.

    These are one horizon apart, and beside the seasonal naive ones. Both have dates on their axes, if there are any.

    base   a line, shown above the forecast
    """
    F, m = series.facts.horizon, series.facts.season
    axis, value = _time_axis(series, forecast), _label(series.value_name)
    band = f"forecast, {forecast.levels[0]:g} to {forecast.levels[-1]:g}"

    def draw(figure: Any) -> None:
        from matplotlib.dates import ConciseDateFormatter

        *above, bottom = figure.subplots(2 if past else 1, 1, squeeze=False).ravel()
        for top in above:
            draw_backtest(top)
        _draw_values(bottom, axis, series.target, max(0, series.rows - _BEFORE * max(F, m)))
        _draw_forecast(bottom, axis[series.rows :][:F], forecast.values, forecast.levels, band)
        bottom.set_title(f"{_label(series.name)}: the next {F} steps\n{base}", fontsize="medium")
        for axes in (*above, bottom):
            axes.set(xlabel="time" if series.times else "row", ylabel=value)
            axes.legend()
            if isinstance(axis[0], datetime):
                axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
            elif all(float(number).is_integer() for number in axis):  # rows, or years
                axes.xaxis.get_major_locator().set_params(integer=True)

    def draw_backtest(top: Any) -> None:
        assert past is not None
        i = past.scored[0]
        cut, origins, of_series = past.cuts[i], past.test_origins(i), past.scored_parts(tested)[0]
        naive = seasonal_naive(series.filled, origins, F, m)
        first = max(0, min(cut - past.facts.context, series.rows - _BEFORE * (series.rows - cut)))
        _draw_values(top, axis, series.target, first)
        drawn = 0  # rows with a forecast
        for place in _apart(origins, F):
            part = slice(max(drawn - origins[place], 0), None)
            at = axis[origins[place] : origins[place] + F][part]
            _draw_forecast(top, at, of_series[place][part], forecast.levels, None if drawn else band)
            top.plot(
                at, naive[place][part], color="tab:orange", linewidth=0.8, label=None if drawn else "seasonal naive"
            )
            drawn = origins[place] + F
        of_methods = next(iter(scores.values()))
        model, simple = of_methods["model"], of_methods["seasonal_naive"]
        top.set(title=f"backtest: MASE {model.mase:.3f}, seasonal naive {simple.mase:.3f}")

    return Picture((9, 6.5 if past else 3.5), draw)


def _time_axis(series: ForecastSeries, forecast: Forecast) -> list[Any]:
    """The place of each row and of each step ahead: its time without an offset, or its number."""
    if not series.times:
        return [*range(series.rows + len(forecast.times))]
    times = [*series.times[: series.rows], *forecast.times]
    return [time.replace(tzinfo=None) if isinstance(time, datetime) else time for time in times]


def _apart(origins: HostArray, F: int) -> list[int]:
    """The places in `origins` of forecasts that begin where the one before ends, and the last one."""
    places: list[int] = []
    for place, origin in enumerate(origins):
        if not places or origin >= origins[places[-1]] + F or place == len(origins) - 1:
            places.append(place)
    return places


def _label(text: str) -> str:
    return escaped(text).replace("$", r"\$")[:60]


def _draw_values(axes: Any, axis: list[Any], values: HostArray, first: int) -> None:
    axes.plot(axis[first : len(values)], values[first:], color="tab:gray", label="values")
    axes.grid(alpha=0.3)


def _draw_forecast(axes: Any, at: list[Any], values: HostArray, levels: tuple[float, ...], label: str | None) -> None:
    """values (F, Q), at the places `at`."""
    axes.fill_between(at, values[:, 0], values[:, -1], color="tab:blue", alpha=0.2, linewidth=0)
    axes.plot(at, values[:, levels.index(0.5)], color="tab:blue", label=label)
