"""Linear and Embedding from PyTorch's modules, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn.utils import prune

from tests.errors import one_line
from xrnn import Embedding, Linear, from_torch, to_torch
from xrnn.backend import Backend

DTYPES: dict[str, Any] = {"float32": torch.float32, "float64": torch.float64}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(backend: Backend, bias: bool, dtype: str) -> None:
    module = torch.nn.Linear(3, 5, bias=bias, dtype=DTYPES[dtype])
    layer = from_torch(module, backend=backend)
    assert type(layer) is Linear
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(dtype)
    expected = module(torch.tensor(x)).detach().numpy()
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert_allclose(backend.to_numpy(layer(backend.asarray(x))), expected, rtol=0, atol=tolerance)
    again = to_torch(layer)
    assert type(again) is torch.nn.Linear
    assert_array_equal(again.weight.detach().numpy(), module.weight.detach().numpy())
    assert_array_equal(again.bias.detach().numpy(), module.bias.detach().numpy() if bias else np.zeros(5))
    layer.W[...] = 0  # copies, in either direction
    assert module.weight.any()
    assert again.weight.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding(backend: Backend, dtype: str) -> None:
    module = torch.nn.Embedding(7, 3, dtype=DTYPES[dtype])
    layer = from_torch(module, backend=backend)
    assert type(layer) is Embedding
    index = np.array([[0, 6], [2, 2]])
    expected = module(torch.tensor(index)).detach().numpy()
    assert_array_equal(backend.to_numpy(layer(backend.asarray(index))), expected)
    again = to_torch(layer)
    assert type(again) is torch.nn.Embedding
    assert_array_equal(again.weight.detach().numpy(), module.weight.detach().numpy())
    layer.W[...] = 0
    assert module.weight.any()
    assert again.weight.any()


def test_modules_without_a_layer_are_refused() -> None:
    class MyLinear(torch.nn.Linear):  # type: ignore[misc]
        pass

    with one_line(ValueError, "module has max_norm=1.0", "expected max_norm=None"):
        from_torch(torch.nn.Embedding(7, 3, max_norm=1.0))
    padded = torch.nn.Embedding(7, 3, padding_idx=0)
    with one_line(ValueError, "module has padding_idx=0: expected None", "set module.padding_idx = None"):
        from_torch(padded)
    padded.padding_idx = None
    assert type(from_torch(padded, backend="numpy")) is Embedding
    module = torch.nn.GRU(2, 3)
    module.mode = "FOO"
    with one_line(ValueError, "module has mode='FOO': expected one of RNN_TANH, RNN_RELU, LSTM, GRU"):
        from_torch(module)
    with one_line(TypeError, "MyLinear: expected torch.nn.RNN, LSTM, GRU, Linear or Embedding"):
        from_torch(MyLinear(2, 3))
    with one_line(TypeError, "weight of module has dtype torch.bfloat16: expected torch.float32"):
        from_torch(torch.nn.Linear(2, 3).bfloat16())
    with one_line(ValueError, "weight of module is on the device meta"):
        from_torch(torch.nn.Linear(2, 3, device="meta"))
    pruned = prune.random_unstructured(torch.nn.Linear(2, 3), "weight", 0.5)
    with one_line(ValueError, "the state dict of module lacks weight", "remove parametrizations and pruning"):
        from_torch(pruned)
    wrong = torch.nn.Linear(2, 3)
    wrong.weight = torch.nn.Parameter(torch.zeros(3, 4))
    with one_line(ValueError, "weight of module has shape (3, 4): expected (3, 2)"):
        from_torch(wrong)


@pytest.mark.parametrize("make", [torch.nn.Linear, torch.nn.Embedding])
def test_nan_is_taken_with_a_warning(make: Any) -> None:
    module = make(2, 3)
    with torch.no_grad():
        module.weight[1, 0] = torch.nan
    with pytest.warns(UserWarning, match="weight of module holds NaN or infinity: the layer") as caught:
        layer = from_torch(module, backend="numpy")
    assert [warning.filename for warning in caught] == [__file__]
    assert np.isnan(layer.W).sum() == 1
