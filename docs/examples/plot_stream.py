"""
A filter that runs step by step, and its latency
================================================

A GRU learns to remove the noise from a signal. Then it runs as it would in a control loop: one value comes in, and one
filtered value must come out before the next one arrives. You learn how to

- run a network with ``stream``, which takes one step and the state and returns the result and the next state,
- check that this gives the same result as a call with the complete sequence,
- measure the time of each step, and look at the rare slow ones, which an average hides.
"""

import os
import time

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import GRU, Adam, Linear, clip_grad_norm, mean_squared_error, use_backend
from xrnn.optim import cosine

# %%
# The signal
# ----------
#
# A wave whose frequency changes slowly, with jumps from time to time, and noise on top. A moving average must choose:
# over many values it blurs the jumps, over few values it keeps the noise.


def signals(T, N, rng):
    """Noisy and clean signals, both (T, N, 1) float32."""
    wander = np.cumsum(rng.normal(0, 0.05, (T, N)), axis=0)
    phase = np.cumsum(0.12 * np.exp(0.5 * np.sin(wander)), axis=0) + rng.uniform(
        0, 2 * np.pi, N
    )
    jumps = np.cumsum((rng.random((T, N)) < 0.015) * rng.normal(0, 1.2, (T, N)), axis=0)
    clean = (np.sin(phase) + np.sin(jumps))[..., None]
    return (clean + rng.normal(0, 0.4, clean.shape)).astype("float32"), clean.astype(
        "float32"
    )


# %%
# The training
# ------------
#
# Steps as small as these leave a GPU almost idle, so the layers are made on NumPy, with or without a GPU.

rng = np.random.default_rng(0)
with use_backend("numpy"):
    gru, readout = GRU.init(1, 32, rng=rng), Linear.init(32, 1, rng=rng)

UPDATES, LR = 500, 0.01
optimizer = Adam([gru, readout], lr=LR)
for update in range(UPDATES):
    x, clean = signals(100, 32, rng)
    loss, dy = mean_squared_error(readout.forward(gru.forward(x)), clean)
    gru.backward(readout.backward(dy), needs_dx=False)
    clip_grad_norm(optimizer.grads, 1.0)
    optimizer.lr = LR * cosine(update, UPDATES)
    optimizer.step()

# %%
# Step by step
# ------------
#
# ``x[t]`` is one step of a batch of one, ``(1, 1)``. The layer does not keep the state: the caller does, so that one
# layer can filter many signals. The times include the readout.

STEPS = 20_000
x, clean = signals(STEPS, 1, np.random.default_rng(1))
y = np.empty_like(x)
took = np.empty(STEPS)
state = None
for t in range(STEPS):
    start = time.perf_counter_ns()
    h, state = gru.stream(x[t], state)
    y[t] = readout(h)
    took[t] = time.perf_counter_ns() - start
took /= 1000


def average(x, share):
    """The exponential moving average, the usual simple filter."""
    y = x.copy()
    for t in range(1, len(x)):
        y[t] = (1 - share) * y[t - 1] + share * x[t]
    return y


averages = [average(x, share) for share in (0.1, 0.2, 0.3, 0.4, 0.5)]
average_error = min(abs(each - clean).mean() for each in averages)
print(
    f"mean error: unfiltered {abs(x - clean).mean():.3f}, best moving average {average_error:.3f}, ",
    end="",
)
print(f"network {abs(y - clean).mean():.3f}")
together = readout(gru(x))
print(
    f"largest difference from one call with all {STEPS:,} steps: {abs(y - together).max():.1e}"
)

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
part = slice(1000, 1250)
ax.plot(x[part, 0, 0], ".", color="0.6", markersize=4, label="input")
ax.plot(clean[part, 0, 0], color="black", label="signal without noise")
ax.plot(y[part, 0, 0], color="tab:red", linewidth=2, label="filtered")
ax.set(xlabel="step", ylabel="value", title="A part of the signal", ylim=(-3.2, 4.5))
ax.legend(fontsize=8, ncols=3, loc="upper center")
plt.show()

# %%
# The latency
# -----------
#
# Most steps take about the same time. The tail on the right is the operating system: other programs run in between. A
# control loop is planned with such a tail, not with the median.

levels = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999}
fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
ax.hist(took, bins=np.geomspace(took.min(), took.max(), 80), color="tab:blue")
for (name, level), style in zip(levels.items(), ("-", "--", ":"), strict=True):
    value = np.quantile(took, level)
    ax.axvline(value, color="black", linestyle=style, label=f"{name}: {value:,.1f} µs")
ax.set(xscale="log", yscale="log", xlabel="time of one step, µs", ylabel="steps")
ax.set_title(f"Latency of {STEPS:,} steps: GRU of 32 units and readout")
ax.legend()
plt.show()

print(f"slowest step: {took.max():,.0f} µs, the first step: {took[0]:.0f} µs")
