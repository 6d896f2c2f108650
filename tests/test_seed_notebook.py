"""The calls of the notebook from which this layer grew: one step of a batch, weights and inputs unscaled."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from xrnn import RNN, use_backend
from xrnn import xp as selected
from xrnn.backend import Backend


def test_one_step_forward_and_backward(backend: Backend) -> None:
    D, H, N = 1, 5, 4
    rng = np.random.default_rng(0)
    with use_backend(backend):  # a notebook writes xp.… where it wrote np.…
        Wx, Wh, b = (
            selected.asarray(rng.normal(size=(D, H))),
            selected.asarray(rng.normal(size=(H, H))),
            selected.zeros(H),
        )
        x, h_prev, dh_next = (selected.asarray(rng.normal(size=s)) for s in [(N, D), (N, H), (N, H)])

    rnn = RNN(Wx, Wh, b)
    ids = [id(gradient) for gradient in rnn.grads]
    h_next = rnn.forward(x, h_prev)
    dx, dh_prev = rnn.backward(dh_next)
    assert [id(gradient) for gradient in rnn.grads] == ids

    Wx, Wh, b, x, h_prev, dh_next = (backend.to_numpy(a) for a in (Wx, Wh, b, x, h_prev, dh_next))
    expected_h = np.tanh(x @ Wx + h_prev @ Wh + b)
    dz = dh_next * (1 - expected_h**2)
    expected = {
        "h_next": (h_next, expected_h),
        "dx": (dx, dz @ Wx.T),
        "dh_prev": (dh_prev, dz @ Wh.T),
        "dWx": (rnn.grads[0], x.T @ dz),
        "dWh": (rnn.grads[1], h_prev.T @ dz),
        "db": (rnn.grads[2], dz.sum(axis=0)),
    }
    for name, (got, want) in expected.items():
        assert_allclose(backend.to_numpy(got), want, rtol=0, atol=1e-13, err_msg=name)
