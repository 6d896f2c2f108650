"""The Mamba layer: new weights, and refused sizes. `test_state_space` has the rest."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

import xrnn
from tests.errors import refused
from tests.layers.state_spaces import KINDS
from xrnn import Mamba
from xrnn.backend import Backend


def test_a_new_layer(backend: Backend) -> None:
    mamba = Mamba.init(32, 40, rng=0, backend=backend)
    shapes = {name: param.shape for name, param in mamba.named_params.items()}
    assert shapes == {
        "in_proj": (32, 160), "conv": (80, 4), "conv_bias": (80,), "x_proj": (80, 3 + 32), "dt_proj": (3, 80),
        "dt_bias": (80,), "A_log": (80, 16), "skip": (80,), "out_proj": (80, 40),
    }  # fmt: skip
    step = np.log1p(np.exp(backend.to_numpy(mamba.dt_bias)))
    assert 0.0009 < step.min() < 0.005
    assert 0.03 < step.max() < 0.101
    assert_allclose(backend.to_numpy(mamba.A_log)[5], np.log(np.arange(1, 17)), rtol=1e-6)
    assert mamba.directions == ((40, False),)


def test_refused_sizes() -> None:
    mamba = KINDS["Mamba"].make(xrnn.get_backend("numpy"))

    def changed(name: str, shape: tuple[int, ...]) -> Mamba:
        return Mamba(*({**mamba.named_params, name: np.zeros(shape)}.values()))

    refused(
        (ValueError, lambda: changed("conv", (8, 0)), "conv has shape (8, 0)"),
        (ValueError, lambda: changed("in_proj", (5, 8)), "in_proj has shape (5, 8)", "(D, 16)"),
        (ValueError, lambda: changed("x_proj", (8, 7)), "x_proj has shape (8, 7)", "(8, 8)"),
        (ValueError, lambda: changed("out_proj", (7, 4)), "out_proj has shape (7, 4)"),
        (ValueError, lambda: Mamba.init(3, 4, taps=0), "taps is 0"),
    )
