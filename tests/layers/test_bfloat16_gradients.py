"""Gradients from products in bfloat16, beside the float64 gradients of tests/reference.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

from tests.combinations import thin
from tests.layers.test_recurrent import Run
from tests.reference import problem, solve
from xrnn import get_backend, init, use_precision
from xrnn.backends.numpy import kernels

T, N, D = 17, 5, 24
LENGTHS: Final = [17, 1, 0, 9, 16]
HIDDEN: Final = {"rnn": 181, "leak": 181, "lstm": 83, "gru": 95}
# Rounding changes a factor by at most 2⁻⁸ of its size, and by less than half of that in the root mean square. Three
# products with two factors each make a gradient: those for z, for dh, and for the gradient itself. Independent errors
# of six factors add up to √6 / 2 · 2⁻⁸. The errors of other steps come through Wh, whose spectral radius of about 0.7
# makes the sum larger by a factor of up to √(1 / (1 - 0.7²)) = 1.4. Together this is 1.7 · 2⁻⁸; twice that is allowed.
# relu has no place here: its derivative jumps, so rounding may change whole terms.
TOLERANCE: Final = 3.4 * 2**-8
LEAST: Final = 2**-11  # if no factor was rounded, the errors would be smaller


@pytest.fixture(autouse=True)
def _in_every_size() -> Iterator[None]:
    """The kernels take bfloat16 in every size, if the level in use has it."""
    if kernels:
        kernels.force_products(True)
    yield
    if kernels:
        kernels.force_products(False)


@pytest.mark.parametrize(("reverse", "lengths"), thin([False, True], [LENGTHS, None]))
@pytest.mark.parametrize("cell", HIDDEN)
def test_gradients(cell: str, reverse: bool, lengths: list[int] | None, form: str) -> None:
    H, rng = HIDDEN[cell], np.random.default_rng(0)
    p = problem(cell, (T, N, D, H), "float32", reverse=reverse, lengths=lengths, dc=False)
    gates = [0.7 * init.orthogonal(rng, H) for _ in range(p.case.parts[1])]
    p.weights[1] = np.concatenate(gates, axis=1).astype("float32")
    run = Run(p, get_backend("numpy"))
    with use_precision("bfloat16"):
        run.forward()
        gradients = run.backward()
    rounded = form == "plain" or (bool(kernels) and kernels.products_by(1) is not None)
    for name, found in gradients.items():
        expected = solve(p).gradients[name]
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < TOLERANCE, f"{name}: {error}"
        if rounded and name in ("dx", "dWx", "dWh"):
            assert error > LEAST, f"{name}: {error}"
