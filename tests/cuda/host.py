"""The host's part of a call: `python -m tests.cuda.host` prints the Python of an operation before its kernel's launch.

NumPy's functions, on tiny arrays, take the place of the stand-in's. The launch itself is left out, and so are the
launches of the input's product and bias.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, Final
from unittest import mock

import numpy as np

from benchmarks.cases import GATES
from tests import standin
from xrnn.backends import cupy
from xrnn.backends.cupy import CupyBackend
from xrnn.backends.cupy.cells import NAMED
from xrnn.backends.cupy.choice import Request, candidates
from xrnn.backends.cupy.launch import variants
from xrnn.info import explained
from xrnn.ops import recurrence
from xrnn.ops.inputs import Inputs, Trace

SIZES: Final = (2, 2, 1, 24)  # T, N, D, H: each form of each cell is possible
CALLS: Final = 2000


class Quick(ModuleType):
    """NumPy with the stand-in's devices, and kernels that note when they are launched."""

    def __init__(self) -> None:
        super().__init__(standin.__name__)
        self.__dict__.update({name: value for name, value in vars(np).items() if not name.startswith("_")})
        self.launched = 0.0
        cuda = {name: getattr(standin.cuda, name) for name in standin.cuda.__all__}
        stream = standin.cuda.get_current_stream()
        runtime = SimpleNamespace(**vars(standin.cuda.runtime) | {"getDevice": lambda: 0})
        self.cuda = SimpleNamespace(**cuda | {"get_current_stream": lambda: stream, "runtime": runtime})

    def RawModule(self, **arguments: Any) -> Any:
        def launch(*arguments: Any, **more: Any) -> None:
            self.launched = self.launched or time.perf_counter()

        return SimpleNamespace(get_function=lambda name: launch)


def microseconds(name: str, form: str, backward: bool) -> float | None:
    """The fastest of many calls: others use the machine as well. None if the cell has no such form."""
    xp, cell, (T, N, D, H) = Quick(), explained()[name], SIZES
    backend, (of_x, of_h, bias) = CupyBackend(xp), GATES[name]
    found = candidates(backend.launcher.device(), Request(NAMED[name], backward, "float32", *SIZES))
    chosen = next((c for c in found if c.form == form), None)
    if chosen is None:
        return None
    x, Wx, Wh, b = (np.zeros(s, "float32") for s in ((T, N, D), (D, of_x * H), (H, of_h * H), (bias * H,)))
    own = [param.astype("float32") for param in cell.initial_params(np.random.default_rng(0), H)]
    inputs = Inputs(x, Wx, Wh, b, [None] * len(cell.states), own=own)
    above = [np.zeros((T, N, H), "float32")] * len(cell.states)
    times = []
    with (
        mock.patch.object(backend.launcher, "_gemm", new=_nothing),
        mock.patch.object(recurrence, "project_input", new=_nothing),
        mock.patch.object(backend.selftest, "failure", return_value=(None, True)),
        mock.patch.object(cupy, "choose", return_value=chosen),
    ):
        states = [np.zeros((T + 1, N, H), "float32")] * len(above)
        trace = Trace(inputs, states, np.zeros((T, N, len(b)), "float32"), None)
        for _ in range(CALLS):
            xp.launched, start = 0.0, time.perf_counter()
            if backward:
                backend.recurrence_backward(cell, trace, above, None)
            else:
                backend.recurrence_forward(cell, inputs, True)
            times.append(xp.launched - start)
    return 1e6 * min(times)


def _nothing(*arguments: Any, **more: Any) -> None:
    """In place of a launch: a mock would take longer."""


def table() -> Iterator[str]:
    yield f"{'µs of Python before the launch':32}" + "".join(f"{cell:>10}" for cell in NAMED)
    for form, backward in itertools.product(dict.fromkeys(v.form for v in variants()), (False, True)):
        row = [microseconds(cell, form, backward) for cell in NAMED]
        if any(row):
            name = f"{form} {'backward' if backward else 'forward'}"
            yield f"{name:32}" + "".join(f"{'-' if us is None else format(us, '.1f'):>10}" for us in row)


if __name__ == "__main__":
    print("\n".join(table()))
