"""A fused form is believed on a device once it was seen to agree there with the plain form.

The kernels have been proven without a GPU only (docs/cuda.md). So the first use of a layout on a device runs three
steps with it, forward and backward, with each nonlinearity, beside the plain form, on as many blocks as it will have.
One comparison a layout and device: it waits for the device, no later call does.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.backends.cupy.choice import Candidate
from xrnn.backends.cupy.launch import COMPARISON, Launcher, LaunchError
from xrnn.ops import recurrence
from xrnn.ops.cells.rnn import NONLINEARITIES, RNNCell
from xrnn.ops.inputs import Inputs

# Of the largest value: far above what rounding makes of three steps, far below any mistake.
TOLERANCE: Final = {"float32": 1e-3, "float64": 1e-9}
# What the libraries say where the kernel isn't to blame: "cudaErrorMemoryAllocation: out of memory",
# CUDA_ERROR_OUT_OF_MEMORY, CUBLAS_STATUS_ALLOC_FAILED, cudaErrorStreamCaptureUnsupported.
_PASSES: Final = re.compile("out.of.memory|alloc_failed|captur", re.IGNORECASE)

_log = logging.getLogger("xrnn")


class Trust:
    """What came of the comparisons so far."""

    def __init__(self, backend: Backend, launcher: Launcher) -> None:
        self._backend, self._launcher = backend, launcher
        # (device, dtype, H, the layout that was compared) → why not, None where it agreed.
        self._doubts: dict[tuple[Any, ...], str | None] = {}
        self._comparing = threading.Lock()  # one at a time: they share the word that a kernel gives up by

    def doubts(self, candidate: Candidate, dtype: Any, H: int) -> str | None:
        """Why `candidate` must not run on the current device for a hidden size of H, or None."""
        dtype = np.dtype(dtype).name
        key = self._key(candidate, dtype, H)
        if key in self._doubts:
            return self._doubts[key]
        with self._comparing:
            if key not in self._doubts:
                try:
                    self._doubts[key] = self._compare(replace(candidate, grid=self._grid(candidate)), dtype, H)
                except Exception as error:  # it tells nothing of the layout, and the plain form may still work
                    return self._warn(candidate, dtype, f"not compared yet, {_line(error)}", "this time")
                if why := self._doubts[key]:
                    self._warn(candidate, dtype, why, "in its place")
            return self._doubts[key]

    @contextlib.contextmanager
    def noting(self, candidate: Candidate, dtype: Any, H: int) -> Iterator[None]:
        """The block launches `candidate`. Where that fails it ends, with a doubt recorded: the plain form is to run.

        A GPU that is shared or divided may refuse a grid which the driver had said would fit.
        """
        try:
            yield
        except LaunchError as error:
            dtype, why = np.dtype(dtype).name, _line(error)
            if not passes(error):
                self._doubts[self._key(candidate, dtype, H)] = why
            self._warn(candidate, dtype, why, "this time" if passes(error) else "in its place")

    def _key(self, c: Candidate, dtype: str, H: int) -> tuple[Any, ...]:
        layout = c.form, c.rows, c.kept, c.columns, c.column_threads, c.slice, c.pitch, c.threads, self._grid(c)
        return self._backend.xp.cuda.runtime.getDevice(), dtype, H, layout

    def _grid(self, candidate: Candidate) -> tuple[int, int]:
        """The grid that is compared: a group's own.

        One-block's blocks never meet, and are alike: from one that is full, and one that isn't, up to one more than
        there are multiprocessors, which has to wait for a place.
        """
        if candidate.form == "group":
            return candidate.grid
        return min(max(candidate.grid[0], 2), self._launcher.device().multiprocessors + 1), 1

    def _warn(self, candidate: Candidate, dtype: str, why: str, how: str) -> str:
        device = self._launcher.device().name
        _log.warning(
            "the %s form (%s) is not used on %s, the plain form runs %s: %s", candidate.form, dtype, device, how, why
        )
        return why

    def _compare(self, candidate: Candidate, dtype: str, H: int) -> str | None:
        """Three steps of `candidate`'s own grid and layout → what is wrong, None where they agree.

        Raises where nothing can be said.
        """
        xp, launcher = self._backend.xp, self._launcher
        if xp.cuda.get_current_stream().is_capturing():
            raise RuntimeError("the stream is being captured, and a comparison waits: run a step before the capture")
        T, N, D = 3, batch(candidate), 5
        rng = np.random.default_rng(0)
        shapes = [(T, N, D), (D, H), (H, H), (H,), (N, H), (T, N, H)]
        scales = [1, D**-0.5, 0.5 * H**-0.5, 1, 1, 1]
        x, Wx, Wh, b, h_prev, dh = (
            xp.asarray((scale * rng.standard_normal(shape)).astype(dtype))
            for shape, scale in zip(shapes, scales, strict=True)
        )
        launcher.gave_up(COMPARISON)  # forgets an earlier comparison's
        inputs = Inputs(x, Wx, Wh, b, (h_prev,))
        for nonlinearity in NONLINEARITIES:
            cell = RNNCell(nonlinearity)
            plain = recurrence.forward(xp, self._backend.matmul_add, cell, inputs, True)
            dz, (dh_prev,) = recurrence.through_time(xp, self._backend.matmul_add, cell, plain, [dh])
            expected = {"h": plain.states[0], "dz": dz, "dh_prev": dh_prev}
            try:
                if not all(launcher.fits(candidate, dtype, backward) for backward in (False, True)):
                    return not_resident(candidate)
                fused = launcher.forward(candidate, cell, inputs, COMPARISON)
                # Both backwards follow the plain forward: at 0 relu's slope jumps.
                dz, dh_prev = launcher.backward(candidate, cell, plain, dh, COMPARISON)
                found = {"h": fused.states[0], "dz": dz, "dh_prev": dh_prev}
            except Exception as error:
                if passes(error):
                    raise
                return _line(error)  # it can't be compiled or launched here
            for name, array in expected.items():
                want, got = xp.asnumpy(array), xp.asnumpy(found[name])  # `to_numpy` would take up the user's word
                off = abs(got - want).max() / abs(want).max()
                if not off <= TOLERANCE[dtype]:  # a NaN fails too
                    if launcher.gave_up(COMPARISON):
                        return "its blocks gave up waiting for one another"
                    return f"its {name} is off by {off:.2g} of the plain form's largest value, with {nonlinearity}"
        return None


def batch(candidate: Candidate) -> int:
    """So many rows that every block of the grid has some, and that there are full tiles and one with a single row."""
    S, G = candidate.grid
    return (S - 1) * candidate.rows + 1 if candidate.form == "one-block" else G * candidate.rows + 1


def not_resident(group: Candidate) -> str:
    return f"the driver can't keep all {math.prod(group.grid)} blocks of a group resident at once"


def passes(error: Exception) -> bool:
    """Whether the error is of the moment: nobody knows of the kernel yet."""
    return isinstance(error, MemoryError) or bool(_PASSES.search(str(error)))


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, LaunchError) else f"{type(error).__name__}: {words}"
