"""The recurrence of every cell on every backend: each form agrees with a float64 reference and with the other forms."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.combinations import thin
from tests.layouts import LAYOUTS
from tests.reference import CELLS, Problem, problem, solve
from xrnn import GRU, LSTM, RNN, get_backend, use_fused
from xrnn.backend import Backend
from xrnn.ops import recurrence
from xrnn.ops.inputs import Inputs, Trace
from xrnn.ops.random import Draws
from xrnn.typing import HostArray

# For float32 sums of up to a few hundred terms of size one, over a few steps.
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}


@st.composite
def problems(draw: st.DrawFn, most: int = 35) -> Problem:
    # Sizes 0 and 1, and some larger than a vector register, a tile and a thread's share of rows.
    T, N = draw(st.integers(0, 5)), draw(st.integers(0, 5) | st.integers(6, most))
    D, H = draw(st.integers(1, 40)), draw(st.integers(1, 5) | st.integers(6, most))
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=N, max_size=N))
    return problem(
        draw(st.sampled_from(sorted(CELLS))),
        (T, N, D, H),
        draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 2**32 - 1)),
        reverse=draw(st.booleans()),
        lengths=lengths,
        layouts=draw(st.tuples(*[st.sampled_from(LAYOUTS)] * 8)),
        dc=draw(st.booleans()),
        add=draw(st.booleans()),
    )


class Run:
    """The operations of a problem on a backend, in the form that is switched on."""

    def __init__(self, p: Problem, backend: Backend) -> None:
        self.p, self.backend, layer = p, backend, p.layer(backend)
        x, initial, self.dstates = p.operands(backend)
        lengths = None if p.lengths is None else backend.asarray(p.lengths)
        Wx, Wh, b, *own = layer.params
        draws = Draws(backend.xp, (0, 0))
        self.cell, self.inputs = layer.cell, Inputs(x, Wx, Wh, b, tuple(initial), lengths, p.reverse, own, draws)
        self.inputs.add = p.added(backend)

    def forward(self, *, training: bool = True) -> Trace:
        return Trace(self.inputs, *self.backend.recurrence_forward(self.cell, self.inputs, training))

    def results(self, trace: Trace) -> list[HostArray]:
        return [self.backend.to_numpy(s) for s in trace.after(slice(0, len(self.p.x)))]

    def backward(
        self, trace: Trace, *, needs_dx: bool = True, needs_dweights: bool = True, order: str = "C"
    ) -> dict[str, HostArray]:
        """The gradients by name; dadd, and those of the weights, in arrays of this order, are written over NaN."""
        xp, orders = self.backend.xp, {2: order}  # a layer's gradient of several heads is always in C order
        poisoned = [xp.full(w.shape, np.nan, self.p.dtype, orders.get(w.ndim, "C")) for w in self.p.weights]
        grads = poisoned if needs_dweights else None
        dadd = None if self.p.add is None else xp.full(self.p.add.shape, np.nan, self.p.dtype)
        dx, dinitial = self.backend.recurrence_backward(self.cell, trace, self.dstates, grads, needs_dx, dadd)
        assert (dx is not None) == needs_dx
        gradients = (dx, *dinitial, *(grads or [None] * len(poisoned)), dadd)
        return {
            name: self.backend.to_numpy(array)
            for name, array in zip([*self.p.gradient_names, "dadd"], gradients, strict=True)
            if array is not None
        }


def assert_close(found: HostArray, expected: HostArray, dtype: str, name: str = "") -> None:
    assert found.dtype == dtype
    atol = 2 * TOLERANCE[dtype] * max(1.0, float(abs(expected).max(initial=0)))
    assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


@given(p=problems())
def test_every_form_agrees_with_the_reference_and_any_backward_accepts_any_forward(
    backend: Backend, p: Problem
) -> None:
    run, expected = Run(p, backend), solve(p)
    traces = []
    for fused in (False, True):
        with use_fused(fused):
            traces.append(run.forward())
        for name, got, want in zip(p.case.states, run.results(traces[-1]), expected.states, strict=True):
            assert_close(got, want, p.dtype, name)
    for fused, trace in itertools.product((False, True), traces):
        with use_fused(fused):
            for name, got in run.backward(trace).items():
                assert_close(got, expected.gradients[name], p.dtype, name)


@given(data=st.data(), p=problems(70), needs_dx=st.booleans(), needs_dweights=st.booleans())
def test_nan_and_infinity_reach_the_same_elements_in_each_form(
    data: st.DataObject, p: Problem, needs_dx: bool, needs_dweights: bool
) -> None:
    """One of them is in one operand. A form may have NaN where another has infinity: (1 - a)·h and h - a·h differ."""
    array = data.draw(st.sampled_from([a for a in (p.x, p.add, *p.initial, *p.weights, *p.dstates) if a is not None]))
    # With one element NumPy calls BLAS' axpy, in which 0 · NaN and 0 · ∞ are 0.
    if array.size and p.initial[0].size != 1:
        array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    forms = []
    for fused in (False, True):
        with use_fused(fused), np.errstate(all="ignore"):
            run = Run(p, get_backend("numpy"))
            trace = run.forward()
            gradients = run.backward(trace, needs_dx=needs_dx, needs_dweights=needs_dweights)
            forms.append(dict(zip(p.case.states, run.results(trace), strict=True)) | gradients)
    plain, fused_form = forms
    assert plain.keys() == fused_form.keys()
    for name, want in plain.items():
        finite, got = np.isfinite(want), fused_form[name]
        assert_array_equal(np.isfinite(got), finite, err_msg=f"which elements of {name} are finite")
        atol = {"float32": 1e-4, "float64": 1e-12}[p.dtype] * np.abs(want[finite]).max(initial=1)
        assert_allclose(got[finite], want[finite], rtol=0, atol=atol, err_msg=name)


def peak(call: Callable[[], object]) -> int:
    """The most bytes that Python and NumPy hold at once during the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_dx_takes_no_memory_if_it_is_not_needed(form: str, kind: Any) -> None:
    T, N, D = 100, 16, 1000
    layer = kind.init(D, 4, rng=0, backend="numpy")
    results = layer.forward(np.ones((T, N, D), "float32"))
    h, dx_bytes = results[0] if kind is LSTM else results, T * N * D * 4
    assert peak(lambda: layer.backward(h)) > dx_bytes
    assert peak(lambda: layer.backward(h, needs_dx=False)) < dx_bytes / 4


@example(p=problem("rnn", (5, 3, 2, 4), "float64"))
@example(p=problem("rnn", (5, 3, 2, 4), "float64", reverse=True))
@example(p=problem("lstm", (5, 3, 2, 4), "float64", lengths=[5, 2, 4]))
@given(p=problems())
def test_chunks_change_only_the_memory(backend: Backend, p: Problem) -> None:
    """Small chunks give the same values to rounding: a product of fewer rows may sum in another order."""
    run, before = Run(p, backend), recurrence.CHUNK
    with use_fused(False):
        at_once = run.forward()
        gradients = run.backward(at_once)
        recurrence.CHUNK = 2 * p.x.shape[1] * len(p.weights[2])  # type: ignore[misc]
        try:
            chunked = run.forward()
            found = run.backward(chunked)
        finally:
            recurrence.CHUNK = before  # type: ignore[misc]
    for got, want in zip(run.results(chunked), run.results(at_once), strict=True):
        assert_close(got, want, p.dtype)
    for name, want in gradients.items():
        assert_close(found[name], want, p.dtype, name)


@pytest.mark.parametrize(("cell", "reverse", "value"), thin([*CELLS], [False, True], [np.nan, np.inf], every=4))
def test_a_row_adds_nothing_past_its_end(backend: Backend, form: str, cell: str, reverse: bool, value: float) -> None:
    p = problem(cell, (6, 3, 4, 5), lengths=[6, 0, 2], reverse=reverse)

    def gradients() -> dict[str, HostArray]:
        run = Run(p, backend)
        with np.errstate(invalid="ignore"):
            return run.backward(run.forward())

    expected = gradients()
    for state in p.initial:
        state[1] = value  # row 1 has no steps
    for name, got in gradients().items():
        assert_array_equal(got, expected[name], err_msg=name)
    for weights in p.weights:
        weights[...] = value
    assert_array_equal(gradients()["dx"][p.past_end], 0)


@pytest.mark.parametrize(
    ("kind", "states", "chunks"), [(LSTM, 2, 1.1), (GRU, 1, 2)]
)  # GRU needs a second array for x @ Wx
def test_inference_needs_little_memory_beyond_its_result(kind: Any, states: int, chunks: float) -> None:
    T, N, H = 2000, 16, 64
    layer, x = kind.init(8, H, rng=0, backend="numpy"), np.ones((T, N, 8), "float32")
    result = states * (T + 1) * N * H * 4
    with use_fused(False):
        assert peak(lambda: layer(x)) < result + chunks * 4 * recurrence.CHUNK
        assert peak(lambda: layer.forward(x)) > result + T * N * 4 * H * 4  # the gates of every step
