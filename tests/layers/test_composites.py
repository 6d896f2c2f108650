"""A Stack or Bidirectional: its layers called one by one, truncated backpropagation, dropout, streams, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests import standin as cp
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.gradient_choices import BOTH, DWEIGHTS, noted
from tests.layers import kinds
from tests.layers.kinds import RAGGED, D, N, T, as_tuple, assert_same, draw_states, host, make, make_both, poison
from tests.random_operands import draw_on
from tests.standin.counting import counted
from xrnn import GRU, LSTM, RNN, SLSTM, Bidirectional, Dropout, LayerNorm, Linear, Mamba2, Stack
from xrnn.backend import Backend


def nested(backend: Backend) -> Stack:
    first, second, *others = make(backend)
    return Stack([Stack([first, second]), *others])


def both_in_a_stack(backend: Backend) -> Stack:
    both = Bidirectional(*make_both(backend))
    return Stack([both, RNN.init(7, 3, rng=1, dtype="float64", backend=backend)])


# The composite, and the gradients that its innermost layers are asked for if x is data, from the last to the first.
COMPOSITES: Final[dict[str, tuple[Callable[[Backend], Any], list[frozenset[str]]]]] = {
    "Stack": (lambda backend: Stack(make(backend)), [BOTH, BOTH, BOTH, DWEIGHTS]),
    "Bidirectional": (lambda backend: Bidirectional(*make_both(backend)), [DWEIGHTS, DWEIGHTS]),
    "Stack in a Stack": (nested, [BOTH, BOTH, BOTH, DWEIGHTS]),
    "Bidirectional in a Stack": (both_in_a_stack, [BOTH, DWEIGHTS, DWEIGHTS]),
}
every_composite = pytest.mark.parametrize("name", COMPOSITES)


def of(name: str, backend: Backend) -> Any:
    return COMPOSITES[name][0](backend)


@every_composite
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("lengths", [None, RAGGED])
@pytest.mark.parametrize("shape", [(T, N, D), (1, N, D), (N, D), (0, N, D)], ids=str)
def test_it_equals_its_layers_one_by_one(backend: Backend, name: str, shape: tuple[int, ...], lengths: Any) -> None:
    if lengths is not None:
        if len(shape) == 2:
            return  # a single step has no lengths
        lengths = np.minimum(lengths, shape[0])
    layer, twin = of(name, backend), of(name, backend)
    x, dh = draw_on(backend, *shape), draw_on(backend, *shape[:-1], layer.output_size, seed=3)
    states, dstates = draw_states(backend, layer), draw_states(backend, layer, seed=100)

    expected = host(backend, *kinds.forward(twin, x, states, lengths))
    assert_same(host(backend, *layer.forward(x, states, lengths=lengths)), expected)
    assert_same(host(backend, *layer(x, states, lengths=lengths)), expected)
    poison(layer)
    found = host(backend, *layer.backward(dh, dstates), layer.grads)
    assert_same(found, host(backend, *kinds.backward(twin, dh, dstates), twin.grads))
    assert found[0].shape == x.shape


@every_composite
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("steps", [T, 0])
def test_data_needs_no_gradient(backend: Backend, monkeypatch: pytest.MonkeyPatch, name: str, steps: int) -> None:
    """Only the first layer leaves out dx. The other layers need it for the layer before them."""
    layer = of(name, backend)
    x, dh = draw_on(backend, steps, N, D), draw_on(backend, steps, N, layer.output_size, seed=3)
    dstates = draw_states(backend, layer, seed=100)
    layer.forward(x)
    _, *expected = host(backend, *layer.backward(dh, dstates), layer.grads)
    asked = noted(monkeypatch, backend)
    poison(layer)
    dx, dinitial = layer.backward(dh, dstates, needs_dx=False)
    assert dx is None
    assert asked == COMPOSITES[name][1]
    assert_same(host(backend, dinitial, layer.grads), expected)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("cell", [LSTM, SLSTM])
def test_truncated_bptt_with_dstates_equals_one_long_sequence(backend: Backend, cell: Any) -> None:
    """Chunk 2 starts from the final states of chunk 1; the gradients of these states go to the backward of chunk 1. A
    gradient of m, the last state of an SLSTM, has no effect."""
    options: dict[str, Any] = {"dtype": "float64", "backend": backend}
    complete = Stack([make(backend)[0], cell.init(5, 3, rng=9, **options)])
    parts = copy.deepcopy(complete)
    x, dh = draw_on(backend, 2 * T, N, D), draw_on(backend, 2 * T, N, 3, seed=3)
    states = draw_states(backend, complete.layers) if cell is LSTM else None
    compared = 1 if cell is SLSTM else 2  # the gradients of an SLSTM's states depend on their scale, m

    expected = host(backend, *complete.forward(x, states))
    dx, dinitial = complete.backward(dh)
    expected += host(backend, dx, dinitial[:compared], complete.grads)

    h_first, between = parts.forward(x[:T], states)
    first = parts.cache
    h_second, final = parts.forward(x[T:], between)
    found = host(backend, backend.xp.concatenate([h_first, h_second]), final)
    dx_second, dbetween = parts.backward(dh[T:])
    sums = host(backend, parts.grads)
    if cell is SLSTM:
        dbetween = (dbetween[0], (*dbetween[1][:3], backend.xp.ones((N, 3))))
    dx_first, dinitial = parts.backward(dh[:T], dbetween, cache=first)
    sums = [total + g for total, g in zip(sums, host(backend, parts.grads), strict=True)]
    found += host(backend, backend.xp.concatenate([dx_first, dx_second]), dinitial[:compared])
    assert_same([*found, *sums], expected, atol=1e-12)


def test_dropout_lies_between_the_layers(backend: Backend) -> None:
    stack, by_hand = Stack(make(backend), dropout=0.5, rng=3), make(backend)
    between = [Dropout(0.5, seed=stack.dropout[0].seed, layer=i) for i in range(3)]
    x, dh = draw_on(backend, T, N, D), draw_on(backend, T, N, 4, seed=3)
    for _ in range(2):  # each forward has other masks
        h, d = x, dh
        for i, layer in enumerate(by_hand):
            h = as_tuple(layer.forward(between[i - 1].forward(h) if i else h))[0]
        assert_same(host(backend, stack.forward(x)[0]), host(backend, h))
        for i in (3, 2, 1, 0):
            d = by_hand[i].backward(d)[0]
            d = between[i - 1].backward(d) if i else d
        assert_same(host(backend, stack.backward(dh)[0]), host(backend, d))
        assert_same(host(backend, stack.grads), host(backend, [layer.grads for layer in by_hand]))


def test_a_stream_in_chunks_equals_one_call(backend: Backend) -> None:
    norm = LayerNorm.init(5, dtype="float64", backend=backend)
    lstm = LSTM.init(5, 3, rng=9, dtype="float64", backend=backend)
    stack = Stack([Stack(make(backend)[:1]), norm, lstm], dropout=0.5)
    assert stack.streams
    x = draw_on(backend, 6, N, D)
    complete, final = stack(x)
    state: Any = None
    pieces = []
    for chunk in (x[:3], x[3], x[4:]):  # a chunk, a single step, a chunk
        h, state = stack.stream(chunk, state)
        pieces.append(h if h.ndim == 3 else h[None])
    assert_same(host(backend, backend.xp.concatenate(pieces), state), host(backend, complete, final), atol=1e-13)
    assert stack.cache is None
    assert_same(host(backend, stack.stream(x[:0], state)[1]), host(backend, state))
    assert [len(of_layer) for of_layer in state] == [1, 0, 2]
    for bad in (3, x, (x[0],)):
        with one_line(ValueError, "got a state for a LayerNorm: expected () or None"):
            stack.stream(x, (state[0], bad, state[2]))
        with one_line(ValueError, "got a state's gradient for a LayerNorm: expected () or None"):
            stack.backward(stack.forward(x)[0], (state[0], bad, state[2]))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_init(backend: Backend, kind: Any, bidirectional: bool) -> None:
    options: dict[str, Any] = {"dtype": "float64", "bidirectional": bidirectional, "dropout": 0.1, "rng": 5}
    stack = Stack.init(kind, D, 6, 3, backend=backend, **options)
    assert (stack.input_size, stack.output_size) == (D, 12 if bidirectional else 6)
    assert len(stack.layers) == 3
    assert len(stack.dropout) == 2
    twin = Stack.init(kind, D, 6, 3, backend="numpy", **options)
    assert [d.seed for d in stack.dropout] == [d.seed for d in twin.dropout]
    for got, want in zip(stack.params, twin.params, strict=True):
        assert_array_equal(backend.to_numpy(got), want)
    widths = [p.shape[0] for name, p in stack.named_params.items() if name.endswith("Wx")]
    assert widths == ([D, D, 12, 12, 12, 12] if bidirectional else [D, 6, 6])
    recurrent = {backend.to_numpy(p).tobytes() for name, p in stack.named_params.items() if name.endswith("Wh")}
    assert len(recurrent) == len(widths)  # no two layers or directions have the same weights
    seeds = {Stack(stack.layers, dropout=0.5, rng=seed).dropout[0].seed for seed in range(100)}
    assert len(seeds) == 100


def test_lengths_from_the_host_move_once() -> None:
    stack, x = Stack(make(STANDIN)), draw_on(STANDIN, T, N, D)
    for run in (stack.forward, stack):
        run(x)  # the first call of a kernel tests it
        with counted() as counters:
            run(x, lengths=RAGGED)
        assert (counters.host_to_device, counters.device_to_host, counters.waits) == (1, 0, 0)
    on_device = STANDIN.asarray(np.array(RAGGED))
    with counted() as counters:
        stack.forward(x, lengths=on_device)
    assert (counters.host_to_device, counters.device_to_host, counters.waits) == (0, 0, 0)


def test_layers_that_make_no_composite(backend: Backend) -> None:
    a: Any = RNN.init(D, 5, backend=backend)
    b, square, linear = LSTM.init(6, 3, backend=backend), RNN.init(5, 5, backend=backend), Linear.init(5, 5)
    double, back, other = (
        GRU.init(size, 5, dtype="float64", reverse=reverse, backend=backend)
        for size, reverse in ((5, False), (D, True), (D + 1, True))
    )
    (ahead, reverse), not_a_layer = make_both(backend), cast(Any, linear)
    mamba = Mamba2.init(D, 3, dtype="float64", backend=backend)
    twice, alike = "a layer is given twice: make another", "computes in float64"
    refused(
        (ValueError, lambda: Stack([a, b]), "layers[0] gives 5 features", "layers[1] takes 6", "expected equal sizes"),
        (ValueError, lambda: Stack([]), "layers is empty", "expected at least one recurrent layer"),
        (TypeError, lambda: Stack([a, not_a_layer]), "layers[1] is a xrnn.layers.linear.Linear"),
        (TypeError, lambda: Stack(a), "layers is a xrnn.layers.rnn.RNN", "expected a list of recurrent layers"),
        (ValueError, lambda: Stack([square, square]), twice, "make another, or copy.deepcopy it"),
        (ValueError, lambda: Stack([square, Stack([square])]), twice),
        (ValueError, lambda: Stack([a, double]), f"layers[1] {alike}", "layers[0] in float32", "make them alike"),
        (ValueError, lambda: Bidirectional(a, back), f"layers[1] {alike}"),
        (ValueError, lambda: Stack([a], dropout=7), "dropout is 7.0: expected a probability in [0, 1)"),
        (ValueError, lambda: Stack.init(LSTM, D, 5, 0), "depth is 0: expected an integer, at least 1"),
        (TypeError, lambda: Stack.init(LSTM, D, 5, 1.5), "depth is 1.5: expected an integer"),  # type: ignore[arg-type]
        (ValueError, lambda: Bidirectional(reverse, ahead), "forward is a GRU with reverse=True"),
        (ValueError, lambda: Bidirectional(ahead, make_both(backend)[0]), "backward is a LSTM with reverse=False"),
        (ValueError, lambda: Bidirectional(ahead, other), "forward takes 4 features, but backward takes 5"),
        (ValueError, lambda: Bidirectional(Stack([ahead]), reverse), "forward is a Stack, which has no direction"),
        (
            ValueError,
            lambda: Bidirectional(ahead, mamba),
            "backward is a Mamba2, which has no direction",
            "such as a GRU",
        ),
        (
            TypeError,
            lambda: Bidirectional.init(Mamba2, 3, 4),
            "Mamba2 does not run in reverse: expected a recurrent layer",
        ),
        (TypeError, lambda: Bidirectional(not_a_layer, reverse), "layers[0] is a xrnn.layers.linear.Linear"),
    )
    if backend.name != "numpy":
        with one_line(ValueError, "on numpy's cpu", "on one device"):
            Stack([a, GRU.init(5, 5, backend="numpy")])
    stack: Any = Stack([square, copy.deepcopy(square)])
    with pytest.raises(TypeError):
        stack.layers[1] = square


def test_sizes_are_compared_by_value(backend: Backend) -> None:
    """`is` would be wrong: equal integers above 256 may be different objects."""
    both = Bidirectional(RNN.init(300, 2, backend=backend), GRU.init(300, 2, reverse=True, backend=backend))
    assert both.input_size == 300


def test_calls_that_do_not_fit(backend: Backend) -> None:
    stack, both, x = Stack(make(backend)), Bidirectional(*make_both(backend)), draw_on(backend, T, N, D)
    states, none = draw_states(backend, stack.layers), cast(Any, None)
    cut = (states[0], (states[1][0][:2], states[1][1]), *states[2:])
    dcut = (*states[:3], tuple(s[:2] for s in states[3]))
    h, final = stack.forward(x)
    of_both, (s_ahead, _) = both.forward(x)
    own = "cache is not of this Bidirectional", "take layer.cache after its forward"
    caches: list[Any] = [[], both.cache[:1], [*both.cache, both.cache[0]], [both.cache[0], None]]
    nested, rnn = Stack([both]), RNN.init(D, 5, reverse=True, dtype="float64", backend=backend)
    refused(
        (ValueError, lambda: stack.forward(x, states[:3]), "states has 3 entries"),
        (ValueError, lambda: stack.forward(x, states[0][0]), "states has a "),
        (ValueError, lambda: stack.forward(x, (states[0], states[1][:1], *states[2:])), "got 1 state"),
        (ValueError, lambda: stack(x, (states[1], *states[1:])), "got 2 states", "this RNN expects 1, h"),
        (ValueError, lambda: stack.forward(x, cut), "h_prev has shape (2, 6), but this LSTM expects (3, 6)"),
        (TypeError, lambda: stack.forward(x, add=x), "unexpected keyword argument 'add'"),  # type: ignore[call-arg]
        (ValueError, lambda: stack.backward(h, states[:1]), "dstates has 1 entries: expected a tuple of 4"),
        (ValueError, lambda: stack.backward(h, dcut), "dh has shape (2, 4), but this Recurrent expects (3, 4)"),
        (ValueError, lambda: stack.backward(h[1:], final), "dh has shape (4, 3, 4)", "expects (5, 3, 4)"),
        (TypeError, lambda: stack.backward(h, needs_dx=none), "needs_dx is None: expected True or False"),
        *((ValueError, lambda cache=cache: both.backward(of_both, cache=cache), *own) for cache in caches),
        (ValueError, lambda: both.forward(x, (s_ahead,)), "states has 1 entries"),
        (ValueError, lambda: both.forward(x, (s_ahead, s_ahead[:1])), "h_prev has shape (3, 5)", "expects (3, 2)"),
        (ValueError, lambda: both.backward(of_both[..., :6]), "dh has shape (5, 3, 6), but this Bidirectional expects"),
        (ValueError, lambda: both.backward(of_both[1:]), "dh has shape (4, 3, 5), but this LSTM expects (5, 3, 5)"),
        # Streams through layers that run in reverse.
        (ValueError, lambda: rnn.stream(x), "this RNN runs in reverse", "without reverse=True"),
        (ValueError, lambda: stack.stream(x), "layers[1] of this Stack, a LSTM, runs in reverse"),
        (ValueError, lambda: nested.stream(x), "layers[0] of this Stack, a Bidirectional, runs in reverse"),
        (ValueError, lambda: both.stream(x), "a Bidirectional has a layer that runs in reverse", "layers[0]"),
    )
    assert not both.streams


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU, Stack])
def test_a_caller_may_overwrite_h_and_used_states_of_a_stream(backend: Backend, kind: Any) -> None:
    options: dict[str, Any] = {"rng": 0, "dtype": "float64", "backend": backend}
    layer = Stack.init(GRU, D, 5, 2, **options) if kind is Stack else kind.init(D, 5, **options)
    x, expected, found = draw_on(backend, T, N, D), list[Any](), list[Any]()
    for results in (expected, found):
        state: Any = None
        for x_t in x:
            used, (h, state) = state, layer.stream(x_t, state)
            results.append(backend.to_numpy(h).copy())
            if results is found:
                for array in (h, *kinds.flat(used)):
                    array[...] = np.nan
    assert_same(found, expected)


def test_lengths_may_change_before_backward(backend: Backend) -> None:
    layer, x = GRU.init(D, 5, rng=0, dtype="float64", backend=backend), draw_on(backend, T, N, D)
    lengths = backend.asarray(np.arange(N))
    h = layer.forward(x, lengths=lengths)
    expected = host(backend, layer.backward(h))
    lengths[...] = 0
    assert_same(host(backend, layer.backward(h)), expected)


def test_final_gradients_on_another_device() -> None:
    with cp.cuda.Device(1):
        stack = Stack.init(LSTM, D, 5, rng=0, backend=STANDIN)
        x = cp.ones((T, N, D), "float32")
    h, states = stack.forward(x)
    assert all(state.device == cp.cuda.Device(1) for layer in states for state in layer)
    dx, dstates = stack.backward(h, states)
    assert all(a.device == cp.cuda.Device(1) for a in (dx, *(d for layer in dstates for d in layer)))
