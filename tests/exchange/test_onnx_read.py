"""`from_onnx`: ONNX's own cases, the models of exporters, and refusals."""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.combinations import thin
from tests.errors import one_line, refused
from tests.exchange.layers import ROUNDING, D, H, leaves, results, x_of
from tests.exchange.onnx_models import graph_of, run
from xrnn import GRU, Bidirectional, Linear, from_onnx
from xrnn.files import FileError


def weights(kind: str, ways: int = 1, D: int = D, H: int = H, dtype: str = "float32", seed: int = 0) -> dict[str, Any]:
    rng, G = np.random.default_rng(seed), {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    shapes = {"W": (ways, G * H, D), "R": (ways, G * H, H), "B": (ways, 2 * G * H)}
    return {name: rng.standard_normal(shape).astype(dtype) * 0.5 for name, shape in shapes.items()}


def node(kind: str, *inputs: str, outputs: Any = ("Y",), **attributes: Any) -> Any:
    attributes = {"name": "the_rnn", "hidden_size": H} | attributes
    return helper.make_node(kind, inputs or ("X", "W", "R", "B"), outputs, **attributes)


def make(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def nodes_of(text: str, **names: str) -> list[Any]:
    """The nodes of a text `operator inputs:outputs attributes; …`, with other names for some values."""
    made = []
    for one in text.split("; "):
        op, values, *options = one.split()
        inputs, outputs = ([names.get(name, name) for name in part.split(",")] for part in values.split(":"))
        numbers = {key: json.loads(f"[{value}]") for key, value in (option.split("=") for option in options)}
        attributes: dict[str, Any] = {key: value if key == "perm" else value[0] for key, value in numbers.items()}
        made.append(helper.make_node(op, inputs, outputs, **attributes))
    return made


# ---- ONNX's node cases ----


def node_cases(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(name, node, arrays by name, outputs) of each case of onnx.backend.test.case.node for RNN, LSTM and GRU."""
    found: list[Any] = []

    def expect(node: Any, inputs: Any, outputs: Any, name: str, **_: Any) -> None:
        found.append((name, node, dict(zip(filter(None, node.input), inputs, strict=True)), outputs))

    for kind in ("RNN", "LSTM", "GRU"):
        module = importlib.import_module(f"onnx.backend.test.case.node.{kind.lower()}")
        monkeypatch.setattr(module, "expect", expect)
        for name, export in vars(getattr(module, kind)).items():
            if name.startswith("export"):
                export.__func__()
    return found


def test_the_node_cases_of_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, except the one with peepholes."""
    refused = []
    cases = node_cases(monkeypatch)
    assert len(cases) == 18
    for name, of_case, arrays, outputs in cases:
        stored = {key: array for key, array in arrays.items() if key in "WRBP"}
        shapes = {key: ([*array.shape], array.dtype) for key, array in arrays.items() if key not in stored}
        model = graph_of(of_case, inputs=shapes, outputs=[o for o in of_case.output if o], constants=stored, opset=22)
        try:
            layer = from_onnx(model, backend="numpy")
        except FileError as error:
            refused.append((name, "peepholes" in str(error)))
            continue
        layout = any(attribute.name == "layout" and attribute.i for attribute in of_case.attribute)
        h, final = results(layer, arrays["X"].swapaxes(0, 1) if layout else arrays["X"])
        T, N, _ = h.shape
        ways, states = len(leaves(layer)), len(leaves(layer)[0].cell.states)
        Y = h.reshape(T, N, ways, -1).transpose((1, 0, 2, 3) if layout else (0, 2, 1, 3))
        ours = {"Y": Y} | {f"Y_{'hc'[k]}": np.stack(final[k::states], axis=1 if layout else 0) for k in range(states)}
        for key, want in zip(filter(None, of_case.output), outputs, strict=True):
            np.testing.assert_allclose(ours[key], want, err_msg=f"{name} {key}", **ROUNDING)
    assert refused == [("test_lstm_with_peepholes", True)]


# ---- beyond the node cases ----

CONSTANTS = {
    **{f"i{i}".replace("-", "_"): np.array([i]) for i in (-2, -1, 0, 1, 2)},
    **{"far": np.array([2**31]), "near": np.array([-(2**31)]), "scalar": np.array(0), "scalar_last": np.array(-1)},
    **{"rows": np.array([2, 0, 1]), "all": np.array([0, 1, 2]), "from_end": np.array([-3, -2, -1])},
    **{"steps": np.array([0, 1, 2, 3]), "again": np.array([1, 1, 2]), "exchanged": np.array([3, 4, D])},
    **{"as_h": np.array([0, 0, -1]), "as_2d": np.array([-1, D]), "as_3d": np.array([4, 3, D])},
}


def test_layouts_of_chains() -> None:
    """Batch-first, two nodes in opposite directions, a reversed copy of the input, a Linear before and after."""
    stored = {f"{name}{k}": array for k in (0, 1) for name, array in weights("GRU", seed=k).items()}
    stored |= CONSTANTS | {"L": x_of(2, D), "P": x_of(2 * H, 4), "p": x_of(4)}
    nodes = [
        *nodes_of("MatMul x,L:lx; Transpose lx:tx perm=1,0,2"),
        node("GRU", "tx", "W0", "R0", "B0", outputs=["Y0"]),
        *nodes_of("Slice tx,i_1,near,i0,i_1:flipped"),
        node("GRU", "flipped", "W1", "R1", "B1", outputs=["Y1"], name="second"),
        *nodes_of("Slice Y1,i_1,near,i0,i_1:Y2; Concat Y0,Y2:Y3 axis=-1; Squeeze Y3,i1:Y4"),
        *nodes_of("Transpose Y4:Y5 perm=1,0,2; MatMul Y5,P:Y6; Add p,Y6:Y7; Dropout Y7:Y"),
    ]
    model = graph_of(*nodes, inputs={"x": ["N", "T", 2]}, constants=stored)
    before, both, after = from_onnx(model, backend="numpy")
    assert [type(each) for each in (before, both, after)] == [Linear, Bidirectional, Linear]
    x = x_of(4, 6, 2)
    y = after(both(before(np.ascontiguousarray(x.swapaxes(0, 1))))[0]).swapaxes(0, 1)
    np.testing.assert_allclose(y, run(model, x=x)[0], **ROUNDING)


# From `h`, (T, N, H), to `Y`; whether it is a Linear.
LINEARS: dict[str, tuple[str, bool]] = {
    "MatMul": ("MatMul h,P:Y", True),
    "with a bias": ("MatMul h,P:a; Add a,p:Y", True),
    "the bias first": ("MatMul h,P:a; Add p,a:Y", True),
    "two biases": ("MatMul h,P:a; Add a,p:c; Add c,p:Y", False),
    "a bias for each row": ("MatMul h,P:a; Add a,by_row:Y", False),
    "Gemm": ("Flatten h:f axis=2; Gemm f,P:Y", True),
    "Gemm with a bias": ("Flatten h:f axis=2; Gemm f,P,p:Y beta=1.0", True),
    "Gemm with one number as bias": ("Flatten h:f axis=2; Gemm f,P,scalar_bias:Y", False),
    "transposed": ("Flatten h:f axis=2; Gemm f,Q,p:Y transB=1", True),
    "doubled": ("Flatten h:f axis=2; Gemm f,P,p:Y alpha=2.0", False),
    "without its bias": ("Flatten h:f axis=2; Gemm f,P,p:Y beta=0.0", False),
}


@pytest.mark.parametrize("name", LINEARS)
def test_a_linear_after_a_layer(name: str) -> None:
    text, accepted = LINEARS[name]
    P, by_row, x = x_of(H, 4), x_of(3, 4), x_of(6, 3, D)
    stored = weights("GRU") | CONSTANTS | {"P": P, "Q": P.T, "p": by_row[0], "by_row": by_row, "scalar_bias": P[0, :1]}
    model = model_of(node("GRU", outputs=["h4"]), *nodes_of(f"Squeeze h4,i1:h; {text}"), **stored)
    if accepted:
        gru, linear = from_onnx(model, backend="numpy")
        np.testing.assert_allclose(linear(gru(x)).reshape(-1, 4), run(model, X=x)[0].reshape(-1, 4), **ROUNDING)
    else:
        refuses(model, "expected")


# ---- operators before and after a layer: the same, or refused ----

# From `a`, (T, N, D), to `b`. The second entry: what a model that ends with it returns, from h; None if it is refused.
MOVES: dict[str, tuple[str, Callable[[Any], Any] | None]] = {
    "same": ("Identity a:b", lambda h: h),
    "batch first": ("Transpose a:b perm=1,0,2", lambda h: h.swapaxes(0, 1)),
    "features first": ("Transpose a:b perm=2,0,1", lambda h: h.transpose(2, 0, 1)),
    "there and back": ("Transpose a:c perm=2,0,1; Transpose c:b perm=1,2,0", lambda h: h),
    "one more axis": ("Unsqueeze a,i1:c; Squeeze c,i1:b", lambda h: h),
    "cast": ("Cast a:b to=1", lambda h: h),
    "to int and back": ("Cast a:c to=7; Cast c:b to=1", None),
    "flat": ("Reshape a,as_2d:b", lambda h: h.reshape(-1, D)),
    "flat and back": ("Flatten a:c axis=2; Reshape c,as_3d:b", lambda h: h),
    "reshaped wrongly": ("Reshape a,exchanged:b", None),
    "transposed and reshaped": ("Transpose a:c perm=1,0,2; Reshape c,as_3d:b", None),
    "rows permuted": ("Gather a,rows:b axis=1", None),
    "features permuted": ("Gather a,rows:b axis=2", None),
    "all rows": ("Gather a,all:b axis=1", lambda h: h),
    "all features, negative": ("Gather a,from_end:b axis=-1", lambda h: h),
    "all steps": ("Gather a,steps:b axis=0", lambda h: h),
    "some steps": ("Gather a,rows:b axis=0", None),
    "last step": ("Gather a,scalar_last:b axis=0", lambda h: h[-1]),
    "first step": ("Gather a,scalar:b axis=0", lambda h: h[0]),
    "last two steps": ("Slice a,i_2,far,i0:b", lambda h: h[-2:]),
    "every second step": ("Slice a,i0,far,i0,i2:b", None),
    "steps reversed": ("Slice a,i_1,near,i0,i_1:b", None),
    "rows reversed": ("Slice a,i_1,near,i1,i_1:b", None),
    "features reversed": ("Slice a,i_1,near,i_1,i_1:b", None),
    "features left out": ("Slice a,i0,i2,i2:b", None),
    "halves exchanged": ("Split a:c,d axis=2 num_outputs=2; Concat d,c:b axis=2", None),
    "halves joined": ("Split a:c,d axis=2 num_outputs=2; Concat c,d:b axis=-1", lambda h: h),
    "doubled": ("Tile a,again:b", None),
    "steps twice": ("Concat a,a:b axis=0", None),
}


def moved_model(*nodes: Any, fixed: bool = False) -> Any:
    """A GRU reads `x` and returns `h` (T, N, D); the nodes make x from X, or Y from h."""
    stored = weights("GRU", H=D)
    layer = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["h4"], hidden_size=D),
        *nodes_of("Transpose h4:h3 perm=0,2,1,3; Reshape h3,as_h:h"),
    ]
    split = next((i for i, each in enumerate(nodes) if "h" in each.input), len(nodes))
    inputs = {"X": [4, 3, D] if fixed else ["T", "N", D]}
    return graph_of(*nodes[:split], *layer, *nodes[split:], inputs=inputs, constants=stored | CONSTANTS, opset=18)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", MOVES)
def test_operators_after_a_layer(name: str, fixed: bool) -> None:
    text, want = MOVES[name]
    model = moved_model(*nodes_of("Identity X:x"), *nodes_of(text, a="h", b="Y"), fixed=fixed)
    if not equal_or_refused(model, want):
        # With symbolic sizes, sizes that are stored in the model do not fit all inputs.
        assert want is None or (not fixed and any(part in text for part in ("as_3d", "rows", "all", "steps")))


def equal_or_refused(model: Any, want: Callable[[Any], Any] | None, batch_first: bool = False) -> bool:
    """Whether from_onnx accepts the model. The result must then be the part of h that `want` returns."""
    try:
        layer = from_onnx(model, backend="numpy")
    except FileError:
        return False
    x = x_of(4, 3, D)
    assert want is not None
    np.testing.assert_allclose(
        want(results(layer, x)[0]), run(model, X=x.swapaxes(0, 1) if batch_first else x)[0], **ROUNDING
    )
    return True


@pytest.mark.parametrize("name", MOVES)
def test_operators_before_a_layer(name: str) -> None:
    accepted = {"same", "there and back", "one more axis", "cast", "flat and back", "halves joined"}
    accepted |= {"batch first", "all rows", "all features, negative", "all steps"}
    model = moved_model(*nodes_of(MOVES[name][0], a="X", b="x"), *nodes_of("Identity h:Y"), fixed=True)
    if name == "batch first":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    assert equal_or_refused(model, lambda h: h, batch_first=name == "batch first") is (name in accepted)


# From `Y`, (T, 2, N, H), and the final states `h` and `c`, (2, N, H), of an LSTM in both directions, to `out`.
FROM_STATES: dict[str, tuple[str, Callable[..., Any] | None]] = {
    "Y": ("Identity Y:out", lambda h, f: np.stack([h[..., :H], h[..., H:]], axis=1)),
    "final h": ("Identity h:out", lambda h, f: np.stack(f[::2])),
    "final c": ("Identity c:out", lambda h, f: np.stack(f[1::2])),
    "final h, joined": (
        "Split h:a,b axis=0 num_outputs=2; Concat a,b:d axis=2; Squeeze d,i0:out",
        lambda h, f: np.concatenate(f[::2], axis=1),
    ),
    "final c, rows first": ("Transpose c:out perm=1,0,2", lambda h, f: np.stack(f[1::2], axis=1)),
    "last step": ("Gather Y,scalar_last:out axis=0", lambda h, f: np.stack([h[-1, :, :H], h[-1, :, H:]])),
    "directions exchanged": ("Slice Y,i_1,near,i1,i_1:out", None),
    "final h, joined, exchanged": ("Split h:a,b axis=0 num_outputs=2; Concat b,a:out axis=2", None),
    "final h, rows permuted": ("Gather h,rows:out axis=1", None),
    "final c, units reversed": ("Slice c,i_1,near,i2,i_1:out", None),
    "h and c": ("Concat h,c:out axis=0", None),
    "one reversed": ("Split Y:a,b axis=1 num_outputs=2; Slice b,i_1,near,i0,i_1:d; Concat a,d:out axis=1", None),
}


@pytest.mark.parametrize("name", FROM_STATES)
def test_operators_after_states(name: str) -> None:
    text, want = FROM_STATES[name]
    layer = node("LSTM", outputs=["Y", "h", "c"], direction="bidirectional")
    stored = weights("LSTM", 2) | CONSTANTS
    model = graph_of(layer, *nodes_of(text), inputs={"X": [4, 3, D]}, outputs=["out"], constants=stored, opset=18)
    if want is None:
        refuses(model, "the output 'out' ", "expected")
    else:
        x = x_of(4, 3, D)
        np.testing.assert_allclose(want(*results(from_onnx(model, backend="numpy"), x)), run(model, X=x)[0], **ROUNDING)


# From the indices `i`, (T, N), or the weights `E`, (6, D), to the input `x` of a layer; whether it is accepted.
EMBEDDINGS: dict[str, tuple[str, bool]] = {
    "steps first": ("Gather E,i:x", True),
    "negative axis": ("Gather E,i:x axis=-2", True),
    "int32": ("Cast i:j to=6; Gather E,j:x", True),
    "columns": ("Gather S,i:d axis=1; Transpose d:x perm=1,2,0", False),
    "columns, negative axis": ("Gather S,i:d axis=-1; Transpose d:x perm=1,2,0", False),
    "batch first": ("Transpose i:j perm=1,0; Gather E,j:d; Transpose d:x perm=1,0,2", True),
    "rows reversed": ("Slice i,i_1,near,i1,i_1:j; Gather E,j:x", False),
    "rows permuted": ("Gather i,rows:j axis=1; Gather E,j:x", False),
    "without the first step": ("Slice i,i1,far,i0:j; Gather E,j:x", False),
    "reshaped": ("Reshape i,three:j; Gather E,j:x", False),
    "limited": ("Max i,i2:j; Gather E,j:x", False),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_operators_before_an_embedding(name: str) -> None:
    text, accepted = EMBEDDINGS[name]
    index = np.random.default_rng(0).integers(6, size=(4, 3))
    stored = weights("GRU") | CONSTANTS | {"E": x_of(6, D), "S": x_of(6, 6)[:D].copy(), "three": np.array([3, 4])}
    layer = node("GRU", "x", "W", "R")
    model = graph_of(*nodes_of(text), layer, inputs={"i": ([4, 3], "int64")}, constants=stored, opset=18)
    if accepted:
        embedding, gru = from_onnx(model, backend="numpy")
        np.testing.assert_allclose(gru(embedding(index)), run(model, i=index)[0][:, 0], **ROUNDING)
    else:
        refuses(model, "expected")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Identity n:m; Identity s:h0", ""),
        ("Gather n,rows:m; Identity s:h0", "moved sequence_lens"),
        ("Slice n,i_1,near,i0,i_1:m; Identity s:h0", "moved sequence_lens"),
        ("Identity n:m; Gather s,rows:h0 axis=1", "moved initial_h"),
        ("Identity n:m; Slice s,i_1,near,i2,i_1:h0", "moved initial_h"),
        ("Identity n:m; Transpose s:r perm=2,1,0; Transpose r:h0 perm=2,1,0", ""),
        ("Identity full:m; Identity s:h0", ""),
        ("Identity short:m; Identity s:h0", "fixed or moved sequence_lens"),
        ("Identity n:m; Identity ones:h0", "fixed or moved initial_h"),
    ],
)
def test_lengths_and_states_that_are_fixed_or_moved(text: str, words: str) -> None:
    inputs = {"X": [4, 3, D], "n": ([3], "int32"), "s": [1, 3, H]}
    layer = node("GRU", "X", "W", "R", "B", "m", "h0")
    fixed = {"full": np.full(3, 4, "int32"), "short": np.array([4, 3, 4], "int32"), "ones": x_of(1, 3, H)}
    model = graph_of(*nodes_of(text), layer, inputs=inputs, constants=weights("GRU") | CONSTANTS | fixed)
    if words:
        refuses(model, words, "pass")
    else:
        from_onnx(model, backend="numpy")


def test_directions_over_different_axes() -> None:
    """As many steps as rows: only the order of the numbers shows that the batch is the time of one direction."""
    nodes = [
        node("RNN", outputs=["a"]),
        *nodes_of("Transpose X:t perm=1,0,2"),
        node("RNN", "t", "W", "R", "B", outputs=["b"], direction="reverse"),
        *nodes_of("Concat a,b:Y axis=-1"),
    ]
    refuses(graph_of(*nodes, inputs={"X": [3, 3, D]}, constants=weights("RNN")), "the batch as its time axis")


def test_float64_is_kept() -> None:
    layer = from_onnx(model_of(node("GRU"), **weights("GRU", dtype="float64")), backend="numpy")
    assert {param.dtype for param in layer.params} == {np.dtype("float64")}


# ---- exporters ----


@pytest.mark.needs("torch", "torch")
@pytest.mark.parametrize(
    ("kind", "depth", "bidirectional", "batch_first", "dynamic"),
    thin(["RNN", "LSTM", "GRU"], [1, 2], [False, True], [False, True], [False, True], every=4),
)
def test_pytorchs_first_exporter(kind: str, depth: int, bidirectional: bool, batch_first: bool, dynamic: bool) -> None:
    import torch

    module = getattr(torch.nn, kind)(D, H, depth, bidirectional=bidirectional, batch_first=batch_first).eval()
    x, file = torch.randn(6, 4, D), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        axes = {"x": {0: "a", 1: "b"}} if dynamic else None
        torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    assert_same_as(module, x, from_onnx(onnx.load_from_string(file.getvalue()), backend="numpy"), batch_first)


def assert_same_as(module: Any, x: Any, layer: Any, batch_first: bool) -> None:
    host = x.numpy()
    h, _ = results(layer, host.swapaxes(0, 1) if batch_first else host)
    y = module(x)[0].detach().numpy()
    np.testing.assert_allclose(h.swapaxes(0, 1) if batch_first else h, y, **ROUNDING)


@pytest.mark.needs("onnxscript", "bench")
def test_pytorchs_second_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    module, x = torch.nn.LSTM(D, H, 2, bidirectional=True, batch_first=True).eval(), torch.randn(6, 4, D)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.onnx.export(module, (x,), dynamo=True).model_proto
    assert_same_as(module, x, from_onnx(model, backend="numpy"), batch_first=True)


def test_tf2onnx() -> None:
    """A Keras LSTM, batch-first, that tf2onnx 1.17 exported from TensorFlow 2.21."""
    model, x = onnx.load(Path(__file__).with_name("tf2onnx_lstm.onnx")), x_of(4, 6, D)
    h, _ = results(from_onnx(model, backend="numpy"), x.swapaxes(0, 1))
    np.testing.assert_allclose(h.swapaxes(0, 1), run(model, x=x)[0], **ROUNDING)


# ---- refusals ----


def refuses(model: Any, *words: str) -> None:
    with one_line(FileError, "the model: ", *words):
        from_onnx(model, backend="numpy")


def test_other_attributes() -> None:
    rows: list[tuple[str, dict[str, Any], str, str]] = [
        ("LSTM", {"clip": 3.0}, "'the_rnn' (LSTM) has clip=3.0", "expected no clip"),
        ("LSTM", {"input_forget": 1}, "input_forget=1", "expected 0"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "Sigmoid, Tanh, Relu", "Sigmoid, Tanh, Tanh"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}, "HardSigmoid", "expected Sigmoid, Tanh"),
        ("RNN", {"activations": ["Affine"]}, "Affine", "expected Tanh"),
        ("RNN", {"activations": ["Tanh", "Tanh"]}, "the activations Tanh, Tanh", "expected Tanh"),
        ("RNN", {"activations": 1}, "the activations 1", "expected Tanh"),  # once a TypeError
        ("RNN", {"direction": "both"}, "direction=both", "expected forward, reverse, bidirectional"),
        ("RNN", {"direction": "bidirectional"}, "W of shape (1, 5, 3)", "expected (2, 5, 3)"),
        ("RNN", {"hidden_size": 4}, "hidden_size=4", "expected 5"),
    ]
    for kind, attributes, *words in rows:
        refuses(model_of(node(kind, **attributes), **weights(kind)), *words)


def model_of(*nodes: Any, outputs: Any = ("Y",), **stored: Any) -> Any:
    return graph_of(*nodes, inputs={"X": ["T", "N", D]}, outputs=outputs, constants=stored)


def changed(**arrays: Any) -> Any:
    return model_of(node("GRU"), **weights("GRU") | arrays)


def test_weights_of_another_shape_or_dtype() -> None:
    rows: list[tuple[str, tuple[int, ...], str, str]] = [
        ("W", (1, 15, 4), "float32", "W of shape (1, 15, 4): expected (1, 15, 3)"),
        ("R", (1, 14, 5), "float32", "R of shape (1, 14, 5): expected (1, 15, 5)"),
        ("R", (15, 5), "float32", "no R of three dimensions: expected one"),
        ("R", (1, 15, 0), "float32", "(1, 15, 0)"),
        ("B", (1, 30), "float64", "B in float64: expected float32 or float64, the same for all"),
        ("W", (1, 15, 3), "float16", "'W' has the type 10: expected float32"),
        ("W", (1, 15, 3), "int32", "W in int32"),
    ]
    for name, shape, dtype, words in rows:
        refuses(changed(**{name: np.zeros(shape, dtype)}), words)
    model = model_of(node("RNN"), **weights("RNN"))
    model.graph.input.append(helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, [1, 5, 3]))
    del model.graph.initializer[0]
    refuses(model, "W as an input of the graph", "weights in the model")


def chained(*between: Any, outputs: Any = ("Y",), **stored: Any) -> Any:
    """A GRU, these nodes, which make h0 to h1, and a second GRU."""
    second = {f"{name}1": array for name, array in weights("GRU", D=H).items()}
    first = [node("GRU", outputs=["Y0"]), make("Squeeze", "Y0 one", "h0")]
    nodes = [*first, *between, node("GRU", "h1", "W1", "R1", "B1")]
    return model_of(*nodes, outputs=outputs, one=np.array([1]), **weights("GRU"), **second, **stored)


def test_the_time_axis_of_a_batch_first_node() -> None:
    for axis, accepted in ((0, False), (1, True)):
        nodes = node("GRU", outputs=["Y0"], layout=1), *nodes_of(f"Squeeze Y0,i2:a; Gather a,scalar_last:Y axis={axis}")
        model = model_of(*nodes, **weights("GRU"), **CONSTANTS)
        if accepted:
            assert type(from_onnx(model, backend="numpy")) is GRU
        else:
            refuses(model, "leaves out or moves results")


def test_the_first_unsupported_node_is_named() -> None:
    body = helper.make_graph([make("Relu", "h0", "z")], "then", [], [helper.make_tensor_value_info("z", 1, None)])
    rows: list[tuple[Any, str]] = [
        (make("Relu", "h0", "h1", name="my relu"), "the node 'my relu' (Relu) is not supported: expected RNN, LSTM"),
        (make("Mul", "h0 h0", "h1"), "'h1' (Mul) is not supported"),
        (make("Add", "h0 c", "h1"), "'h1' (Add) is not supported"),
        (make("Relu", "h0", "h1", domain="com.evil"), "(com.evil.Relu) is not supported"),
        (make("LSTM", "h0 W1 R1", "h1", domain="com.evil"), "(com.evil.LSTM) is not supported"),
        (make("Dropout", "h0 ratio flag", "h1"), "(Dropout) is not supported"),  # in training
        (make("Loop", "n flag h0", "h1", body=body), "(Loop) is not"),
        (make("If", "flag", "h1", then_branch=body, else_branch=body), "(If) is not"),
    ]
    for between, words in rows:
        constants = {"c": np.ones(H, "float32"), "ratio": np.float32(0.5), "n": np.array(3), "flag": np.array(True)}
        refuses(chained(between, **constants), words)


def test_graphs_that_are_no_chain() -> None:
    no_input = "reads neither the input of the graph nor the results"
    numbers = {name: np.array([value]) for name, value in (("zero", 0), ("two", 2), ("three", 3))}
    rows: list[tuple[Any, list[str], str]] = [
        (make("Identity", "zeros", "h1"), ["Y"], no_input),
        (make("Slice", "h0 zero two", "h1"), ["Y"], no_input),
        (make("Transpose", "h0", "h1", perm=[1, 0, 2]), ["Y"], "the batch as its time axis"),
        (make("Identity", "h9", "h1"), ["Y"], "reads 'h9', which no node before it gives"),
        (make("Identity", "h0", "h1"), ["Y", "X"], "the output 'X' is not a result of layers"),
        (make("Identity", "h0", "h1"), ["Z"], "an output is given by no node"),
    ]
    for between, outputs, words in rows:
        refuses(chained(between, outputs=outputs, zeros=np.zeros((3, 2, H), "float32"), **numbers), words)
    nodes = make("Slice", "X zero three", "x"), node("RNN", "x", "W", "R")
    refuses(model_of(*nodes, **weights("RNN"), **numbers), no_input)  # with 3 steps it is the input, with 4 it is not


def test_directions_in_another_order() -> None:
    first, stored = node("RNN", outputs=["a"]), weights("RNN") | CONSTANTS
    reverse = node("RNN", outputs=["b"], direction="reverse")
    joined = model_of(first, reverse, *nodes_of("Concat b,a:Y axis=-1; Squeeze Y,i1:h"), outputs=["h"], **stored)
    refuses(joined, "leaves out or moves results", "remove the operators after the last layer")
    two = model_of(first, node("RNN", outputs=["b"]), outputs=["a", "b"], **stored)
    refuses(two, "several branches")


@pytest.mark.parametrize(
    "nodes",
    [
        [make("ConstantOfShape", "n", "z")],
        [make("Expand", "h0 n", "z")],
        [make("Tile", "h0 m", "z")],
        [make("Gather", "h0 many", "y"), make("Gather", "y many", "z")],
        [make("Range", "zero far one0", "z")],
        [make("Range", "zero far zero", "z")],
        [make("Split", "h0", "z", num_outputs=2**40)],
        [make("Cast", "h0", "z", to=8)],
        [make("Cast", "", "z", to=1)],  # once an IndexError
        [make("Constant", "", "z", value_string="x")],
        [make("Reshape", "h0 n", "z")],
        [make("Concat", f"d{k} d{k}", f"d{k + 1}", axis=0) for k in range(40)],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_nodes_that_would_take_much_memory_or_are_invalid(nodes: list[Any]) -> None:
    constants = {
        "n": np.array([2**31, 2**31]),
        "m": np.array([2**20] * 3),
        "many": np.zeros(2**21, "int64"),
        "d0": np.zeros(1),
        **{name: np.array(value) for name, value in (("zero", 0), ("one0", 1), ("far", 2**40 - 1))},
    }
    model = chained(*nodes, make("Identity", "h0", "h1"), **constants)
    refuses(model, "can't be evaluated", "expected a valid model of moderate size")


def test_a_tensor_without_data_allows_no_memory() -> None:
    model = chained(make("Expand", "flag n", "z"), make("Identity", "h0", "h1"), flag=np.zeros(1), n=np.array([2**23]))
    model.graph.initializer.append(onnx.TensorProto(name="unused", data_type=1, dims=[2**40]))
    refuses(model, "can't be evaluated (ValueError: 8,388,608 elements are too many)")


def test_large_inputs() -> None:
    for shape in ([2**40, 2, D], [2**20, 2**20, D], [-1, 2, D]):
        model = graph_of(node("RNN"), inputs={"X": shape}, constants=weights("RNN"))
        refuses(model, "an array has the shape", "at most 1,048,576 elements", "symbolic sizes")
    several = [node("RNN", outputs=[f"Y{i}"]) for i in range(12)]
    model = graph_of(*several, inputs={"X": [1, 2**17, D]}, outputs=["Y1"], constants=weights("RNN"))
    refuses(model, "an array has the shape", "eight times as many in all arrays")
    model = graph_of(node("RNN"), inputs={"X": [1, 1, D]}, constants=weights("RNN"))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refuses(model, "the input 'X' has no shape")


# ---- files ----


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    not_utf8 = changed().SerializeToString().replace(b"the_rnn", b"the_\xffnn")
    for content, words in (
        (b"\x80\x02}", "expected"),
        (b"", "has 0 nodes"),
        (b"\x0a\x01", "is not an ONNX model"),
        (not_utf8, "a.onnx holds a name that is not UTF-8"),
    ):
        path.write_bytes(content)
        with one_line(FileError, "a.onnx", words, "expected"):
            from_onnx(path)
    os.mkfifo(tmp_path / "fifo")
    many = graph_of(*[make("Identity", "X", f"v{i}") for i in range(3000)], inputs={"X": [1, 1, 1]})
    refused(
        (FileError, lambda: from_onnx(tmp_path / "b.onnx"), "can't read", "No such file", "expected an ONNX model"),
        (FileError, lambda: from_onnx(tmp_path), "can't read", "expected an ONNX model"),
        (FileError, lambda: from_onnx(tmp_path / "fifo"), "fifo (not a regular file)"),
        (TypeError, lambda: from_onnx(3), "source is a int", "expected a path"),
        (FileError, lambda: from_onnx(many), "the model has 3,000 nodes", "expected 1 to 2,048"),
    )


def external(folder: Path, **entries: str) -> Path:
    """A model whose W is in the file `data`."""
    model = changed()
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "W")
    (folder / "data").write_bytes(b"12345678" + tensor.raw_data)
    entries = {"location": "data", "offset": "8", "length": str(len(tensor.raw_data))} | entries
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    path = external(tmp_path)
    want = from_onnx(changed(), backend="numpy")
    np.testing.assert_array_equal(from_onnx(path, backend="numpy").params[0], want.params[0])
    with one_line(FileError, "'W' is in another file", "pass the model's path"):
        from_onnx(onnx.load(path, load_external_data=False))


def test_other_external_data(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("data")
    os.mkfifo(tmp_path / "pipe")
    for name, value, words in (
        ("location", "../data", "is in '../data': expected a file beside the model"),
        ("location", "/etc/passwd", "is in '/etc/passwd': expected a file beside the model"),
        ("location", "..", "is in '..'"),
        ("location", "", "is in ''"),
        ("location", "nothing", "from 'nothing' (No such file"),
        ("location", "link", "from 'link' ("),
        ("location", "pipe", "from 'pipe' (not a regular file)"),
        ("offset", "9", "the file is too short"),
        ("offset", "-8", "has the offset -8"),
        ("length", "3", "length 3: expected 180 bytes"),
        ("length", str(2**60), "expected 180 bytes"),
    ):
        with one_line(FileError, "model.onnx: ", "the tensor 'W'", words):
            from_onnx(external(tmp_path, **{name: value}))


def test_tensors_that_do_not_hold_what_they_say() -> None:
    for change, words in (
        (lambda t: t.dims.append(2**40), "bytes: expected those of its shape"),
        (lambda t: t.dims.__setitem__(0, -1), "has the shape (-1, 15, 3)"),
        (lambda t: t.dims.extend([1] * 9), "at most 8 sizes"),
        (lambda t: setattr(t, "raw_data", b"123"), "holds 3 bytes"),
        (lambda t: t.ClearField("raw_data"), "holds 0 numbers"),
    ):
        model = changed()
        change(next(tensor for tensor in model.graph.initializer if tensor.name == "W"))
        refuses(model, "the tensor 'W'", words)
