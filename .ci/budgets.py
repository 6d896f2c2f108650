"""Lines of code by folder, with a limit for each, so that growth is a decision: `python .ci/budgets.py`.

A change that adds a capability raises a limit by what it adds, with the reason beside it. A change that removes lines
lowers it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BUDGETS: Final = {
    "xrnn": 19_300,  # 50 of them say what becomes of PyTorch's modules: in TorchScript, in the plain form, in a file
    # 130 of them read .xlsx and .parquet files, other encodings and frames with two levels. 350 forecast by exponential
    # smoothing, also few rows, with widths of few errors, and correct the forecasts. 140 choose between one scale and a
    # scale of each series, and save random convolutions.
    "xrnn/series": 3_800,
    "xrnn/commands": 1_560,
    "backends": 11_310,  # 80 of them prefetch dW and packed weights, 30 keep sums in tile registers
    # 40 of them read sets of other packages, and both halves of M3; 35 print mean ratios to Theta, and leave out the
    # recurrent part.
    "benchmarks": 6_700,
    "tests": 28_300,
    "docs/examples": 1_610,
    # 128 of them plant defects in the kernels, which proves that the tests find them. 244 of them compare the commands'
    # outputs in two checkouts: for changes that must keep them.
    ".ci": 970,
}
_CODE: Final = {".py", ".pyi", ".c", ".cpp", ".h", ".cu", ""}  # shell scripts in .ci have no suffix


def files(folder: str) -> Iterator[Path]:
    for parent, _, names in os.walk(Path(__file__).parents[1] / folder):  # without links, as xrnn/backends is
        yield from (Path(parent, name) for name in names if Path(name).suffix in _CODE)


over = []
for folder, budget in BUDGETS.items():
    lines = sum(len(file.read_bytes().splitlines()) for file in files(folder))
    print(f"{folder:14} {lines:6,} of {budget:6,} lines")
    if lines > budget:
        over.append(
            f"{folder} has {lines:,} lines: expected at most {budget:,}; remove {lines - budget:,}, or raise "
            "the limit in .ci/budgets.py with the reason"
        )
sys.exit("\n".join(over) or None)
