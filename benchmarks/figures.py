"""The tables and pictures of README.md and of the docs, from the results of one machine.

python -m benchmarks.figures                               # writes them, from benchmarks/results
python -m benchmarks.figures --measure step,compare-lstm   # measures some results first; `all`: an hour
python -m benchmarks.figures --results build/mine --print  # prints the tables of other results

In a page, a table stands between the lines `<!-- figures: NAME -->` and `<!-- end of figures -->`; `TABLES` has the
names.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, mamba, markdown
from benchmarks.pictures import draw_speed
from benchmarks.processes import environment

_ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = (_ROOT / "README.md", _ROOT / "docs/index.md", _ROOT / "docs/speed.md")
RESULTS: Final = _ROOT / "benchmarks/results"


@dataclass(frozen=True, slots=True)
class Run:
    """A command of benchmarks/, which writes one file."""

    command: str  # with its arguments
    threads: int | None = 2  # None: the command takes all CPUs
    variables: Mapping[str, str] = field(default_factory=dict)


_AVX2: Final = {
    "XRNN_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
# By the name of the file of results. Cells apart, so that one can be measured again.
RUNS: Final = {
    "compare-rnn": Run("compare --cases rnn,leak --rounds 5"),
    "compare-lstm": Run("compare --cases lstm --rounds 5"),
    "compare-gru": Run("compare --cases gru --rounds 5"),
    "compare-min-gru": Run("compare --cases min-gru --rounds 3"),
    "compare-min-lstm": Run("compare --cases min-lstm --rounds 3"),
    "compare-slstm": Run("compare --cases slstm --rounds 3"),
    "compare-lru": Run("compare --cases lru --rounds 3"),
    "compare-heads": Run("compare --cases lstm-heads --peers xrnn --rounds 5"),
    "compare-avx2": Run("compare --cases rnn,lstm,gru,leak --peers xrnn,torch --rounds 5", variables=_AVX2),
    "compare-wide": Run("compare --wide --peers xrnn,xrnn.freeze,bare-read,onnxruntime,torch"),
    "compare-steps": Run("compare --steps --rounds 15"),
    "step": Run("step --peers xrnn,torch"),
    "company": Run("company --rounds 3 --seconds 0.8", threads=None),
    "memory-long": Run("memory --long", threads=1),
    "torch-modules": Run("torch_modules --rounds 5"),
    "torch-modules-packed-1": Run("torch_modules --cases ragged --rounds 3", threads=1),
    "torch-modules-few-steps": Run("torch_modules --few-steps"),
    "torch-modules-autocast": Run("torch_modules --autocast --rounds 4"),
    "mamba": Run("mamba", threads=1),
}
_COMMON: Final = ("compare-rnn", "compare-lstm", "compare-gru")
_RECENT: Final = ("compare-min-gru", "compare-min-lstm", "compare-slstm", "compare-lru")
# By name: the function, and the results that it takes.
TABLES: Final[dict[str, tuple[Callable[..., list[str]], tuple[str, ...]]]] = {
    "machine": (markdown.about, _COMMON),
    "README": (markdown.means_of_common, (*_COMMON, "mamba")),
    "training": (markdown.means_of_training, _COMMON),
    "behind": (markdown.behind, _COMMON),
    "RNN": (markdown.sizes, ("compare-rnn",)),
    "LSTM": (markdown.sizes, ("compare-lstm",)),
    "GRU": (markdown.sizes, ("compare-gru",)),
    "means": (markdown.means, _COMMON),
    "recent cells": (markdown.recent, _RECENT),
    "heads": (markdown.heads, ("compare-heads",)),
    "AVX2": (markdown.means, ("compare-avx2",)),
    "EPYC": (markdown.means, ("compare-epyc",)),  # of another machine: no run here writes it
    "one step": (markdown.one_step, ("step",)),
    "wide": (markdown.wide, ("compare-wide",)),
    "frozen": (markdown.means_of_frozen, ("compare-wide",)),
    "one row": (markdown.frozen_of_one_row, ("compare-wide",)),
    "steps": (markdown.steps, ("compare-steps",)),
    "beside products": (markdown.passes_beside_products, ("company",)),
    "products beside": (markdown.products_beside_passes, ("company",)),
    "ported loops": (markdown.ported_loops, ("company",)),
    "memory": (markdown.memory, ("memory-long",)),
    "padded": (markdown.modules(packed=False), ("torch-modules",)),
    "packed": (markdown.modules(packed=True), ("torch-modules",)),
    "packed, one thread": (markdown.modules(packed=True), ("torch-modules-packed-1",)),
    "few steps": (markdown.modules(packed=False), ("torch-modules-few-steps",)),
    "padded, autocast": (markdown.modules(packed=False), ("torch-modules-autocast",)),
    "packed, autocast": (markdown.modules(packed=True), ("torch-modules-autocast",)),
    "scans": (markdown.mamba_scans, ("mamba",)),
    "chunk scans": (markdown.mamba_operations("chunk scans", "N, T, heads, dim, K"), ("mamba",)),
    "mLSTM": (markdown.mamba_operations("mlstms", "hidden, N, T"), ("mamba",)),
    "Mamba": (markdown.mamba_models, ("mamba",)),
    "Mamba memory": (markdown.mamba_memory("Mamba"), ("mamba",)),
    "Mamba-2": (markdown.mamba_operations("models of Mamba-2", "hidden, N, T"), ("mamba",)),
    "Mamba-2 memory": (markdown.mamba_memory("Mamba2"), ("mamba",)),
}
_MARKED: Final = re.compile(r"(<!-- figures: (.+?) -->)\n.*?(<!-- end of figures -->)", re.DOTALL)


def measure(name: str, folder: Path) -> None:
    """Run a command of `RUNS`, and put its results into the folder."""
    run = RUNS[name]
    with tempfile.TemporaryDirectory() as out:
        arguments = ["-m", *f"benchmarks.{run.command}".split()]
        if run.threads:
            arguments += ["--threads", str(run.threads)]
        variables = "".join(f"{variable}={value} " for variable, value in run.variables.items())
        print(f"\n$ {variables}python {' '.join(arguments)}", flush=True)
        command = [sys.executable, *arguments, "--out", out]
        subprocess.run(command, env={**environment(run.threads), **run.variables}, check=True)
        (file,) = Path(out).glob("*.json")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(file, folder / f"{name}.json")


def lines_of(name: str, folder: Path) -> list[str]:
    """The lines of a table.   Raises FileNotFoundError if a file of results is missing."""
    function, names = TABLES[name]
    return function(*(machine.read(folder / f"{of}.json") for of in names))


def written(page: str, folder: Path) -> str:
    """The text of a page with the tables of these results.   Raises KeyError for a name that is not in `TABLES`."""

    def with_table(match: re.Match[str]) -> str:
        return "\n".join([match[1], *lines_of(match[2], folder), "", match[3]])

    return _MARKED.sub(with_table, page)


def draw(folder: Path) -> None:
    """The pictures of README.md and of docs/speed.md."""
    files = [machine.read(folder / f"{name}.json") for name in _COMMON]
    together: dict[str, Any] = files[0] | {"cases": [row for file in files for row in file["cases"]]}
    draw_speed(together, _ROOT / "docs/speed.png")
    mamba.draw(machine.read(folder / "mamba.json"), _ROOT / "docs/mamba.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description="the tables and pictures of docs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default: benchmarks/results)")
    parser.add_argument("--print", action="store_true", help="print the tables, and write nothing")
    parser.add_argument(
        "--measure",
        type=machine.some_of((*RUNS, "all")),
        default=[],
        help=f"first measure some results, with commas between them: all, {', '.join(RUNS)}",
    )
    options = parser.parse_args(arguments)
    for name in RUNS if "all" in options.measure else options.measure:
        measure(name, options.results)
    if options.print:
        _print(options.results)
        return
    missing = [name for name in RUNS if not (options.results / f"{name}.json").is_file()]
    if missing:
        names = ",".join(missing)
        parser.error(f"{options.results} lacks {names}: measure them with --measure {names}, or --print the others")
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8"), options.results), encoding="utf-8")
    draw(options.results)


def _print(folder: Path) -> None:
    """All tables whose results are in the folder."""
    for name, (_, names) in TABLES.items():
        if all((folder / f"{of}.json").is_file() for of in names):
            print(f"{name}:\n", *lines_of(name, folder), "", sep="\n")


if __name__ == "__main__":
    main()
