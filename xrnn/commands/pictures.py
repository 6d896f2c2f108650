"""The pictures of the training commands, drawn by Matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import numpy as np

from xrnn.series.checks import escaped
from xrnn.series.forecast.backtest import Backtest, seasonal_naive
from xrnn.series.forecast.forecasts import Forecast
from xrnn.series.forecast.series import OneSeries
from xrnn.series.forecast.windows import fill
from xrnn.typing import HostArray

_MOST_NAMES: Final = 30  # with more labels, the names and counts would overlap, and are left out
_BEFORE: Final = 3  # a panel shows at least three times the held-out rows, three horizons and three seasons
_MOST_PANELS: Final = 6
_MANY_ROWS: Final = 200  # in a panel: thick lines of many rows cover each other

Draw: TypeAlias = Callable[[Any], None]  # fills a Matplotlib figure


def drawn(draw: Draw) -> bytes | None:
    """The picture, a PNG file; None if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    draw(figure := Figure(layout="constrained"))
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib draws a box for a letter that its font lacks, and warns.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(content, format="png", dpi=150, metadata={"Software": "xrnn"})
    return content.getvalue()


def draw_confusion(figure: Any, labels: Sequence[str], counts: HostArray) -> None:
    """The confusion matrix.

    counts   [i, j]: the number of series with label i that were predicted as j
    """
    side = min(max(4.6, 0.3 * len(labels)), 11)  # inches
    figure.set_size_inches(1.2 * side, side)
    shares = counts / np.maximum(counts.sum(axis=1), 1)[:, None]
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), ax=axes, label="share of the row")
    right, n = counts.trace(), counts.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"accuracy {right / n:.3f} ({right:,} of {n:,})")
    if len(labels) > _MOST_NAMES:
        return
    names = [_text(label)[:16] for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=45)
    axes.set_yticks(range(len(names)), names)
    for (i, j), count in np.ndenumerate(counts):
        color = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{count:,}" if count else "", ha="center", va="center", color=color)


def draw_regression(figure: Any, targets: HostArray, predicted: HostArray) -> None:
    """The predicted numbers against the true ones."""
    figure.set_size_inches(5.4, 4.4)
    axes = figure.add_subplot()
    ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
    axes.plot(ends, ends, color="tab:gray", linewidth=0.8)
    axes.scatter(targets, predicted, s=12, alpha=0.6)
    error = np.abs(targets - predicted).mean()
    axes.set(xlabel="true", ylabel="predicted", title=f"mean absolute error {error:.4g}")
    axes.grid(alpha=0.3)


def draw_forecasts(
    figure: Any,
    series: Sequence[OneSeries],
    forecasts: Sequence[Forecast],
    tests: Sequence[Backtest],
    parts: str,
) -> None:
    """A panel for each series if there are at most six; else for the scored ones with the lowest and highest error.

    A panel shows the last rows of a series and, after them, its forecast. If the series is scored, it also shows the
    forecasts of the held-out rows, one horizon apart, beside the seasonal naive ones.

    tests    of the scored series;   parts: a line below the panels: what the forecasts consist of
    """
    scored = {each.place: each for each in tests}
    shown = dict.fromkeys(range(len(series)), "")
    if len(series) > _MOST_PANELS:
        order = sorted(scored, key=lambda i: scored[i].scores["model"]["mase"])
        shown = {order[0]: "lowest error, ", order[-1]: "highest error, "} if order else {0: ""}
    rows, columns = -(-len(shown) // 2), min(len(shown), 2)
    figure.set_size_inches((9, 4.4) if len(shown) == 1 else (13, 3.9 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for (i, kind), axes in zip(shown.items(), panels, strict=False):
        title = f"{kind}{_text(series[i].name)}"
        if i in scored:
            model, naive = (scored[i].scores[name]["mase"] for name in ("model", "seasonal_naive"))
            title += f"\nbacktest: MASE {model:.3f}, seasonal naive {naive:.3f}"
        _draw_panel(axes, series[i], forecasts[i], scored.get(i))
        axes.set(title=title)
    for axes in panels[len(shown) :]:
        axes.axis("off")
    panels[0].legend()
    figure.supxlabel(parts, fontsize="small")


def _draw_panel(axes: Any, series: OneSeries, forecast: Forecast, test: Backtest | None) -> None:
    """The last rows of a series, the forecasts of the backtest, and the next steps."""
    from matplotlib.dates import ConciseDateFormatter

    F, m, levels, end = series.model.horizon, series.model.season, forecast.levels, series.cut
    times: list[Any] = [*range(end + F)]  # the place of each row and of each step ahead
    if series.given.times:  # without an offset, which Matplotlib would show in UTC
        both = (*series.given.times[:end], *forecast.times)
        times = [time.replace(tzinfo=None) if isinstance(time, datetime) else time for time in both]
    cut, origins, tested = end, np.zeros(0, int), np.zeros(0)
    if test:
        cut, origins, tested = test.series.cut, test.origins, test.forecasts
    first = max(0, min(cut - series.model.context, end - _BEFORE * max(end - cut, F, m)))
    width = 1.5 if end - first < _MANY_ROWS else 0.5  # points
    axes.plot(times[first:end], series.target[first:], color="tab:gray", label="values", linewidth=width)
    axes.grid(alpha=0.3)

    def draw(start: int, values: HostArray, label: str | None) -> None:
        """A forecast (F, Q) from row `start`."""
        at = times[start : start + len(values)]
        axes.fill_between(at, values[:, 0], values[:, -1], color="tab:blue", alpha=0.2, linewidth=0)
        axes.plot(at, values[:, levels.index(0.5)], color="tab:blue", linewidth=width, label=label)

    apart = (origins[-1:] - origins) % F == 0  # one horizon apart, up to the last one
    naive = seasonal_naive(fill(series.target, m), origins[apart], F, m)
    for origin, values, repeated in zip(origins[apart].tolist(), tested[apart], naive, strict=True):
        draw(origin, values, None)
        axes.plot(times[origin : origin + F], repeated, color="tab:orange", linewidth=width / 2)
    if origins.size:
        axes.lines[-1].set_label("seasonal naive")
    axes.axvline(times[end], color="tab:gray", linestyle=":", label=f"the next {F} steps")
    draw(end, forecast.values, f"forecast, {levels[0]:g} to {levels[-1]:g}")
    given = series.given
    time_name, value_name = " ".join(given.time_names) or "time", (given.channel_names or ("",))[0] or "value"
    axes.set(xlabel=_text(time_name) if given.times else "row", ylabel=_text(value_name))
    if isinstance(times[0], datetime):
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    elif all(float(number).is_integer() for number in times):  # rows, or years
        axes.xaxis.get_major_locator().set_params(integer=True)


def _text(text: str) -> str:
    return escaped(text).replace("$", r"\$")[:60]
