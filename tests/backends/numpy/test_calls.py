"""What each call checks again: arrays that were changed, replaced or resized, also during a call; and which calls let
other threads run."""

from __future__ import annotations

import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.reference import CELLS, Problem, has_kernel, problem
from xrnn import get_backend, use_fused
from xrnn.backends.numpy import kernels
from xrnn.typing import HostArray

D, H = 3, 5
FUSED = [name for name in CELLS if has_kernel(name)]
every_cell = pytest.mark.parametrize("cell", FUSED)
every_param = pytest.mark.parametrize("number", range(3))


def made(
    cell: str, *, sizes: tuple[int, int, int, int] = (2, 1, D, H), **options: Any
) -> tuple[Problem, Any, HostArray, tuple[HostArray, ...]]:
    p = problem(cell, sizes, "float32", **options)
    backend = get_backend("numpy")
    x, initial, _ = p.operands(backend)
    layer = p.layer(backend)
    layer.params[:] = [w.copy() for w in layer.params]
    return p, layer, x, tuple(initial)


def ways(layer: Any, x: HostArray, initial: tuple[HostArray, ...]) -> dict[str, Callable[[], Any]]:
    """Each way to run a layer → h."""

    def first(result: Any) -> Any:
        return result[0] if isinstance(result, tuple) else result

    state = initial if len(initial) > 1 else initial[0]
    return {
        "call": lambda: first(layer(x, *initial)),
        "step": lambda: first(layer(x[0], *initial)),
        "forward": lambda: first(layer.forward(x, *initial)),
        "stream": lambda: layer.stream(x, state)[0],
        "stream of a step": lambda: layer.stream(x[0], state)[0],
    }


@every_param
@every_cell
def test_changed_and_replaced_weights_are_used_from_the_next_call_on(cell: str, number: int) -> None:
    _, layer, x, initial = made(cell)
    if not layer.params[number].size:
        return  # a Wh without elements
    for way, run in ways(layer, x, initial).items():
        before = run().copy()
        layer.params[number] *= 2
        changed = run().copy()
        assert not np.array_equal(before, changed), way
        with use_fused(False):
            np.testing.assert_allclose(changed, run(), rtol=0, atol=1e-5)
        layer.params[number] = layer.params[number] / 2
        assert_array_equal(run(), before, err_msg=way)


def _shrunk(w: HostArray) -> HostArray:
    w.resize([1] * w.ndim, refcheck=False)
    return w


def _reshaped(w: HostArray) -> HostArray:
    w.shape = (*w.shape[::-1], 1)
    return w


def _retyped(w: HostArray) -> HostArray:
    w.dtype = np.dtype("int32")  # type: ignore[misc]
    return w


SPOILS = [_shrunk, _reshaped, _retyped, lambda w: w.astype("float64"), lambda w: w[:-1], list]


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize(
    ("cell", "number", "spoil"),
    [(cell, number, SPOILS[(c + number) % len(SPOILS)]) for c, cell in enumerate(FUSED) for number in range(3)],
)
def test_weights_that_no_longer_fit_are_refused_and_never_read(
    cell: str, number: int, spoil: Callable[[HostArray], Any]
) -> None:
    _, layer, x, initial = made(cell)
    for run in ways(layer, x, initial).values():
        run()
    layer.params[number] = spoil(layer.params[number])
    for run in ways(layer, x, initial).values():
        with pytest.raises((TypeError, ValueError), match=f"^{layer.names[number]} (has|is a)"):
            run()


@every_cell
def test_memory_that_has_moved_is_read_at_its_new_address(cell: str) -> None:
    _, layer, x, initial = made(cell)
    for way, run in ways(layer, x, initial).items():
        before = run().copy()
        for w in layer.params:
            shape, values = w.shape, w.copy()
            w.resize(1 << 20, refcheck=False)
            w.resize(shape, refcheck=False)
            w[...] = values
        assert_array_equal(run(), before, err_msg=way)


@every_cell
def test_backward_refuses_weights_that_have_shrunk_since(cell: str) -> None:
    p, layer, x, initial = made(cell)
    dstates = p.operands(get_backend("numpy"))[2]
    dstates = dstates[: len(dstates) - p.case.stabilisers]
    layer.forward(x, *initial)
    _shrunk(layer.params[1])
    with pytest.raises(TypeError, match="the arrays don't fit each other in dtype or shape"):
        layer.backward(*dstates)


def test_arrays_that_do_not_fit_are_refused_before_they_are_read() -> None:
    """The binding refuses them all with TypeError, and the layer then says which argument is wrong."""
    _, layer, x, (h, c) = made("lstm")

    def forward(x: Any = x, initial: Any = (h, c), params: Any = layer.params) -> Any:
        Wx, Wh, b = params
        return kernels.forward("lstm", x, Wx, Wh, b, initial, None, None, False, (), False, 0, None)

    assert forward() is not None
    assert forward(x[0], (None, c)) is not None
    odd = x.tolist(), x.astype("float64"), x.astype(">f4"), x.view(np.recarray), x[0, 0], x[None], x[..., :-1]
    for unusual in odd:
        with pytest.raises(TypeError):
            forward(unusual)
        with pytest.raises((TypeError, ValueError), match="x "):
            layer(unusual, h, c)
    odd_states = c[:, :-1], c.astype("float64"), c.astype(">f4"), c.view(np.recarray), c[0], "c", np.ones((2, H), "f4")
    for state in odd_states:
        for initial in ((h, state), (state, c)):
            with pytest.raises(TypeError):
                forward(initial=initial)
            with pytest.raises((TypeError, ValueError), match="_prev "):
                layer(x, *initial)
    for params in ([1, 2, 3], [w[None] for w in layer.params], [w.view(np.recarray) for w in layer.params]):
        with pytest.raises(TypeError):
            forward(params=params)


@every_cell
def test_arrays_that_were_pickled_are_accepted(cell: str) -> None:
    """The dtype of such an array is an object of its own."""
    _, layer, x, initial = made(cell)
    copies = pickle.loads(pickle.dumps((layer, x, initial)))
    assert copies[1].dtype is not x.dtype
    expected = ways(layer, x, initial)["call"]()
    for arguments in (copies, (layer, *copies[1:]), (copies[0], x, initial)):
        assert_array_equal(ways(*arguments)["call"](), expected)


def runs_meanwhile(call: Callable[[], object], act: Callable[[], object], calls: int = 1000) -> bool:
    """Whether another thread runs `act` during one of these calls. It gets the GIL only if a call releases it."""
    done: list[object] = []
    gate = threading.Lock()

    def other() -> None:
        with gate:
            done.append(act())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        with gate:
            thread = threading.Thread(target=other)
            thread.start()
        for _ in range(calls):
            call()
            if done:
                break
        return bool(done)
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@pytest.mark.parametrize("way", ["call", "forward", "stream"])
@every_cell
def test_weights_that_are_replaced_during_a_call_live_until_its_end(cell: str, way: str) -> None:
    _, layer, x, initial = made(cell, sizes=(60, 12, D, 32))  # NumPy releases the GIL to copy a larger final state
    run = ways(layer, x, initial)[way]
    results, alive, expected = list[HostArray](), list[bool](), run()
    layer.cache = None

    def replace() -> None:
        weights = [weakref.ref(w) for w in layer.params[:3]]
        layer.params[:] = [np.full_like(w, np.nan) for w in layer.params]
        alive.extend(w() is not None for w in weights)

    assert runs_meanwhile(lambda: results.append(run()), replace)
    assert alive == [True, True, True]
    for result in results:
        assert_array_equal(result, expected)


def test_which_calls_keep_the_gil() -> None:
    """Calls of a few microseconds; not calls with an empty input that read or write large weights."""

    def forward(T: int, N: int, H: int) -> Callable[[], object]:
        x, Wx, Wh = (np.zeros(shape, "float32", order="F") for shape in [(T, N, 1), (1, H), (H, H)])
        return lambda: kernels.forward(
            "tanh", x, Wx, Wh, np.zeros(H, "f4"), None, None, None, False, (), False, 0, None
        )

    def backward(N: int, H: int) -> Callable[[], object]:
        x, h, dWx, dWh, db = (np.zeros(shape, "float32") for shape in [(1, N, 1), (2, N, H), (1, H), (H, H), H])
        rest: Any = None, None, False, (), None, dWx, dWh, db, None, None, True, 0
        return lambda: kernels.backward("tanh", x, dWx, dWh, (h,), *rest)

    def affine(D: int, C: int) -> Callable[[], object]:
        x, W, b = (np.zeros(shape, "float32") for shape in [(9, D), (D, C), C])
        return lambda: kernels.affine(x, W, b, 0)

    for brief in (forward(1, 1, 64), forward(0, 1, 64), backward(1, 64), backward(0, 64), affine(1, 64), affine(0, 64)):
        assert not runs_meanwhile(brief, int)
    for long in (forward(20, 16, 64), forward(0, 5, 1024), backward(16, 256), backward(0, 1024), affine(64, 1024)):
        assert runs_meanwhile(long, int)
    assert runs_meanwhile(affine(0, 100_000), int)
