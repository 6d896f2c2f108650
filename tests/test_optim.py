"""Optimizers against the formulas of their papers in float64, one parameter at a time."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import xrnn
from tests.errors import one_line, refused
from xrnn import EMA, RNN, SGD, Adam, Dropout, Linear, Network, Stack, clip_grad_norm, softmax_cross_entropy
from xrnn.backend import Backend
from xrnn.optim import Optimizer, cosine, linear

HostArray = np.ndarray[Any, np.dtype[Any]]
STEPS = 5
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


class SignDescent(Optimizer):
    """A user-defined optimizer: p -= lr · sign(dp)."""

    def _update(self, lr: float, p: Any, dp: Any, *moments: Any) -> None:
        p -= lr * np.sign(dp)


def test_a_user_defined_optimizer_has_no_state_but_its_count() -> None:
    linear = Linear.init(3, 2, rng=0, dtype="float64", backend="numpy")
    linear.backward(linear.forward(np.ones((4, 3))))
    optimizer, before = SignDescent([linear], 0.25), linear.W.copy()
    optimizer.step()
    assert_array_equal(linear.W, before - 0.25 * np.sign(linear.grads[0]))
    assert (optimizer.state, optimizer.steps, linear.updates) == ({"count": 1}, 1, 1)
    with pytest.raises(NotImplementedError):
        Optimizer([linear], 0.1).step()


def sgd(p: HostArray, dp: HostArray, state: dict[str, Any], t: int, lr: float, decay: float, o: Any) -> HostArray:
    """SGDW of Loshchilov & Hutter (2019), Algorithm 1, with the step of Sutskever et al. (2013)."""
    momentum = o.get("momentum", 0.0)
    v = state["v"] = momentum * state.get("v", 0) + dp
    return np.asarray(p - lr * decay * p - lr * (dp + momentum * v if o.get("nesterov") else v))


def adam(theta: HostArray, g: HostArray, state: dict[str, Any], t: int, lr: float, decay: float, o: Any) -> HostArray:
    """Algorithm 1 of Kingma & Ba (2015), line by line, with the decay of AdamW."""
    beta1, beta2 = o["betas"]
    m = state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    v = state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return np.asarray(theta - lr * decay * theta - lr * m_hat / (np.sqrt(v_hat) + o["eps"]))


OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], Callable[..., HostArray], dict[str, Any]]] = {
    "sgd": (SGD, sgd, {"decay_biases": False}),
    "momentum": (SGD, sgd, {"momentum": 0.9}),
    "nesterov": (SGD, sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, adam, {"betas": (0.8, 0.95), "eps": 1e-4}),
    "adam of matrices": (Adam, adam, {"betas": (0.9, 0.999), "eps": 1e-8, "decay_biases": False}),
}
# The learning rate and the decay of each group.
RATES = [(0.01, 0.1), (0.002, 0.1), (0.05, 0.0), (0.01, 0.4)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_by_the_formula(backend: Backend, name: str, dtype: str) -> None:
    """In a default group and three others, with a schedule, which multiplies the learning rates of all groups."""
    kind, formula, options = OPTIMIZERS[name]
    o: dict[str, Any] = {"dtype": dtype, "backend": backend}
    rnn, other, readout = RNN.init(3, 3, rng=0, **o), RNN.init(3, 3, rng=1, **o), Linear.init(3, 3, rng=2, **o)
    stack = Stack([other])
    groups = [
        rnn,
        {"layers": [stack], "params": ["Wh"], "lr": 0.002},
        {"layers": [stack], "params": ["0.Wx", "b"], "lr": 0.05, "weight_decay": 0.0},
        {"layers": {"readout": readout}, "weight_decay": 0.4},
    ]
    optimizer = kind(groups, 0.01, weight_decay=0.1, **options)
    assert optimizer.layers == [rnn, stack, readout]
    arrays = [*rnn.params, other.Wh, other.Wx, other.b, *readout.params]
    rates = [rate for rate, count in zip(RATES, (3, 1, 2, 2), strict=True) for _ in range(count)]
    expected, rng = [backend.to_numpy(p).astype("float64") for p in arrays], np.random.default_rng(0)
    states: list[dict[str, Any]] = [{} for _ in expected]
    for t in range(1, STEPS + 1):
        factor = cosine(t, 6)
        optimizer.lr = 0.01 * factor
        for i, (dp, (lr, decay)) in enumerate(zip(optimizer.grads, rates, strict=True)):
            g = np.asarray(10.0**-i * rng.standard_normal(dp.shape), dtype)
            dp[...] = backend.asarray(g)
            decay *= g.ndim > 1 or options.get("decay_biases", True)
            expected[i] = formula(expected[i], g.astype("float64"), states[i], t, lr * factor, decay, options)
        optimizer.step()
    assert optimizer.steps == STEPS
    for p, want in zip(arrays, expected, strict=True):
        assert p.dtype == dtype
        assert_allclose(backend.to_numpy(p), want, rtol=0, atol=TOLERANCE[dtype])


def test_only_the_parameters_of_the_groups_are_updated(backend: Backend) -> None:
    rnn = RNN.init(3, 3, rng=0, backend=backend)
    optimizer = SGD([{"layers": [rnn], "params": ["Wh"]}], 0.5)
    before = [backend.to_numpy(p).copy() for p in rnn.params]
    rnn.backward(rnn.forward(backend.xp.ones((2, 1, 3), "float32")))
    optimizer.accumulate(rnn)
    optimizer.step()
    changed = [(backend.to_numpy(p) != old).any() for p, old in zip(rnn.params, before, strict=True)]
    assert changed == [False, True, False]


def test_a_step_refuses_layers_that_are_no_longer_trained(backend: Backend) -> None:
    readout = Linear.init(4, 1, rng=0, backend=backend)
    optimizer, before = Adam([readout], weight_decay=0.1), backend.to_numpy(readout.W).copy()
    readout.needs_grads = False
    with one_line(ValueError, "Linear with needs_grads=False: expected layers that are trained; leave this one out"):
        optimizer.step()
    assert_array_equal(backend.to_numpy(readout.W), before)
    readout.needs_grads = True
    optimizer.step()
    assert optimizer.steps == 1


def test_replaced_arrays_are_refused(backend: Backend) -> None:
    """The layer computes with the new array, and the optimizer would change the old one."""
    leaky = RNN.init(3, 2, leak=0.5, trains_leak=True, backend=backend)
    norm, embedding = xrnn.LayerNorm.init(3, backend=backend), xrnn.Embedding.init(3, 2, backend=backend)
    stack, two = Stack.init(RNN, 3, 2, depth=2, backend=backend), xrnn.Bidirectional.init(RNN, 3, 2, backend=backend)
    network = Network(leaky=leaky, norm=norm, embedding=embedding, stack=stack, two=two)
    places = [(leaky, 3), (norm, 1), (embedding, 0), (stack.layers[1], 0), (two.layers[1], 2)]
    users: list[tuple[Any, str]] = [(SGD, "params"), (SGD, "grads"), (Adam, "grads"), (EMA, "params")]
    for (kind, name), (layer, k) in itertools.product(users, places):
        optimizer = kind(network)
        step = optimizer.update if kind is EMA else optimizer.step
        step()
        arrays = getattr(layer, name)
        before, held = backend.to_numpy(layer.params[k]).copy(), arrays[k]
        arrays[k] = held.copy()
        words = f"an array in {name} of a layer was replaced after this {kind.__name__} was made: expected changes in"
        for use in [step] + [lambda of=optimizer: of.applied().__enter__()] * (kind is EMA):
            with one_line(RuntimeError, words, f"write {name}[i][...] = new, or make a new {kind.__name__}"):
                use()
        assert optimizer.state["count"] == 1
        assert_array_equal(backend.to_numpy(layer.params[k]), before)
        kind(network)  # another one takes the new arrays
        arrays[k] = held
        step()


def test_only_the_arrays_that_an_optimizer_holds_may_not_be_replaced() -> None:
    layer, stack = RNN.init(3, 2, backend="numpy"), Stack.init(RNN, 3, 3, depth=2, backend="numpy")
    optimizer = SGD([{"layers": [layer], "params": ["Wh"]}, {"layers": [stack]}])
    layer.params[0], layer.params[1] = layer.Wx.copy(), layer.Wh[...]  # a view has the same memory
    optimizer.step()
    stack.layers = (stack.layers[0], RNN.init(3, 3, backend="numpy"))
    for layers in (stack.layers, stack.layers[:1]):
        stack.layers = layers
        with one_line(RuntimeError, "an array in params of a layer was replaced after this SGD was made"):
            optimizer.step()


def test_an_array_of_a_list_that_joins_others_is_not_replaced() -> None:
    """The assignment would change the list and no layer."""
    linear, stack = Linear.init(3, 2, backend="numpy"), Stack.init(RNN, 3, 2, depth=2, backend="numpy")
    network = Network(stack=stack, linear=linear)
    optimizer = SGD(network)
    holders: list[Any] = [stack, network, optimizer, optimizer.groups[0]]
    for holder in holders:
        for arrays in (holder.params, holder.grads):
            for index, other in ((0, arrays[0].copy()), (slice(1), [arrays[0].copy()])):
                with one_line(TypeError, "an array in this list can't be replaced: expected a change in place"):
                    arrays[index] = other
            arrays[0] += 1
    optimizer.step()
    optimizer.accumulate()
    optimizer.grads[0] = np.zeros_like(optimizer.grads[0])  # the sum for the next step
    before = stack.params[0].copy()
    optimizer.step()
    assert_array_equal(stack.params[0], before)
    assert pickle.loads(pickle.dumps(optimizer)).steps == copy.deepcopy(optimizer).steps == 2


def test_settings_of_groups() -> None:
    rnn, readout = RNN.init(3, 4, rng=0, backend="numpy"), Linear.init(4, 1, rng=0, backend="numpy")
    optimizer = Adam([rnn, {"layers": [readout], "lr": 0.004}], lr=0.001)
    assert [group.scale for group in optimizer.groups] == [1, 4]
    assert [group.is_default for group in optimizer.groups] == [True, False]
    assert (SGD({"a": rnn, "b": readout}).layers, EMA({"a": rnn}).layers) == ([rnn, readout], [rnn])
    assert len(SGD([{"layers": [rnn]}]).groups) == 1
    optimizer.groups[1].weight_decay = 1
    for name, bad in (("scale", -1.0), ("weight_decay", math.nan)):
        with one_line(ValueError, f"{name} is {bad}: expected a finite number of at least 0"):
            setattr(optimizer.groups[1], name, bad)


def test_refused_layers_and_groups() -> None:
    rnn, other = RNN.init(3, 4, rng=0, backend="numpy"), Linear.init(2, 3, rng=0, backend="numpy")

    def sgd(layers: Any) -> Callable[[], object]:
        return lambda: SGD(layers)

    a_list = "expected a list of layers, as in SGD([rnn, linear])"
    refused(
        (TypeError, sgd(rnn), "layers is a xrnn.layers.rnn.RNN", a_list),
        (TypeError, sgd([rnn.params]), "layers[0] is a list", a_list),
        (TypeError, sgd([SimpleNamespace(params=rnn.params)]), "layers[0] is a types.SimpleNamespace", a_list),
        (TypeError, sgd([SimpleNamespace(grads=rnn.grads)]), "layers[0] is a types.SimpleNamespace", a_list),
        (TypeError, lambda: EMA([{"layers": [rnn]}]), "layers[0] is a dict", a_list),  # type: ignore[list-item]
        (ValueError, sgd([rnn, Dropout(0.5), rnn]), "layers holds a layer twice", "list each layer once"),
        (ValueError, sgd([rnn, {"layers": [rnn]}]), "layers holds a layer twice"),
        (ValueError, sgd([{"layers": [rnn], "params": ["b"]}, {"layers": [rnn]}]), "or in groups with different"),
        (ValueError, sgd([xrnn.quantize(rnn)]), "is read-only", "train the float32 layer, then quantize it again"),
        (ValueError, sgd([xrnn.freeze(rnn)]), "is read-only", "make the layer of copies"),
        (ValueError, lambda: SGD([rnn]).accumulate(other), "does not hold this xrnn.layers.linear.Linear"),
        (TypeError, sgd({"layers": [rnn], "lr": 0.1}), "layers is one parameter group", "as in [group]"),
        (TypeError, sgd([{"layers": rnn}]), "layers is a xrnn.layers.rnn.RNN", a_list),
        (ValueError, sgd([other, {"layers": [rnn], "rate": 1}]), "groups[1] has the entry 'rate': expected layers"),
        (ValueError, sgd([{"lr": 0.1}]), "groups[0] has no layers: expected a list of layers"),
        (ValueError, sgd([{"layers": [rnn], "lr": -1}]), "lr of groups[0] is -1.0"),
        (TypeError, sgd([{"layers": [rnn], "lr": "a"}]), "lr of groups[0] is 'a'", "use float(lr)"),
        (TypeError, sgd([{"layers": [rnn], "weight_decay": "0"}]), "weight_decay of groups[0] is '0'"),
        (ValueError, sgd([{"layers": [rnn], "params": ["W"]}]), "has 'W': expected names of parameters", "Wx, Wh, b"),
        (TypeError, sgd([{"layers": [rnn], "params": "Wx"}]), "params of groups[0] is 'Wx': expected a list of names"),
        (TypeError, sgd([{"layers": [rnn], "params": []}]), "params of groups[0] is []: expected a list of names"),
    )


def test_averaged_weights(backend: Backend) -> None:
    linear, rng = Linear.init(3, 2, rng=0, dtype="float64", backend=backend), np.random.default_rng(0)
    average, W = EMA([linear], 0.8), rng.standard_normal((4, 3, 2))
    with one_line(RuntimeError, "the average has no weights yet", "call update() first"), average.applied():
        pass
    expected = W[0]  # the first update copies
    for each in W:
        linear.W[...] = backend.asarray(each)
        average.update()
        expected = 0.8 * expected + 0.2 * each
    with average.applied():
        assert_allclose(backend.to_numpy(linear.W), expected, rtol=0, atol=1e-14)
    assert_array_equal(backend.to_numpy(linear.W), W[3])  # the training weights are back
    assert_allclose(backend.to_numpy(average.params[0]), expected, rtol=0, atol=1e-14)


def test_defaults() -> None:
    layer = Linear.init(2, 3, backend="numpy")
    shared = {"weight_decay": 0.0, "decay_biases": True}
    assert SGD([layer]).options == shared | {"lr": 0.1, "momentum": 0.0, "nesterov": False}
    assert Adam(layers=[layer]).options == shared | {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8}
    assert EMA([layer]).options == {"decay": 0.999}
    one_array = SignDescent([{"layers": [layer], "params": ["W"]}], 1e-5)
    assert [repr(SGD([layer])), repr(one_array)] == ["SGD(lr=0.1, 2 arrays)", "SignDescent(lr=1e-05, 1 array)"]
    with pytest.raises(TypeError, match="positional"):
        SGD([layer], 0.1, 0.9)  # type: ignore[call-arg]


def test_an_average_refuses_to_mix_its_weights_with_those_of_training() -> None:
    linear = Linear.init(3, 2, rng=0)
    average = EMA([linear], 0.5)
    average.update()
    linear.W += 1
    trained, averaged = linear.W.copy(), average.params[0].copy()
    with average.applied():
        uses = (average.update, average.applied().__enter__, lambda: average.state, SGD([linear]).step)
        for use in (*uses, EMA([linear]).update, lambda: copy.deepcopy(average)):
            with one_line(RuntimeError, "the layers have the averaged weights", "leave the block of applied() first"):
                use()
        assert_array_equal(linear.W, averaged)
    assert_array_equal(linear.W, trained)
    for layers in ([linear, linear], [linear, Linear(*linear.params)]):
        with one_line(ValueError, "params[0] of layers[1] is the same array as params[0] of layers[0]"):
            EMA(layers)


def test_schedules() -> None:
    for warmup in (0, 4):
        for update in range(20):
            rise, s = (update + 1) / (warmup or 1), min(max(update - warmup, 0) / (13 - warmup), 1)
            for schedule, fall in ((linear, 1 - s), (cosine, math.cos(math.pi * s / 2) ** 2)):
                assert schedule(update, 13, warmup) == pytest.approx(rise if update < warmup else fall, abs=1e-14)
    assert cosine(5, 13) == cosine(5, 13, 0)


def test_schedules_of_bad_numbers() -> None:
    for schedule in (cosine, linear):
        refused(
            (ValueError, lambda of=schedule: of(-1, 10), "update is -1", "at least 0"),
            (ValueError, lambda of=schedule: of(0, 4, warmup=4), "total is 4", "at least 5"),
            (TypeError, lambda of=schedule: of(0, 4, warmup=0.5), "warmup is 0.5", "expected an integer"),
        )


def test_accumulated_parts_equal_one_large_batch(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x, targets = backend.asarray(rng.standard_normal((10, 3))), backend.asarray(rng.integers(0, 4, 10))
    # Parts of different sizes, so that the mean of the parts' means would be wrong.
    parts = [slice(0, 3), slice(3, 4), slice(4, 10)]
    whole, in_parts = (Linear.init(3, 4, rng=1, dtype="float64", backend=backend) for _ in range(2))
    of_whole, of_parts = (SGD([layer], 0.1, momentum=0.9, weight_decay=0.01) for layer in (whole, in_parts))
    for _ in range(3):
        _, dlogits = softmax_cross_entropy(whole.forward(x), targets)
        whole.backward(dlogits)
        of_whole.step()
        for part in parts:
            logits = in_parts.forward(x[part])
            _, dlogits = softmax_cross_entropy(logits, targets[part])
            in_parts.backward(dlogits * (len(logits) / 10))
            of_parts.accumulate()
        for got, want in zip(of_parts.grads, whole.grads, strict=True):
            assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-14)
        of_parts.step()
        for got, want in zip(in_parts.params, whole.params, strict=True):
            assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-12)
    assert of_parts.steps == 3
    assert all(g is layer_g for g, layer_g in zip(of_parts.grads, in_parts.grads, strict=True))  # the sum is gone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("numbers", "limits"),
    [
        ([[1, -0.5], [0.1, 0.7]], [0.5, 1e9, math.inf]),
        ([1e20, -3e19], [2.0]),  # the squares overflow float32
        ([3e38, 3e38], [2.0]),  # and so does the norm
        ([0.0, 0.0], [1.0, math.inf]),
        ([math.inf, 1.0], [1.0, math.inf]),
        ([math.nan, 1.0], [1.0]),
    ],
)
def test_clip_grad_norm(backend: Backend, numbers: Any, limits: list[float], dtype: str) -> None:
    values = [np.array(v, dtype) for v in (numbers, [0.25], np.zeros((0, 5)))]
    expected = np.sqrt(sum((v.astype("float64") ** 2).sum() for v in values))
    for max_norm in limits:
        grads = [backend.asarray(v.copy()) for v in values]
        with np.errstate(invalid="ignore"):
            norm = clip_grad_norm(grads, max_norm)
            scale = 1 / np.maximum(expected / max_norm, 1) if max_norm < math.inf else 1.0
            clipped = [v.astype("float64") * scale for v in values]
        assert backend.owns(norm)
        assert norm.shape == ()
        assert_allclose(float(norm), np.inf if expected > np.finfo(dtype).max else expected, rtol=1e-6)
        for g, v, want in zip(grads, values, clipped, strict=True):
            assert g.dtype == dtype
            assert_allclose(backend.to_numpy(g), want, rtol=1e-5)
            assert not expected <= max_norm or (backend.to_numpy(g) == v).all()  # not a bit changed


def test_accumulate_one_layer_that_is_used_twice(backend: Backend) -> None:
    """y = (x @ W1 + b1) @ W1 + b1, then @ W2 + b2: W1 has two backward passes, W2 one."""
    rng = np.random.default_rng(0)
    twice, once = (Linear.init(3, 3, rng=seed, dtype="float64", backend=backend) for seed in (1, 2))
    optimizer = SGD([twice, Dropout(0.5), once], 0.1)
    x, dy = (backend.asarray(rng.standard_normal((5, 3))) for _ in range(2))
    first = twice.forward(x)
    once.forward(twice.forward(first))
    dsecond = once.backward(dy)
    optimizer.accumulate(once)
    dfirst = twice.backward(dsecond)
    optimizer.accumulate(twice)
    twice.forward(x)
    twice.backward(dfirst)
    optimizer.accumulate(twice)
    wanted = [x.T @ dfirst + first.T @ dsecond, (dfirst + dsecond).sum(0), once.grads[0], once.grads[1]]
    for got, want in zip(optimizer.grads, wanted, strict=True):
        assert_allclose(backend.to_numpy(got), backend.to_numpy(want), rtol=0, atol=1e-13)


NUMBERS: dict[str, tuple[Any, list[float], str]] = {
    "lr": (SGD, [-0.1], "a positive, finite learning rate"),
    "weight_decay": (Adam, [-0.1], "a finite number of at least 0"),
    "eps": (Adam, [-1.0], "a finite number of at least 0"),
    "momentum": (SGD, [-0.1, 1.0], "a number in [0, 1)"),
    "decay": (EMA, [-0.1, 1.0], "a number in [0, 1)"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_checked_by_the_constructor_and_when_they_are_set_later(name: str) -> None:
    kind, bad, expected = NUMBERS[name]
    layers = [Linear.init(2, 3, rng=0, backend="numpy")]
    optimizer = kind(layers)
    before = optimizer.options
    rows: list[tuple[type[Exception], Any, str]] = [
        *((ValueError, value, f"{name} is {value}: expected {expected}") for value in (*bad, math.nan, math.inf)),
        *((TypeError, value, f"{name} is {value!r}: expected") for value in ("0.1", None, True, [0.1])),
    ]
    for error, value, words in rows:
        with one_line(error, words):
            kind(layers, **{name: value})
        with one_line(error, words.partition(": expected")[0]):
            setattr(optimizer, name, value)
    assert optimizer.options == before
    for value in (np.float32(0.5), 0):  # a schedule of the learning rate may end at 0
        setattr(optimizer, name, value)
        assert optimizer.options[name] == value
        assert type(optimizer.options[name]) is float


def test_a_momentum_that_is_set_later() -> None:
    """As a schedule does: no velocity exists before."""
    layer = Linear.init(2, 1, rng=0, backend="numpy")
    before = [p.copy() for p in layer.params]
    sgd = SGD([layer], 0.5)
    for g in layer.grads:
        g[...] = 1
    sgd.step()
    sgd.momentum = 0.5
    assert [v.shape for v in sgd.state["velocity"]] == [p.shape for p in layer.params]
    sgd.step()
    sgd.step()
    for p, start in zip(layer.params, before, strict=True):
        assert_allclose(start - p, 0.5 * (1 + 1 + 1.5), rtol=1e-6)


def test_betas_and_switches() -> None:
    layer = Linear.init(2, 3, rng=0, backend="numpy")
    adam, sgd, share = Adam([layer]), SGD([layer], momentum=0.9), "expected a number in [0, 1)"
    rows: list[tuple[type[Exception], Any, str, str, Any]] = [
        *((ValueError, adam, f"betas is {bad!r}: expected", "betas", bad) for bad in ((0.9,), (0.9,) * 3, "09", 0.9)),
        *((ValueError, adam, f"betas[0] is {bad}: {share}", "betas", (bad, 0.9)) for bad in (math.nan, 1.0)),
        (TypeError, adam, f"betas[1] is False: {share}", "betas", (0.9, False)),
        *((TypeError, sgd, f"nesterov is {bad!r}: expected True or False", "nesterov", bad) for bad in ("no", 1, None)),
    ]
    for kind, optimizer, words, name, bad in rows:
        with one_line(kind, words):
            setattr(optimizer, name, bad)
        with one_line(kind, words):
            type(optimizer)([layer], **{name: bad})
    assert (adam.betas, sgd.nesterov) == ((0.9, 0.999), False)
    refused(
        (ValueError, lambda: SGD([layer], nesterov=True), "nesterov is True, but momentum is 0", "momentum=0.9"),
        (TypeError, lambda: SGD([layer], decay_biases=1), "decay_biases is 1"),  # type: ignore[arg-type]
        (ValueError, lambda: SGD([layer], 0), "lr is 0.0: expected a positive"),
        (ValueError, lambda: Adam([layer], eps=10**400), "eps is inf"),
    )


def test_clip_grad_norm_refuses() -> None:
    grads = Linear.init(2, 3, rng=0, backend="numpy").grads

    def clipping(given: Any, max_norm: Any = 1.0) -> Callable[[], object]:
        return lambda: clip_grad_norm(given, max_norm)

    positive = "expected a positive number"
    refused(
        *((ValueError, clipping(grads, bad), f"max_norm is {bad:.1f}", positive) for bad in (0, -1, math.nan)),
        (TypeError, clipping(grads, True), "max_norm is True"),
        (ValueError, clipping([]), "grads is empty: pass optimizer.grads"),
        (TypeError, clipping(grads[0]), "grads is a numpy.ndarray: expected a list of gradients"),
        (TypeError, clipping(iter(grads)), "use [grads] for one array, list(grads) for a generator"),
        (TypeError, clipping([1.0]), "grads[0] is a float"),
    )
