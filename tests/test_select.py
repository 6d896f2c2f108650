"""The selection of a backend. Each source of it is tested in a new process, because a process selects once.

argument > use_backend > set_backend > XRNN_BACKEND > auto
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import xrnn
from tests import standin as cp
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.fresh import NO_CUPY, STANDIN_AS_CUPY, output_of
from xrnn import RNN, asarray, backend_of, get_backend, set_backend, to_numpy, use_backend, xp
from xrnn.backend import Backend, BackendUnavailableError
from xrnn.select import select

SELECTED = """
from xrnn.select import select
selection = select()
print(selection.backend.name, '|', selection.decided_by)
"""


# ---- the order of precedence ----


@pytest.mark.parametrize(
    ("environment", "code", "expected"),
    [
        (None, "", "cupy | the default"),
        ("", "", "cupy | the default"),
        (" ", "", "cupy | the default"),
        ("auto", "", "cupy | XRNN_BACKEND=auto"),
        ("numpy", "", "numpy | XRNN_BACKEND=numpy"),
        (" NumPy ", "", "numpy | XRNN_BACKEND=numpy"),
        ("numpy", "xrnn.set_backend('cupy')", "cupy | set_backend('cupy')"),
        ("numpy", "xrnn.set_backend('cupy'); xrnn.set_backend(None)", "numpy | XRNN_BACKEND=numpy"),
    ],
)
def test_set_backend_beats_the_environment_beats_auto(environment: str | None, code: str, expected: str) -> None:
    given = {} if environment is None else {"XRNN_BACKEND": environment}
    assert output_of(STANDIN_AS_CUPY + code + SELECTED, **given) == expected


def test_the_argument_beats_use_backend_beats_set_backend() -> None:
    code = """
import threading
def seen_by_a_thread():
    names = []
    thread = threading.Thread(target=lambda: names.append(xrnn.get_backend().name))
    thread.start()
    thread.join()
    return names[0]
xrnn.set_backend("numpy")
with xrnn.use_backend("cupy") as outer:
    print(outer.name, xrnn.get_backend().name, seen_by_a_thread())
    with xrnn.use_backend("numpy") as inner:
        print(inner.name, xrnn.get_backend().name)
    print(xrnn.select.select().decided_by)
    print(xrnn.get_backend("numpy").name, xrnn.select.select("numpy").decided_by)
    print(xrnn.RNN.init(2, 3, backend="numpy").backend.name, xrnn.RNN.init(2, 3).backend.name)
    print(type(xrnn.asarray([1.0], backend="numpy")).__module__, type(xrnn.asarray([1.0])).__module__)
print(xrnn.get_backend().name, seen_by_a_thread())
"""
    assert output_of(STANDIN_AS_CUPY + code, XRNN_BACKEND="cupy").splitlines() == [
        "cupy cupy numpy",
        "numpy numpy",
        "use_backend('cupy')",
        "numpy the argument backend='numpy'",
        "numpy cupy",
        "numpy cupy",
        "numpy numpy",
    ]


def test_an_error_ends_use_backend() -> None:
    before = get_backend()
    with pytest.raises(ZeroDivisionError), use_backend(STANDIN):
        raise ZeroDivisionError
    assert get_backend() is before


# ---- unknown names ----

VALID = "expected one of auto, cupy, numpy"


def test_an_unknown_name_lists_the_valid_ones() -> None:
    refused(
        (ValueError, lambda: get_backend("nunpy"), "unknown backend 'nunpy' (the argument backend='nunpy')", VALID),
        (ValueError, lambda: RNN.init(2, 3, backend="nunpy"), "unknown backend 'nunpy' (the argument backend='nunpy')"),
        (ValueError, lambda: set_backend("nunpy"), "unknown backend 'nunpy' (set_backend('nunpy'))", VALID),
    )
    with one_line(ValueError, "unknown backend 'nunpy' (use_backend('nunpy'))", VALID), use_backend("nunpy"):
        pass


def test_an_unknown_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRNN_BACKEND", "nunpy")
    with one_line(ValueError, "unknown backend 'nunpy' (XRNN_BACKEND=nunpy)", VALID):
        get_backend()


@pytest.fixture
def numpy_for_the_process() -> Iterator[None]:
    set_backend("numpy")
    yield
    set_backend(None)


@pytest.mark.usefixtures("numpy_for_the_process")
def test_a_failed_set_backend_changes_nothing() -> None:
    for name in ("nunpy", "cupy") if select("auto").rejected else ("nunpy",):
        with pytest.raises((ValueError, BackendUnavailableError)):
            set_backend(name)
        assert select().decided_by == "set_backend('numpy')"


@pytest.mark.usefixtures("numpy_for_the_process")
def test_set_backend_accepts_a_backend_object() -> None:
    set_backend(STANDIN)
    assert get_backend() is STANDIN


# ---- no GPU ----

no_gpu = pytest.mark.skipif(not select("auto").rejected, reason="this machine has a GPU: nothing to fall back from")


@no_gpu
def test_an_explicit_choice_fails_at_its_first_use() -> None:
    code = f"""{NO_CUPY}
import traceback
import xrnn
for way in (
    "xp.zeros(3)",
    "RNN.init(2, 3)",
    "asarray([1.0])",
    "show_config()",
    "set_backend('cupy')",
    "use_backend('cupy').__enter__()",
    "get_backend('cupy')",
):
    try:
        eval("xrnn." + way)
    except xrnn.BackendUnavailableError as error:
        print(error, "|", "ModuleNotFoundError" in traceback.format_exc())  # the cause is chained
"""
    ways = ["XRNN_BACKEND=cupy"] * 4 + ["set_backend('cupy')", "use_backend('cupy')", "the argument backend='cupy'"]
    assert output_of(code, XRNN_BACKEND="cupy").splitlines() == [
        f"{way} asked for cupy, but CuPy is not installed: `pip install -e '.[cuda13]'` (or `pip install -e "
        "'.[cuda12]'`, by what `nvidia-smi` shows as CUDA Version) | True"
        for way in ways
    ]


FALLBACK = """
import logging, threading
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(f"{record.levelname} {record.getMessage()}")
logging.getLogger("xrnn").addHandler(Keep())
import xrnn
assert records == []
threads = [threading.Thread(target=xrnn.get_backend) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
xrnn.RNN.init(2, 3).forward(xrnn.xp.ones((4, 2), "float32"))
assert xrnn.get_backend().name == "numpy"
print("\\n".join(records))
"""


HAS_GPU = """
import sys, xrnn.backends.cupy
sys.modules["xrnn.backends.cupy.probe"].has_gpu = lambda: {}
"""


@pytest.mark.parametrize("environment", [{}, {"XRNN_BACKEND": "auto"}])
def test_auto_warns_once_of_a_gpu_that_it_does_not_use(environment: dict[str, str]) -> None:
    lines = output_of(NO_CUPY + HAS_GPU.format(True) + FALLBACK, **environment).splitlines()
    assert lines == [
        "WARNING xrnn runs on numpy, not on cupy: CuPy is not installed: `pip install -e '.[cuda13]'` "
        "(or `pip install -e '.[cuda12]'`, by what `nvidia-smi` shows as CUDA Version)"
    ]


def test_auto_is_silent_without_a_gpu() -> None:
    code = NO_CUPY + HAS_GPU.format(False) + FALLBACK
    assert output_of(code) == ""
    verbose = code.replace("\nimport xrnn\n", "\nlogging.getLogger('xrnn').setLevel(logging.INFO)\nimport xrnn\n")
    assert output_of(verbose).startswith("INFO xrnn runs on numpy, not on cupy: CuPy is not installed")


@no_gpu
@pytest.mark.needs("cupy", "proof")  # it imports without a GPU
def test_auto_falls_back_with_cupy_installed() -> None:
    (line,) = output_of(HAS_GPU.format(True) + FALLBACK).splitlines()
    assert line.startswith("WARNING xrnn runs on numpy, not on cupy: ")
    assert "nvidia-smi" in line


def test_an_explicit_numpy_logs_nothing() -> None:
    assert output_of(NO_CUPY + FALLBACK, XRNN_BACKEND="numpy") == ""


# ---- importing ----


def test_importing_xrnn_imports_nothing_heavy_and_probes_nothing() -> None:
    code = """
import json, sys
import xrnn
heavy = ("cupy", "cupyx", "typer", "rich", "safetensors", "matplotlib", "threadpoolctl", "xrnn.backends")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    assert json.loads(output_of(code)) == []


def test_numpy_never_imports_cupy() -> None:
    code = """
import sys, numpy, xrnn
x = numpy.ones((4, 2), "float32")
rnn = xrnn.RNN(numpy.ones((2, 3), "float32"), numpy.ones((3, 3), "float32"), numpy.ones(3, "float32"))
rnn.backward(rnn.forward(x))
try:
    xrnn.backend_of([1.0])
except TypeError:
    print("cupy" in sys.modules, rnn.backend.name)
"""
    assert output_of(code) == "False numpy"


# ---- the proxy ----


def test_the_proxy_follows_the_selection() -> None:
    code = """
from xrnn import xp, set_backend
zeros = lambda: type(xp.zeros(3)).__module__
print(zeros())
set_backend("cupy")
print(zeros())
with xrnn.use_backend("numpy"):
    print(zeros())
print(zeros())
"""
    lines = output_of(STANDIN_AS_CUPY + code, XRNN_BACKEND="numpy").splitlines()
    assert lines == ["numpy", "cupy", "numpy", "cupy"]


def test_the_proxy_shows_the_names_of_the_namespace(backend: Backend) -> None:
    with use_backend(backend):
        assert xp.float32 is backend.xp.float32
        assert "tanh" in dir(xp)
        with pytest.raises(AttributeError, match="no_such_function"):
            xp.no_such_function  # type: ignore[attr-defined]  # noqa: B018
    assert repr(xp) == "<xrnn.xp: the array namespace of the selected backend>"


# ---- arrays ----


def test_backend_of(backend: Backend) -> None:
    a = backend.xp.zeros((2, 3))
    assert backend_of(a) is backend
    assert backend_of(a[0]) is backend
    assert backend_of(a.sum(axis=0)) is backend


@pytest.mark.parametrize("thing", [[1.0, 2.0], 3.0, None, "words", np.float32(1)])
def test_backend_of_other_objects(thing: Any) -> None:
    with one_line(TypeError, "x is a ", type(thing).__name__, "expected an array of cupy or numpy", "xrnn.asarray(x)"):
        backend_of(thing, "x")


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_asarray_and_to_numpy_keep_values(backend: Backend, dtype: Any, order: Any) -> None:
    host = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    moved = asarray(host, dtype, backend=backend)
    assert backend.owns(moved)
    assert moved.dtype == np.dtype(dtype or "float64")
    back = to_numpy(moved)
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, host)


def test_asarray_takes_numbers_and_lists(backend: Backend) -> None:
    for value in (3, 2.5, [1, 2], [[1.0], [2.0]], (True, False), range(3)):
        np.testing.assert_array_equal(to_numpy(asarray(value, backend=backend)), np.asarray(value))


@pytest.mark.parametrize(
    "value", [None, "ab", b"ab", {}, {1, 2}, ["a", "b"], [None], [[1.0], [1.0, 2.0]], object(), iter([1])]
)
def test_asarray_of_values_without_numbers(backend: Backend, value: Any) -> None:
    with one_line(TypeError, f"array is a {type(value).__name__}: expected an array, a number, or nested lists"):
        asarray(value, backend=backend)


@pytest.mark.parametrize("values", [["a"], [None, 3], [np.datetime64("2024-01-01")]])
def test_asarray_of_a_numpy_array_without_numbers(values: Any) -> None:
    array = np.array(values)
    with one_line(TypeError, f"array has dtype {array.dtype}: expected numbers"):
        asarray(array, backend="numpy")


def test_asarray_copies_no_array_of_its_backend(backend: Backend) -> None:
    a = backend.xp.zeros((2, 3), "float32")
    assert asarray(a, backend=backend) is a
    assert asarray(a, "float32", backend=backend) is a
    host = np.zeros(3)
    assert to_numpy(host) is host


def test_asarray_moves_between_backends() -> None:
    on_device = asarray(np.arange(3.0), backend=STANDIN)
    back = asarray(on_device, backend="numpy")
    assert get_backend("numpy").owns(back)
    again = asarray(back, "float32", backend=STANDIN)
    assert STANDIN.owns(again)
    np.testing.assert_array_equal(to_numpy(again), np.arange(3))
    with use_backend(STANDIN):
        assert STANDIN.owns(asarray(back))


# ---- arrays of two backends: the error names the argument and the remedy ----


def test_mixing_backends() -> None:
    host, device = np.ones((4, 2), "float32"), cp.ones((4, 2), "float32")
    on_numpy, on_device = RNN.init(2, 3, backend="numpy"), RNN.init(2, 3, backend=STANDIN)
    refused(
        (TypeError, lambda: on_numpy.forward(device), "x is a cupy.ndarray", "numpy backend"),
        (TypeError, lambda: on_device.forward(host), "x is a numpy.ndarray", "cupy backend"),
        (TypeError, lambda: on_device.forward(device, np.ones((4, 3), "float32")), "h_prev is a numpy.ndarray"),
    )
    on_device.forward(device)
    refused(
        (TypeError, lambda: on_device.backward(np.ones((4, 3), "float32")), "dh_next is a numpy.ndarray"),
        (TypeError, lambda: RNN(on_device.params[0], on_numpy.params[1], on_device.params[2]), "Wh is a numpy.ndarray"),
        (TypeError, lambda: xrnn.mean_squared_error(device, host), "target is a numpy.ndarray"),
    )
