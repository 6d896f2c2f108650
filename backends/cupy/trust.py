"""A fused form is believed on a device once it was seen to agree there with the plain form.

The kernels have been proven without a GPU only (docs/cuda.md). So the first use of a variant on a device runs three
steps with it, forward and backward, beside the plain form. One comparison a variant and device: it waits for the
device, no later call does.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import numpy as np

from xrnn.backend import Backend
from xrnn.backends.cupy.choice import Candidate
from xrnn.backends.cupy.launch import Launcher
from xrnn.ops import rnn

# Of the largest value: far above what rounding makes of three steps, far below any mistake.
TOLERANCE: Final = {"float32": 1e-3, "float64": 1e-9}

_log = logging.getLogger("xrnn")


class Trust:
    """What came of the comparisons so far."""

    def __init__(self, backend: Backend, launcher: Launcher) -> None:
        self._backend, self._launcher = backend, launcher
        self._doubts: dict[tuple[Any, ...], str] = {}  # (device, form, dtype, rows, kept) → why not, "" where it agreed

    def doubts(self, candidate: Candidate, dtype: Any, H: int) -> str:
        """Why `candidate` must not run on the current device for a hidden size of H, "" where nothing is against it."""
        dtype = np.dtype(dtype).name
        key = (self._backend.xp.cuda.runtime.getDevice(), candidate.form, dtype, candidate.rows, candidate.kept)
        if key not in self._doubts:
            try:
                self._doubts[key] = self._compare(candidate, dtype, H)
            except Exception as error:  # whatever keeps it from running here, the plain form may still work
                self._doubts[key] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if self._doubts[key]:
                _log.warning(
                    "the %s form (%s) is not used on %s, the plain form runs in its place: %s",
                    *(candidate.form, dtype, self._launcher.device().name, self._doubts[key]),
                )
        return self._doubts[key]

    def _compare(self, candidate: Candidate, dtype: str, H: int) -> str:
        """Three steps of `candidate`'s own layout on a small, odd batch; both backwards follow the same forward."""
        xp, launcher, cell = self._backend.xp, self._launcher, rnn.RNNCell()
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
        plain = rnn.forward(self._backend, cell, x, Wx, Wh, b, h_prev)
        fused = launcher.forward(small, cell, x, Wx, Wh, b, h_prev)
        expected = {"h": plain.hs, **_gradients(rnn.backward(self._backend, cell, plain, dh))}
        found = {"h": fused.hs, **_gradients(launcher.backward(small, cell, plain, dh))}
        for name, array in expected.items():
            want, got = self._backend.to_numpy(array), self._backend.to_numpy(found[name])
            off = abs(got - want).max() / abs(want).max()
            if not off <= TOLERANCE[dtype]:  # a NaN fails too
                return f"its {name} is off by {off:.2g} of the plain form's largest value"
        return ""


def _gradients(pair: tuple[rnn.Array, rnn.Array]) -> dict[str, rnn.Array]:
    return dict(zip(("dz", "dh_prev"), pair, strict=True))
