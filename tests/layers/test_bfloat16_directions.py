"""Gradients from products in bfloat16, beside finite differences of the loss in float64, along random directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pytest

from tests.layers.kinds import first
from tests.thin import thin
from xrnn import GRU, LSTM, RNN, use_fused, use_precision
from xrnn.backends.numpy import kernels
from xrnn.typing import HostArray

T, N, D = 17, 5, 24
LENGTHS: Final = [17, 1, 0, 9, 16]
DIRECTIONS: Final = 8
EPS: Final = 1e-5  # of a finite difference in float64; its own error is far below the tolerance
# Rounding changes a factor by at most 2⁻⁸ of its size, and by less than half of that in the root mean square. Three
# products with two factors each make a gradient: those for z, for dh, and for the gradient itself. Independent errors
# of six factors add up to √6 / 2 · 2⁻⁸. The errors of other steps come through Wh, whose spectral radius of about 0.7
# makes the sum larger by a factor of up to √(1 / (1 - 0.7²)) = 1.4. Together this is 1.7 · 2⁻⁸; twice that is allowed.
# relu has no place here: its derivative jumps, so rounding may change whole terms.
TOLERANCE: Final = 3.4 * 2**-8
LEAST: Final = 2**-11  # if no factor was rounded, the errors would be smaller

# For each cell the layer and H.
CELLS: Final[dict[str, Any]] = {
    "rnn": (RNN.init, 181),
    "leak": (lambda *sizes, **o: RNN.init(*sizes, leak=0.3, **o), 181),
    "lstm": (LSTM.init, 83),
    "gru": (GRU.init, 95),
}


@pytest.fixture(autouse=True)
def _in_every_size() -> Iterator[None]:
    """The kernels take bfloat16 in every size, if the level in use has it."""
    if kernels:
        kernels.force_products(True)
    yield
    if kernels:
        kernels.force_products(False)


def check_directions(
    arguments: dict[str, HostArray], loss: Callable[..., float], gradients: Sequence[HostArray], form: str
) -> None:
    """Compare ⟨gradient, v⟩ with the derivative of the loss along v: the root mean square over the directions v."""
    rounded = form == "plain" or (bool(kernels) and kernels.products_by(1) is not None)
    arguments, rng = {name: a.astype("float64") for name, a in arguments.items()}, np.random.default_rng(1)
    for (name, argument), gradient in zip(arguments.items(), gradients, strict=True):
        assert gradient.dtype == "float32"
        found, expected = [], []
        for _ in range(DIRECTIONS):
            v = rng.standard_normal(argument.shape)
            with use_fused(True):  # faster; float64 is never rounded
                ahead, behind = (loss(**arguments | {name: argument + sign * EPS * v}) for sign in (1, -1))
            expected.append((ahead - behind) / (2 * EPS))
            found.append(float((v * gradient).sum()))
        error = np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)
        assert error < TOLERANCE, f"{name}: {error}"
        if rounded and name in ("x", "W", "Wx", "Wh"):
            assert error > LEAST, f"{name}: {error}"


@pytest.mark.parametrize(("reverse", "lengths"), thin([False, True], [LENGTHS, None]))
@pytest.mark.parametrize("cell", CELLS)
def test_a_recurrent_layer(cell: str, reverse: bool, lengths: list[int] | None, form: str) -> None:
    make, H = CELLS[cell]
    layer = make(D, H, reverse=reverse, rng=0, backend="numpy")
    layer.Wh[...] *= np.float32(0.7)  # Wh is orthogonal
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, D)).astype("float32")
    initial = {f"{state}_prev": rng.standard_normal((N, H)).astype("float32") / 2 for state in layer.cell.states}
    weights = rng.standard_normal((T, N, H)).astype("float32")  # of the elements of h in the loss

    with use_precision("bfloat16"):
        layer.forward(x, *initial.values(), lengths=lengths)
        gradients = [*layer.backward(weights), *layer.grads]

    def loss(x: HostArray, Wx: HostArray, Wh: HostArray, b: HostArray, **initial: HostArray) -> float:
        h = first(layer.remade(Wx, Wh, b)(x, *initial.values(), lengths=lengths))
        return float((weights * h).sum())

    check_directions({"x": x} | initial | layer.named_params, loss, gradients, form)
