"""One life of a training run, which `benchmarks.soak` starts and kills: `python -m benchmarks.soak_training CELL FILE`.

It goes on from the checkpoint in FILE, where there is one, on ragged batches that the step alone decides, and changes
its number of threads at random. It prints a line at its start, after each step and after each checkpoint:

    from STEP    STEP DIGEST (of the weights)    saved STEP RESIDENT_BYTES
"""

from __future__ import annotations

import os
import random
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import ThreadpoolController

import xrnn
from xrnn.files import Spec, open_arrays, write_arrays
from xrnn.typing import HostArray

CELLS: Final[dict[str, Any]] = {
    "rnn": xrnn.RNN.init,
    "leak": partial(xrnn.RNN.init, leak=0.3),
    "lstm": xrnn.LSTM.init,
    "gru": xrnn.GRU.init,
    "gru-reset-before": partial(xrnn.GRU.init, reset_after=False),
}
SAVE_EVERY: Final = 5  # steps
# Large enough for a second thread.
T, N, D, H = 12, 32, 48, 96


class Run:
    def __init__(self, cell: str, path: Path) -> None:
        self.path, rng = path, np.random.default_rng(0)
        self.layer = CELLS[cell](D, H, rng=rng, backend="numpy")
        self.readout = xrnn.Linear.init(H, 1, rng=rng, backend="numpy")
        self.optimizer = xrnn.Adam([self.layer, self.readout])
        if path.exists():
            self.restore()

    @property
    def arrays(self) -> dict[str, HostArray]:
        state = {name: arrays for name, arrays in self.optimizer.state.items() if name != "count"}
        named = {"weight": self.optimizer.params, **state}
        return {f"{name} {i}": array for name, arrays in named.items() for i, array in enumerate(arrays)}

    def save(self) -> None:
        write_arrays(self.path, self.arrays, {"step": str(self.optimizer.steps)})

    def restore(self) -> None:
        arrays = self.arrays
        with open_arrays(self.path, "a checkpoint of this run") as file:
            file.check({name: Spec(array.shape) for name, array in arrays.items()})
            found, self.optimizer.steps = file.read(), int(file.metadata["step"])
        for name, array in arrays.items():
            array[...] = found[name]

    def step(self) -> None:
        """To learn: the mean of the inputs so far. What lies past a row's end is NaN, and may not be looked at."""
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


def main() -> None:
    run, threads = Run(sys.argv[1], Path(sys.argv[2])), ThreadpoolController()
    print("from", run.optimizer.steps, flush=True)
    while True:
        with threads.limit(limits=random.randint(1, os.cpu_count() or 1), user_api="openmp"):
            for _ in range(SAVE_EVERY):
                run.step()
                print(run.optimizer.steps, run.digest(), flush=True)
        run.save()
        print("saved", run.optimizer.steps, resident_bytes(), flush=True)


if __name__ == "__main__":
    main()
