"""The speed beside NumPy's matrix products: `python -m benchmarks.company`, three minutes.

beside   the forward and backward passes of three cells, alone and with a product of NumPy after each pair of passes;
         and the time of that product
loop     an update of a training loop: the loop in NumPy alone; the same with the recurrence ported to xrnn and the
         readout as it was, `h @ W`; and with `xrnn.Linear` as readout. The loop of the leaky layer has noise in the
         units, drawn in each update, and one sign for the weights of a unit: docs/how-to/constraints.md

NumPy's BLAS may keep its threads polling after a product, on the CPUs that xrnn's threads need. `SETTINGS` has what
can be done about it, and one thread for comparison. Each row of a part runs in its own process. The processes take
turns, and those that wait are stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from rich.console import Console

import xrnn
from benchmarks import machine
from benchmarks.busy import cpus
from benchmarks.cases import LAYERS, Case, Problem, check
from benchmarks.peers import build
from benchmarks.processes import Child, environment, rotated
from benchmarks.ratios import ratio
from benchmarks.tables import table, wide_console
from xrnn.backends.numpy import kernels
from xrnn.typing import HostArray

# By name: the environment variables.
SETTINGS: Final[dict[str, dict[str, str]]] = {
    "as installed": {},
    "no polling": {"OPENBLAS_THREAD_TIMEOUT": "4"},
    "shared threads": {"XRNN_SHARE_THREADS": "1"},
    "one thread": {"OMP_NUM_THREADS": "1"},  # of xrnn and of NumPy: what the product does to the caches is left
}
CASES: Final = (
    Case(35, 3, 40, 100, cell="gru"),
    Case(50, 16, 256, 256, cell="lstm"),
    Case(20, 64, 512, 1024),
)
PRODUCTS: Final = (200, 600)  # rows and columns of both matrices
LOOPS: Final = (Case(100, 32, 10, 200), Case(50, 16, 64, 256, cell="lstm"), Case(100, 32, 10, 200, cell="leak"))
OUTPUTS: Final = 10
FORMS: Final = ("NumPy alone", "xrnn, h @ W", "xrnn, Linear")
_WARM: Final = 0.2  # the part of a turn that is not measured

Times = dict[str, float]  # microseconds: the median of a turn


class Beside:
    """Forward and backward passes of a case, and products of NumPy, one after the other."""

    def __init__(self, case: Case | None, product: int | None) -> None:
        """None: none of them."""
        self._calls: dict[str, Callable[[], Any]] = {}
        if case:
            problem = Problem(case)
            self._calls["passes"] = build("xrnn", problem, threads=0).calls["train"]
            check("train", self._calls["passes"](), problem)
        if product:
            a, b = np.random.default_rng(0).standard_normal((2, product, product), np.float32)
            out = np.empty_like(a)
            self._calls["product"] = lambda: np.matmul(a, b, out=out)

    def turn(self, seconds: float) -> Times:
        times: dict[str, list[float]] = {name: [] for name in self._calls}
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds or not all(times.values()):
            for name, call in self._calls.items():
                begin = time.perf_counter()
                call()
                if now > start + _WARM * seconds:
                    times[name].append((time.perf_counter() - begin) * 1e6)
        return {name: statistics.median(of_call) for name, of_call in times.items()}


class Dale:
    """Wh = |raw| · sign, with one sign for each row: four of five units excite."""

    def __init__(self, Wh: HostArray) -> None:
        H = len(Wh)
        self._sign = np.where(np.arange(H) < 0.8 * H, 1, -1)[:, None].astype(Wh.dtype)
        self._Wh = Wh
        self.raw = np.abs(Wh)
        self.write_weights()

    def write_weights(self) -> None:
        np.multiply(np.abs(self.raw), self._sign, out=self._Wh)

    def gradient(self, dWh: HostArray) -> HostArray:
        return dWh * self._sign * np.sign(self.raw)


class Loop:
    """A training loop: a recurrence and a readout, mean squared error, gradient descent."""

    def __init__(self, case: Case, form: str) -> None:
        self._case = case
        self._form = form
        self._problem = Problem(case)
        rng = np.random.default_rng(0)
        self._W = 0.1 * rng.standard_normal((case.H, OUTPUTS), np.float32)
        self._target = rng.standard_normal((case.T * case.N, OUTPUTS), np.float32)
        self._weights = [np.array(w) for w in self._problem.weights]
        self._loop = importlib.import_module(f"benchmarks.peers.loops.{case.cell}")
        self._layer = LAYERS[case.cell](*self._weights)
        self._readout = xrnn.Linear(self._W, np.zeros(OUTPUTS, np.float32))
        self._dale = Dale(self._weights[1]) if case.cell == "leak" else None
        self._rng, self._terms = rng, dict[str, HostArray]()  # of a recurrence, besides x and h_prev

    def update(self) -> float:
        """→ the loss."""
        case = self._case
        trained = [*self._weights, self._W]
        if self._dale:
            noise = self._rng.standard_normal((case.T, case.N, case.H), np.float32)
            self._terms["add"] = np.multiply(noise, np.float32(0.1), out=noise)
            trained[1] = self._dale.raw
        loss, gradients = self._numpy() if self._form == FORMS[0] else self._ported()
        if self._dale:
            gradients[1] = self._dale.gradient(gradients[1])
        for w, dw in zip(trained, gradients, strict=True):
            w -= np.float32(0.01) * dw
        if self._dale:
            self._dale.write_weights()
        return loss

    def _numpy(self) -> tuple[float, list[HostArray]]:
        problem = self._problem
        Wx, Wh, b = self._weights
        hs, kept = self._loop.forward(problem.x, *problem.states, Wx, Wh, b, **self._terms)
        loss, dh, dW = self._own_readout(hs[1:])
        *_, dWx, dWh, db = self._loop.backward(dh, hs, kept, problem.x, Wx, Wh)
        return loss, [dWx, dWh, db, dW]

    def _ported(self) -> tuple[float, list[HostArray]]:
        result = self._layer.forward(self._problem.x, *self._problem.states, **self._terms)
        h = result[0] if isinstance(result, tuple) else result
        if self._form == "xrnn, Linear":
            y = self._readout.forward(h)
            mean_error, dy = xrnn.mean_squared_error(y, self._target.reshape(y.shape))
            loss = float(mean_error)
            dh = self._readout.backward(dy)
            dW = self._readout.grads[0]
        else:
            loss, dh, dW = self._own_readout(h)
        self._layer.backward(dh, needs_dx=False)
        return loss, [*self._layer.grads, dW]

    def _own_readout(self, h: HostArray) -> tuple[float, HostArray, HostArray]:
        rows = h.reshape(-1, self._case.H)
        error = rows @ self._W - self._target
        dy = error * np.float32(2 / error.size)
        return float(np.mean(error * error)), (dy @ self._W.T).reshape(h.shape), rows.T @ dy

    def first_losses(self) -> list[float]:
        return [self.update() for _ in range(3)]

    def turn(self, seconds: float) -> Times:
        times: list[float] = []
        start = time.perf_counter()
        while (begin := time.perf_counter()) < start + seconds or not times:
            self.update()
            if begin > start + _WARM * seconds:
                times.append((time.perf_counter() - begin) * 1e6)
        return {"update": statistics.median(times)}


Row = tuple[Any, ...]  # the arguments of Beside or Loop, and the name of a setting


def measure(make: Callable[..., Any], rows: Sequence[Row], rounds: int, seconds: float) -> dict[Row, list[Times]]:
    """The times of each row, one for each round."""
    with contextlib.ExitStack() as stack:
        children = {}
        for row in rows:
            *arguments, setting = row
            variables = environment(None) | SETTINGS[setting]
            children[row] = stack.enter_context(Child(make, *arguments, environment=variables, suspend=True))
        if make is Loop:
            agree({row: child.ask("first_losses") for row, child in children.items()})
        times: dict[Row, list[Times]] = {row: [] for row in rows}
        for order in rotated(rows, rounds):
            for row in order:
                times[row].append(children[row].ask("turn", seconds))
    return times


def agree(losses: Mapping[Row, Sequence[float]]) -> None:
    """Raises AssertionError unless all forms of a loop have the same losses."""
    for (case, form, setting), found in losses.items():
        np.testing.assert_allclose(
            found, losses[case, FORMS[0], setting], rtol=1e-4, err_msg=f"{case.name}: {form}, {setting}"
        )


def beside(rounds: int, seconds: float, console: Console) -> list[dict[str, Any]]:
    products = (None, *PRODUCTS)
    rows = [(c, p, s) for c in (None, *CASES) for p in products for s in SETTINGS if c or p]
    times = measure(Beside, rows, rounds, seconds)
    first = next(iter(SETTINGS))

    def compared(call: str, row: Row, alone: Row) -> str:
        ours, theirs = ([one_round[call] for one_round in times[name]] for name in (alone, row))
        return f"{ratio(ours, theirs).median:.2f}"

    lines = []
    for setting in SETTINGS:
        for case in CASES:
            alone = statistics.median(one_round["passes"] for one_round in times[case, None, setting])
            ratios = [compared("passes", (case, product, setting), (case, None, first)) for product in products]
            of_product = [compared("product", (case, p, setting), (None, p, first)) for p in PRODUCTS]
            lines.append([setting, case.name, f"{alone:,.0f}", *ratios, *of_product])
    columns = ["", "T, N, D, H", "alone, µs", "alone", *(f"beside {p}" for p in PRODUCTS)]
    columns += [f"product of {p}" for p in PRODUCTS]
    console.print(table(f"forward + backward, and the product: time divided by that alone, {first}", columns, lines, 2))
    return results(times)


def loop(rounds: int, seconds: float, console: Console) -> list[dict[str, Any]]:
    rows = [(case, form, setting) for case in LOOPS for form in FORMS for setting in SETTINGS]
    times = measure(Loop, rows, rounds, seconds)
    first = next(iter(SETTINGS))
    lines = []
    for setting in SETTINGS:
        for case in LOOPS:
            before = [one_round["update"] for one_round in times[case, FORMS[0], first]]
            after = [[one_round["update"] for one_round in times[case, form, setting]] for form in FORMS]
            speeds = [f"{ratio(updates, before).median:.2f}" for updates in after]
            lines.append([setting, case.name, f"{statistics.median(before):,.0f}", *speeds])
    columns = ["", "T, N, D, H", "NumPy alone, µs", *FORMS]
    console.print(
        table(f"an update: the time of the loop in NumPy alone, {first}, divided by that of", columns, lines, 2)
    )
    return results(times)


def results(times: Mapping[Row, Sequence[Times]]) -> list[dict[str, Any]]:
    return [
        {"case": case.name if case else None, "of": what, "setting": setting, "us": of_row}
        for (case, what, setting), of_row in times.items()
    ]


PARTS: Final[dict[str, Callable[[int, float, Console], list[dict[str, Any]]]]] = {"beside": beside, "loop": loop}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.company", description="speed beside NumPy's products")
    parser.add_argument("--parts", type=machine.some_of(PARTS), default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument("--rounds", type=machine.positive, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=machine.amount, default=0.4, help="of each turn (default: %(default)s)")
    machine.add_out(parser)
    options = parser.parse_args(arguments)
    if not kernels:
        parser.error("xrnn has no compiled kernels here, and only they share the CPUs with BLAS: pip install -e .")
    machine.print_version()
    found: dict[str, Any] = {"machine": machine.describe(cpus()), "dtype": "float32"}
    for name in options.parts:
        found[name] = PARTS[name](options.rounds, options.seconds, wide_console())
    machine.write(found, options.out / "company.json")


if __name__ == "__main__":
    main()
