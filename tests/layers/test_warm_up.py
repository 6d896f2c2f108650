"""`warm_up`: the first calls after it compile and test nothing, and the layer stays as it was."""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

import pytest

from tests import standin
from tests.errors import refused
from tests.layers.kinds import first, made
from tests.standin.counting import counted
from xrnn import RNN, Dropout, Linear, get_backend, to_numpy, warm_up
from xrnn.backends.cupy import CupyBackend
from xrnn.layers import warm_up as module

LAYERS = ("RNN", "LSTM", "Stack with dropout", "Bidirectional")


@pytest.mark.parametrize("kind", LAYERS)
def test_the_calls_after_it_compile_and_test_nothing(gpu: CupyBackend, kind: str) -> None:
    layer, x = made(kind, gpu, "float32")
    for grad in layer.grads:
        grad.fill(3)
    warm_up(layer, [(len(x), 2), x.shape[:2]])
    assert layer.cache is None
    assert all((to_numpy(grad) == 3).all() for grad in layer.grads)
    with (
        mock.patch.object(gpu.selftest, "failure", side_effect=AssertionError("it is tested again")),
        mock.patch.object(standin, "RawModule", side_effect=AssertionError("it is compiled again")),
    ):
        for given in (x, x[:, :2].copy()):
            layer.backward(first(layer.forward(given)))


def test_without_training_the_backward_is_not_compiled(gpu: CupyBackend) -> None:
    rnn, x = RNN.init(3, 20, rng=0, backend=gpu), standin.ones((4, 2, 3), "float32")
    warm_up(rnn, [(4, 2)], training=False)
    with mock.patch.object(gpu.selftest, "failure", wraps=gpu.selftest.failure) as tested:
        h = rnn.forward(x)
        assert not tested.called
        rnn.backward(h)
        assert tested.called


def test_it_runs_on_the_layers_device(gpu: CupyBackend) -> None:
    with standin.cuda.Device(1):
        rnn, x = RNN.init(3, 20, rng=0, backend=gpu), standin.ones((4, 2, 3), "float32")
    warm_up(rnn, [(4, 2)])
    with counted() as counters:
        rnn(x)
    assert counters.raw_kernels == 1


def test_long_work_tells_its_progress(
    gpu: CupyBackend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rnn = RNN.init(3, 20, rng=0, backend=gpu)
    warm_up(rnn, [(4, 1), (4, 2)])
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(module, "_EVERY", -1.0)
    warm_up(rnn, [(4, 1), (4, 2)])
    lines = [f"warm_up: {number} of 2 sizes are done" for number in (0, 1)]
    assert capsys.readouterr().err.splitlines() == lines


def test_numpy_runs_nothing() -> None:
    for kind in LAYERS:
        layer, _ = made(kind, get_backend("numpy"))
        with mock.patch.object(type(layer), "forward", side_effect=AssertionError("it ran")):
            warm_up(layer, [(10**9, 10**9)])
        assert layer.cache is None


def test_what_it_refuses() -> None:
    rnn, warm = RNN.init(3, 2, rng=0, backend="numpy"), cast(Any, warm_up)
    others = Linear.init(3, 2, rng=0, backend="numpy"), Dropout(0.5), "lstm"
    pairs = "expected pairs of time steps and batch rows, as in [(50, 16)]"
    refused(
        *((TypeError, lambda it=it: warm(it, [(1, 1)]), "expected a recurrent layer; pass an LSTM") for it in others),
        *((TypeError, lambda s=s: warm(rnn, s), "sizes", pairs) for s in ([5], (5, 3), None, [(1, 3, 4)], ["TN"])),
        (ValueError, lambda: warm(rnn, [(0, 1)]), "T"),
        (TypeError, lambda: warm(rnn, [(1, 1.5)]), "N"),
    )
