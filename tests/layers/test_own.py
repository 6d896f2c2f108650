"""User-defined cells: the examples of docs/how-to/own-cell.md run with correct gradients; errors name the mistake."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import one_line
from tests.reference import lstm, problem
from xrnn import (
    LSTM,
    RNN,
    Cell,
    GradientMismatchError,
    Recurrent,
    Stack,
    check_cell,
    get_backend,
    gradcheck,
    use_backend,
    use_fused,
)
from xrnn.backend import RECURRENCES, Backend
from xrnn.ops import recurrence
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import RNNCell
from xrnn.typing import HostArray

T, N, D, H = 6, 4, 3, 5
DOCS = (Path(__file__).parents[2] / "docs" / "how-to" / "own-cell.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)


def example(number: int) -> dict[str, Any]:
    """The names that an example of docs/how-to/own-cell.md defines. The example also checks its gradient."""
    names: dict[str, Any] = {}
    exec(EXAMPLES[number], names)
    return names


@pytest.fixture(params=["zoneout", "layer norm", "minGRU"])
def cell(request: pytest.FixtureRequest) -> Any:
    with use_backend("numpy"):
        if request.param == "zoneout":
            return example(0)["Zoneout"](0.3)
        return example(1)["LayerNormLSTM"]() if request.param == "layer norm" else example(2)["MinGRU"]()


def layer_of(cell: Cell, backend: Backend, **options: Any) -> Recurrent:
    """A layer with random weights, in float64."""
    layer = Recurrent.init(cell, D, H, rng=0, dtype="float64", backend=backend, **options)
    rng = np.random.default_rng(1)
    for param in layer.params:
        param += backend.asarray(0.2 * rng.standard_normal(param.shape))
    return layer


def draw(backend: Backend, *shape: int, seed: int = 2) -> Any:
    return backend.asarray(np.random.default_rng(seed).standard_normal(shape))


def first(results: Any) -> Any:
    return results[0] if isinstance(results, tuple) else results


# ---- the examples ----


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run_and_check_their_own_gradients(backend: Backend, number: int) -> None:
    assert "check_cell(" in EXAMPLES[number]
    with use_backend(backend):
        layer = example(number)["layer"]
    x = backend.asarray(np.ones((3, 2, 8), "float32"))
    layer.forward(x)
    dx = layer.backward(backend.xp.ones((3, 2, 32), "float32"))[0]
    assert dx.shape == x.shape


def test_each_example_is_short() -> None:
    for text, most in zip(EXAMPLES, (30, 30, 15), strict=True):
        cell = text[text.index("class ") : text.index("check_cell(", text.index("class "))]
        assert len([line for line in cell.splitlines() if line]) <= most


def textbook_layer_norm(x: Any, states: Any, *weights: Any) -> tuple[Any, ...]:
    """The LSTM of the reference with a normalised z."""
    Wx, Wh, b, gain, shift = weights
    z = (x @ Wx + states[0] @ Wh + b).reshape(len(x), 4, -1)
    centred = z - anp.mean(z, axis=-1, keepdims=True)
    y = centred / anp.sqrt(anp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    normalised = anp.transpose(gain, (1, 0, 2)) * y + anp.transpose(shift, (1, 0, 2))
    # Wx = 1, Wh = 0, b = 0: the step of the reference then has z = `width`.
    width = normalised.reshape(len(x), -1)
    return lstm(width, states, anp.eye(width.shape[1]), anp.zeros(Wh.shape), anp.zeros(b.shape))


def test_layer_norm_against_the_textbook(backend: Backend) -> None:
    layer = layer_of(example_on(backend, 1)["LayerNormLSTM"](), backend)
    weights = [backend.to_numpy(w) for w in layer.params]
    x, h, c = (np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(T, N, D), (N, H), (N, H)]))
    u, v = (np.random.default_rng(9 + i).standard_normal((T, N, H)) for i in range(2))

    def total(x: Any, h: Any, c: Any, *weights: Any) -> Any:
        loss, states = 0.0, (h, c)
        for t in range(T):
            states = textbook_layer_norm(x[t], states, *weights)
            loss = loss + anp.sum(u[t] * states[0]) + anp.sum(v[t] * states[1])
        return loss

    expected = grad(total, tuple(range(8)))(x, h, c, *weights)
    results = layer.forward(*(backend.asarray(a) for a in (x, h, c)))
    loss = sum(float((backend.asarray(d) * s).sum()) for d, s in zip((u, v), results, strict=True))
    assert_allclose(loss, total(x, h, c, *weights), rtol=1e-12)
    found = [*layer.backward(backend.asarray(u), backend.asarray(v)), *layer.grads]
    for got, want in zip(found, expected, strict=True):
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=1e-12)


def example_on(backend: Backend, number: int) -> dict[str, Any]:
    with use_backend(backend):
        return example(number)


def test_zoneout_keeps_states_in_training_and_uses_the_mean_in_a_call(backend: Backend) -> None:
    layer = layer_of(example_on(backend, 0)["Zoneout"](0.3), backend, seed=5)
    x, h_prev = draw(backend, 1, 200, D), draw(backend, 200, H)
    trained, called = backend.to_numpy(layer.forward(x, h_prev))[0], backend.to_numpy(layer(x, h_prev))[0]
    before, new = backend.to_numpy(h_prev), backend.to_numpy(layer_of(RNNCell(), backend)(x, h_prev))[0]
    zoned = trained == before
    assert 0.25 < zoned.mean() < 0.35
    assert_allclose(trained[~zoned], new[~zoned], rtol=0, atol=1e-12)
    assert_allclose(called, 0.3 * before + 0.7 * new, rtol=0, atol=1e-12)


def test_random_numbers_depend_on_the_seed_and_the_forward_call(backend: Backend) -> None:
    zoneout = example_on(backend, 0)["Zoneout"](0.5)
    layer, other = layer_of(zoneout, backend, seed=5), layer_of(zoneout, backend, seed=6)
    x = draw(backend, T, N, D)
    one, two = (backend.to_numpy(layer.forward(x)).copy() for _ in range(2))
    assert (one != two).any()
    assert (one != backend.to_numpy(other.forward(x))).any()
    layer.forward_calls = 0
    assert_array_equal(backend.to_numpy(layer.forward(x)), one)
    on_host = layer_of(zoneout, get_backend("numpy"), seed=5)  # the same masks on every backend
    assert_allclose(on_host.forward(backend.to_numpy(x)), one, rtol=0, atol=1e-12)


# ---- the features of every layer ----


def gradients(layer: Recurrent, backend: Backend, x: Any, dh: Any, **options: Any) -> list[HostArray]:
    layer.forward_calls = 0
    layer.forward(x, **options)
    found = layer.backward(dh)
    return [backend.to_numpy(a).copy() for a in (found[0], *found[1:], *layer.grads)]


def test_each_row_is_as_if_it_ran_alone(backend: Backend, cell: Cell) -> None:
    lengths = [6, 0, 2, 5]
    if cell.draws:  # a row alone has other masks than in a batch: compare without zoneout
        cell.p = 0.0  # type: ignore[attr-defined]
    for reverse in (False, True):
        layer = layer_of(cell, backend, reverse=reverse)
        x, dh = draw(backend, T, N, D), draw(backend, T, N, H, seed=3)
        for row, length in enumerate(lengths):
            x[length:, row] = np.nan
        h = backend.to_numpy(first(layer.forward(x, lengths=lengths)))
        found = gradients(layer, backend, x, dh, lengths=lengths)
        total = [np.zeros(g.shape) for g in found[-len(layer.params) :]]
        for row, length in enumerate(lengths):
            mine = (slice(None, length), slice(row, row + 1))
            alone = backend.to_numpy(first(layer.forward(x[mine].copy())))
            assert_allclose(h[mine], alone, rtol=0, atol=1e-12)
            given = dh[mine].copy()
            if not reverse and length:
                given[-1] += dh[length:, row : row + 1].sum(axis=0)  # the row keeps its state past its length
            each = gradients(layer, backend, x[mine].copy(), given)
            assert_allclose(found[0][mine], each[0], rtol=0, atol=1e-12)
            total = [sum_ + g for sum_, g in zip(total, each[-len(layer.params) :], strict=True)]
            assert not found[0][length:, row].any()
        for name, got, want in zip(layer.names, found[-len(layer.params) :], total, strict=True):
            assert_allclose(got, want, rtol=0, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_with_lengths_match_differences(backend: Backend, cell: Cell, reverse: bool) -> None:
    layer = layer_of(cell, backend, reverse=reverse)
    states = [draw(backend, N, H, seed=4 + i) for i in range(len(cell.states))]

    def forward(x: Any, *arguments: Any) -> Any:
        for param, value in zip(layer.params, arguments[len(states) :], strict=True):
            param[...] = value
        layer.forward_calls = 0  # the same random numbers in each run
        results = layer.forward(x, *arguments[: len(states)], lengths=[6, 0, 2, 5])
        return backend.xp.concatenate(results if isinstance(results, tuple) else (results,), axis=-1)

    def backward(u: Any) -> list[Any]:
        for gradient in layer.grads:
            gradient[...] = np.nan
        return [*layer.backward(*(u[..., i * H : (i + 1) * H] for i in range(len(states)))), *layer.grads]

    names = ["x", *cell.states, *layer.names]
    gradcheck(forward, backward, [draw(backend, T, N, D), *states, *(p.copy() for p in layer.params)], names=names)


def test_without_a_step_there_is_no_gradient(backend: Backend, cell: Cell) -> None:
    layer = layer_of(cell, backend)
    h = first(layer.forward(draw(backend, 0, N, D)))
    for gradient in layer.grads:
        gradient[...] = np.nan
    layer.backward(h)
    assert not any(backend.to_numpy(gradient).any() for gradient in layer.grads)


def test_reverse_equals_forward_on_the_reversed_sequence(backend: Backend, cell: Cell) -> None:
    x, dh = draw(backend, T, N, D), draw(backend, T, N, H, seed=3)
    ahead, reverse = layer_of(cell, backend), layer_of(cell, backend, reverse=True)
    h = backend.to_numpy(first(ahead.forward(x[::-1].copy())))
    assert_allclose(backend.to_numpy(first(reverse.forward(x))), h[::-1], rtol=0, atol=1e-13)
    expected = gradients(ahead, backend, x[::-1].copy(), dh[::-1].copy())
    found = gradients(reverse, backend, x, dh)
    assert_allclose(found[0], expected[0][::-1], rtol=0, atol=1e-12)
    for got, want in zip(found[1:], expected[1:], strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-12)


def test_streams(backend: Backend, cell: Cell) -> None:
    layer, x = layer_of(cell, backend), draw(backend, T, N, D)
    complete = backend.to_numpy(first(layer(x)))
    h, state = layer.stream(x[:4])
    rest, _ = layer.stream(x[4:], state)
    got = np.concatenate([backend.to_numpy(h), backend.to_numpy(rest)])
    assert_allclose(got, complete, rtol=0, atol=1e-13)


def test_in_a_stack(backend: Backend, cell: Cell) -> None:
    layer, above = layer_of(cell, backend), LSTM.init(H, 2, rng=0, dtype="float64", backend=backend)
    x = draw(backend, T, N, D)
    h, _ = Stack([layer, above])(x)
    assert_array_equal(backend.to_numpy(h), backend.to_numpy(above(first(layer(x)))[0]))


def test_a_cell_with_two_states(backend: Backend) -> None:
    layer = layer_of(LSTMCell(), backend)
    twin = LSTM(*layer.params)
    p = problem("lstm", (T, N, D, H))
    x, (h, c), (dh, dc) = p.operands(backend)
    for got, want in zip(layer.forward(x, h, c), twin.forward(x, h, c), strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))
    for got, want in zip(layer.backward(dh, dc), twin.backward(dh, dc), strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))
    for got, want in zip(layer.backward(dh), twin.backward(dh), strict=True):
        assert_array_equal(backend.to_numpy(got), backend.to_numpy(want))


@pytest.mark.parametrize("cell", [GRUCell, GRUResetBeforeCell, LSTMCell, RNNCell])
def test_the_built_in_cells_pass_the_check(backend: Backend, cell: Callable[[], Cell]) -> None:
    check_cell(cell(), backend=backend)


# ---- the blocks of z ----


class Wide(Cell):
    """More blocks than its base. Neither sets from_x or from_h, so that they default to all blocks."""

    pre = 3


class OneMore(GRUCell):
    """One more block than its base, which sets from_x and from_h: the new block only has a bias."""

    pre = 5


class Changed(Wide):
    from_x = (0,)


def test_a_subclass_sets_its_blocks_or_inherits_them() -> None:
    assert (RNNCell.from_x, RNNCell.from_h, RNNCell.from_b) == ((0,), (0,), (0,))
    assert (Wide.from_x, Wide.from_h, Wide.from_b) == ((0, 1, 2),) * 3
    assert (OneMore.from_x, OneMore.from_h, OneMore.from_b) == ((1, 2, 0), (1, 2, 3), (1, 2, 0, 3, 4))
    assert (Changed.from_x, Changed.from_h, Changed.from_b) == ((0,), (0, 1, 2), (0, 1, 2))

    class Fourth(Wide):  # its own from_x stays as it is, although it has all blocks of the base
        pre = 4
        from_x = (0, 1, 2)

    assert (Fourth.from_x, Fourth.from_h, Fourth.from_b) == ((0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3))

    class Fewer(Changed):  # the from_x of its base stays as it is
        pre = 3

    assert (Fewer.from_x, Fewer.from_h) == ((0,), (0, 1, 2))

    class Same(LSTMCell):
        pass

    assert (Same.from_x, Same.from_h, Same.from_b) == (LSTMCell.from_x, LSTMCell.from_h, LSTMCell.from_b)
    assert (LSTMCell.name, Same.name) == (
        "lstm",
        "Same",
    )  # with the name of the base it would run the kernel of the base


class FromX(GRUCell):
    """A GRU that inherits everything."""


def test_a_cell_with_an_inherited_from_x(backend: Backend) -> None:
    check_cell(FromX(), backend=backend)
    layer = layer_of(FromX(), backend)
    p = problem("gru", (T, N, D, H))
    x, (h,), _ = p.operands(backend)
    twin = layer_of(GRUCell(), backend)
    assert_allclose(backend.to_numpy(layer(x, h)), backend.to_numpy(twin(x, h)), rtol=0, atol=1e-12)


class Halved(RNNCell):
    """φ(z) = tanh(z) / 2. The kernel of its base computes tanh(z)."""

    def activate(self, xp: Any, z: Any) -> None:
        super().activate(xp, z)
        z *= 0.5

    def slope(self, xp: Any, h: Any, dz: Any) -> None:
        super().slope(xp, 2 * h, dz)
        dz *= 0.5


@pytest.mark.usefixtures("form")
def test_a_subclass_of_a_cell_with_kernels_runs_in_the_plain_form(backend: Backend) -> None:
    check_cell(Halved(), backend=backend)
    layer = Recurrent.init(Halved(), D, H, rng=0, backend=backend)
    x = backend.asarray(np.random.default_rng(0).standard_normal((1, N, D)).astype("float32"))
    with use_fused(False):
        expected = backend.to_numpy(layer(x)).copy()
    assert_array_equal(backend.to_numpy(layer(x)), expected)
    assert_allclose(expected, np.tanh(backend.to_numpy(x) @ backend.to_numpy(layer.params[0])) / 2, rtol=1e-5)
    for operation in RECURRENCES:
        assert backend.explain(operation, Halved(), {"T": T, "N": N, "D": D, "H": H}, "float32").form == "plain"


@pytest.mark.parametrize("from_h_", [(0, 2), (1, 0), (2, 1, 0)])
def test_blocks_of_h_must_be_neighbours(from_h_: tuple[int, ...]) -> None:
    class Scattered(Cell):
        pre = 3
        from_h = from_h_

    words = f"the cell 'Scattered' has from_h = {from_h_}", "expected neighbouring blocks", "number the blocks of z"
    with one_line(ValueError, *words):
        Recurrent.init(Scattered(), D, H, backend="numpy")


@pytest.mark.parametrize(
    ("name", "fed"),
    [("from_x", ()), *itertools.product(["from_x", "from_h"], [(0, 3), (1, 1), (-1,)])],
)
def test_invalid_blocks(name: str, fed: tuple[int, ...]) -> None:
    class Beyond(GRUCell):
        pre = 3

    cell = Beyond()
    setattr(cell, name, fed)
    with one_line(ValueError, f"the cell 'Beyond' has {name} = {fed} and pre = 3", "expected blocks from 0 to 2"):
        Recurrent(cell, *(np.zeros(s) for s in [(D, 3 * H), (H, 3 * H), (3 * H,)]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("states", 0), ("states", "h"), ("states", ()), ("params", ["p"]), ("from_x", 5), ("from_h", 5), ("from_h", "0")],
)
def test_attributes_that_must_be_tuples(name: str, value: Any) -> None:
    words = f"is {value!r}: expected a tuple of", f"set {name}"
    with one_line(TypeError, f"{name} of Wrong", *words):
        type("Wrong", (RNNCell,), {name: value})
    cell = RNNCell()
    setattr(cell, name, value)
    with one_line(TypeError, f"{name} of the cell 'rnn'", *words):
        Recurrent.init(cell, D, H, backend="numpy")


@pytest.mark.parametrize(("name", "value"), [("from_h", ()), ("pre", 2), ("states", ("h", "c"))])
def test_a_pointwise_cell_has_one_state_and_one_block_fed_by_h(name: str, value: Any) -> None:
    class Pointwise(RNNCell):
        pass

    cell = Pointwise()
    setattr(cell, name, value)
    with one_line(ValueError, "the cell 'Pointwise' is pointwise", "expected one block, fed by h, and one state"):
        Recurrent.init(cell, D, H, backend="numpy")


class Integrator(Cell):
    """m' = m / 2 + tanh(z), h' = 0.3 h + m': two states, and h' depends on h outside z too."""

    states = ("h", "m")
    kept = 1  # tanh(z)
    keeps_z = False

    def step(self, run: Any, at: Any) -> None:
        run.xp.tanh(at.z[0], out=at.kept[0])
        at.after[1][...] = at.before[1] / 2 + at.kept[0]
        at.after[0][...] = 0.3 * at.before[0] + at.after[1]

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        dm = dafter[0] + dafter[1]
        dz[0] = dm * (1 - at.kept[0] ** 2)
        dbefore[0][...], dbefore[1][...] = 0.3 * dafter[0], dm / 2


class IntegratorByItself(Integrator):
    """The same cell, which computes the recurrent term itself."""

    recurs = True

    def recur(self, run: Any, at: Any) -> None:
        run.matmul_add(at.before[0], run.W, at.z[0])

    def recur_gradient(self, run: Any, at: Any, dz: Any, dh: Any) -> None:
        dh += dz[0] @ run.W

    def recur_weights(self, xp: Any, at: Any, dz: Any, dWh: Any) -> None:
        H = dWh.shape[0]
        dWh[...] = at.before[0].reshape(-1, H).T @ dz[:, 0].reshape(-1, H)


def test_a_second_state_and_a_direct_use_of_h(backend: Backend) -> None:
    layers = []
    for cell in (Integrator(), IntegratorByItself()):
        check_cell(cell, backend=backend)
        layers.append(layer_of(cell, backend))
    x, dh = draw(backend, T, N, D), draw(backend, T, N, H, seed=3)
    for got, want in zip(*(gradients(layer, backend, x, dh) for layer in layers), strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_kept_arrays_are_right_in_chunks(backend: Backend, monkeypatch: pytest.MonkeyPatch, reverse: bool) -> None:
    layer = layer_of(Integrator(), backend, reverse=reverse)
    x, dh = draw(backend, T, N, D), draw(backend, T, N, H, seed=3)
    complete = gradients(layer, backend, x, dh)
    monkeypatch.setattr(recurrence, "CHUNK", 2 * N * H)
    for got, want in zip(gradients(layer, backend, x, dh), complete, strict=True):
        assert_allclose(got, want, rtol=0, atol=1e-12)


# ---- wrong gradients ----


class Right(Cell):
    """h' = h + sin(z₀) · z₁, with a gain."""

    pre = 2
    params = ("gain",)

    def initial_params(self, rng: np.random.Generator, H: int) -> list[HostArray]:
        return [np.ones(H)]

    def step(self, run: Any, at: Any) -> None:
        at.after[0][...] = at.before[0] + run.params[0] * run.xp.sin(at.z[0]) * at.z[1]

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        (dh,), (a, b), (gain,), xp = dafter, at.z, run.params, run.xp
        dz[0] = dh * gain * xp.cos(a) * b
        dz[1] = dh * gain * xp.sin(a)
        dbefore[0][...] = dh
        run.dparams[0][...] += (dh * xp.sin(a) * b).sum(axis=0)


class LeavesDz(Right):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        scratch = run.xp.zeros(dz.shape)
        super().gradient(run, at, dafter, scratch, dbefore)
        dz[0] = scratch[0]


class LeavesC(LSTMCell):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, [dbefore[0], run.xp.zeros(dbefore[1].shape)])


class LeavesAfter(Right):
    def step(self, run: Any, at: Any) -> None:
        pass


class LeavesKept(Right):
    kept = 1


class Differs(Right):
    def step(self, run: Any, at: Any) -> None:
        super().step(run, at)
        if not run.training:
            at.after[0][...] *= 0.5


class LeavesBefore(Right):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, [run.xp.zeros(dbefore[0].shape)])


class WrongDz(Right):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, dbefore)
        dz[1] *= 1.001


class WrongBefore(Right):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, dbefore)
        dbefore[0][...] *= 1.001


class WrongGain(Right):
    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, dbefore)
        run.dparams[0][...] = (dafter[0] * run.xp.sin(at.z[0]) * at.z[1]).sum(axis=0)  # of one step only: = for +=


class WrongAwayFromZero(Right):
    """Correct only for a gain of zero, its initial value: all of dz is zero there."""

    def initial_params(self, rng: np.random.Generator, H: int) -> list[HostArray]:
        return [np.zeros(H)]

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        super().gradient(run, at, dafter, dz, dbefore)
        dz[...] = 0


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (LeavesDz, ["gradient of the cell 'LeavesDz' leaves dz[1] unwritten", "write all blocks of dz"]),
        (LeavesBefore, ["the cell 'LeavesBefore' leaves dbefore[0] unwritten", "set direct = False"]),
        (LeavesC, ["gradient of the cell 'LeavesC' leaves dbefore[1] unwritten", "expected numbers everywhere"]),
        (LeavesAfter, ["the step of the cell 'LeavesAfter' leaves after[0] unwritten", "write all of it"]),
        (LeavesKept, ["the step of the cell 'LeavesKept' leaves kept unwritten", "write all of it"]),
        (Differs, ["a call of the cell 'Differs' gives another h than forward", "set draws = True"]),
        (WrongDz, ["the gradient of x along a random direction is", "by differences of forward"]),
        (WrongBefore, ["along a random direction is", "by differences of forward"]),
        (WrongAwayFromZero, ["the gradient of x along a random direction is 0 by backward"]),
        (WrongGain, ["the gradient of gain along a random direction is", "by differences of forward"]),
    ],
)
def test_check_cell_finds_wrong_gradients(backend: Backend, cell: type[Cell], words: list[str]) -> None:
    check_cell(Right(), backend=backend)
    with one_line(GradientMismatchError, *words):
        check_cell(cell(), backend=backend)


def test_gradients_of_own_parameters_are_overwritten(backend: Backend) -> None:
    layer, x, dh = layer_of(Right(), backend), draw(backend, T, N, D), draw(backend, T, N, H)
    once, twice = (gradients(layer, backend, x, dh) for _ in range(2))
    for got, want in zip(twice, once, strict=True):
        assert_array_equal(got, want)


class Training(Right):
    """Records `run.training`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def step(self, run: Any, at: Any) -> None:
        self.seen.append(("step", run.training))
        super().step(run, at)

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        self.seen.append(("gradient", run.training))
        super().gradient(run, at, dafter, dz, dbefore)


def test_run_training_is_true_in_forward_and_backward_only(backend: Backend) -> None:
    layer, x = layer_of(Training(), backend), draw(backend, 1, N, D)
    layer.backward(layer.forward(x))
    layer(x)
    layer.stream(x)
    assert layer.cell.seen == [  # type: ignore[attr-defined]
        ("step", True),
        ("gradient", True),
        ("step", False),
        ("step", False),
    ]


# ---- bad input ----


def test_objects_that_are_not_cells() -> None:
    weights = [np.zeros(s) for s in [(D, H), (H, H), (H,)]]
    with one_line(TypeError, "cell is a type", "expected an instance of a subclass of xrnn.Cell"):
        Recurrent(RNNCell, *weights)  # type: ignore[arg-type]
    with one_line(TypeError, "got 3 parameters", "the cell 'Right' has 4", "pass Wx, Wh, b, gain"):
        Recurrent(Right(), *weights)
    with one_line(TypeError, "got 2 parameters", "the cell 'rnn' has 3", "pass Wx, Wh, b"):
        Recurrent(RNNCell(), *weights[:2])


def test_invalid_seeds() -> None:
    weights = [np.zeros(s) for s in [(D, H), (H, H), (H,)]]
    assert Recurrent(RNNCell(), *weights, seed=0).seed == 0
    with one_line(ValueError, "seed is -1", "expected an integer, at least 0"):
        Recurrent(RNNCell(), *weights, seed=-1)


def test_more_states_than_the_cell_has(backend: Backend) -> None:
    layer, x, h = layer_of(RNNCell(), backend), draw(backend, T, N, D), draw(backend, N, H)
    words = "got 2 states", "the cell 'rnn' has 1, h", "leave the others out"
    with one_line(TypeError, *words):
        layer.forward(x, h, h)
    dh = layer.forward(x, h)
    with one_line(TypeError, *words):
        layer.backward(dh, dh)


# ---- random numbers, and subclasses of built-in cells ----


def test_masks_differ_between_steps_and_a_call_draws_none(backend: Backend) -> None:
    layer = layer_of(example_on(backend, 0)["Zoneout"](0.5), backend, seed=5)
    layer.forward(draw(backend, T, 50, D))
    assert layer.cache is not None
    kept: Any = layer.cache.kept
    masks = backend.to_numpy(kept)[:, 0]
    assert all((masks[0] != mask).any() for mask in masks[1:])
    before = layer.forward_calls
    layer(draw(backend, T, 50, D))
    layer.stream(draw(backend, T, 50, D))
    assert layer.forward_calls == before


def test_each_layer_has_another_seed(backend: Backend) -> None:
    zoneout = example_on(backend, 0)["Zoneout"](0.5)
    rng = np.random.default_rng(0)
    layers = [Recurrent.init(zoneout, D, H, rng=rng, backend=backend) for _ in range(2)]
    layers += [Recurrent(zoneout, *layers[0].params) for _ in range(2)]
    assert len({layer.seed for layer in layers}) == 4
    assert len({Recurrent.init(zoneout, 1, 1, rng=rng, backend="numpy").seed for _ in range(100)}) == 100
    again = np.random.default_rng(0)
    assert [Recurrent.init(zoneout, D, H, rng=again, backend=backend).seed for _ in range(2)] == [
        layer.seed for layer in layers[:2]
    ]


class ZoneoutLSTM(LSTMCell):
    """An LSTM in which each unit's c keeps its value with probability 0.3, in training."""

    kept = 1
    draws = True

    def step(self, run: Any, at: Any) -> None:
        c = at.before[1].copy()
        super().step(run, at)
        new: Any = 0.7
        if run.training:
            new = at.kept[0]
            new[...] = run.draws.keep(c.shape, 0.3)
        else:
            new = run.xp.full(c.shape, new)
        c_next = at.after[1]
        c_next[...] = c + new * (c_next - c)
        at.after[0][...] = at.z[3] * run.xp.tanh(c_next)

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        (new,), (dh, dc) = at.kept, dafter
        dc += at.prepared[0] * dh
        passed = dc * (1 - new)
        dc *= new
        dz[:3] *= dc
        dz[3] *= dh
        dbefore[1][...] = dc * at.z[1] + passed


def test_a_subclass_of_the_lstm_cell_may_keep_arrays(backend: Backend) -> None:
    check_cell(ZoneoutLSTM(), backend=backend)


# ---- the cache, and the count of forward calls ----


def test_a_cache_of_another_layer_is_refused(backend: Backend) -> None:
    """It is refused even if the layers share their weights, because their cells or directions may differ."""
    layer = RNN.init(D, H, rng=0, dtype="float64", backend=backend)
    x, dh = draw(backend, T, N, D), draw(backend, T, N, H, seed=3)
    layer.forward(x)
    for options in ({"nonlinearity": "relu"}, {"leak": 0.5}, {"reverse": True}, {}):
        other: Any = RNN(*layer.params, **options)
        other.forward(x)
        with one_line(ValueError, "cache is of another layer", "take layer.cache after its forward"):
            layer.backward(dh, cache=other.cache)
    layer.backward(dh)


@pytest.mark.parametrize(
    ("name", "value", "kind"), [("pre", 0, ValueError), ("pre", "x", TypeError), ("kept", -1, ValueError)]
)
def test_invalid_numbers_of_blocks(name: str, value: Any, kind: type[Exception]) -> None:
    cell = RNNCell()
    setattr(cell, name, value)
    with one_line(kind, f"{name} of the cell 'rnn' is {value!r}", "expected an integer, at least"):
        Recurrent(cell, np.zeros((D, H)), np.zeros((H, H)), np.zeros(H))
    with one_line(kind, f"{name} of the cell 'rnn' is {value!r}", "expected an integer, at least"):
        Recurrent.init(cell, D, H, rng=0)
    with one_line(kind, f"{name} of the cell 'Bad' is {value!r}", "expected an integer, at least"):
        Recurrent.init(type("Bad", (Cell,), {name: value})(), D, H, rng=0)


def test_the_old_name_of_forward_calls(backend: Backend) -> None:
    layer = layer_of(RNNCell(), backend)
    with pytest.warns(DeprecationWarning, match="Recurrent.step is now forward_calls"):
        layer.step = 3
    assert layer.forward_calls == 3
    with pytest.warns(DeprecationWarning, match="use the new name"):
        assert layer.step == 3
    state = layer.__getstate__()
    state["step"] = state.pop("forward_calls")
    again = Recurrent.__new__(Recurrent)
    again.__setstate__(state)
    assert again.forward_calls == 3
