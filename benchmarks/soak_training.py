"""The training run that `benchmarks.soak` starts, kills and resumes.

It continues from its checkpoint, if there is one. Its ragged batches depend on the number of updates alone, and it
changes its number of threads at random. It reports its start, each update and each checkpoint:

    ("from", updates)    ("step", updates, digest of the weights)    ("saved", updates, resident bytes)
"""

from __future__ import annotations

import os
import random
import zlib
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import ThreadpoolController

import xrnn

CELLS: Final[dict[str, Any]] = {
    "rnn": xrnn.RNN.init,
    "leak": partial(xrnn.RNN.init, leak=0.3),
    "lstm": xrnn.LSTM.init,
    "gru": xrnn.GRU.init,
    "gru-reset-before": partial(xrnn.GRU.init, reset_after=False),
}
SAVE_EVERY: Final = 5  # updates
# Large enough for a second thread
T, N, D, H = 12, 32, 48, 96


class Run:
    def __init__(self, cell: str, path: Path) -> None:
        self.path, rng = path, np.random.default_rng(0)
        self.layer = CELLS[cell](D, H, rng=rng, backend="numpy")
        self.readout = xrnn.Linear.init(H, 1, rng=rng, backend="numpy")
        self.optimizer = xrnn.Adam([self.layer, self.readout])
        if path.exists():
            c = xrnn.load_checkpoint(path, backend="numpy")
            self.layer, self.readout, self.optimizer = *c.layers.values(), c.optimizer

    def save(self) -> None:
        layers = {"layer": self.layer, "readout": self.readout}
        xrnn.save_checkpoint(self.path, layers, optimizer=self.optimizer)

    def step(self) -> None:
        """Make one update. The target is the mean of the inputs so far; x is NaN past a row's end."""
        rng = np.random.default_rng(self.optimizer.steps)
        lengths = rng.integers(0, T, N, endpoint=True)
        within = (np.arange(T)[:, None] < lengths)[..., None]
        x = rng.standard_normal((T, N, D), np.float32)
        target = x.mean(-1, keepdims=True).cumsum(0, dtype=np.float32)
        result = self.layer.forward(np.where(within, x, np.float32("nan")), lengths=lengths)
        y = self.readout.forward(result[0] if isinstance(result, tuple) else result)
        _, dy = xrnn.mean_squared_error(y, np.where(within, target, y))
        dh = self.readout.backward(dy)
        self.layer.backward(*([dh, None] if isinstance(result, tuple) else [dh]))
        self.optimizer.step()

    def digest(self) -> str:
        digest = 0
        for param in self.optimizer.params:
            digest = zlib.crc32(param.data, digest)
        return f"{digest:08x}"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def live(cell: str, path: Path, pipe: Connection) -> None:
    """Train until the process is killed, and report what the module's docstring says."""
    run, threads = Run(cell, path), ThreadpoolController()
    pipe.send(("from", run.optimizer.steps))
    while True:
        with threads.limit(limits=random.randint(1, os.cpu_count() or 1), user_api="openmp"):
            for _ in range(SAVE_EVERY):
                run.step()
                pipe.send(("step", run.optimizer.steps, run.digest()))
        run.save()
        pipe.send(("saved", run.optimizer.steps, resident_bytes()))
