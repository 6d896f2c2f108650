"""Every form of the matrix memory agrees with float64."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import problems
from tests.errors import one_line
from tests.layouts import LAYOUTS
from tests.ops.test_selective_scan import DTYPES, agrees, on, results
from tests.reference import solve_memory
from xrnn import use_fused
from xrnn.backend import Backend
from xrnn.ops.matrix_memory import CHUNK, MemoryInputs
from xrnn.typing import Array


def remembered(backend: Backend, p: problems.Memory, layouts: Iterable[str] = (), **options: Any) -> dict[str, Array]:
    """The results by the names of `solve_memory`."""
    return results(backend, "matrix_memory", MemoryInputs, p, layouts, options)


# Sizes of 1, and some around those of a chunk of steps, of the steps of a pass, and of the vectors of a block.
@given(
    sizes=st.tuples(
        st.integers(1, 9) | st.sampled_from([63, 64, 65, 70]),
        st.integers(1, 3),
        st.integers(1, 4),
        st.integers(1, 9) | st.sampled_from([16, 33]),
        st.integers(1, 9) | st.sampled_from([16, 31, 32, 33, 70]),
    ),
    dtype=DTYPES,
    grouped=st.booleans(),
    has_initial=st.booleans(),
    ragged=st.booleans(),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=7, max_size=7),
    fused=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(
    backend: Backend,
    sizes: tuple[int, int, int, int, int],
    dtype: str,
    grouped: bool,
    has_initial: bool,
    ragged: bool,
    layouts: list[str],
    fused: bool,
    seed: int,
) -> None:
    T, N, H, _, _ = sizes
    p = problems.memory(sizes, dtype, seed, groups=2 if grouped and H == 4 else 1 if grouped else None)
    if not has_initial:
        del p.operands["initial"]
    lengths = np.random.default_rng(seed).integers(0, T + 1, N) if ragged else None
    expected = solve_memory(p, lengths)
    if lengths is not None:  # no operand past the end of a row is used
        past_end = np.arange(T)[:, None] >= lengths
        for array in (p.dy, *(p.operands[name] for name in ("q", "k", "v", "log_decay"))):
            array[past_end] = np.nan
    on_device = None if lengths is None else backend.asarray(lengths)
    with use_fused(fused), np.errstate(invalid="ignore"):
        found = remembered(backend, p, layouts, lengths=on_device)
    for name, got in found.items():
        agrees(backend, got, expected[name], dtype, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("log_decay", [-1000.0, -87.5, -1e-9, 0.0, 0.5, -np.inf])
def test_extreme_decays(backend: Backend, form: str, dtype: str, log_decay: float) -> None:
    """A state that is forgotten at once, one that is kept, and one that grows to 1e15."""
    p = problems.memory((70, 2, 2, 5, 7), dtype)
    p.operands["log_decay"][...] = log_decay
    expected = solve_memory(p)
    for name, got in remembered(backend, p).items():
        found, want = backend.to_numpy(got), expected[name]
        largest = max(1.0, float(abs(want).max()))
        assert_allclose(found, want, rtol=0, atol=(3e-5 if dtype == "float32" else 1e-11) * largest)


@pytest.mark.parametrize("name", ["q", "k", "v", "log_decay", "initial"])
def test_nan_reaches_the_same_results(backend: Backend, name: str) -> None:
    """A NaN in an operand gives NaN in the same elements in both forms."""
    p = problems.memory((21, 2, 3, 5, 37), "float32")
    p.operands[name].flat[p.operands[name].size // 2] = np.nan
    with np.errstate(all="ignore"):
        with use_fused(False):
            plain = remembered(backend, p)
        found = remembered(backend, p)
    assert any(np.isnan(backend.to_numpy(a)).any() for a in plain.values())
    for result, got in found.items():
        assert_array_equal(np.isnan(backend.to_numpy(got)), np.isnan(backend.to_numpy(plain[result])), err_msg=result)


def test_a_form_runs_backward_on_the_states_of_another(backend: Backend) -> None:
    p = problems.memory((2 * CHUNK + 3, 2, 2, 4, 9), "float64", groups=1)
    inputs = MemoryInputs(**on(backend, p.operands))
    saved: list[Any] = []
    for fused in (False, True):
        with use_fused(fused):
            saved.append(backend.matrix_memory_forward(inputs, True).saved)
    assert saved[0].shape == (3, 2, 2, 4, 9)
    assert_allclose(backend.to_numpy(saved[0]), backend.to_numpy(saved[1]), rtol=0, atol=1e-12)
    expected = solve_memory(p)
    for fused in (False, True):
        with use_fused(fused):
            dy, dlast = backend.asarray(p.dy), backend.asarray(p.dlast)
            found = backend.matrix_memory_backward(inputs, saved[not fused], dy, dlast)
        for name, got in found._asdict().items():
            agrees(backend, got, expected[f"d{name}"], "float64", name)


def test_gradients_of_y_or_of_the_last_state_alone(backend: Backend, form: str) -> None:
    p = problems.memory((18, 2, 3, 5, 4), "float64")
    inputs = MemoryInputs(**on(backend, p.operands))
    saved: Any = backend.matrix_memory_forward(inputs, True).saved
    dy, dlast = backend.asarray(p.dy), backend.asarray(p.dlast)
    for of_y in (True, False):
        found = backend.matrix_memory_backward(inputs, saved, dy if of_y else None, None if of_y else dlast)
        expected = solve_memory(problems.Memory(p.operands, p.dy * of_y, p.dlast * (not of_y)))
        for name, got in found._asdict().items():
            agrees(backend, got, expected[f"d{name}"], "float64", name)


def test_a_memory_continues_from_its_last_state(backend: Backend, form: str) -> None:
    p = problems.memory((11, 2, 3, 4, 5), "float64")
    operands = on(backend, p.operands)
    complete = backend.matrix_memory_forward(MemoryInputs(**operands), False)
    state = operands.pop("initial")
    parts = []
    for begin, end in ((0, 1), (1, 3), (3, 11)):
        of_part = {name: array[begin:end] for name, array in operands.items()}
        y, state, _ = backend.matrix_memory_forward(MemoryInputs(**of_part, initial=state), False)
        parts.append(backend.to_numpy(y))
    assert_allclose(np.concatenate(parts), backend.to_numpy(complete.y), rtol=0, atol=1e-13)
    assert_allclose(backend.to_numpy(state), backend.to_numpy(complete.last), rtol=0, atol=1e-13)


@pytest.mark.parametrize("sizes", [(0, 2, 2, 3, 4), (5, 0, 2, 3, 4), (5, 2, 2, 0, 4), (5, 2, 2, 3, 0)])
def test_empty_sizes(backend: Backend, form: str, sizes: tuple[int, int, int, int, int]) -> None:
    p = problems.memory(sizes, "float32")
    for name, got in remembered(backend, p).items():
        assert np.isfinite(backend.to_numpy(got)).all()
        if name[1:] in p.operands:
            assert got.shape == p.operands[name[1:]].shape


def test_operands_that_do_not_fit_are_refused(backend: Backend, form: str) -> None:
    def refused(*words: str, **changed: Any) -> None:
        p = problems.memory((5, 2, 6, 3, 4), "float32", groups=2)
        inputs = MemoryInputs(**(on(backend, p.operands) | changed))
        with one_line(TypeError, *words):
            backend.matrix_memory_forward(inputs, False)

    zeros = backend.xp.zeros
    refused("q does not fit", q=zeros((5, 2, 3, 3), "float32"))
    refused("q does not fit", q=zeros((5, 2, 2, 3), "float64"))
    refused("log_decay does not fit", log_decay=zeros((5, 2, 2), "float32"))
    refused("initial does not fit", initial=zeros((2, 6, 4, 3), "float32"))
    refused("v is not (T, N, H, V)", v=zeros((5, 2, 6), "float32"))
    refused("4 groups", "do not divide the 6 heads", q=zeros((5, 2, 4, 3), "float32"), k=zeros((5, 2, 4, 3), "float32"))
    refused("lengths is not (N,)", lengths=backend.xp.full(3, 5))
    for dtype in ("int64", "float16"):
        cast = {
            name: array.astype(dtype) for name, array in problems.memory((5, 2, 6, 3, 4), "float32").operands.items()
        }
        refused(f"v has dtype {dtype}: expected float32 or float64", **on(backend, cast))


def test_gradients_that_do_not_fit_are_refused(backend: Backend, form: str) -> None:
    p = problems.memory((5, 2, 6, 3, 4), "float32", groups=2)
    inputs = MemoryInputs(**on(backend, p.operands))
    fitting = {"saved": backend.matrix_memory_forward(inputs, True).saved} | on(backend, {"dy": p.dy, "dlast": p.dlast})
    for name, array in fitting.items():
        assert array is not None
        for wrong in (array[:, :1], array.astype("float64")):
            operands: dict[str, Any] = fitting | {name: wrong}
            with one_line(TypeError, f"{name} does not fit v and k"):
                backend.matrix_memory_backward(inputs, **operands)
    with one_line(TypeError, "saved is None: expected the states that a forward pass with training=True saved"):
        backend.matrix_memory_backward(inputs, backend.matrix_memory_forward(inputs, False).saved, None)  # type: ignore[arg-type]
