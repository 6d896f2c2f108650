"""The selection of a backend: argument > use_backend > set_backend > XRNN_BACKEND > auto."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.fresh import NO_CUPY, output_of
from xrnn import RNN, asarray, backend_of, get_backend, set_backend, use_backend, xp
from xrnn.arrays import registry
from xrnn.arrays import select as selecting
from xrnn.arrays.select import select
from xrnn.backend import Backend, BackendUnavailableError

# ---- the order of precedence ----


@pytest.fixture
def two_backends(table_of_backends: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in takes CuPy's place, and nothing is selected."""
    monkeypatch.setitem(registry.loaders, "cupy", lambda: STANDIN)
    monkeypatch.delitem(registry.loaded, "cupy", raising=False)
    monkeypatch.setattr(selecting, "_process", None)
    selecting._auto.cache_clear()
    yield
    selecting._auto.cache_clear()


@pytest.mark.usefixtures("two_backends")
@pytest.mark.parametrize(
    ("environment", "chosen", "expected"),
    [
        ("", [], ("cupy", "the default")),
        (" ", [], ("cupy", "the default")),
        ("auto", [], ("cupy", "XRNN_BACKEND=auto")),
        (" NumPy ", [], ("numpy", "XRNN_BACKEND=numpy")),
        ("numpy", ["cupy"], ("cupy", "set_backend('cupy')")),
        ("numpy", ["cupy", None], ("numpy", "XRNN_BACKEND=numpy")),
    ],
)
def test_set_backend_beats_the_environment_beats_auto(
    environment: str, chosen: list[str | None], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRNN_BACKEND", environment)
    for name in chosen:
        set_backend(name)
    assert (select().backend.name, select().decided_by) == expected


@pytest.mark.usefixtures("two_backends")
def test_the_argument_beats_use_backend_beats_set_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen_by_a_thread() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: get_backend().name).result()

    monkeypatch.setenv("XRNN_BACKEND", "cupy")
    set_backend("numpy")
    with use_backend("cupy") as outer:
        assert (outer.name, get_backend().name, seen_by_a_thread()) == ("cupy", "cupy", "numpy")
        with use_backend("numpy") as inner:
            assert (inner.name, get_backend().name) == ("numpy", "numpy")
        assert select().decided_by == "use_backend('cupy')"
        assert (get_backend("numpy").name, select("numpy").decided_by) == ("numpy", "the argument backend='numpy'")
        assert (RNN.init(2, 3, backend="numpy").backend.name, RNN.init(2, 3).backend.name) == ("numpy", "cupy")
        assert isinstance(asarray([1.0], backend="numpy"), np.ndarray)
        assert isinstance(asarray([1.0]), cp.ndarray)
        assert isinstance(xp.zeros(3), cp.ndarray)
    assert (get_backend().name, seen_by_a_thread()) == ("numpy", "numpy")
    assert isinstance(xp.zeros(3), np.ndarray)


def test_an_unknown_name_lists_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown, valid = "unknown backend 'nunpy' ", "expected one of auto, cupy, numpy"
    refused(
        (ValueError, lambda: get_backend("nunpy"), unknown + "(the argument backend='nunpy')", valid),
        (ValueError, lambda: RNN.init(2, 3, backend="nunpy"), unknown + "(the argument backend='nunpy')"),
        (ValueError, lambda: set_backend("nunpy"), unknown + "(set_backend('nunpy'))", valid),
        (ValueError, lambda: use_backend("nunpy").__enter__(), unknown + "(use_backend('nunpy'))", valid),
    )
    monkeypatch.setenv("XRNN_BACKEND", "nunpy")
    with one_line(ValueError, unknown + "(XRNN_BACKEND=nunpy)", valid):
        get_backend()


def test_a_failed_set_backend_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selecting, "_process", None)
    set_backend("numpy")
    for name in ("nunpy", "cupy") if select("auto").rejected else ("nunpy",):
        with pytest.raises((ValueError, BackendUnavailableError)):
            set_backend(name)
        assert select().decided_by == "set_backend('numpy')"
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


def test_numpy_arrays_are_no_silent_fallback() -> None:
    """If the requested backend can't run, a layer on NumPy arrays raises at its first use, and at each later one."""
    code = """
import numpy as np, xrnn
for _ in range(2):
    try:
        xrnn.RNN(np.ones((2, 3)), np.ones((3, 3)), np.ones(3)).forward(np.ones((4, 5, 2)))
    except xrnn.BackendUnavailableError as error:
        print(str(error)[:60])
"""
    error = "XRNN_BACKEND=cupy asked for cupy, but CuPy is not installed:"
    assert output_of(NO_CUPY + code, XRNN_BACKEND="cupy").splitlines() == [error, error]


def test_an_explicit_backend_of_other_layers_is_no_permission() -> None:
    """NumPy's use by an argument or in a block is allowed; the caller's NumPy arrays elsewhere are still refused."""
    code = """
import copy, os, tempfile
import numpy as np, xrnn
x = np.ones((4, 5, 2), "float32")
layer = xrnn.RNN.init(2, 3, backend="numpy")
print(layer.forward(x).shape, copy.deepcopy(layer).forward(x).shape)
with tempfile.TemporaryDirectory() as folder:
    xrnn.save(path := os.path.join(folder, "layer"), layer)
    print(xrnn.load(path, backend="numpy").forward(x).shape)
with xrnn.use_backend("numpy"):
    print(xrnn.RNN(*(np.array(each) for each in layer.params)).forward(x).shape)
for make in (
    lambda: xrnn.RNN(*(np.array(each) for each in layer.params)),
    lambda: xrnn.Linear(np.ones((2, 3)), np.ones(3)),
    lambda: xrnn.RNN.init(2, 3),
):
    try:
        print(make())
    except xrnn.BackendUnavailableError as error:
        print(str(error)[:60])
"""
    shape, error = "(4, 5, 3)", "XRNN_BACKEND=cupy asked for cupy, but CuPy is not installed:"
    lines = output_of(NO_CUPY + code, XRNN_BACKEND="cupy").splitlines()
    assert lines == [f"{shape} {shape}", shape, shape, error, error, error]


def test_numpy_arrays_beside_another_backend_that_works() -> None:
    """Its loader may itself use NumPy arrays."""
    code = """
import numpy as np, xrnn
from tests.arrays.test_registry import OwnBackend
def load():
    xrnn.to_numpy(np.ones(2))
    return OwnBackend()
xrnn.register_backend("own", load)
layer = xrnn.RNN(np.ones((2, 3)), np.ones((3, 3)), np.ones(3))
print(layer.forward(np.ones((4, 5, 2))).shape, layer.backend.name, xrnn.get_backend().name)
"""
    assert output_of(code, XRNN_BACKEND="own") == "(4, 5, 3) numpy own"


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


HEARD = "import logging\nlogging.getLogger('xrnn').setLevel(logging.INFO)"


@pytest.mark.parametrize(
    ("code", "environment", "logged"),
    [
        pytest.param(HAS_GPU.format(True), {}, "WARNING", id="once of a GPU that is not used"),
        pytest.param(HAS_GPU.format(False) + HEARD, {}, "INFO", id="only informs without a GPU"),
        pytest.param("", {"XRNN_BACKEND": "numpy"}, "", id="nothing for an explicit choice"),
    ],
)
def test_what_auto_logs(code: str, environment: dict[str, str], logged: str) -> None:
    line = f"{logged} xrnn runs on numpy, not on cupy: CuPy is not installed: `pip install -e '.[cuda13]'` (or `pip ins"
    found = output_of(NO_CUPY + code + FALLBACK, **environment)
    assert found.startswith(line) if logged else found == ""
    assert "\n" not in found


@no_gpu
@pytest.mark.needs("cupy", "proof")  # it imports without a GPU
def test_auto_falls_back_with_cupy_installed() -> None:
    (line,) = output_of(HAS_GPU.format(True) + FALLBACK).splitlines()
    assert line.startswith("WARNING xrnn runs on numpy, not on cupy: ")
    assert "nvidia-smi" in line


# ---- importing ----


def test_importing_xrnn_imports_nothing_heavy_and_numpy_never_cupy() -> None:
    code = """
import sys, numpy, xrnn
heavy = ("cupy", "cupyx", "typer", "rich", "safetensors", "matplotlib", "threadpoolctl", "torch", "xrnn.backends")
print([name for name in heavy if name in sys.modules])
x = numpy.ones((4, 2), "float32")
rnn = xrnn.RNN(numpy.ones((2, 3), "float32"), numpy.ones((3, 3), "float32"), numpy.ones(3, "float32"))
rnn.backward(rnn.forward(x))
try:
    xrnn.backend_of([1.0])
except TypeError:
    print("cupy" in sys.modules, rnn.backend.name)
"""
    assert output_of(code).splitlines() == ["[]", "False numpy"]


# ---- the proxy ----


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
    for array in (a, a[0], a.sum(axis=0)):
        assert backend_of(array) is backend


@pytest.mark.parametrize("thing", [[1.0, 2.0], 3.0, None, "words", np.float32(1)])
def test_backend_of_other_objects(thing: Any) -> None:
    with one_line(TypeError, "x is a ", type(thing).__name__, "expected an array of cupy or numpy", "xrnn.asarray(x)"):
        backend_of(thing, "x")
