"""
How long does a leaky network remember?
=======================================

In one step, a leaky unit moves only a part of the way to its new value: h' = (1 - leak) · h + leak · tanh(x @ Wx + h @
Wh + b). With a leak of 1 this is the usual `RNN`. With a leak of 0.02 a unit needs about 50 steps to change.

Here networks with different leaks learn to repeat their input after a delay, for many delays at once. You learn how to
make leaky networks, how to leave out steps from the loss, and what the choice of the leak does to the memory.
"""

import os

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
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
# The task
# --------
#
# The input is one random signal. Output k is the input of ``DELAYS[k]`` steps ago. In the fast signal, all values are
# independent. The slow signal keeps nine tenths of its value from step to step. The first ``SKIP`` steps of a sequence
# do not count, so that every delay lies within the sequence.

DELAYS = np.arange(0, 60, 4)
T, N, H, SKIP = 100, 32, 32, 60
SIGNALS = {"fast": 0.0, "slow": 0.9}


def batch(keep, rng):
    """x (T, N, 1) and the targets (T - SKIP, N, delays)."""
    x = rng.standard_normal((T, N, 1)).astype("float32")
    for t in range(1, T):
        x[t] = keep * x[t - 1] + (1 - keep**2) ** 0.5 * x[t]
    return x, np.concatenate([x[SKIP - delay : T - delay] for delay in DELAYS], axis=-1)


# %%
# The training
# ------------
#
# One network for each leak and each signal. The score of a delay is R²: 1 if the output is right, 0 if it is no better
# than the mean of the signal.


def train(leak, keep, updates=200, lr=0.01):
    rng = np.random.default_rng(0)
    rnn, readout = (
        RNN.init(1, H, leak=leak, rng=rng),
        Linear.init(H, len(DELAYS), rng=rng),
    )
    optimizer = Adam([rnn, readout], lr=lr)
    for update in range(updates):
        x, target = map(asarray, batch(keep, rng))
        h = rnn.forward(x)
        _, dy = mean_squared_error(readout.forward(h[SKIP:]), target)
        dh = 0 * h
        dh[SKIP:] = readout.backward(dy)
        rnn.backward(dh, needs_dx=False)
        clip_grad_norm(optimizer.grads, 1.0)
        optimizer.lr = lr * cosine(update, updates)
        optimizer.step()
    x, target = batch(keep, np.random.default_rng(1))  # the same test for all networks
    return to_numpy(readout(rnn(asarray(x))[SKIP:])), target


LEAKS = (0.02, 0.1, 0.4, 1.0)
results = {
    (signal, leak): train(leak, keep)
    for signal, keep in SIGNALS.items()
    for leak in LEAKS
}

# %%
# Memory as a function of the delay
# ---------------------------------
#
# With a leak of 1, the memory of the fast signal is sharp for about 20 steps and then ends. With a small leak it is
# blurred, but fades slowly: the network still knows roughly what the signal was long ago. That is of little use if all
# values are independent. In the slow signal, neighbouring values are alike, and a leak of 0.4 is better than 1 from a
# delay of about 8 steps on. A leak of 0.02 is too slow for both signals.

colours = dict(zip(LEAKS, plt.get_cmap("plasma")([0.0, 0.3, 0.55, 0.8]), strict=True))
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4), sharey=True, layout="constrained")
for ax, signal in zip(axes, SIGNALS, strict=True):
    for leak in LEAKS:
        y, target = results[signal, leak]
        score = 1 - ((y - target) ** 2).mean(axis=(0, 1)) / target.var(axis=(0, 1))
        ax.plot(
            DELAYS, score, "o-", markersize=3, color=colours[leak], label=f"leak {leak}"
        )
        print(f"{signal} signal, leak {leak}: mean R² {score.mean():.2f}")
    ax.set(xlabel="delay, steps", title=f"{signal} signal", ylim=(-0.05, 1.05))
axes[0].set_ylabel("R² of the repeated input")
axes[0].legend(fontsize=8)
plt.show()

# %%
# A look at the outputs
# ---------------------
#
# The output for a delay of 24 steps, on one slow signal of the test.

fig, ax = plt.subplots(figsize=(6.4, 3), layout="constrained")
k = list(DELAYS).index(24)
steps = np.arange(SKIP, T)
ax.plot(
    steps,
    results["slow", 1.0][1][:, 3, k],
    color="black",
    linewidth=2.5,
    label="input of 24 steps ago",
)
for leak in (0.02, 0.4, 1.0):
    ax.plot(
        steps,
        results["slow", leak][0][:, 3, k],
        color=colours[leak],
        label=f"leak {leak}",
    )
ax.set(xlabel="step", ylabel="value", title="Repeating a slow signal 24 steps late")
ax.legend(fontsize=8, ncols=2)
plt.show()
