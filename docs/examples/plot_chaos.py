"""
Forecast a chaotic series: a reservoir and a trained network
============================================================

Two ways to forecast the Mackey–Glass series, a common test for recurrent networks. A *reservoir* keeps its random
recurrent weights; only a linear readout is fitted, by ridge regression. A *GRU* is trained in all its weights, by
backpropagation through time. You learn how to

- run a reservoir of ReservoirPy as a leaky `RNN`, with the same states to rounding,
- train a network to predict the next value,
- feed predictions back with ``stream``, to forecast hundreds of steps from many starting points at once.

If ReservoirPy is not installed, the script draws the reservoir's weights itself, and says so.
"""

import importlib.util
import os
import time

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
    GRU,
    RNN,
    Adam,
    Linear,
    asarray,
    clip_grad_norm,
    mean_squared_error,
    to_numpy,
)
from xrnn.optim import cosine

# %%
# The series
# ----------
#
# v' = 0.2 v(t - 17) / (1 + v(t - 17)¹⁰) - 0.1 v, in Euler steps of a tenth of a time unit. The first 2,500 values are
# for training, the rest for the test.


def mackey_glass(count, delay=17, substeps=10, warm_up=500):
    late = delay * substeps
    v = np.full((count + warm_up) * substeps + late, 1.2)
    for t in range(late, len(v) - 1):
        v[t + 1] = (
            v[t] + (0.2 * v[t - late] / (1 + v[t - late] ** 10) - 0.1 * v[t]) / substeps
        )
    return v[late + warm_up * substeps :: substeps][:count]


TRAIN, AHEAD = 2500, 400
series = mackey_glass(4500)
series = (series - series[:TRAIN].mean()) / series[:TRAIN].std()

# %%
# The reservoir
# -------------
#
# ReservoirPy multiplies weights from the left, xrnn from the right, so the matrices are transposed. Its ``lr`` is the
# ``leak`` here. Both compute h' = (1 - leak) · h + leak · tanh(x @ Wx + h @ Wh).

UNITS, LEAK = 300, 0.3
if importlib.util.find_spec("reservoirpy"):
    from reservoirpy.nodes import Reservoir

    reservoir = Reservoir(UNITS, lr=LEAK, sr=1.1, input_scaling=0.5, seed=3)
    start = time.perf_counter()
    states = reservoir.run(series[:TRAIN, None])
    took = time.perf_counter() - start
    Wx, Wh = reservoir.Win.toarray().T.copy(), reservoir.W.toarray().T.copy()
else:
    print(
        "ReservoirPy is not installed: the reservoir's weights are drawn here, and there is nothing to compare with"
    )
    states = None
    rng = np.random.default_rng(3)
    Wx = 0.5 * rng.choice([-1.0, 1.0], (1, UNITS)) * (rng.random((1, UNITS)) < 0.1)
    Wh = rng.standard_normal((UNITS, UNITS)) * (rng.random((UNITS, UNITS)) < 0.1)
    Wh *= 1.1 / abs(np.linalg.eigvals(Wh)).max()

rnn = RNN(asarray(Wx), asarray(Wh), asarray(np.zeros(UNITS)), leak=LEAK)
start = time.perf_counter()
h = to_numpy(rnn(asarray(series[:TRAIN, None, None])))[:, 0]
if states is not None:
    print(
        f"{TRAIN:,} steps of {UNITS} units: ReservoirPy {1e3 * took:.0f} ms, ", end=""
    )
    print(
        f"xrnn {1e3 * (time.perf_counter() - start):.0f} ms; largest difference {abs(h - states).max():.0e}"
    )

# %%
# The readout: ridge regression of the next value on the states. The first 100 states still depend on the start.

A, target = np.c_[h[100:-1], np.ones(TRAIN - 101)], series[101:TRAIN]
weights = np.linalg.solve(A.T @ A + 1e-5 * np.eye(UNITS + 1), A.T @ target)
ridge = Linear(asarray(weights[:-1, None].copy()), asarray(weights[-1:].copy()))

# %%
# The trained network
# -------------------
#
# A GRU of 32 units, trained on pieces of 100 steps. Its target is the change to the next value. The first 20 steps of a
# piece do not count in the loss, because the network has seen too few values there.

rng = np.random.default_rng(0)
T, N, UPDATES, LR, SKIP = 100, 32, 1000, 0.01, 20
gru, readout = GRU.init(1, 32, rng=rng), Linear.init(32, 1, rng=rng)
optimizer = Adam([gru, readout], lr=LR)
pieces = np.lib.stride_tricks.sliding_window_view(
    series[:TRAIN].astype("float32"), T + 1
)
start = time.perf_counter()
for update in range(UPDATES):
    # (T + 1, N, 1)
    piece = asarray(pieces[rng.integers(0, len(pieces), N)].T[..., None])
    h = gru.forward(piece[:-1])
    loss, dy = mean_squared_error(
        readout.forward(h[SKIP:]), piece[SKIP + 1 :] - piece[SKIP:-1]
    )
    dh = 0 * h
    dh[SKIP:] = readout.backward(dy)
    gru.backward(dh, needs_dx=False)
    clip_grad_norm(optimizer.grads, 1.0)
    optimizer.lr = LR * cosine(update, UPDATES)
    optimizer.step()
print(
    f"GRU: {UPDATES:,} updates in {time.perf_counter() - start:.1f} s, error of one step {float(loss) ** 0.5:.4f}"
)

# %%
# Forecasts
# ---------
#
# A network reads 300 values, and then its own predictions. The 32 starting points are one batch. `RNN.stream` takes a
# sequence as well as a single step.

starts = np.linspace(TRAIN + 300, len(series) - AHEAD, 32).astype(int)
# (300, 32, 1)
before = np.stack([series[start - 300 : start] for start in starts], axis=1)[..., None]
truth = np.stack([series[start : start + AHEAD] for start in starts], axis=1)


def forecast(layer, next_value, dtype):
    v = asarray(before[-1].astype(dtype))
    h, state = layer.stream(asarray(before.astype(dtype)))
    h = h[-1]
    values = []
    for _ in range(AHEAD):
        v = next_value(v, h)
        values.append(to_numpy(v)[:, 0])
        h, state = layer.stream(v, state)
    return np.array(values)


forecasts = {
    f"reservoir, {UNITS} units": forecast(rnn, lambda v, h: ridge(h), "float64"),
    "trained GRU, 32 units": forecast(gru, lambda v, h: v + readout(h), "float32"),
}

fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6), layout="constrained")
example = 10
ahead = np.arange(1, AHEAD + 1)
top.plot(np.arange(-59, 1), before[-60:, example, 0], color="black")
top.plot(ahead, truth[:, example], color="black", label="the series")
for (name, values), colour in zip(
    forecasts.items(), ("tab:orange", "tab:blue"), strict=True
):
    top.plot(ahead, values[:, example], color=colour, linestyle="--", label=name)
    errors = abs(values - truth)
    bottom.plot(ahead, np.median(errors, axis=1), color=colour, label=name)
    bottom.fill_between(
        ahead, *np.quantile(errors, [0.25, 0.75], axis=1), color=colour, alpha=0.2
    )
top.axvline(0, color="0.7")
top.set(
    xlabel="step",
    ylabel="value",
    title="One forecast from each network",
    ylim=(-3.2, 2.2),
)
top.legend(fontsize=8, ncols=3, loc="lower left")
guess = np.median(abs(truth))
bottom.axhline(guess, color="0.4", linestyle=":", label="the mean of the series")
bottom.set(
    xlabel="steps ahead",
    ylabel="absolute error",
    yscale="log",
    title="32 forecasts: median and middle half",
)
bottom.legend(fontsize=8, loc="lower right")
plt.show()

for name, values in forecasts.items():
    print(
        f"{name}: median error {np.median(abs(values - truth)[99]):.3f} at 100 steps ahead"
    )

# %%
# A chaotic series doubles every small error again and again, so no forecast stays close forever. On this series, which
# has no noise, a reservoir is hard to beat: its readout is fitted in a fraction of a second. The GRU has a tenth of the
# units, so each of its steps is cheaper.
