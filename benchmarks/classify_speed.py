"""`xrnn classify` and PyTorch: `python -m benchmarks.classify_speed [--seeds 5] [--json FILE] [TRAIN TEST]`.

Both train the same model (a bidirectional layer of 64, the mean over the length of each series, dropout) on the same
batches with the same noise, with the same number of threads. xrnn trains as in `xrnn classify`. PyTorch runs a usual
training loop with packed sequences, its own initial weights and Adam with the same rates. Each library runs in its own
process. They take turns, a block of updates each.

Two more sets, made of noise, show the cost of different lengths: in one, every series has 100 steps; in the other, 1 to
100.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import machine, runs
from benchmarks.ratios import ratio
from benchmarks.runs import Run, XrnnRun
from xrnn.cells import cell_of
from xrnn.exchange.torch_weights import from_torch
from xrnn.models.data.batches import Batches, unpack, updates_per_epoch
from xrnn.models.data.scale import Scale
from xrnn.models.data.series import Series
from xrnn.models.labelled.data import LabelledSeries, load_labelled
from xrnn.models.labelled.head import Classes
from xrnn.models.labelled.model import LabelledModel
from xrnn.models.labelled.settings import ClassifierSettings
from xrnn.models.labelled.trainer import LabelledTrainer, default_epochs
from xrnn.select import get_backend
from xrnn.typing import HostArray

FULL, RAGGED, GIVEN = "100 steps", "1 to 100 steps", "given"
_COUNT: Final = 256  # series in the sets made of noise
_CHANNELS: Final = 12
_LONGEST: Final = 100


def _xrnn(data: LabelledSeries, settings: ClassifierSettings) -> Run:
    return XrnnRun(LabelledTrainer(settings, data, get_backend("numpy")))


class TorchRun:
    def __init__(self, data: LabelledSeries, settings: ClassifierSettings) -> None:
        torch, self.version = runs.torch_for(settings)
        self._torch, self._settings, self._data = torch, settings, data
        self._batches = _batches(data, settings)
        module: Any = getattr(torch.nn, settings.cell.upper())
        self._rnn = module(data.facts.channels, settings.hidden, bidirectional=True)
        self._linear = torch.nn.Linear(2 * settings.hidden, data.facts.outputs)
        self._dropout = torch.nn.Dropout(settings.dropout)
        self._layers = torch.nn.ModuleList([self._rnn, self._linear])
        linear = {"params": self._linear.parameters(), "lr": settings.head_rate * settings.lr}
        self._optimizer = torch.optim.Adam([{"params": self._rnn.parameters()}, linear], lr=settings.lr)
        self._updates = 0

    def step(self) -> None:
        torch, rnn = self._torch, self._torch.nn.utils.rnn
        x, lengths, targets = map(torch.from_numpy, unpack(*self._batches.packed(self._updates, self._settings.noise)))
        packed = rnn.pack_padded_sequence(x, lengths.long(), enforce_sorted=False)
        h, _ = rnn.pad_packed_sequence(self._rnn(packed)[0])  # zeros past the end
        mean = h.sum(dim=0) / lengths[:, None]
        loss = torch.nn.functional.cross_entropy(self._linear(self._dropout(mean)), targets.long())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._updates += 1

    def model(self) -> Any:
        settings, data = self._settings, self._data
        parameters = [p.detach().numpy() for p in self._rnn.parameters()]
        weights = (
            *from_torch(np, cell_of(settings.cell), *parameters[:4]),
            *from_torch(np, cell_of(settings.cell), *parameters[4:]),
            self._linear.weight.detach().numpy().T,
            self._linear.bias.detach().numpy(),
        )
        model = LabelledModel.init(settings, data.facts, get_backend("numpy"))
        return runs.with_weights(model, weights)


LIBRARIES: Final[dict[str, Callable[[LabelledSeries, ClassifierSettings], Run]]] = {"xrnn": _xrnn, "pytorch": TorchRun}


def compare(paths: Sequence[Path], rounds: int, updates: int, threads: int, cell: str, seeds: int) -> dict[str, Any]:
    """The results, as written to the JSON file. `seconds` has the time of a block of updates for each round."""
    settings = replace(ClassifierSettings(), cell=cell)
    with runs.children(LIBRARIES, threads, _Job, settings, paths) as started:
        results: dict[str, Any] = {
            "machine": machine.describe(threads),
            "versions": {library: child.ask("version") for library, child in started.items()},
            "cell": cell,
            "steps_per_block": updates,
            "seconds": {},
            "series_per_block": {},
        }
        for case in (GIVEN, FULL, RAGGED):
            for child in started.values():
                child.ask("seconds", case, 2)  # warm up
            results["series_per_block"][case] = updates * started["xrnn"].ask("batch", case)
            results["seconds"][case] = runs.seconds(started, rounds, "seconds", case, updates)
        results["accuracy"] = {
            library: [child.ask("train", seed) for seed in range(seeds)] for library, child in started.items()
        }
    return results


def report(results: dict[str, Any]) -> str:
    about, times, cell = results["machine"], results["seconds"], results["cell"]
    updates, rounds = results["steps_per_block"], len(times[GIVEN]["xrnn"])
    lines = [f"bidirectional {cell}: {about['cpu']}, {about['threads']} threads; {rounds} blocks of {updates} updates"]
    for case, of_case in times.items():
        rates = {library: [results["series_per_block"][case] / s for s in of_case[library]] for library in of_case}
        lines += runs.rate_lines(results["versions"], rates, "series", f"{case:15} ", 22)
    for library, version in results["versions"].items():
        share = ratio(times[FULL][library], times[RAGGED][library]).median
        lines.append(f"{version:38} lengths 1 to 100 (0.505 of the steps) take {share:.2f} of the time of length 100")
    for library, trained in results["accuracy"].items():
        if trained:
            figures = ", ".join(f"{accuracy:.4f} in {took:.1f} s" for accuracy, took in trained)
            lines.append(f"{results['versions'][library]:38} accuracy by seed: {figures}")
    return "\n".join(lines)


def noise_set(lengths: Sequence[int]) -> LabelledSeries:
    """Series of noise with these lengths."""
    rng = np.random.default_rng(0)
    series = [Series(rng.standard_normal((T, _CHANNELS)), str(i % 9), "noise") for i, T in enumerate(lengths)]
    return LabelledSeries(series, series, [], Classes.of(series, "noise"))


def _batches(data: LabelledSeries, settings: ClassifierSettings) -> Batches:
    """The batches of xrnn's trainer, for every library."""
    return LabelledTrainer(settings, data, get_backend("numpy")).batches


def _accuracy(model: LabelledModel, data: LabelledSeries) -> float:
    scale = Scale.of(series.values for series in data.train)
    predicted: HostArray = model.outputs([scale.apply(series.values) for series in data.test]).argmax(axis=1)
    return float(np.mean(predicted == data.facts.targets(data.test)))


def train(library: str, data: LabelledSeries, settings: ClassifierSettings) -> tuple[float, float]:
    """Train with the default number of updates → the accuracy, and the seconds."""
    start = time.perf_counter()
    run = LIBRARIES[library](data, settings)
    runs.time_updates(run, default_epochs(len(data.train)) * updates_per_epoch(len(data.train), settings.batch))
    return _accuracy(run.model(), data), time.perf_counter() - start


class _Job:
    """One library's runs, in a child process."""

    def __init__(self, library: str, settings: ClassifierSettings, paths: Sequence[Path]) -> None:
        self._library, self._settings = library, settings
        self._sets = {
            GIVEN: load_labelled(paths, settings),
            FULL: noise_set([_LONGEST] * _COUNT),
            RAGGED: noise_set(np.random.default_rng(1).integers(1, _LONGEST + 1, _COUNT).tolist()),
        }
        self._runs = {case: LIBRARIES[library](data, settings) for case, data in self._sets.items()}

    def version(self) -> str:
        return self._runs[GIVEN].version

    def batch(self, case: str) -> float:
        """The mean number of series in a batch."""
        count = len(self._sets[case].train)
        return count / updates_per_epoch(count, self._settings.batch)

    def seconds(self, case: str, updates: int) -> float:
        return runs.time_updates(self._runs[case], updates)

    def train(self, seed: int) -> tuple[float, float]:
        return train(self._library, self._sets[GIVEN], replace(self._settings, seed=seed))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.classify_speed", description="xrnn classify beside PyTorch"
    )
    parser.add_argument("paths", nargs="*", type=Path, help="TRAIN and TEST (default: JapaneseVowels)")
    parser.add_argument("--steps", type=machine.positive, default=40, help="updates in a block (default: %(default)s)")
    parser.add_argument("--rounds", type=machine.positive, default=9, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=0, help="trainings of each library (default: %(default)s)")
    runs.add_options(parser, "gru")
    options = parser.parse_args(arguments)
    runs.check_data(parser, lambda: load_labelled(options.paths, ClassifierSettings()))
    machine.print_version()
    results = compare(options.paths, options.rounds, options.steps, options.threads, options.cell, options.seeds)
    if options.json:
        machine.write(results, options.json)
    print(report(results))


if __name__ == "__main__":
    main()
