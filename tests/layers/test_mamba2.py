"""The Mamba-2 layer: new weights, and refused sizes. `test_state_space` has the rest."""

from __future__ import annotations

import numpy as np

import xrnn
from tests.errors import refused
from tests.layers.state_spaces import KINDS
from xrnn import Mamba2
from xrnn.backend import Backend


def test_a_new_layer(backend: Backend) -> None:
    layer = Mamba2.init(32, 48, rng=0, backend=backend)  # 96 channels: heads of 48
    shapes = {name: param.shape for name, param in layer.named_params.items()}
    assert shapes == {
        "in_proj": (32, 192 + 256 + 2), "conv": (96 + 256, 4), "conv_bias": (96 + 256,), "dt_bias": (2,),
        "A_log": (2,), "skip": (2,), "norm": (96,), "out_proj": (96, 48),
    }  # fmt: skip
    step = np.log1p(np.exp(backend.to_numpy(Mamba2.init(8, 512, rng=0, backend=backend).dt_bias)))
    assert 0.0009 < step.min() < step.max() < 0.101
    assert layer.directions == ((48, False),)
    assert Mamba2.init(8, 128, rng=0, backend=backend).heads == 4


def test_refused_sizes() -> None:
    layer = KINDS["Mamba2"].make(xrnn.get_backend("numpy"))

    def changed(name: str, shape: tuple[int, ...]) -> Mamba2:
        return Mamba2(*({**layer.named_params, name: np.zeros(shape)}.values()))

    refused(
        (ValueError, lambda: changed("conv", (14, 0)), "conv has shape (14, 0)", "(8 + 2K, W)"),
        (ValueError, lambda: changed("conv", (13, 4)), "conv has shape (13, 4)", "(8 + 2K, W)"),
        (ValueError, lambda: changed("A_log", (3,)), "A_log has shape (3,)", "divide the 8 channels"),
        (ValueError, lambda: changed("in_proj", (5, 8)), "in_proj has shape (5, 8)", "(D, 24)"),
        (ValueError, lambda: changed("out_proj", (7, 4)), "out_proj has shape (7, 4)"),
        (ValueError, lambda: Mamba2.init(3, 4, heads=3), "heads is 3, which does not divide the 8 channels"),
    )
