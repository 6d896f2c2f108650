"""Size and speed of the C programs of `xrnn.to_c`, beside `stream`: `python -m benchmarks.c_program`. It needs `cc`."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import machine
from xrnn import GRU, LSTM, RNN, quantize, to_c

_LAYERS: Final[list[Any]] = [(RNN, 3, 16), (GRU, 3, 16), (LSTM, 3, 16), (GRU, 12, 64), (LSTM, 12, 64)]
_ROUNDS: Final = 7
_STEPS: Final = 20_000
_MAIN: Final = """
#include <stdio.h>
#include <time.h>
#include "model.c"
int main(void) {
    static model_state state;
    float x[model_INPUT] = {0}, y[model_OUTPUT];
    model_init(&state);
    const clock_t began = clock();
    for (int i = 0; i < STEPS; i++) model_step(&state, x, y), x[0] = y[0];
    printf("%g %zu\\n", 1e6 * (double)(clock() - began) / CLOCKS_PER_SEC / STEPS, sizeof state);
}
"""


def compiled(folder: Path, *flags: str) -> None:
    subprocess.run(["cc", f"-DSTEPS={_STEPS}", *flags, "main.c", "-o", "program", "-lm"], cwd=folder, check=True)


def timed(folder: Path) -> tuple[float, int]:
    """Microseconds of a step, the median of several runs, and the bytes of the state."""
    fields = [
        subprocess.run(["./program"], cwd=folder, check=True, capture_output=True, text=True).stdout.split()
        for _ in range(_ROUNDS)
    ]
    return statistics.median(float(microseconds) for microseconds, _ in fields), int(fields[0][1])


def program_bytes(folder: Path) -> int:
    """The code and the constants of the model, compiled with -Os."""
    subprocess.run(["cc", "-Os", "-c", "model.c"], cwd=folder, check=True)
    printed = subprocess.run(["size", "model.o"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return int(printed.splitlines()[1].split()[0])  # text


def streamed(layer: Any, D: int) -> float:
    """Microseconds of a step of `stream`."""
    x = np.zeros((1, D), "float32")
    rounds = []
    for _ in range(_ROUNDS + 1):  # the first warms up
        state = None
        start = time.perf_counter()
        for _ in range(_STEPS):
            _, state = layer.stream(x, state)
        rounds.append(1e6 * (time.perf_counter() - start) / _STEPS)
    return statistics.median(rounds[1:])


def main() -> None:
    machine.pin(1)
    print("| | program, `-Os` | state | a step, `-O2` | `-O3 -march=native` | `stream` |\n|---|--:|--:|--:|--:|--:|")
    for make, (kind, D, H) in itertools.product((lambda layer: layer, quantize), _LAYERS):
        layer = make(kind.init(D, H, rng=0, backend="numpy"))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            to_c(layer, folder / "model.c")
            (folder / "main.c").write_text(_MAIN)
            size = program_bytes(folder)
            compiled(folder, "-O2")
            plain, state = timed(folder)
            compiled(folder, "-O3", "-march=native")
            native, _ = timed(folder)
        print(
            f"| {layer.title}({D} → {H}) | {size / 1000:.1f} kB | {state} B | {plain:.1f} µs | {native:.1f} µs | "
            f"{streamed(layer, D):.1f} µs |"
        )


if __name__ == "__main__":
    main()
