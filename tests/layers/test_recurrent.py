"""The recurrent layers: values, gradients, and ownership of memory; every cell, on every backend, in every form."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import one_line
from tests.layers.kinds import as_tuple, host, poison
from tests.reference import CELLS, Problem, has_kernel, problem, solve
from xrnn import GRU, LSTM, RNN, SLSTM, MinGRU, MinLSTM, freeze
from xrnn.backend import Backend
from xrnn.typing import HostArray

TOLERANCE = {"float32": 5e-5, "float64": 1e-12}
SIZES = [  # T, N, D, H
    (7, 4, 3, 5),
    (1, 1, 2, 3),
    (5, 1, 1, 9),
    (3, 2, 6, 1),
    (4, 18, 17, 31),
    (0, 2, 3, 4),
    (4, 0, 3, 5),
    (0, 0, 1, 1),
]
# Each cell in its forms: a cell without a kernel has the plain form only, whatever the setting says.
FORMS = [(cell, form) for cell in CELLS for form in (["fused", "plain"] if has_kernel(cell) else ["fused"])]
# One cell of each kind stands for all in the tests of the layer, which do not depend on the equation.
BUILT_IN = ("rnn", "leak by unit", "lstm", "gru", "gru reset before", "gru heads", "min lstm", "lru")
OF_EACH_KIND = (*BUILT_IN, "peephole lstm", "layer norm lstm")
LAYERS = [case for case in FORMS if case[0] in OF_EACH_KIND]
# `make test` runs some equations, .ci/proof all.
SOME = (*OF_EACH_KIND, "zoneout lstm", "integrator by itself")
EQUATIONS = [pytest.param(*case, marks=[] if case[0] in SOME else [pytest.mark.proof]) for case in FORMS]
every_form = pytest.mark.usefixtures("form")


def each(cases: Sequence[Any], *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    parametrized = pytest.mark.parametrize(("cell", "form", *names), cases, indirect=["form"])
    return lambda test: every_form(parametrized(test))


def in_turn(one: Any, other: Any) -> list[Any]:
    """FORMS with one of two values beside each: a cell has the same value in both forms, the next cell the other."""
    cells = dict.fromkeys(cell for cell, _ in FORMS)
    values = dict(zip(cells, itertools.cycle((one, other)), strict=False))
    return [(cell, form, values[cell]) for cell, form in FORMS]


every_equation, some_equations, every_layer = each(FORMS), each(EQUATIONS), each(LAYERS)
either_direction = each(in_turn(False, True), "reverse")


class Run:
    """A layer and the operands of a problem. The results are on the host."""

    def __init__(self, p: Problem, backend: Backend) -> None:
        self.p, self.backend = p, backend
        self.layer: Any = p.layer(backend)
        self.x, self.initial, dstates = p.operands(backend)
        self.dstates = dstates[: len(dstates) - p.case.stabilisers]
        self.add: Any = p.added(backend)
        self.dadd: Any = None if self.add is None else backend.xp.full(self.add.shape, np.nan, p.dtype)

    def forward(self) -> list[HostArray]:
        return host(self.backend, self.layer.forward(self.x, *self.initial, lengths=self.p.lengths, add=self.add))

    def call(self) -> list[HostArray]:
        return host(self.backend, self.layer(self.x, *self.initial, lengths=self.p.lengths, add=self.add))

    def backward(self, **options: Any) -> dict[str, HostArray]:
        poison(self.layer)
        found, names = (
            [*self.layer.backward(*self.dstates, **options, dadd=self.dadd), *self.layer.grads],
            self.p.returned,
        )
        if self.dadd is not None:
            found, names = [*found, self.dadd], [*names, "dadd"]
        return {name: self.backend.to_numpy(a).copy() for name, a in zip(names, found, strict=True)}


def assert_solved(run: Run, results: list[HostArray], gradients: dict[str, HostArray]) -> None:
    expected, dtype = solve(run.p), run.p.dtype
    for got, want in zip(results, expected.states, strict=True):
        assert got.dtype == dtype
        assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * max(1.0, float(abs(want).max(initial=0))))
    for name, got in gradients.items():
        want = expected.gradients[name]
        assert got.dtype == dtype
        atol = TOLERANCE[dtype] * max(1.0, float(abs(want).max(initial=0)))
        assert_allclose(got, want, rtol=0, atol=atol, err_msg=name)


@some_equations
@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.proof)])
def test_values_and_gradients(backend: Backend, cell: str, half: int) -> None:
    """Half of the sizes, in turn: all pairs of direction, lengths and dtype."""
    for k, sizes in enumerate(SIZES):
        if (k // 2 + half + [*CELLS].index(cell)) % 2:
            continue
        for i, lengths in enumerate((None, "ragged")):
            reverse, dtype = bool((k + i) % 2), ("float32", "float64")[(k // 2 + k // 4 + i) % 2]
            run = Run(problem(cell, sizes, dtype, reverse=reverse, lengths=lengths, add=bool(i)), backend)
            assert_solved(run, run.forward(), run.backward())


@either_direction
def test_one_step_is_a_sequence_of_length_one(backend: Backend, cell: str, reverse: bool) -> None:
    p = problem(cell, (1, 4, 3, 5), "float32", reverse=reverse, add=True)
    step, sequence = Run(p, backend), Run(p, backend)
    step.x, step.dstates, step.add, step.dadd = step.x[0], [d[0] for d in step.dstates], step.add[0], step.dadd[0]
    for got, called, want in zip(step.forward(), step.call(), sequence.forward(), strict=True):
        assert got.shape == called.shape == (4, step.layer.output_size)
        assert_array_equal(got, want[0])
        assert_array_equal(called, want[0])
    found = step.backward()
    for name, want in sequence.backward().items():
        assert_array_equal(found[name], want[0] if name in ("dx", "dadd") else want)


@every_layer
def test_no_state_means_zeros(backend: Backend, cell: str) -> None:
    absent, zeros = Run(problem(cell), backend), Run(problem(cell), backend)
    absent.initial, zeros.initial = [], [backend.xp.zeros_like(s) for s in zeros.initial]
    for got, want in zip(absent.forward(), zeros.forward(), strict=True):
        assert_array_equal(got, want)
    expected = zeros.backward()
    for name, got in absent.backward().items():
        assert_array_equal(got, expected[name])


@every_form
def test_lengths_as_lists_and_arrays(backend: Backend) -> None:
    run = Run(problem("gru"), backend)
    expected = backend.to_numpy(run.layer(run.x, lengths=[3, 7, 0, 5]))
    for lengths in ((3, 7, 0, 5), np.array([3, 7, 0, 5], "uint8"), backend.asarray(np.array([3, 7, 0, 5], "int32"))):
        assert_array_equal(backend.to_numpy(run.layer(run.x, lengths=lengths)), expected)
    full = backend.to_numpy(run.layer(run.x, lengths=[7] * 4))
    assert_allclose(full, backend.to_numpy(run.layer(run.x)), rtol=0, atol=1e-14)


@every_equation
def test_a_stream_in_chunks_equals_one_call(backend: Backend, cell: str) -> None:
    run = Run(problem(cell, (6, 2, 3, 4), add=True), backend)
    complete = host(backend, run.layer(run.x, add=run.add))[0]
    h, state = run.layer.stream(run.x[:3], add=run.add[:3])
    pieces = [backend.to_numpy(h)]
    h, state = run.layer.stream(run.x[3], state, add=run.add[3])  # a single step
    pieces.append(backend.to_numpy(h)[None])
    pieces.append(backend.to_numpy(run.layer.stream(run.x[4:], state, add=run.add[4:])[0]))
    assert_allclose(np.concatenate(pieces), complete, rtol=0, atol=1e-13)
    assert isinstance(state, tuple) == (len(run.p.case.states) > 1)
    assert run.layer.cache is None
    _, same = run.layer.stream(run.x[:0], state)  # without a step the state does not change
    for got, want in zip(host(backend, same), host(backend, state), strict=True):
        assert_array_equal(got, want)


@every_layer
def test_an_input_that_is_data_needs_no_gradient(backend: Backend, cell: str) -> None:
    run = Run(problem(cell, lengths="ragged"), backend)
    run.forward()
    expected = run.backward()
    del expected["dx"]
    for flag in (False, np.bool_(False)):
        poison(run.layer)
        dx, *others = run.layer.backward(*run.dstates, needs_dx=flag)
        assert dx is None
        for (name, want), got in zip(expected.items(), (*others, *run.layer.grads), strict=True):
            assert_array_equal(backend.to_numpy(got), want, err_msg=name)


@every_equation
def test_terms_before_the_nonlinearity(backend: Backend, cell: str) -> None:
    """Values and gradients: above. Zeros change nothing, a frozen layer gives the same bits, and dadd needs no add."""
    with_terms, without = (Run(problem(cell, add=add), backend) for add in (True, False))
    frozen = freeze(with_terms.layer)(with_terms.x, *with_terms.initial, add=with_terms.add)
    for got, want in zip(host(backend, frozen), with_terms.call(), strict=True):
        assert_array_equal(got, want)
    with_terms.add = 0 * with_terms.add
    for got, want in zip(with_terms.forward(), without.forward(), strict=True):
        assert_array_equal(got, want)
    without.dadd = backend.xp.full(with_terms.add.shape, np.nan)
    found = without.backward()
    for name, want in with_terms.backward().items():
        assert_array_equal(found[name], want, err_msg=name)
    T, N, width = with_terms.add.shape
    db = backend.to_numpy(without.dadd).reshape(T * N, width).sum(axis=0)
    assert_allclose(db, found["db"], rtol=0, atol=1e-12)


@every_layer
def test_wrong_terms_are_refused(backend: Backend, cell: str) -> None:
    run = Run(problem(cell, (3, 2, 3, 4), add=True), backend)
    layer, width = run.layer, run.add.shape[-1]
    expected = f"expects (3, 2, {width}): the steps and rows of x, the columns of b"
    for wrong in (run.add[:2], run.add[:, :1], run.add[..., 1:], run.add[0]):
        for call in (layer.forward, layer):
            with one_line(ValueError, "add has shape", expected):
                call(run.x, add=wrong)
    with one_line(TypeError, "add has dtype float32"):
        layer.forward(run.x, add=run.add.astype("float32"))
    run.forward()
    with one_line(ValueError, "dadd has shape", expected):
        layer.backward(*run.dstates, dadd=run.dadd[1:])
    with one_line(ValueError, "dadd is not C-contiguous: expected an array in C order"):
        layer.backward(*run.dstates, dadd=run.dadd.swapaxes(0, 1).copy().swapaxes(0, 1))


@every_form
def test_dadd_may_overlap_add_only(backend: Backend) -> None:
    """A dadd in the memory of another array would destroy the values from which the gradients are computed."""
    rng = np.random.default_rng(0)
    x, dh, add = (backend.asarray(rng.standard_normal((2, 2, n))) for n in (8, 4, 4))
    rnn = RNN.init(8, 4, rng=0, dtype="float64", backend=backend)
    h = rnn.forward(x, add=add)
    expected = [backend.to_numpy(array).copy() for array in (*rnn.backward(dh), *rnn.grads)]
    others = {"x": x, "h": h, "dh_next": dh, "Wx": rnn.Wx, "Wh": rnn.Wh, "dWx": rnn.grads[0], "dWh": rnn.grads[1]}
    for name, array in others.items():
        overlapping = array.reshape(-1)[-add.size :].reshape(add.shape)
        assert overlapping.flags.c_contiguous
        with one_line(ValueError, f"dadd overlaps {name} in memory, which backward needs", "pass xp.empty(add.shape"):
            rnn.backward(dh, dadd=overlapping)
    poison(rnn)
    for want, got in zip(expected, (*rnn.backward(dh, dadd=add), *rnn.grads), strict=True):
        assert_array_equal(backend.to_numpy(got), want)
    assert_allclose(backend.to_numpy(add).sum(axis=(0, 1)), expected[-1], rtol=0, atol=1e-14)


@every_layer
def test_a_layer_writes_to_its_own_memory_only(backend: Backend, cell: str) -> None:
    """Inputs and earlier results keep their values, gradients their addresses."""
    run = Run(problem(cell, lengths="ragged"), backend)
    addresses = [(id(g), address(g)) for g in run.layer.grads]
    kept = [run.x, *run.initial, *run.dstates, *run.layer.params]
    before = host(backend, kept)
    results = [*as_tuple(run.layer.forward(run.x, *run.initial, lengths=run.p.lengths))]
    results += run.layer.backward(*run.dstates)
    before += host(backend, results)
    run.layer.forward(2 * run.x, *run.initial)
    run.layer.backward(*(3 * d for d in run.dstates))
    run.layer(5 * run.x)
    for array, value in zip([*kept, *results], before, strict=True):
        assert_array_equal(backend.to_numpy(array), value)
    for param in run.layer.params:  # a change of a parameter in place is seen by the next forward
        param *= 0.5
    run.p.weights = [0.5 * w for w in run.p.weights]
    assert_solved(run, run.forward(), run.backward())
    assert [(id(g), address(g)) for g in run.layer.grads] == addresses


def address(array: Any) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


@every_layer
def test_nan_propagates_as_in_the_reference(backend: Backend, cell: str) -> None:
    for where in ("x", "h_prev", "dh", "Wx", "Wh", "b"):
        p = problem(cell, (4, 3, 2, 5))
        Wx, Wh, b, *_ = p.weights
        spoiled = {"x": p.x, "h_prev": p.initial[0], "dh": p.dstates[0], "Wx": Wx, "Wh": Wh, "b": b}[where]
        assert spoiled is not None
        spoiled.reshape(-1)[1:2] = np.nan
        run = Run(p, backend)
        with np.errstate(invalid="ignore"):
            results, found, expected = run.forward(), run.backward(), solve(p)
        assert np.isnan(results[0]).any() == (where != "dh" and spoiled.size > 0)
        for got, want in zip(results, expected.states, strict=True):
            assert_allclose(got, want, rtol=0, atol=1e-12, err_msg=where)  # NaN equals NaN here
        if cell in ("rnn", "lstm", "gru"):  # in the others, `where` in the reference multiplies NaN by 0
            for name, want in expected.gradients.items():
                assert_allclose(found[name], want, rtol=0, atol=1e-12, err_msg=f"{name}, {where}")


FIRST_BIAS: list[tuple[Any, list[float]]] = [
    (RNN.init, [0]),
    (GRU.init, [0] * 4),
    (MinGRU.init, [0] * 2),
    (LSTM.init, [0, 1, 0, 0]),  # the forget gate starts open
    (MinLSTM.init, [1, 0, 0]),
    (partial(SLSTM.init, forget_gate="sigmoid"), [0, 1, 0, 0]),
    (partial(SLSTM.init, forget_gate="exp"), [0, np.log(1 / (1 + np.exp(-1))), 0, 0]),
]


def test_the_first_bias(backend: Backend) -> None:
    for init, b in FIRST_BIAS:
        assert_allclose(backend.to_numpy(init(2, 3, dtype="float64", backend=backend).b), np.repeat(b, 3), rtol=1e-15)
    assert RNN.init(3, 5, leak=1.0, backend=backend).cell.name == "rnn"  # a leak of 1 is no leak


def test_a_layer_copies_its_leak(backend: Backend) -> None:
    leak = backend.xp.full(5, 0.3)
    layer = RNN.init(3, 5, leak=leak, rng=0, dtype="float64", backend=backend)
    x = backend.xp.ones((4, 2, 3))
    expected = backend.to_numpy(layer(x)).copy()
    leak[...] = 0.9
    assert_array_equal(backend.to_numpy(layer(x)), expected)


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_init_names_every_option_of_the_constructor(layer: Any) -> None:
    options = inspect.signature(layer).parameters.keys() - {*layer.names, "leak_logit"}
    shared = {"input_size", "hidden_size", "heads", "rng", "dtype", "backend"}
    assert inspect.signature(layer.init).parameters.keys() == shared | options
    for name in options:
        assert inspect.signature(layer.init).parameters[name] == inspect.signature(layer).parameters[name]
    with one_line(TypeError, "unexpected keyword argument 'reversed'"):
        layer.init(3, 5, reversed=True, backend="numpy")


@pytest.mark.parametrize("cell", CELLS)
def test_params_and_options_make_an_equal_layer(backend: Backend, cell: str) -> None:
    p = problem(cell, (3, 2, 3, 4), reverse=True)
    run = Run(p, backend)
    results = run.forward()
    run.layer = run.layer.remade(*run.layer.params)
    arguments = inspect.signature(type(run.layer)).parameters.keys() - {"cell", "params"}
    trained = {"leak_logit", "trains_leak"}  # of an RNN that trains its leak
    assert run.layer.options.keys() - trained == arguments - trained - set(run.layer.names)
    for again, result in zip(run.forward(), results, strict=True):
        assert_array_equal(again, result)
