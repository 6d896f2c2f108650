"""A backend of another package: NumPy under another name, with arrays of its own type and one operation replaced."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xrnn
from tests.errors import one_line, refused
from tests.fresh import run_python
from tests.test_training_step import INDEX, TARGETS, Model
from xrnn import GRU, LSTM, RNN, Adam, Backend, BackendUnavailableError
from xrnn.commands.main import main
from xrnn.typing import Array

pytestmark = pytest.mark.usefixtures("table_of_backends")


class OwnArray(np.ndarray[Any, Any]):
    pass


class Namespace(ModuleType):
    """NumPy, whose functions return arrays of this type."""

    ndarray = OwnArray

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type | ModuleType) or not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            result = found(*arguments, **options)
            return result.view(OwnArray) if type(result) is np.ndarray else result

        return call


class OwnBackend(Backend):
    name = "own"
    reads_are_free = True
    single_device = True
    dlpack_devices = (1,)

    def __init__(self) -> None:
        super().__init__(Namespace("own"))
        self.calls = 0

    def affine_forward(self, x: Array, W: Array, b: Array) -> Array:
        self.calls += 1
        return np.einsum("...d,dp->...p", x, W) + b


@pytest.fixture
def own(table_of_backends: None) -> OwnBackend:
    xrnn.register_backend("own", OwnBackend)
    backend = xrnn.get_backend("own")
    assert isinstance(backend, OwnBackend)
    return backend


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_training_equals_that_on_numpy(own: OwnBackend, kind: Any) -> None:
    """5 updates in float64. All arrays stay on the backend, and its operation runs."""
    results: list[list[Array]] = []
    for backend in (xrnn.get_backend("numpy"), own):
        model = Model(backend, Adam, kind)
        index, targets = backend.asarray(INDEX), backend.asarray(TARGETS)
        losses = [model.step(index, targets)[0] for _ in range(5)]
        arrays = [*model.optimizer.params, *model.optimizer.grads, *losses]
        assert {type(array) for array in arrays if array.ndim} == {backend.xp.ndarray}
        results.append([backend.to_numpy(array) for array in arrays])
    assert own.calls == 5
    for on_numpy, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, on_numpy, rtol=1e-10, atol=1e-12)


def test_it_is_selected_by_its_name_and_its_arrays_decide(own: OwnBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    with xrnn.use_backend("own"):
        assert type(xrnn.xp.zeros(3)) is OwnArray
    monkeypatch.setenv("XRNN_BACKEND", "own")
    assert xrnn.get_backend() is own
    assert xrnn.get_backend("auto") is not own
    assert type(xrnn.asarray(np.ones(2))) is OwnArray
    assert type(xrnn.asarray(xrnn.xp.ones(2), backend="numpy")) is np.ndarray
    assert xrnn.backend_of(own.xp.ones(2)) is own
    assert xrnn.backend_of(np.ones(2)) is xrnn.get_backend("numpy")
    layer = RNN.init(2, 3, rng=0, backend="own")
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert copied.backend is own
    refused(
        (TypeError, lambda: layer(np.ones((4, 2))), "x is a numpy.ndarray", "own", "xrnn.asarray(x, backend='own')"),
        (ValueError, lambda: xrnn.get_backend("owm"), "unknown backend 'owm'", "one of auto, cupy, numpy, own"),
        (TypeError, lambda: xrnn.backend_of([1.0]), "expected an array of cupy or numpy or own"),
    )


@pytest.mark.usefixtures("own")
def test_a_checkpoint_keeps_the_backend_of_each_array(tmp_path: Path) -> None:
    with xrnn.use_backend("own"):
        extra = {"host": np.ones(2), "own": xrnn.xp.ones(2)}
        xrnn.save_checkpoint(tmp_path / "c", layers={"rnn": RNN.init(2, 3, rng=0)}, extra=extra)
        loaded = xrnn.load_checkpoint(tmp_path / "c")
    assert {name: type(array) for name, array in loaded.extra.items()} == {"host": np.ndarray, "own": OwnArray}
    assert loaded.layers["rnn"].backend.name == "own"


def test_info(own: OwnBackend, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--backend", "own"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "backend: own (decided by --backend own)"
    assert "  affine_forward: own (the own backend replaces the plain form)" in lines
    assert "  recurrence_forward: plain (the own backend has no other form of it)" in lines


def test_it_is_loaded_once_and_only_when_needed() -> None:
    calls: list[int] = []

    def load() -> Backend:
        calls.append(1)
        raise BackendUnavailableError("no device")

    xrnn.register_backend("own", load)
    xrnn.get_backend("numpy")
    assert not calls
    for _ in range(2):
        with one_line(BackendUnavailableError, "the argument backend='own' asked for own, but no device"):
            xrnn.get_backend("own")
    assert len(calls) == 1
    xrnn.register_backend("own", OwnBackend)  # replaces it
    assert xrnn.get_backend("own").name == "own"


def test_a_failure_keeps_no_frame_of_its_caller() -> None:
    class Big:
        pass

    found: list[weakref.ref[Big]] = []

    def load() -> Backend:
        big = Big()
        found.append(weakref.ref(big))
        try:
            raise RuntimeError
        except RuntimeError as error:
            raise BackendUnavailableError("no device") from error

    xrnn.register_backend("own", load)
    with one_line(BackendUnavailableError, "asked for own, but no device"):
        xrnn.get_backend("own")
    gc.collect()
    assert found[0]() is None


def test_names_that_are_refused() -> None:
    for name in ("numpy", "cupy", "auto", "", "Own", " own", 3):
        with one_line(ValueError, f"name is {name!r}: expected a name in lower case, other than auto, cupy, numpy"):
            xrnn.register_backend(name, OwnBackend)  # type: ignore[arg-type]


class Second(OwnBackend):
    name = "second"


class Third(Backend):
    name = "third"

    def __init__(self) -> None:
        super().__init__(np)


@pytest.mark.usefixtures("own")
def test_loaders_that_are_refused() -> None:
    def registered(name: str, loader: Any) -> Any:
        xrnn.register_backend(name, loader)
        return lambda: xrnn.get_backend(name)

    returned, taken = "expected a Backend with that name", "the arrays of the backend "
    refused(
        (TypeError, lambda: xrnn.register_backend("own", 3), "loader is a int: expected a function"),  # type: ignore[arg-type]
        (TypeError, registered("three", lambda: 3), "the loader of the backend 'three' returned 3", returned),
        (TypeError, registered("other", OwnBackend), "returned <xrnn backend own>", returned),
        (
            TypeError,
            registered("second", Second),
            f"{taken}'second' are tests.arrays.test_registry.OwnArray, as those",
        ),
        (TypeError, registered("third", Third), f"{taken}'third' are numpy.ndarray, as those of numpy"),
        (BackendUnavailableError, registered("missing", "no_such_module"), "it can't be imported (No module named"),
    )
    assert xrnn.backend_of(np.ones(1)).name == "numpy"


def test_an_installed_package_needs_no_import(tmp_path: Path) -> None:
    """Its entry point names the backend: `xrnn info` and scripts find it."""
    (metadata := tmp_path / "own_backend-1.0.dist-info").mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-backend\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[xrnn.backends]\nown = tests.arrays.test_registry:OwnBackend\n")
    code = "import xrnn; print(type(xrnn.xp.zeros(2)).__name__, xrnn.RNN.init(2, 3).backend.name); xrnn.show_config()"
    done = run_python(code, XRNN_BACKEND="own", PYTHONPATH=f"{Path(__file__).parents[2]}:{tmp_path}")
    assert done.stdout.startswith("OwnArray own\nbackend: own (decided by XRNN_BACKEND=own)\n"), done.stderr
    assert not done.stderr
