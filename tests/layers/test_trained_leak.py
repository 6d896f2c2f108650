"""RNN(trains_leak=True). Values and gradients are tested with those of all cells, by the row of tests/reference.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.errors import one_line, refused
from xrnn import RNN
from xrnn.backend import Backend

LEAKS = [0.01, 0.3, 0.5, 0.9, 0.999]


def test_starts_at_the_given_leak(backend: Backend) -> None:
    x = backend.asarray(np.random.default_rng(0).standard_normal((6, 3, 2)))
    plain = RNN.init(2, 5, rng=0, dtype="float64", backend=backend)
    for leak in (0.3, LEAKS, np.array(LEAKS)):
        trained: Any = RNN(*plain.params, leak=leak, trains_leak=True)
        assert_allclose(backend.to_numpy(trained.leak), np.broadcast_to(leak, 5), rtol=1e-14)
        expected = RNN(*plain.params, leak=leak)
        assert_allclose(backend.to_numpy(trained(x)), backend.to_numpy(expected(x)), rtol=0, atol=1e-13)
    made: Any = RNN.init(2, 5, leak=LEAKS, trains_leak=True, rng=0, dtype="float64", backend=backend)
    assert_array_equal(backend.to_numpy(made.leak_logit), backend.to_numpy(trained.leak_logit))
    made = RNN.init(2, 5, trains_leak=True, backend=backend)
    assert_array_equal(backend.to_numpy(made.leak), np.full(5, 0.5))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_update_leaves_the_range(backend: Backend, dtype: Any) -> None:
    """The leak stays in (0, 1], and values and gradients finite, wherever an optimizer moves leak_logit."""
    rnn: Any = RNN.init(2, 5, leak=0.5, trains_leak=True, rng=0, dtype=dtype, backend=backend)
    rnn.leak_logit[...] = backend.asarray(np.array([-1e30, -90, 0, 40, 1e30], dtype))
    h = rnn.forward(backend.xp.ones((4, 3, 2), dtype))
    rnn.backward(backend.xp.ones((4, 3, 5), dtype))
    leak, d = (backend.to_numpy(each) for each in (rnn.leak, rnn.grads[3]))
    assert ((leak > 0) & (leak <= 1)).all()
    assert_array_equal(leak[[3, 4]], 1)
    assert np.isfinite(backend.to_numpy(h)).all()
    assert d[2] != 0
    assert_array_equal(d[[0, 1, 4]], 0)


def test_wrong_arguments() -> None:
    rnn: Any = RNN  # takes arguments that type checkers refuse
    params = RNN.init(2, 5, backend="numpy").params
    logit: Any = np.zeros(5, "float32")
    for leak in (1, 1 - 1e-9, [0.5] * 4 + [1], np.ones(5)):
        with one_line(ValueError, "leak is 1 where its training starts", "expected numbers below 1", "start at 0.99"):
            rnn(*params, leak=leak, trains_leak=True)
    refused(
        (TypeError, lambda: rnn(*params, trains_leak=True), "got neither of leak and leak_logit"),
        (TypeError, lambda: rnn(*params, logit, leak=0.5, trains_leak=True), "got both of leak and leak_logit"),
        (TypeError, lambda: rnn(*params, logit), "got leak_logit without trains_leak", "add trains_leak=True"),
        (TypeError, lambda: rnn(*params, leak=0.5, trains_leak=1), "trains_leak is 1", "True or False"),
        (ValueError, lambda: rnn(*params, logit[:4], trains_leak=True), "leak_logit has shape (4,)", "expects (5,)"),
        (ValueError, lambda: rnn(*params, leak=2, trains_leak=True), "leak is 2", "expected a number in (0, 1]"),
    )
    with pytest.raises(AttributeError, match="this RNN has no parameter leak_logit"):
        rnn(*params).leak_logit  # noqa: B018
