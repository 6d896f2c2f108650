"""The stand-in against the real package: it has no name, parameter or operator that CuPy lacks.

CuPy imports without a GPU, so this needs only its wheel.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import cupy
import numpy as np
import pytest

from tests import standin
from tests.standin import _signatures as tables
from tests.standin._calls import signature

# CuPy compiles these in Cython, so only the docstring's first line tells their parameters.
METHODS = tables.METHOD_KERNELS | tables.METHOD_VIEWS | {"astype": None, "dot": None, "get": None, "set": None}


def parameters(s: inspect.Signature) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in s.parameters.values()]


def documented(function: Any) -> inspect.Signature:
    """The signature in the docstring of a compiled function, without its types and without `self`."""
    line = function.__doc__.strip().splitlines()[0]
    inside = re.search(r"\((.*)\)", line)
    assert inside is not None, line
    words = [re.sub(r"^(str|tuple|bool|int|Py_ssize_t|_ndarray_base) ", "", w) for w in inside[1].split(", ")]
    return signature(", ".join(w for w in words if w not in ("self", "/")).replace("\\*", "*"))


def without_hints(s: inspect.Signature) -> list[tuple[str, Any]]:
    return [(p.name, p.default) for p in s.parameters.values() if p.name != "self"]


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_name_is_in_cupy() -> None:
    missing = [name for name in standin.__all__ if name != "cublas" and not hasattr(cupy, name)]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        *(tables.KERNELS | tables.VIEWS | tables.CREATION),
        *("array", "asarray", "ascontiguousarray", "asnumpy", "take"),
    ],
)
def test_parameters_of_functions(name: str) -> None:
    ours, real = (inspect.signature(getattr(module, name)) for module in (standin, cupy))
    assert parameters(ours) == parameters(real)


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_methods(name: str) -> None:
    ours = METHODS[name]
    expected = signature(ours) if ours is not None else inspect.signature(getattr(standin.ndarray, name))
    assert without_hints(expected) == without_hints(documented(getattr(cupy.ndarray, name)))


@pytest.mark.parametrize("name", tables.UFUNCS)
def test_keywords_of_ufuncs(name: str) -> None:
    real = getattr(cupy, name)
    assert isinstance(real, cupy.ufunc)
    for keyword in ("where", "order", "subok"):
        with pytest.raises(TypeError, match="Wrong arguments"):
            real(1, **{keyword: True}) if getattr(np, name).nin == 1 else real(1, 1, **{keyword: True})
    assert "out=None" in real.__doc__
    assert "dtype=None" in real.__doc__
    assert "casting='same_kind'" in real.__doc__


def test_array_has_no_attribute_that_cupy_lacks() -> None:
    assert public(standin.ndarray((1,))) - public(cupy.ndarray) == set()


def test_array_has_no_operator_that_cupy_lacks() -> None:
    operators = {n for n in dir(np.lib.mixins.NDArrayOperatorsMixin) if n.startswith("__") and n not in dir(object)}
    operators = {n for n in operators if callable(getattr(np.lib.mixins.NDArrayOperatorsMixin, n))}
    lacking = {n for n in operators if not hasattr(cupy.ndarray, n) and getattr(standin.ndarray, n, None) is not None}
    assert lacking == set()


@pytest.mark.parametrize("name", ["Device", "Event", "Stream", "runtime"])
def test_names_of_cuda(name: str) -> None:
    ours, real = getattr(standin.cuda, name), getattr(cupy.cuda, name)
    if name == "Stream":
        assert without_hints(inspect.signature(ours)) == without_hints(inspect.signature(real))
    names = ours.__all__ if isinstance(ours, ModuleType) else public(ours)
    assert [n for n in names if not hasattr(real, n) and n != "ptr"] == []  # a stream's ptr is set when it is made


def test_names_of_the_module_cuda() -> None:
    assert [name for name in standin.cuda.__all__ if not hasattr(cupy.cuda, name)] == []
    assert documented(cupy.cuda.get_elapsed_time).parameters.keys() == (
        inspect.signature(standin.cuda.get_elapsed_time).parameters.keys()
    )


@pytest.mark.parametrize("name", ["RawModule", "from_dlpack"])
def test_parameters_of_what_is_compiled(name: str) -> None:
    ours = inspect.signature(getattr(standin, name))
    assert without_hints(ours) == without_hints(documented(getattr(cupy, name)))


def test_parameters_of_gemm() -> None:
    # cupy.cublas can't be imported without the CUDA libraries, so its source is read.
    spec = importlib.util.find_spec("cupy.cublas")
    assert spec is not None
    assert spec.origin is not None
    functions = [n for n in ast.parse(Path(spec.origin).read_text()).body if isinstance(n, ast.FunctionDef)]
    (gemm,) = [function for function in functions if function.name == "gemm"]
    assert parameters(inspect.signature(standin.cublas.gemm)) == parameters(signature(ast.unparse(gemm.args)))
