"""A fused form is believed on a device once it was seen to agree there with the plain form.

The kernels have been proven without a GPU only (docs/cuda.md). So the first use of a variant on a device runs three
steps with it, forward and backward, with each nonlinearity, beside the plain form. One comparison a variant and device:
it waits for the device, no later call does.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.backends.cupy.choice import Candidate
from xrnn.backends.cupy.launch import COMPARISON, Launcher
from xrnn.ops import recurrence
from xrnn.ops.cells.rnn import NONLINEARITIES, RNNCell
from xrnn.ops.recurrence import Inputs

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
        # (device, form, dtype, rows, kept) → why not, "" where it agreed. Without the layout: a comparison for each
        # would wait in the middle of a run whose sizes vary.
        self._doubts: dict[tuple[Any, ...], str] = {}
        self._comparing = threading.Lock()  # one at a time: they share the word that a kernel gives up by

    def doubts(self, candidate: Candidate, dtype: Any, H: int) -> str:
        """Why `candidate` must not run on the current device for a hidden size of H, "" where nothing is against it."""
        dtype = np.dtype(dtype).name
        key = (self._backend.xp.cuda.runtime.getDevice(), candidate.form, dtype, candidate.rows, candidate.kept)
        if key in self._doubts:
            return self._doubts[key]
        with self._comparing:
            if key not in self._doubts:
                try:
                    self._doubts[key] = self._compare(candidate, dtype, H)
                except Exception as error:  # it tells nothing of the variant, and the plain form may still work
                    return self._warn(candidate, dtype, f"not compared yet, {_line(error)}", "this time")
                if self._doubts[key]:
                    self._warn(candidate, dtype, self._doubts[key], "in its place")
            return self._doubts[key]

    def _warn(self, candidate: Candidate, dtype: str, why: str, how: str) -> str:
        device = self._launcher.device().name
        _log.warning(
            "the %s form (%s) is not used on %s, the plain form runs %s: %s", candidate.form, dtype, device, how, why
        )
        return why

    def _compare(self, candidate: Candidate, dtype: str, H: int) -> str:
        """Three steps of `candidate`'s own layout on a small, odd batch → what is wrong, "" where they agree.

        Raises where nothing can be said.
        """
        xp, launcher = self._backend.xp, self._launcher
        if xp.cuda.get_current_stream().is_capturing():
            raise RuntimeError("the stream is being captured, and a comparison waits: run a step before the capture")
        T, N, D = 3, 2 * candidate.rows + 1, 5
        S, G = candidate.grid
        small = replace(candidate, grid=(S, min(G, 2)) if candidate.form == "group" else (3, 1))
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
                fused = launcher.forward(small, cell, inputs, COMPARISON)
                # Both backwards follow the plain forward: at 0 relu's slope jumps.
                dz, dh_prev = launcher.backward(small, cell, plain, dh, COMPARISON)
                found = {"h": fused.states[0], "dz": dz, "dh_prev": dh_prev}
            except Exception as error:
                if isinstance(error, MemoryError) or _PASSES.search(str(error)):
                    raise
                return _line(error)  # it can't be compiled or launched here
            for name, array in expected.items():
                want, got = xp.asnumpy(array), xp.asnumpy(found[name])  # `to_numpy` would take up the user's word
                off = abs(got - want).max() / abs(want).max()
                if not off <= TOLERANCE[dtype]:  # a NaN fails too
                    if launcher.gave_up(COMPARISON):
                        return "its blocks gave up waiting for one another"
                    return f"its {name} is off by {off:.2g} of the plain form's largest value, with {nonlinearity}"
        return ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
