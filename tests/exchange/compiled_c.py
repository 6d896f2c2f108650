"""Compiles the C file of a model and runs it on a sequence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# Reads values from stdin, and prints the result of each step. Results and state begin with values of no meaning, and
# another signal runs between the steps.
MAIN = """
#include <stdio.h>
#include "model.c"
int main(void) {{
    static {type} x[{name}_INPUT];
    static float y[{name}_OUTPUT + 1], other[{name}_OUTPUT];
    static {name}_state state, between;
    memset(&state, 0xff, sizeof state);
    {name}_init(&state);
    {name}_init(&between);
    for (;;) {{
        for (int i = 0; i < {name}_INPUT; i++)
            if (scanf("{format}", &x[i]) != 1) return 0;
        {name}_step(&between, x, other);
        memset(y, 0xff, sizeof y);
        for (int i = 0; i < {repeats}; i++) {name}_step(&state, x, y);
        for (int i = 0; i < {name}_OUTPUT; i++) printf("%a ", (double)y[i]);
        printf("\\n");
    }}
}}
"""


def built(
    folder: Path,
    name: str,
    index: bool = False,
    compiler: str = "gcc",
    flags: Any = SANITIZED,
    standard: str = "c99",
    repeats: int = 1,
) -> Path:
    """The program of `model.c` in `folder`. Skips the test if the compiler is not installed.

    repeats   the number of steps with each value
    """
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    kind, form = ("int", "%d") if index else ("float", "%f")
    (folder / "main.c").write_text(MAIN.format(name=name, type=kind, format=form, repeats=repeats))
    command = [compiler, f"-std={standard}", *WARNINGS, *flags, "main.c", "-o", "program", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return folder / "program"


def outputs(program: Path, x: Any, *emulator: str) -> Any:
    """x (T, D) → y (T, C) float64, one step after the other."""
    text = "\n".join(" ".join(map(str, np.atleast_1d(row).tolist())) for row in x)
    done = subprocess.run([*emulator, str(program)], input=text, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return np.array([[float.fromhex(word) for word in line.split()] for line in done.stdout.splitlines()])


def streamed(layer: Any, x: Any) -> Any:
    """`stream` step by step, for one signal x (T, D) → h (T, H)."""
    state, rows = None, []
    for row in x:
        h, state = layer.stream(row[None], state)
        rows.append(h[0])
    return np.array(rows)
