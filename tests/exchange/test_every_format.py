"""What the formats have in common: functions that import late, arrays of every backend, heads, and NaN."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import xrnn
from tests.fresh import output_of
from tests.random_operands import draw
from xrnn import GRU, RNN, to_numpy
from xrnn.backend import Backend
from xrnn.ops.heads import dense

FUNCTIONS = ["from_keras", "from_onnx", "from_torch", "load", "save", "to_c", "to_keras", "to_onnx", "to_torch"]
MODULES = ["keras", "onnx_read", "torch", "files", "files", "c", "keras", "onnx_write", "torch"]


def test_functions_are_listed_before_their_modules_are_imported() -> None:
    code = f"""
import sys, xrnn
print(set({FUNCTIONS}) <= set(dir(xrnn)) & set(xrnn.__all__))
names = "xrnn.exchange", "xrnn.files", "keras", "onnx", "safetensors", "torch"
print([name for name in names if name in sys.modules])
from xrnn import {", ".join(FUNCTIONS)}
print([f.__module__ for f in ({", ".join(FUNCTIONS)})])
print([name for name in ("keras", "onnx", "safetensors", "torch") if name in sys.modules])
"""
    assert output_of(code).splitlines() == ["True", "[]", str([f"xrnn.exchange.{name}" for name in MODULES]), "[]"]


def test_without_the_package_the_error_names_the_command() -> None:
    titles = {"torch": "PyTorch", "onnx": "onnx", "keras": "Keras"}
    names = [f"{way}_{package}" for package in titles for way in ("from", "to")]
    code = f"""
import importlib, sys
sys.modules |= dict.fromkeys({list(titles)})
import xrnn
calls = [lambda name=name: getattr(xrnn, name)(xrnn.RNN.init(2, 3)) for name in {names}]
for call in [*calls, lambda: importlib.import_module("xrnn.torch")]:
    try:
        call()
    except ImportError as error:
        print(error)
"""
    libraries = {name: name.partition("_")[2] for name in names} | {"torch": "torch"}
    assert output_of(code, XRNN_BACKEND="numpy").splitlines() == [
        f"xrnn.{name} needs {titles[library]}, which is not installed: `pip install -e '.[{library}]'`"
        for name, library in libraries.items()
    ]


@pytest.mark.parametrize("missing", ["a_dependency", "z_dependency"])
def test_a_broken_pytorch_raises_its_own_error(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(f"import {missing}")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=f"^No module named '{missing}'$"):
        xrnn.to_torch(xrnn.RNN.init(2, 3))


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, in Keras' code
every_library = pytest.mark.parametrize(
    "library", [pytest.param(name, marks=pytest.mark.needs(name, name)) for name in ("torch", "keras", "onnx")]
)
READS: Final = "hold NaN or infinity: the layer computes NaN"
WRITES: Final = r"Wh of layers\[0\] holds NaN or infinity: the model computes NaN"
# The warnings of `to_…` and of `from_…`.
NAN: Final = {
    "torch": ("", "weight_hh_l0 of module holds NaN or infinity: the layer computes NaN"),
    "keras": (WRITES, f"the weights of layer {READS}"),
    "onnx": (WRITES, f"the weights of layer 0 {READS}"),
}


@pytest.fixture(autouse=True)
def _keras_on_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")


@every_library
def test_weights_of_every_backend_and_heads(backend: Backend, library: str) -> None:
    """Heads become a matrix with zeros between them."""
    layer = GRU.init(3, 6, heads=3, rng=0, backend=backend)
    written = getattr(xrnn, f"to_{library}")(layer)
    again = getattr(xrnn, f"from_{library}")(written, backend=backend)
    for got, want in zip(again.params, (layer.Wx, dense(backend.xp, layer.Wh), layer.b), strict=True):
        assert backend.owns(got)
        np.testing.assert_array_equal(to_numpy(got), to_numpy(want))
    x = backend.asarray(draw(5, 2, 3))
    np.testing.assert_allclose(to_numpy(again(x)), to_numpy(layer(x)), rtol=1e-5, atol=1e-6)


def test_weights_of_every_backend_in_c(backend: Backend, tmp_path: Path) -> None:
    leak = backend.asarray(np.full(3, 0.5, "float32"))
    layer = RNN.init(2, 3, rng=0, leak=leak, backend=backend)
    xrnn.to_c(layer, tmp_path / "a.c")
    xrnn.to_c(RNN(*map(to_numpy, layer.params), leak=to_numpy(leak)), tmp_path / "b.c")
    assert (tmp_path / "a.c").read_bytes() == (tmp_path / "b.c").read_bytes()


@every_library
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_gives_a_warning(library: str, value: float) -> None:
    converted = GRU.init(3, 5, rng=0, backend="numpy")
    converted.Wh[1, 2] = value
    for name, words in zip((f"to_{library}", f"from_{library}"), NAN[library], strict=True):
        with pytest.warns(UserWarning, match=f"^{words}$") if words else contextlib.nullcontext() as caught:
            converted = getattr(xrnn, name)(converted)
        assert [each.filename for each in caught or () if each.category is UserWarning] == [__file__] * bool(words)
    np.testing.assert_array_equal(to_numpy(converted.Wh)[1, 2], value)
