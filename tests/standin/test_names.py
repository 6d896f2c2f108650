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

from tests import standin
from tests.standin import _signatures as tables
from tests.standin._calls import signature

FUNCTIONS = [*(tables.KERNELS | tables.VIEWS | tables.CREATION), "array", "asarray", "ascontiguousarray", "asnumpy"]
# CuPy compiles these in Cython, so only the docstring's first line tells their parameters.
METHODS = tables.METHOD_KERNELS | tables.METHOD_VIEWS


def parameters(of: Any) -> list[tuple[str, Any]]:
    """Names and defaults."""
    found = (of if isinstance(of, inspect.Signature) else inspect.signature(of)).parameters
    return [(p.name, p.default) for p in found.values() if p.name != "self"]


def kinds(of: Any) -> list[Any]:
    return [p.kind for p in inspect.signature(of).parameters.values()]


def documented(function: Any) -> list[tuple[str, Any]]:
    """The parameters in the docstring of a compiled function, without its types."""
    line = function.__doc__.strip().splitlines()[0]
    inside = re.search(r"\((.*)\)", line)
    assert inside is not None, line
    words = [re.sub(r"^(str|tuple|bool|int|Py_ssize_t|_ndarray_base) ", "", w) for w in inside[1].split(", ")]
    return parameters(signature(", ".join(w for w in words if w not in ("self", "/")).replace("\\*", "*")))


def names(thing: Any) -> set[str]:
    return set(thing.__all__) if isinstance(thing, ModuleType) else {n for n in dir(thing) if not n.startswith("_")}


def test_every_name_is_in_cupy() -> None:
    pairs = [(standin, cupy), (standin.cuda, cupy.cuda), (standin.ndarray((1,)), cupy.ndarray)]
    pairs += [(getattr(standin.cuda, n), getattr(cupy.cuda, n)) for n in ("Device", "Event", "Stream", "runtime")]
    extra = {name for ours, real in pairs for name in names(ours) if not hasattr(real, name)}
    # cublas is a module that has to be imported; NumPy 2.3 leaves a module, um, in the class of operators
    assert extra - {"um"} == {"cublas"}
    operators = {n for n in dir(np.lib.mixins.NDArrayOperatorsMixin) if n.startswith("__") and n not in dir(object)}
    operators = {n for n in operators if callable(getattr(np.lib.mixins.NDArrayOperatorsMixin, n))}
    assert not {n for n in operators if not hasattr(cupy.ndarray, n) and getattr(standin.ndarray, n, None) is not None}


def test_parameters() -> None:
    for name in (*FUNCTIONS, "take"):
        ours, real = (getattr(module, name) for module in (standin, cupy))
        assert (parameters(ours), kinds(ours)) == (parameters(real), kinds(real)), name
    for name, written in METHODS.items():
        assert parameters(signature(written)) == documented(getattr(cupy.ndarray, name)), name
    for name in ("astype", "dot", "get", "set"):
        assert parameters(getattr(standin.ndarray, name)) == documented(getattr(cupy.ndarray, name)), name
    for name in ("RawModule", "from_dlpack"):
        assert parameters(getattr(standin, name)) == documented(getattr(cupy, name)), name
    assert parameters(standin.cuda.Stream) == parameters(cupy.cuda.Stream)
    elapsed = documented(cupy.cuda.get_elapsed_time)
    assert [name for name, _ in parameters(standin.cuda.get_elapsed_time)] == [name for name, _ in elapsed]
    # cupy.cublas can't be imported without the CUDA libraries, so its source is read.
    spec = importlib.util.find_spec("cupy.cublas")
    assert spec is not None
    assert spec.origin is not None
    functions = [n for n in ast.parse(Path(spec.origin).read_text()).body if isinstance(n, ast.FunctionDef)]
    (gemm,) = [function for function in functions if function.name == "gemm"]
    assert parameters(standin.cublas.gemm) == parameters(signature(ast.unparse(gemm.args)))
