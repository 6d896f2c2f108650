"""What each cell learns in one minute: `python -m benchmarks.cells [--cells gru,lru] [--json FILE]`, 13 minutes.

text   the character model of `xrnn train` with two layers of 256 units: bits per character of held-out text
copy   the copy task (Hochreiter and Schmidhuber, 1997) with two layers of 64 units, for a quarter of the time: four
       symbols of eight, a pause of 20 steps, then the cell must repeat them: the share of symbols that are right

All cells have the same settings. Rows are added to FILE, so that the cells may be measured one by one.
`python -m benchmarks.cells --print FILE` prints the table of docs/examples/plot_cells.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import xrnn
from benchmarks import machine, runs
from benchmarks.cases import GATES, LEAK
from benchmarks.report import NAMES
from xrnn import Adam, Linear, Stack, clip_grad_norm, cosine, get_backend, softmax_cross_entropy
from xrnn.cells import CELLS
from xrnn.models.corpus import Corpus, load_corpus
from xrnn.models.text import EMBEDDING, CharLM, TextSettings, TextTrainer, bits_per_character
from xrnn.typing import HostArray

_LAYERS: Final = 2
_COPIERS: Final = 64  # units of a layer
_SYMBOLS, _COUNT, _PAUSE = 8, 4, 20
# By cell: its layer, and further arguments of `init`. The order is that of the table.
_KINDS: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "rnn": (xrnn.RNN, {}),
    "leak": (xrnn.RNN, {"leak": LEAK, "trains_leak": True}),
    "lstm": (xrnn.LSTM, {}),
    "lstm-heads": (xrnn.LSTM, {"heads": 4}),
} | {cell: (kind, {}) for cell, kind in CELLS.items() if cell not in ("rnn", "lstm")}


def learn(cell: str, corpus: Corpus, minutes: float, hidden: int) -> dict[str, Any]:
    """The row of a cell."""
    return {"cell": cell, **_text(cell, corpus, minutes * 60, hidden), **_copy(cell, minutes * 15)}


def _stack(cell: str, inputs: int, units: int, rng: np.random.Generator) -> Stack:
    kind, options = _KINDS[cell]
    layers: list[Any] = []
    for _ in range(_LAYERS):
        size = layers[-1].output_size if layers else inputs
        layers.append(kind.init(size, units, rng=rng, backend="numpy", **options))
    return Stack(layers)


def _text(cell: str, corpus: Corpus, seconds: float, hidden: int) -> dict[str, Any]:
    name = next(name for name, kind in CELLS.items() if kind is _KINDS[cell][0])
    settings = TextSettings(cell=name, hidden=hidden, layers=_LAYERS)
    layers = settings.plan.make(get_backend("numpy"))
    layers["stack"] = _stack(cell, EMBEDDING, hidden, np.random.default_rng(0))
    trainer = TextTrainer(settings, corpus, get_backend("numpy"), model=CharLM(name, layers))
    updates = sum(1 for _ in _until(seconds, trainer.step))
    trainer.read_losses()  # raises DivergedError
    return {
        "updates": updates,
        "characters": updates * settings.seq_len * settings.batch,
        "bits_per_character": bits_per_character(trainer.model, corpus.held_out),
    }


def _until(seconds: float, step: Any) -> Iterator[float]:
    """Call `step` until the time is over. After each call, yields the share of the time that was left before it."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        step()
        yield left / seconds


def _copy(cell: str, seconds: float) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    stack = _stack(cell, _SYMBOLS + 1, _COPIERS, rng)
    readout = Linear.init(stack.output_size, _SYMBOLS, rng=rng, backend="numpy")
    optimizer, updates = Adam([stack, readout], lr=0.01), 0

    def update() -> None:
        x, symbols = draw(rng)
        h = _first(stack.forward(x))[-_COUNT:]
        _, dlogits = softmax_cross_entropy(readout.forward(h), symbols)
        dh = np.zeros((len(x), *h.shape[1:]), np.float32)
        dh[-_COUNT:] = readout.backward(dlogits)
        stack.backward(dh, needs_dx=False)
        clip_grad_norm(optimizer.grads, 1.0)
        optimizer.step()

    for left in _until(seconds, update):
        optimizer.lr = 0.01 * cosine(round(1e6 * (1 - left)), 1_000_000)
        updates += 1
    x, symbols = draw(np.random.default_rng(1), 1000)
    guessed = readout(_first(stack(x))[-_COUNT:]).argmax(axis=-1)
    return {"copy_updates": updates, "copied": float((guessed == symbols).mean())}


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result  # h; other states come after it


def draw(rng: np.random.Generator, N: int = 32) -> tuple[HostArray, HostArray]:
    """→ x (28, N, 9), the symbols (4, N). Feature 8 is the signal to repeat them."""
    symbols = rng.integers(0, _SYMBOLS, (_COUNT, N)).astype(np.int32)
    x = np.zeros((2 * _COUNT + _PAUSE, N, _SYMBOLS + 1), np.float32)
    x[np.arange(_COUNT)[:, None], np.arange(N), symbols] = 1
    x[-_COUNT:, :, _SYMBOLS] = 1
    return x, symbols


def table(results: dict[str, Any]) -> str:
    """A table in reStructuredText, the best cell of the text first."""
    titles = ("cell", "bits a character", "characters read", "symbols repeated")
    rows = [titles]
    for row in sorted(results["learned"], key=lambda row: row["bits_per_character"]):
        read = f"{row['characters'] / 1e6:.1f} million"
        rows.append((NAMES[row["cell"]], f"{row['bits_per_character']:.3f}", read, f"{row['copied']:.0%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join([rule, head, rule, *lines, rule])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cells", description="what each cell learns in a minute")
    parser.add_argument("paths", nargs="*", type=Path, help="text (default: Python's own sources)")
    known = ",".join(_KINDS)
    parser.add_argument("--cells", type=machine.some_of(GATES), default=known, help="(default: %(default)s)")
    parser.add_argument("--minutes", type=machine.amount, default=1.0, help="for the text of each (default: 1)")
    parser.add_argument("--hidden", type=machine.positive, default=256, help="units for the text (default: 256)")
    parser.add_argument("--threads", type=machine.positive, default=2, help="(default: 2)")
    parser.add_argument("--json", type=Path, default=Path("build/bench/cells.json"), help="(default: %(default)s)")
    parser.add_argument(
        "--print", type=machine.results_with("learned"), metavar="FILE", help="only print the table of these results"
    )
    options = parser.parse_args(arguments)

    if options.print:
        print(table(options.print))
        return
    runs.check_data(parser, lambda: load_corpus(options.paths))
    machine.pin(options.threads)
    machine.print_version()
    how = {name: getattr(options, name) for name in ("minutes", "hidden", "threads")}
    results: dict[str, Any] = {"machine": machine.describe(options.threads), **how, "learned": []}
    if options.json.exists():
        earlier = machine.read(options.json)
        for name, of in (("cpu", "machine"), *((name, "") for name in how)):
            before, now = ((each[of] if of else each)[name] for each in (earlier, results))
            if before != now:
                parser.error(f"{options.json} has {name} {before}: expected {now}, as in this run; give another file")
        results["learned"] = [row for row in earlier["learned"] if row["cell"] not in options.cells]
    corpus = load_corpus(options.paths)
    for cell in options.cells:
        row = learn(cell, corpus, options.minutes, options.hidden)
        results["learned"].append(row)
        machine.write(results, options.json)
        print(
            f"{NAMES[cell]:14} {row['bits_per_character']:.3f} bits per character after {row['characters']:,}, "
            f"{row['copied']:.0%} of the symbols after {row['copy_updates']:,} updates",
            flush=True,
        )
    print(table(results))


if __name__ == "__main__":
    main()
