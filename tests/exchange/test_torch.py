"""PyTorch's modules and layers compute the same after a conversion; those without a counterpart are refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from torch.nn.utils import parametrizations, parametrize, prune

import xrnn
import xrnn.torch
from tests.errors import one_line, refused
from tests.exchange.layers import assert_alike, leaves, results, x_of
from tests.torch.pairs import accelerated
from xrnn import GRU, LSTM, RNN, Bidirectional, Recurrent, Stack, from_torch, to_onnx, to_torch
from xrnn.backend import Backend
from xrnn.exchange import torch_weights
from xrnn.ops.cells.lstm import LSTMCell

T, N = 4, 3
# By their `mode`.
MODULES: dict[str, tuple[Any, dict[str, str]]] = {
    "RNN_TANH": (torch.nn.RNN, {"nonlinearity": "tanh"}),
    "RNN_RELU": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "LSTM": (torch.nn.LSTM, {}),
    "GRU": (torch.nn.GRU, {}),
    "MIN_GRU": (xrnn.torch.MinGRU, {}),
    "MIN_GRU_POSITIVE": (xrnn.torch.MinGRU, {"candidate": "positive"}),
    "MIN_LSTM": (xrnn.torch.MinLSTM, {}),
    "MIN_LSTM_POSITIVE": (xrnn.torch.MinLSTM, {"candidate": "positive"}),
    "SLSTM": (xrnn.torch.SLSTM, {}),
    "SLSTM_SIGMOID": (xrnn.torch.SLSTM, {"forget_gate": "sigmoid"}),
    "LRU": (xrnn.torch.LRU, {}),
}
ROUNDING: Any = {"rtol": 1e-10, "atol": 1e-12}


def module_of(mode: str = "LSTM", D: int = 2, H: int = 3, dtype: Any = torch.float64, seed: int = 0, **o: Any) -> Any:
    kind, options = MODULES[mode]
    torch.manual_seed(seed)
    return kind(D, H, dtype=dtype, **options, **o)


flags = dict.fromkeys(("bidirectional", "bias", "batch_first"), st.booleans())
sizes = {"D": st.integers(1, 4), "H": st.integers(1, 5), "num_layers": st.integers(1, 3)}
modes = st.sampled_from(list(torch_weights.CELLS))


def assert_same_function(module: Any, layer: Any) -> None:
    """Values and final states agree to float64 rounding. Gradients of all cells are compared in tests/layers."""
    cell, rows = torch_weights.CELLS[module.mode], range(len(leaves(layer)))
    rng, H = np.random.default_rng(0), module.hidden_size * cell.components
    x, *initial = rng.standard_normal((T, N, module.input_size)), *(rng.random((len(rows), N, H)) for _ in cell.states)
    initial = [1 + s if name == "n" else s for name, s in zip(cell.states, initial, strict=True)]
    h, final = results(layer, x, states=[state[row] for row in rows for state in initial])
    given, swapped = [torch.tensor(state) for state in initial], x.swapaxes(0, 1) if module.batch_first else x
    y, last = module(torch.tensor(swapped), tuple(given) if len(given) > 1 else given[0])
    last = last if len(given) > 1 else (last,)
    wanted = [y.transpose(0, 1) if module.batch_first else y, *(state[row] for row in rows for state in last)]
    for ours, theirs in zip([h, *final], wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), **ROUNDING)


@settings(max_examples=25)
@given(options=st.fixed_dictionaries({"mode": modes, **sizes, **flags, "seed": st.integers(0, 100)}))
@example(options={"mode": "GRU", "num_layers": 3, "bidirectional": True})
def test_a_layer_computes_what_its_module_computes(options: dict[str, Any]) -> None:
    module = module_of(**options)
    layer = from_torch(module, backend="numpy")
    assert all(param.flags.c_contiguous for param in layer.params)
    assert_same_function(module, layer)
    again = to_torch(layer)
    assert type(again) is type(module)
    assert not again.batch_first
    assert_alike(from_torch(again, backend="numpy"), layer)  # no value is rounded


def test_modules_on_the_kernels_are_converted() -> None:
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    for kind in ("RNN", "LSTM", "GRU"):
        given, module = getattr(xrnn.torch, kind)(2, 3, **options), accelerated(kind, 2, 3, **options)
        assert_same_function(given, from_torch(given, backend="numpy"))
        layer = from_torch(module, backend="numpy")
        assert_same_function(module, layer)
        assert type(to_torch(layer)) is getattr(torch.nn, kind)


def test_dropout_and_float32() -> None:
    stack = from_torch(module_of(dtype=torch.float32, num_layers=3, dropout=0.25), backend="numpy")
    assert [dropout.p for dropout in stack.dropout] == [0.25] * 2
    module = to_torch(stack)
    assert module.dropout == 0.25
    assert {param.dtype for param in module.parameters()} == {torch.float32}


DTYPES: dict[str, Any] = {"float32": torch.float32, "float64": torch.float64}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "bias"), [(torch.nn.Linear, True), (torch.nn.Linear, False), (torch.nn.Embedding, None)]
)
def test_linear_and_embedding(backend: Backend, kind: Any, bias: bool | None, dtype: str) -> None:
    options = {"padding_idx": 0} if bias is None else {"bias": bias}
    module = kind(5, 3, **options, dtype=DTYPES[dtype])
    x = x_of(4, 2, 5, dtype=dtype) if kind is torch.nn.Linear else np.eye(2, dtype=int)
    layer = from_torch(module, backend=backend)
    assert type(layer).__name__ == kind.__name__
    y, want = backend.to_numpy(layer(backend.asarray(x))), module(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)
    again = to_torch(layer)
    assert type(again) is kind
    assert torch.equal(again.weight, module.weight)
    if bias is not None:
        assert torch.equal(again.bias, module.bias if bias else torch.zeros(3))
    layer.W[...] = 0  # copies, in either direction
    assert module.weight.any()
    assert again.weight.any()


def test_nothing_is_drawn_from_the_generator_of_pytorch() -> None:
    layer, before = GRU.init(2, 3), torch.random.get_rng_state()
    to_torch(layer)
    assert torch.equal(torch.random.get_rng_state(), before)


# ---- modules that are refused ----


class MyLSTM(torch.nn.LSTM):  # type: ignore[misc]
    pass


class MyTensor(torch.Tensor):  # type: ignore[misc]
    pass


def changed(change: Callable[[Any], object], module: Any = None) -> Any:
    module = torch.nn.LSTM(2, 3) if module is None else module
    change(module)
    return module


def weight(make: Callable[[Any], Any], name: str = "weight_hh_l0") -> Any:
    """An LSTM with another weight, set without the checks of `flatten_parameters`."""
    return changed(lambda module: module._parameters.update({name: make(getattr(module, name).detach())}))


def test_modules_without_a_layer_are_refused() -> None:
    linear, hook = torch.nn.Linear(2, 3), lambda *_: None
    keys = "the state dict of module lacks weight_hh_l0 and has "
    rows: list[tuple[type[Exception], Any, str]] = [
        (TypeError, None, "module is a NoneType: expected torch.nn.RNN, LSTM, GRU, Linear or"),
        (TypeError, torch.nn.LSTMCell(2, 3), "LSTMCell: expected torch.nn.RNN, LSTM, GRU, Linear or Em"),
        (TypeError, MyLSTM(2, 3), "MyLSTM: expected torch.nn.RNN, LSTM or GRU themselves; a"),
        (ValueError, changed(lambda m: setattr(m, "forward", lambda x: x)), "module has a forward of its own"),
        (ValueError, changed(lambda m: setattr(m, "forward", accelerated("LSTM", 2, 3).forward)), "a forward of its"),
        (ValueError, changed(lambda m: m.register_forward_hook(hook)), "module has forward hooks: expected none"),
        (ValueError, changed(lambda m: m.register_forward_pre_hook(hook)), "module has forward pre hooks"),
        (ValueError, changed(lambda m: m.register_full_backward_hook(hook)), "module has backward hooks"),
        (ValueError, changed(lambda m: m.register_full_backward_pre_hook(hook)), "module has backward pre hooks"),
        (ValueError, changed(lambda m: m.register_forward_hook(hook), linear), "module has forward hooks"),
        (ValueError, weight(lambda w: torch.nn.Parameter(w.to_sparse())), "weight_hh_l0 of module has the layout"),
        (TypeError, weight(lambda w: w.as_subclass(MyTensor)), "MyTensor: expected a plain tensor; assign a torch.nn."),
        (ValueError, torch.nn.LSTM(2, 3, proj_size=2), "proj_size=2: expected proj_size=0; no"),
        (ValueError, changed(lambda m: setattr(m, "mode", "FOO")), "module has mode='FOO': expected one of RNN_TANH"),
        (TypeError, torch.nn.LSTM(2, 3).half(), "weight_ih_l0 of module has dtype torch.float16: expected torch.fl"),
        (TypeError, weight(torch.Tensor.double), "weight_hh_l0 of module has dtype torch.float64"),
        (ValueError, weight(lambda w: w[:, :2]), "weight_hh_l0 of module has shape (12, 2): expected (12, 3)"),
        (ValueError, weight(lambda w: w[0], "bias_ih_l0"), "bias_ih_l0 of module has shape (): expected (12,)"),
        (ValueError, torch.nn.LSTM(2, 3, device="meta"), "weight_ih_l0 of module is on the device meta: load"),
        (ValueError, changed(lambda m: m._parameters.pop("bias_hh_l0")), "the state dict of module lacks bias_hh_l0: "),
        (ValueError, changed(lambda m: m.register_buffer("scale", torch.ones(1))), "the state dict of module has scal"),
        (ValueError, changed(lambda m: prune.identity(m, "weight_hh_l0")), f"{keys}weight_hh_l0_mask: expected the 4"),
        (ValueError, changed(lambda m: parametrizations.weight_norm(m, "weight_hh_l0")), f"{keys}parametrizations."),
        (ValueError, torch.nn.Embedding(7, 3, max_norm=1.0), "module has max_norm=1.0: expected max_norm=None"),
    ]
    for kind, module, words in rows:
        with one_line(kind, words):
            from_torch(module, backend="numpy")


def test_a_module_whose_parametrization_was_removed_is_taken() -> None:
    module = module_of()
    parametrizations.weight_norm(module, "weight_hh_l0")
    parametrize.remove_parametrizations(module, "weight_hh_l0")
    assert_same_function(module, from_torch(module, backend="numpy"))


@pytest.mark.parametrize("kind", ["GRU", "Linear"])
def test_a_forward_replaced_on_the_class_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(torch.nn, kind).forward
    monkeypatch.setattr(getattr(torch.nn, kind), "forward", functools.wraps(original)(lambda *_: None))
    with one_line(ValueError, "module has a forward of its own: expected PyTorch's; delete it"):
        from_torch(getattr(torch.nn, kind)(2, 3), backend="numpy")


def test_negated_values_are_taken() -> None:
    module = module_of()
    want = module.weight_hh_l0.detach().numpy().copy()
    module.weight_hh_l0.data = torch._neg_view(module.weight_hh_l0.data)
    np.testing.assert_array_equal(from_torch(module, backend="numpy").params[1].T, -want)


def test_the_weights_are_copies_also_of_read_only_arrays() -> None:
    given = module_of("GRU")
    layer = from_torch(given, backend="numpy")
    for param in layer.params:
        param.flags.writeable = False
    module = to_torch(layer)  # PyTorch must not warn of read-only memory
    with torch.no_grad():
        for param in (*given.parameters(), *module.parameters()):
            param.zero_()
    assert all(param.any() for param in layer.params)


def test_a_replaced_parameter_of_another_shape_is_refused() -> None:
    layer = GRU.init(2, 3, backend="numpy")
    layer.params[1] = np.zeros((3, 3), "float32")
    with one_line(ValueError, "Wh has shape (3, 3), but this GRU expects (3, 9)", "Wh was replaced"):
        to_torch(layer)


# ---- modules and layers that are refused ----


def test_a_module_in_place_of_a_layer_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path, remedy = tmp_path / "file", "(convert it by xrnn.from_torch): expected"
    calls: list[Callable[[Any], Any]] = [
        xrnn.freeze,
        xrnn.quantize,
        to_torch,
        lambda it: xrnn.to_c(it, path),
        lambda it: xrnn.save(path, it),
        lambda it: xrnn.save_checkpoint(path, {"a": it}),
        lambda it: Stack([it]),
        lambda it: xrnn.Adam([it]),
        xrnn.Adam,
    ]
    for module in (torch.nn.GRU(2, 3), xrnn.torch.GRU(2, 3)):
        refused(*((TypeError, lambda call=call, it=module: call(it), f"GRU {remedy}") for call in calls))
    refused(
        (TypeError, lambda: xrnn.Adam(module.parameters()), "layers[0] is a torch.nn.parameter", "torch.optim"),
        (TypeError, lambda: calls[4]({"a": GRU.init(2, 3)}), "layer is a dict", "use xrnn.save_checkpoint"),
    )


class MyGRU(GRU):
    pass


def test_layers_without_a_module_are_refused() -> None:
    def making(layer: Any) -> Callable[[], Any]:
        return lambda: to_torch(layer)

    two_dropouts = Stack.init(RNN, 2, 2, depth=3, dropout=0.5)
    two_dropouts.dropout[1].p = 0.25
    two_nonlinearities = Bidirectional(RNN.init(2, 3), RNN.init(2, 3, nonlinearity="relu", reverse=True))
    one_way_then_both = Stack([GRU.init(2, 4), Bidirectional.init(GRU, 4, 4)])
    first = "layers[1] differs from the first layer"
    refused(
        (TypeError, making(xrnn.Dropout(0.5)), "layer is a xrnn.layers.dropout.Dropout: expected RNN, LSTM, GRU"),
        (TypeError, making(MyGRU.init(2, 3)), "MyGRU: expected RNN, LSTM, GRU"),
        (
            TypeError,
            making(RNN.init(2, 3, nonlinearity="softplus")),
            "layer is a RNN with nonlinearity='softplus', which PyTorch does not have; write it to .safetensors, or",
        ),
        (TypeError, making(RNN.init(2, 3, leak=0.5)), "layer is a RNN with the cell 'leaky_rnn', which PyTorch does"),
        (TypeError, making(xrnn.quantize(LSTM.init(2, 3))), "layer is a quantized LSTM: expected RNN, LSTM, GRU"),
        (TypeError, making(Stack([Stack.init(RNN, 2, 3)])), "stack.Stack: expected RNN, LSTM, GRU, a"),
        (ValueError, making(LSTM.init(2, 3, reverse=True)), "layer has reverse=True alone: expected a"),
        (ValueError, making(Stack([GRU.init(2, 3), LSTM.init(3, 3)])), first),
        (ValueError, making(Stack([RNN.init(2, 3), RNN.init(3, 4)])), first),
        (ValueError, making(two_nonlinearities), "(RNN_RELU, 3 units, directions: 2; first RNN_TANH, 3 units"),
        (ValueError, making(one_way_then_both), f"{first} (GRU, 4 units, directions: 2; first GRU, 4 units, dire"),
        (ValueError, making(two_dropouts), "layer has dropouts of [0.25, 0.5]: expected one for all"),
    )


def test_a_recurrent_with_the_cell_of_a_layer() -> None:
    layer = Recurrent.init(LSTMCell(), 2, 3, rng=0)
    assert_alike(from_torch(to_torch(layer)), LSTM(*layer.params))


class Tagger(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = torch.nn.GRU(3, 8), torch.nn.Linear(8, 2)


def test_the_error_for_a_network_in_pytorch_can_be_followed() -> None:
    net = Tagger()
    with one_line(TypeError, "Tagger (convert its parts by xrnn.from_torch)", "torch.onnx.export"):
        to_onnx(net)
    model = to_onnx([from_torch(part) for part in (net.gru, net.out)])
    assert [node.op_type for node in model.graph.node if node.op_type in ("GRU", "MatMul")] == ["GRU", "MatMul"]
