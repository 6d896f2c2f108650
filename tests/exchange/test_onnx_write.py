"""ONNX Runtime computes with the written models what the layers compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.errors import one_line, refused
from tests.exchange.layers import ROUNDING, SHARED, D, H, drawn, leaves, results, x_of
from tests.exchange.onnx_models import run
from xrnn import GRU, LSTM, Embedding, LayerNorm, Linear, Stack, from_onnx, to_onnx
from xrnn.exchange.model import Model
from xrnn.exchange.onnx_write import model_proto

LAYERS: dict[str, Any] = {
    **SHARED,
    "reverse": lambda **o: LSTM.init(D, H, reverse=True, **o),
    "stack": lambda **o: Stack.init(LSTM, D, H, 2, dropout=0.5, **o),
    "bidirectional stack": lambda **o: Stack.init(LSTM, D, H, 2, bidirectional=True, **o),
    "nested": lambda **o: Stack([Stack([GRU.init(D, 2, **o), LayerNorm.init(2, **o)]), LSTM.init(2, H, **o)]),
}


def made(name: str) -> Any:
    return drawn(LAYERS[name](backend="numpy"))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"lengths": True, "states": True}])
def test_onnx_runtime_computes_the_same_and_from_onnx_reads_it_back(name: str, options: Any) -> None:
    """Past its length a row keeps its states, also with no step at all, and x is not read there."""
    layer = made(name)
    model, one_step = to_onnx(layer, **options), x_of(1, 1, D)
    parts = [leaf for leaf in leaves(layer) if hasattr(leaf, "cell")]
    suffixes = [f".{i}" for i in range(len(parts))] if len(parts) > 1 else [""]
    names = [f"{each}_prev{end}" for part, end in zip(parts, suffixes, strict=True) for each in part.cell.states]
    sizes = [part.hidden_size for part in parts for _ in part.cell.states]
    x, given = x_of(7, 5, D), dict[str, Any]()
    if "lengths" in options:
        x[3:, 2] = np.nan
        given["lengths"] = np.array([7, 0, 3, 1, 6], "int32")
    states = {name: x_of(5, size) + i for i, (name, size) in enumerate(zip(names, sizes, strict=True))}
    states = states if "states" in options else {}
    h, final = results(layer, x, given.get("lengths"), [*states.values()] or None)
    got = run(model, x=x, **given, **states)
    np.testing.assert_allclose(got[0], h, **ROUNDING)
    assert [output.name for output in model.graph.output[1:]] == [name.replace("prev", "last") for name in states]
    for ours, want in zip(got[1:], final if states else [], strict=True):
        np.testing.assert_allclose(ours, want, **ROUNDING)
    if not options:
        np.testing.assert_allclose(run(model, x=one_step)[0], results(layer, one_step)[0], **ROUNDING)
    if name != "nested":
        again = from_onnx(model, backend="numpy")
        assert type(again) is type(layer)
        assert [leaf.options for leaf in leaves(again)] == [leaf.options for leaf in leaves(layer)]
        np.testing.assert_array_equal(results(again, one_step)[0], results(layer, one_step)[0])


def test_embedding_and_readout() -> None:
    embedding, readout = drawn(Embedding.init(9, D, backend="numpy")), drawn(Linear.init(H, 4, backend="numpy"))
    stack, index = made("stack"), np.random.default_rng(0).integers(9, size=(6, 2))
    y = readout(stack(embedding(index))[0])
    model = to_onnx({"embedding": embedding, "stack": stack, "readout": readout})
    np.testing.assert_allclose(run(model, x=index)[0], y, **ROUNDING)
    assert [output.name for output in model.graph.output] == ["y"]
    (p,) = run(to_onnx([embedding, stack, readout], softmax=True), x=index)
    np.testing.assert_allclose(p, np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True), **ROUNDING)
    embedding, stack, readout = from_onnx(model, backend="numpy")
    np.testing.assert_array_equal(readout(stack(embedding(index))[0]), y)


@pytest.mark.parametrize("lengths", [None, np.array([2, 7], "int32")])
def test_scale_and_mean(lengths: Any) -> None:
    stack, readout = made("bidirectional"), drawn(Linear.init(2 * H, 4, backend="numpy"))
    mean, deviation = np.array([1e3, 0, -1]), np.array([3, 0.1, 1])
    x = (x_of(7, 2, D) * deviation + mean).astype("float32")
    x[1, 0] = 1e30
    scaled = ((x - mean) / deviation).clip(-1e6, 1e6).astype("float32")
    h, _ = stack(scaled, lengths=lengths)
    steps = np.full(2, 7) if lengths is None else lengths
    inside = np.arange(7)[:, None] < steps
    y = readout(((h * inside[..., None]).sum(axis=0) / steps[:, None]).astype("float32"))
    model = to_onnx([stack, readout], scale=(mean, deviation), mean=True, lengths=lengths is not None)
    (got,) = run(model, x=x, **({} if lengths is None else {"lengths": lengths}))
    np.testing.assert_allclose(got, y, rtol=1e-5, atol=1e-5)


def test_float64_is_kept() -> None:
    """ONNX Runtime has no float64 kernels, onnx's reference has."""
    layer = drawn(LSTM.init(D, H, dtype="float64", backend="numpy"))
    x = x_of(4, 2, D).astype("float64")
    (h,) = ReferenceEvaluator(to_onnx(layer)).run(None, {"x": x})
    np.testing.assert_allclose(h, layer(x)[0], rtol=1e-12)


def test_the_file_and_labels(tmp_path: Path) -> None:
    layer = made("gru")
    model = to_onnx(layer, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == model
    labelled = model_proto(onnx, Model((layer,), labels=("a", "ü")), lengths=False, states=False)
    assert json.loads(labelled.metadata_props[0].value) == ["a", "ü"]


def test_other_arguments_are_refused(tmp_path: Path) -> None:
    path, gru, no_layer, no_flag = tmp_path / "model.onnx", GRU.init(2, 3), cast("Any", 3), cast("Any", [3])
    refused(
        (TypeError, lambda: to_onnx(no_layer, path), "layers[0] is a int"),
        (TypeError, lambda: to_onnx(gru, path, lengths=no_flag), "lengths", "bool"),
    )
    assert not list(tmp_path.iterdir())


def test_large_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrnn.exchange.onnx_write._MOST_BYTES", 100)
    with one_line(ValueError, "bytes: expected at most 100"):
        to_onnx(made("gru"))
