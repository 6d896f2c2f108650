"""User-defined cells: the examples of docs/how-to/own-cell.md run with correct gradients; errors name the mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import one_line, refused
from tests.own_cells import EXAMPLES, Integrator, IntegratorByItself, Zoneout, ZoneoutLSTM
from tests.random_operands import draw_on
from xrnn import Cell, GradientMismatchError, Recurrent, check_cell, gradcheck
from xrnn.backend import RECURRENCES, Backend
from xrnn.info import explain
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.rnn import RNNCell
from xrnn.typing import HostArray

T, N, D, H = 6, 4, 3, 5


def layer_of(cell: Cell, backend: Backend, **options: Any) -> Recurrent:
    """A layer with random weights, in float64."""
    layer = Recurrent.init(cell, D, H, rng=0, dtype="float64", backend=backend, **options)
    rng = np.random.default_rng(1)
    for param in layer.params:
        param += backend.asarray(0.2 * rng.standard_normal(param.shape))
    return layer


# ---- the examples ----


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_run_and_check_their_own_gradients(backend: Backend, text: str) -> None:
    assert "check_cell(" in text
    names: dict[str, Any] = {}
    with xrnn.use_backend(backend):
        exec(text, names)
    x = backend.asarray(np.ones((3, 2, 8), "float32"))
    names["layer"].forward(x)
    dx = names["layer"].backward(backend.xp.ones((3, 2, 32), "float32"))[0]
    assert dx.shape == x.shape


def test_zoneout_keeps_states_in_training_and_uses_the_mean_in_a_call(backend: Backend) -> None:
    layer = layer_of(Zoneout(0.3), backend, seed=5)
    x, h_prev = draw_on(backend, 1, 200, D), draw_on(backend, 200, H)
    trained, called = backend.to_numpy(layer.forward(x, h_prev))[0], backend.to_numpy(layer(x, h_prev))[0]
    before, new = backend.to_numpy(h_prev), backend.to_numpy(layer_of(RNNCell(), backend)(x, h_prev))[0]
    zoned = trained == before
    assert 0.25 < zoned.mean() < 0.35
    assert_allclose(trained[~zoned], new[~zoned], rtol=0, atol=1e-12)
    assert_allclose(called, 0.3 * before + 0.7 * new, rtol=0, atol=1e-12)
    assert_array_equal(backend.to_numpy(layer.stream(x, h_prev)[0])[0], called)


def test_masks_depend_on_the_seed_the_forward_call_and_the_step(backend: Backend) -> None:
    layer, other = (layer_of(Zoneout(0.5), backend, seed=seed) for seed in (5, 6))
    x, masks = draw_on(backend, T, 50, D), list[HostArray]()
    for each in (layer, layer, other):
        each.forward(x)
        cache: Any = each.cache
        masks += [*backend.to_numpy(cache.kept)[:, 0]]
    assert all((one != two).any() for one, two in itertools.combinations(masks, 2))
    layer(x)  # draws none, nor does a stream
    layer.stream(x)
    assert layer.forward_calls == 2
    layer.forward_calls = 0
    on_host = layer_of(Zoneout(0.5), xrnn.get_backend("numpy"), seed=5)  # the same masks on every backend
    expected = on_host.forward(backend.to_numpy(x))
    assert_allclose(backend.to_numpy(layer.forward(x)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_with_masks_and_lengths_match_differences(backend: Backend, reverse: bool) -> None:
    layer = layer_of(Zoneout(0.3), backend, reverse=reverse)

    def forward(x: Any, h: Any, *weights: Any) -> Any:
        for param, value in zip(layer.params, weights, strict=True):
            param[...] = value
        layer.forward_calls = 0  # the same random numbers in each run
        return layer.forward(x, h, lengths=[6, 0, 2, 5])

    def backward(u: Any) -> list[Any]:
        for gradient in layer.grads:
            gradient[...] = np.nan
        return [*layer.backward(u), *layer.grads]

    point = [draw_on(backend, T, N, D), draw_on(backend, N, H, seed=4), *(p.copy() for p in layer.params)]
    gradcheck(forward, backward, point, names=["x", "h", *layer.names])


@pytest.mark.parametrize(
    "make",
    [
        *(GRUCell, GRUResetBeforeCell, LRUCell, xrnn.SLSTMCell),
        *(lambda: xrnn.CurrentRNNCell(0.3), lambda: ZoneoutLSTM(0.3), lambda: Right()),
    ],
)
def test_right_cells_pass_the_check(backend: Backend, make: Callable[[], Cell]) -> None:
    check_cell(make(), backend=backend)


# ---- the blocks of z ----


def derived(base: type[Cell], **attributes: Any) -> type[Cell]:
    return type("Derived", (base,), attributes)


WIDE = derived(Cell, pre=3)
ALL = (0, 1, 2)


@pytest.mark.parametrize(
    ("cell", "from_x", "from_h", "from_b"),
    [
        pytest.param(RNNCell, (0,), (0,), (0,), id="one block"),
        pytest.param(WIDE, ALL, ALL, ALL, id="all blocks by default"),
        pytest.param(derived(GRUCell, pre=5), (1, 2, 0), (1, 2, 3), (1, 2, 0, 3, 4), id="a new block has a bias only"),
        pytest.param(derived(WIDE, pre=4, from_x=ALL), ALL, (0, 1, 2, 3), (0, 1, 2, 3), id="its own blocks stay"),
        pytest.param(derived(derived(WIDE, from_x=(0,)), pre=3), (0,), ALL, ALL, id="blocks that its base sets stay"),
        pytest.param(derived(LSTMCell), LSTMCell.from_x, LSTMCell.from_h, LSTMCell.from_b, id="those of its base"),
    ],
)
def test_a_subclass_sets_its_blocks_or_inherits_them(cell: type[Cell], from_x: Any, from_h: Any, from_b: Any) -> None:
    assert (cell.from_x, cell.from_h, cell.from_b) == (from_x, from_h, from_b)


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
    assert (RNNCell.name, Halved.name) == ("rnn", "Halved")  # with the name of its base it would run the base's kernel
    check_cell(Halved(), backend=backend)
    layer = Recurrent.init(Halved(), D, H, rng=0, backend=backend)
    x = backend.asarray(np.random.default_rng(0).standard_normal((1, N, D)).astype("float32"))
    with xrnn.use_fused(False):
        expected = backend.to_numpy(layer(x)).copy()
    assert_array_equal(backend.to_numpy(layer(x)), expected)
    assert_allclose(expected, np.tanh(backend.to_numpy(x) @ backend.to_numpy(layer.params[0])) / 2, rtol=1e-5)
    for operation in RECURRENCES:
        assert explain(backend, operation, Halved(), {"T": T, "N": N, "D": D, "H": H}, "float32").form == "plain"


NO_TUPLES = [("params", ["p"]), ("from_x", 5), ("from_h", 5), ("from_h", "0"), *(("states", v) for v in (0, "h", ()))]
# The attributes that are refused, by the words of the error.
REFUSED: dict[str, tuple[type[Exception], list[tuple[str, Any]]]] = {
    "expected a tuple of": (TypeError, NO_TUPLES),
    " and pre = 3: expected blocks from 0 to 2": (
        ValueError,
        [("from_x", ()), *itertools.product(["from_x", "from_h"], [(0, 3), (1, 1), (-1,)])],
    ),
    ": expected neighbouring blocks": (ValueError, [("from_h", v) for v in [(0, 2), (1, 0), (2, 1, 0)]]),
    ": expected an integer": (ValueError, [("pre", 0), ("kept", -1)]),
    ": expected an integer, at least": (TypeError, [("pre", "x")]),
}


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [(*row, error, words) for words, (error, rows) in REFUSED.items() for row in rows],
)
def test_attributes_of_a_cell_are_checked(name: str, value: Any, error: type[Exception], words: str) -> None:
    cell = derived(Cell, pre=3)()
    setattr(cell, name, value)
    weights = [np.zeros(s) for s in [(D, 3 * H), (H, 3 * H), (3 * H,)]]
    row = error, f"{name} ", f" {value!r}", "the cell 'Derived'", words
    with one_line(*row):
        Recurrent(cell, *weights)
    with one_line(*row):
        Recurrent.init(cell, D, H, backend="numpy")
    if (name, value) in NO_TUPLES:
        with one_line(TypeError, f"{name} of Derived is {value!r}: expected a tuple of", f"set {name}"):
            derived(RNNCell, **{name: value})


def test_what_recurrent_refuses() -> None:
    weights = [np.zeros(s) for s in [(D, H), (H, H), (H,)]]

    def pointwise(name: str, value: Any) -> Callable[[], object]:
        cell = RNNCell()
        setattr(cell, name, value)
        return lambda: Recurrent.init(cell, D, H, backend="numpy")

    def checked(base: type[Cell], **attributes: Any) -> Callable[[], object]:
        return lambda: check_cell(derived(base, **attributes)(), backend="numpy")

    of_pointwise = "the cell 'rnn' is pointwise", "expected one block, fed by h, and one state"
    methods = {name: getattr(IntegratorByItself, name) for name in ("recur", "recur_gradient", "recur_weights")}
    refused(
        (TypeError, lambda: Recurrent(RNNCell, *weights), "cell is a type", "an instance of a subclass of xrnn.Cell"),  # type: ignore[arg-type]
        (TypeError, lambda: Recurrent(Right(), *weights), "got 3 parameters", "has 4", "pass Wx, Wh, b, gain"),
        (TypeError, lambda: Recurrent(RNNCell(), *weights[:2]), "got 2 parameters", "has 3", "pass Wx, Wh, b"),
        (ValueError, lambda: Recurrent(RNNCell(), *weights, seed=-1), "seed is -1", "expected an integer, at least 0"),
        *((ValueError, pointwise(*row), *of_pointwise) for row in (("from_h", ()), ("pre", 2), ("states", ("h", "c")))),
        *(
            (ValueError, checked(Integrator, **{name: method}), f"has recurs = False and a method {name}: expected")
            for name, method in methods.items()
        ),
        *(
            (ValueError, checked(IntegratorByItself, **{name: getattr(Cell, name)}), f"True and no method {name}")
            for name in methods
        ),
    )


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


class MixesRows(Cell):
    """h[t] = tanh(z[t] - the mean of z[t] over the rows); the gradient is right."""

    def step(self, run: Any, at: Any) -> None:
        at.after[0][...] = run.xp.tanh(at.z[0] - at.z[0].mean(axis=0))

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        da = dafter[0] * (1 - at.after[0] ** 2)
        dz[0] = da - da.mean(axis=0)
        dbefore[0][...] = 0


class DividesByRows(MixesRows):
    """h[t] = tanh(z[t] / N)."""

    def step(self, run: Any, at: Any) -> None:
        at.after[0][...] = run.xp.tanh(at.z[0] / len(at.z[0]))

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        dz[0] = dafter[0] * (1 - at.after[0] ** 2) / len(at.z[0])
        dbefore[0][...] = 0


class MixesInTraining(MixesRows):
    """As MixesRows in training, as batch normalization is."""

    draws = True

    def step(self, run: Any, at: Any) -> None:
        if run.training:
            super().step(run, at)
        else:
            at.after[0][...] = run.xp.tanh(at.z[0])


class NotRepeatable(MixesRows):
    """Noise that is not from run.draws."""

    rng = np.random.default_rng(0)

    def step(self, run: Any, at: Any) -> None:
        noise = self.rng.standard_normal(at.z[0].shape)
        at.after[0][...] = run.xp.tanh(at.z[0] + run.xp.asarray(noise))


class Noisy(NotRepeatable):
    """h[t] = tanh(z[t] + noise)."""

    draws = True

    def step(self, run: Any, at: Any) -> None:
        z = at.z[0]
        if run.training:
            z += run.draws.normal(z.shape, z.dtype)
        at.after[0][...] = run.xp.tanh(z)

    def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
        dz[0] = dafter[0] * (1 - at.after[0] ** 2)
        dbefore[0][...] = 0


def test_a_cell_with_noise_of_its_own(backend: Backend) -> None:
    check_cell(Noisy(), backend=backend)


class NoisyAtAllTimes(Noisy):
    """It draws also in inference."""

    def step(self, run: Any, at: Any) -> None:
        at.after[0][...] = at.z[0] + run.draws.normal(at.z[0].shape, at.z[0].dtype)


def test_random_numbers_that_a_run_does_not_have(backend: Backend) -> None:
    without = type("WithoutDraws", (Noisy,), {"draws": False})()
    x = backend.xp.ones((3, 2, 3))
    for cell, method in ((without, "forward"), (NoisyAtAllTimes(), "__call__")):
        layer = Recurrent.init(cell, 3, 4, rng=0, dtype="float64", backend=backend)
        with one_line(RuntimeError, "run.draws has no random numbers in this run: set draws = True", "run.training"):
            getattr(layer, method)(x)
    Recurrent.init(NoisyAtAllTimes(), 3, 4, rng=0, dtype="float64", backend=backend).forward(x)


def spoiled(base: Any, gradient: str, k: int, factor: float) -> type[Cell]:
    """A cell with one wrong gradient. One that is never written holds the NaN that check_cell puts there."""

    class Spoiled(base):  # type: ignore[misc]
        def gradient(self, run: Any, at: Any, dafter: Any, dz: Any, dbefore: Any) -> None:
            super().gradient(run, at, dafter, dz, dbefore)
            {"dz": dz, "dbefore": dbefore}[gradient][k][...] *= factor

    return Spoiled


MIXED = "gives row 0 another h if the other rows of the batch change: expected rows that do"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        *((cell, f"the cell '{cell.name}' {MIXED}") for cell in (MixesRows, DividesByRows, MixesInTraining)),
        (NotRepeatable, "the cell 'NotRepeatable' is not repeatable: a second run of the same steps gives another h"),
        (LeavesAfter, "the step of the cell 'LeavesAfter' leaves after[0] unwritten: expected numbers everywhere"),
        (LeavesKept, "the step of the cell 'LeavesKept' leaves kept unwritten"),
        (Differs, "a call of the cell 'Differs' gives another h than forward"),
        (WrongAwayFromZero, "the gradient of x along a random direction is 0 by backward"),
        (WrongGain, "the gradient of gain along a random direction is"),
        (spoiled(Right, "dz", 1, np.nan), "leaves dz[1] unwritten"),
        (spoiled(Right, "dbefore", 0, np.nan), "set direct = False"),
        (spoiled(LSTMCell, "dbefore", 1, np.nan), "leaves dbefore[1] unwritten: expected numbers everywhere"),
        (spoiled(Right, "dz", 1, 1.001), "the gradient of x along a random direction is"),
        (spoiled(Right, "dbefore", 0, 1.001), "along a random direction is"),
    ],
)
def test_check_cell_finds_a_wrong_cell(backend: Backend, cell: type[Cell], words: str) -> None:
    with one_line(GradientMismatchError, words):
        check_cell(cell(), backend=backend)


def test_each_layer_has_another_seed(backend: Backend) -> None:
    zoneout = Zoneout(0.5)
    rng = np.random.default_rng(0)
    layers = [Recurrent.init(zoneout, D, H, rng=rng, backend=backend) for _ in range(2)]
    layers += [Recurrent(zoneout, *layers[0].params) for _ in range(2)]
    assert len({layer.seed for layer in layers}) == 4
    assert len({Recurrent.init(zoneout, 1, 1, rng=rng, backend="numpy").seed for _ in range(100)}) == 100
    again = np.random.default_rng(0)
    assert [Recurrent.init(zoneout, D, H, rng=again, backend=backend).seed for _ in range(2)] == [
        layer.seed for layer in layers[:2]
    ]
