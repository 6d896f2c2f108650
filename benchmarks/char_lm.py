"""`xrnn train` and PyTorch: `python -m benchmarks.char_lm [--cell lstm] [--rate-only] [--json FILE] [PATH...]`.

Several runs train the same model (embedding 64, one layer: tanh RNN, LSTM or GRU; --hidden units) on the same chunks of
the same text, with the same number of updates and threads:

xrnn            as in `xrnn train`
xrnn-bfloat16   as in `XRNN_PRECISION=bfloat16 xrnn train`; only with --libraries
pytorch         a usual PyTorch training loop, with PyTorch's own initial weights and Adam at 0.003
xrnn.torch      the same loop after `xrnn.torch.accelerate`

Each runs in its own process. They take turns, a block of updates each, so that other load affects all of them. The
command takes a training for each library and seed (--seeds); with --rate-only, a minute.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from benchmarks import machine, runs
from benchmarks.runs import Run, XrnnRun
from xrnn.cells import cell_of
from xrnn.exchange.torch_weights import from_torch
from xrnn.models.corpus import Corpus, Streams, load_corpus
from xrnn.models.text import (
    EMBEDDING,
    VOCABULARY,
    CharLM,
    TextSettings,
    TextTrainer,
    bits_per_character,
    zlib_bits_per_character,
)
from xrnn.precision import set_precision
from xrnn.select import get_backend


def _xrnn(corpus: Corpus, settings: TextSettings) -> Run:
    return XrnnRun(TextTrainer(settings, corpus, get_backend("numpy")))


class TorchRun:
    def __init__(self, corpus: Corpus, settings: TextSettings) -> None:
        torch, self.version = runs.torch_for(settings)
        self._torch, self._settings = torch, settings
        self._streams = Streams(corpus.train, settings.seq_len, settings.batch)
        self._embedding = torch.nn.Embedding(VOCABULARY, EMBEDDING)
        module: Any = getattr(torch.nn, settings.cell.upper())
        self._rnn = module(EMBEDDING, settings.hidden)
        self._linear = torch.nn.Linear(settings.hidden, VOCABULARY)
        self._layers = torch.nn.ModuleList([self._embedding, self._rnn, self._linear])
        self._optimizer = torch.optim.Adam(self._layers.parameters(), lr=settings.lr)
        zeros = torch.zeros(1, settings.batch, settings.hidden)
        self._state: Any = (zeros, zeros) if settings.cell == "lstm" else zeros
        self._updates = 0

    def step(self) -> None:
        chunk = self._torch.from_numpy(self._streams.chunk(self._updates)).long()
        hs, state = self._rnn(self._embedding(chunk[:-1]), self._state)
        logits = self._linear(hs)
        loss = self._torch.nn.functional.cross_entropy(logits.flatten(0, 1), chunk[1:].flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        self._updates += 1

    def model(self) -> Any:
        settings = self._settings
        weights = (
            self._embedding.weight.detach().numpy(),
            *from_torch(np, cell_of(settings.cell), *(p.detach().numpy() for p in self._rnn.parameters())),
            self._linear.weight.detach().numpy().T,
            self._linear.bias.detach().numpy(),
        )
        return runs.with_weights(CharLM.init(replace(settings, layers=1), get_backend("numpy")), weights)


def _bfloat16(corpus: Corpus, settings: TextSettings) -> Run:
    set_precision("bfloat16")  # of this process, which has no other run
    run = XrnnRun(TextTrainer(settings, corpus, get_backend("numpy")))
    run.version += ", bfloat16"
    return run


class AcceleratedRun(TorchRun):
    """PyTorch's model after `xrnn.torch.accelerate(model)`."""

    def __init__(self, corpus: Corpus, settings: TextSettings) -> None:
        super().__init__(corpus, settings)
        self.version += ", accelerated"
        importlib.import_module("xrnn.torch").accelerate(self._layers)


LIBRARIES: Final[dict[str, Callable[[Corpus, TextSettings], Run]]] = {
    "xrnn": _xrnn,
    "xrnn-bfloat16": _bfloat16,
    "pytorch": TorchRun,
    "xrnn.torch": AcceleratedRun,
}
DEFAULT: Final = ("xrnn", "pytorch", "xrnn.torch")


def compare(
    paths: Sequence[Path],
    settings: TextSettings,
    updates: int,
    rounds: int,
    threads: int,
    *,
    libraries: Sequence[str] = DEFAULT,
    seeds: int = 1,
    evaluate: bool,
) -> dict[str, Any]:
    """The results, as written to the JSON file, with `seconds` of each block and `bits_per_character` of each seed."""
    results: dict[str, Any] = {
        "machine": machine.describe(threads),
        "steps_per_block": updates // rounds,
        "seeds": seeds,
        "cell": settings.cell,
        "hidden": settings.hidden,
        "characters_per_step": settings.seq_len * settings.batch,
        "seconds": {},
        "bits_per_character": {},
    }
    for seed in range(seeds):
        with runs.children(libraries, threads, _Job, replace(settings, seed=seed), paths) as started:
            results["versions"] = {library: child.ask("version") for library, child in started.items()}
            for library, times in runs.seconds(started, rounds, "seconds", updates // rounds).items():
                results["seconds"].setdefault(library, []).extend(times)
            for library, child in started.items() if evaluate else ():
                results["bits_per_character"].setdefault(library, []).append(child.ask("evaluate"))
    if evaluate:
        results["bits_per_character"]["zlib level 9"] = [zlib_bits_per_character(load_corpus(paths).held_out)]
    return results


def rates(results: dict[str, Any], library: str) -> list[float]:
    """Characters per second, for each block."""
    characters = results["steps_per_block"] * results["characters_per_step"]
    return [characters / of_block for of_block in results["seconds"][library]]


def report(results: dict[str, Any]) -> str:
    about, seeds = results["machine"], results.get("seeds", 1)
    blocks = len(next(iter(results["seconds"].values()))) // seeds
    updates = results["steps_per_block"] * blocks
    title = f"{results['cell']}, H = {results['hidden']}: {about['cpu']}, {about['threads']} threads"
    lines = [f"{title}; {updates:,} updates in {blocks} blocks" + (f" for each of {seeds} seeds" if seeds > 1 else "")]
    versions, rate = results["versions"], {name: rates(results, name) for name in results["seconds"]}
    width = max(map(len, versions.values()))
    lines += runs.rate_lines(versions, rate, "characters", width=width)
    for name, bits in results["bits_per_character"].items():
        spread = f"; {len(bits)} seeds: {min(bits):.3f} to {max(bits):.3f}" if len(bits) > 1 else ""
        lines.append(f"{versions.get(name, name):{width}} {fmean(bits):.3f} bits per character, held out{spread}")
    return "\n".join(lines)


class _Job:
    """One library's run, in a child process."""

    def __init__(self, library: str, settings: TextSettings, paths: Sequence[Path]) -> None:
        self._corpus = load_corpus(paths)
        self._run = LIBRARIES[library](self._corpus, settings)

    def version(self) -> str:
        return self._run.version

    def seconds(self, updates: int) -> float:
        return runs.time_updates(self._run, updates)

    def evaluate(self) -> float:
        return bits_per_character(self._run.model(), self._corpus.held_out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.char_lm", description="xrnn train beside PyTorch")
    parser.add_argument("paths", nargs="*", type=Path, help="text (default: Python's own sources)")
    parser.add_argument("--rate-only", action="store_true", help="few updates, and no held-out figures")
    parser.add_argument("--steps", type=machine.positive, help="updates (default: 2500; with --rate-only 175)")
    parser.add_argument("--rounds", type=machine.positive, help="blocks of updates (default: 25; with --rate-only 7)")
    parser.add_argument(
        "--libraries", type=machine.some_of(LIBRARIES), default=DEFAULT, help=f"(default: {','.join(DEFAULT)})"
    )
    parser.add_argument("--hidden", type=machine.positive, default=256, help="(default: %(default)s)")
    parser.add_argument(
        "--seeds", type=machine.positive, default=1, help="trainings, each with its own seed (default: 1)"
    )
    runs.add_options(parser, "rnn")
    options = parser.parse_args(arguments)
    steps = options.steps or (175 if options.rate_only else 2500)
    rounds = options.rounds or (7 if options.rate_only else 25)
    if steps < rounds:
        parser.error(
            f"{steps} steps can't be divided into {rounds} blocks: expected at least one for each; give more --steps"
        )
    runs.check_data(parser, lambda: load_corpus(options.paths))
    machine.print_version()
    results = compare(
        options.paths,
        TextSettings(cell=options.cell, hidden=options.hidden, batch=64),
        steps,
        rounds,
        options.threads,
        libraries=options.libraries,
        seeds=options.seeds,
        evaluate=not options.rate_only,
    )
    if options.json:
        machine.write(results, options.json)
    print(report(results))


if __name__ == "__main__":
    main()
