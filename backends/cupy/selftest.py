"""Each kernel is compared with the plain form once per device, before its first use.

Development proves the kernels without a GPU (docs/internals/cuda.md). So the first use of a layout on a device runs
three steps with it beside the plain form: on its own grid, without lengths, and in reverse with lengths. Only this
comparison waits for the device.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.backends.cupy.choice import Candidate, Request
from xrnn.backends.cupy.launch import SELF_TEST, Bound, Launcher, LaunchError, Variant, raise_if_lost
from xrnn.backends.cupy.products import tf32_by_environment
from xrnn.ops import recurrence
from xrnn.ops.inputs import Inputs, Trace
from xrnn.precision import use_precision
from xrnn.typing import Array

# Of the largest value: far above the rounding errors of three steps, far below any mistake.
TOLERANCE: Final = {"float32": 1e-3, "float64": 1e-9}
TF32_TOLERANCE: Final = 2e-2  # if the environment lets the plain form's products use TF32: ten bits of a factor
# Errors that say nothing about the kernel: "cudaErrorMemoryAllocation: out of memory", CUDA_ERROR_OUT_OF_MEMORY,
# CUBLAS_STATUS_ALLOC_FAILED.
_TRANSIENT: Final = re.compile("out.of.memory|alloc_failed", re.IGNORECASE)
_STEPS: Final = 3

_log = logging.getLogger("xrnn")


class SelfTest:
    """The results of the comparisons so far."""

    def __init__(self, backend: Backend, launcher: Launcher) -> None:
        self._backend, self._launcher = backend, launcher
        # (device, H, heads, variant, grid and layout) → why the kernel is not used, None if it agreed.
        self._results: dict[tuple[Any, ...], str | None] = {}
        self._running = threading.Lock()  # one at a time: they share the word by which a kernel gives up

    def failure(self, candidate: Candidate, request: Request) -> tuple[str | None, bool]:
        """→ why `candidate` must not run on the current device, None if it may; and whether that is final."""
        variant = Variant.of(candidate, request)
        key = self._key(candidate, variant, request)
        if key in self._results:
            return self._results[key], True
        with self._running:
            if key not in self._results:
                try:
                    with use_precision("float32"):
                        self._results[key] = self._compare(candidate, request)
                except Exception as error:  # it says nothing about the kernel, and the plain form may still work
                    raise_if_lost(error)
                    return self._warn(variant, f"not compared yet, {_line(error)}", "this time"), False
                if why := self._results[key]:
                    self._warn(variant, why, "instead")
            return self._results[key], True

    def note(self, bound: Bound, error: LaunchError) -> None:
        """Record why a later launch failed: a GPU that is shared or partitioned may refuse a grid that fits."""
        variant = Variant.of(bound.candidate, bound.request)
        why = _line(error)
        if not is_transient(error):
            self._results[self._key(bound.candidate, variant, bound.request)] = why
        self._warn(variant, why, "this time" if is_transient(error) else "instead")

    def _key(self, candidate: Candidate, variant: Variant, request: Request) -> tuple[Any, ...]:
        device = self._backend.xp.cuda.runtime.getDevice()
        return device, request.H, request.heads, variant, self._grid(candidate), candidate.layout

    def _grid(self, candidate: Candidate) -> tuple[int, int]:
        """The grid that is compared: a group's own.

        The blocks of one-block are alike and never meet: two at least, one full and one not; and at most one more than
        there are multiprocessors, so that one waits for its turn.
        """
        if candidate.form != "one-block":
            return candidate.grid
        return min(max(candidate.grid[0], 2), self._launcher.device().multiprocessors + 1), 1

    def _warn(self, variant: Variant, why: str, how: str) -> str:
        direction = "backward" if variant.backward else "forward"
        device = self._launcher.device().name
        _log.warning(
            "the %s form (%s %s, %s) is not used on %s, another form runs %s: %s",
            *(variant.form, variant.cell.name, direction, variant.dtype, device, how, why),
        )
        return why

    def _compare(self, candidate: Candidate, request: Request) -> str | None:
        """→ what is wrong, None if the kernel agrees with the plain form. Raises if nothing can be said."""
        xp = self._backend.xp
        candidate = replace(candidate, grid=self._grid(candidate))
        request = replace(request, T=_STEPS, N=batch(candidate), D=5)
        self._launcher.gave_up(SELF_TEST)  # forgets an earlier test's
        try:
            bound = self._launcher.bind(candidate, request)
            if not self._launcher.fits(bound):
                return f"the driver can't keep all {math.prod(bound.grid)} blocks of a group resident at once"
        except Exception as error:
            raise_if_lost(error)
            if is_transient(error):
                raise
            return _line(error)
        tf32 = tf32_by_environment() if request.dtype == "float32" else ""
        tolerance = TF32_TOLERANCE if tf32 else TOLERANCE[request.dtype]
        for reverse in (False, True):
            inputs, dstates = self._problem(request, reverse)
            plain = recurrence.forward(xp, self._backend.products(), request.cell.cell, inputs, True)
            try:
                expected, found = self._run(bound, plain, dstates)
            except Exception as error:
                if not isinstance(error, LaunchError) or is_transient(error):
                    raise
                return _line(error)
            for name, array in expected.items():
                want, got = xp.asnumpy(array), xp.asnumpy(found[name])  # `to_numpy` would report to the user
                off = abs(got - want).max() / (abs(want).max() or 1)  # a stabiliser's gradient may be 0
                if not off <= tolerance:  # a NaN fails too
                    if self._launcher.gave_up(SELF_TEST):
                        return "its blocks gave up waiting for one another"
                    lengths = ", in reverse and with lengths" if reverse else ""
                    with_tf32 = f", with {tf32}" if tf32 else ""
                    return f"its {name} is off by {off:.2g} of the plain form's largest value{lengths}{with_tf32}"
        return None

    def _run(self, bound: Bound, plain: Any, dstates: list[Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The plain form's results, and the kernel's. Both backwards follow the plain form's forward."""
        xp, launcher, inputs, cell = self._backend.xp, self._launcher, plain.inputs, bound.request.cell.cell
        if not bound.request.backward:
            trace = Trace(inputs, *launcher.forward(bound, cell, inputs, True, SELF_TEST))
            active = xp.arange(_STEPS)[:, None] < (_STEPS if inputs.lengths is None else inputs.lengths[None])
            both = []
            for one in (plain, trace):
                results = dict(zip(cell.states, one.states, strict=True))
                if cell.keeps_z:  # past a row's length it is not defined
                    results["z"] = xp.where(active[..., None], one.z, xp.zeros_like(one.z))
                both.append(results)
            return both[0], both[1]
        names = ["dz", *(f"d{state}_prev" for state in cell.states), *(f"d{param}" for param in cell.params)]
        dparams, d_own = ([xp.zeros_like(param) for param in inputs.own] for _ in range(2))
        products = self._backend.products()
        coefficients = cell.coefficients(xp, inputs.own)
        dz, dinitial = recurrence.through_time(xp, products, cell, plain, dstates, dparams, coefficients)
        dz_found, found = launcher.backward(bound, cell, plain, dstates, coefficients, d_own, SELF_TEST)
        expected = dict(zip(names, (dz, *dinitial, *dparams), strict=True))
        return expected, dict(zip(names, (dz_found, *found, *d_own), strict=True))

    def _problem(self, request: Request, reverse: bool) -> tuple[Inputs, list[Array]]:
        T, N, D, H, xp, cell = request.T, request.N, request.D, request.H, self._backend.xp, request.cell.cell
        heads, K = request.heads, request.head_units
        rng = np.random.default_rng(0)

        def draw(*shape: int, scale: float = 1.0) -> Array:
            return xp.asarray((scale * rng.standard_normal(shape)).astype(request.dtype))

        x, Wx = draw(T, N, D), draw(D, len(cell.from_x) * H, scale=D**-0.5)
        shape = (heads, K, len(cell.from_h) * K) if heads > 1 else (H, len(cell.from_h) * H)
        Wh, b = draw(*shape, scale=0.5 * K**-0.5), draw(cell.pre * H)
        initial, dstates = [draw(N, H) for _ in cell.states], [draw(T, N, H) for _ in cell.states]
        initial = [1 + abs(drawn) if state == "n" else drawn for state, drawn in zip(cell.states, initial, strict=True)]
        initial_params = cell.initial_params(rng, H)
        own = [xp.asarray(param.astype(request.dtype)) + draw(*param.shape, scale=0.1) for param in initial_params]
        lengths = xp.asarray(np.arange(N)[::-1] % (T + 1)) if reverse else None
        return Inputs(x, Wx, Wh, b, initial, lengths, reverse, own), dstates


def batch(candidate: Candidate) -> int:
    """A number of rows with which each block of the grid has some: full tiles, and one with a single row."""
    if candidate.layout is None:
        return 3
    S, G = candidate.grid
    rows = candidate.layout.rows
    return (S - 1) * rows + 1 if candidate.form == "one-block" else G * rows + 1


def is_transient(error: Exception) -> bool:
    """True for a temporary failure that says nothing about the kernel."""
    return isinstance(error, MemoryError) or bool(_TRANSIENT.search(str(error)))


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, LaunchError) else f"{type(error).__name__}: {words}"
