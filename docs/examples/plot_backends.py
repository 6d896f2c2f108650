"""
One script on NumPy and on CuPy
===============================

A training loop that names no array library runs on the CPU and on a GPU. The layers run where their weights are, and
`use_backend` chooses where new arrays are made. You learn how to

- write such a script with `asarray`, ``xp`` and `to_numpy`,
- find out which backends work on your machine,
- turn the compiled kernels off with `use_fused`, to compare them with the plain array code.

On a machine without a GPU the script runs on NumPy only, and says so.
"""

import contextlib
import os
import time

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
    LSTM,
    Adam,
    BackendUnavailableError,
    Linear,
    asarray,
    clip_grad_norm,
    last,
    last_gradient,
    mean_squared_error,
    to_numpy,
    use_backend,
    use_fused,
    xp,
)

# %%
# The script
# ----------
#
# The adding problem (Hochreiter and Schmidhuber, 1997): the first channel holds random numbers, the second marks two of
# them, and the network gives the sum of the marked numbers. Nothing in `train` depends on the backend. Three rules are
# enough: data enters through `asarray`, functions of arrays come from ``xp``, and results leave through `to_numpy`.
#
# Reading a number from a GPU waits until the GPU has computed it. So the losses stay arrays until the end.


def data(T, N, rng):
    """x (T, N, 2) and the sums (N, 1), in NumPy."""
    x = np.zeros((T, N, 2), "float32")
    x[..., 0] = rng.uniform(-1, 1, (T, N))
    first, second = rng.integers(0, T // 2, N), rng.integers(T // 2, T, N)
    x[first, np.arange(N), 1] = x[second, np.arange(N), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(axis=0)[:, None]


def train(updates, T=20, N=32):
    """The losses, and the sums of a test beside the predicted sums, on the selected backend."""
    rng = np.random.default_rng(0)
    lstm, readout = LSTM.init(2, 32, rng=rng), Linear.init(32, 1, rng=rng)
    optimizer = Adam([lstm, readout], lr=0.01)
    losses = []
    for _ in range(updates):
        x, target = map(asarray, data(T, N, rng))
        h, _ = lstm.forward(x)
        loss, dy = mean_squared_error(readout.forward(last(h)), target)
        lstm.backward(last_gradient(readout.backward(dy), h), needs_dx=False)
        clip_grad_norm(optimizer.grads, 1.0)
        optimizer.step()
        losses.append(loss)
    x, target = data(T, 300, np.random.default_rng(1))
    h, _ = lstm(asarray(x))
    return to_numpy(xp.stack(losses)), target[:, 0], to_numpy(readout(last(h)))[:, 0]


# %%
# The runs
# --------
#
# The kernels of a backend and the plain array code compute the same numbers, to rounding. A request for a backend that
# does not work raises `BackendUnavailableError`, with the reason. The plain code is slower, so it gets fewer updates.
# The short training before the measured one is for a GPU, whose kernels are compiled at their first use. On NumPy, CPU
# time is measured, so that other programs count little; on a GPU, elapsed time. NumPy's matrix products use one thread
# if threadpoolctl is installed: at these sizes more threads only wait for each other.

try:
    from threadpoolctl import threadpool_limits
except ImportError:
    threadpool_limits = contextlib.nullcontext

runs = {}
for backend in ("numpy", "cupy"):
    for fused in (True, False):
        name = f"{backend}, {'kernels' if fused else 'plain'}"
        try:
            with use_backend(backend), use_fused(fused), threadpool_limits(1):
                train(3)
                clock = time.process_time if backend == "numpy" else time.perf_counter
                start = clock()
                updates = 500 if fused else 100
                results = train(updates)
                runs[name] = *results, 1000 * (clock() - start) / updates
            print(
                f"{name}: {runs[name][-1]:.2f} ms for an update, last losses {results[0][-20:].mean():.4f}"
            )
        except BackendUnavailableError as error:
            print(f"{backend} did not run: {str(error).partition(':')[0]}")
            break

# %%
# The losses
# ----------
#
# The curves lie on each other at first: the seed gives the same weights and the same data on every backend. Later they
# may differ a little, because each update amplifies the differences of rounding.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(6.4, 3.4), layout="constrained", width_ratios=(3, 2)
)
styles = dict(
    zip(
        runs,
        (("tab:blue", 4), ("tab:orange", 2), ("tab:green", 1.2), ("black", 0.6)),
        strict=False,
    )
)
for name, (losses, *_, took) in runs.items():
    smooth = np.convolve(losses, np.ones(10) / 10, mode="valid")
    left.plot(
        np.arange(len(smooth)) + 9,
        smooth,
        color=styles[name][0],
        linewidth=styles[name][1],
        label=name,
    )
    right.bar(name.replace(", ", "\n"), took, color=styles[name][0])
left.set(xlabel="update", ylabel="squared error", yscale="log", title="The loss")
left.legend(fontsize=8)
right.set(ylabel="time of an update, ms", title="The time")
plt.show()

# %%
# The result
# ----------

_, target, predicted, _ = runs["numpy, kernels"]
fig, ax = plt.subplots(figsize=(4.4, 4.2), layout="constrained")
ax.plot([-2, 2], [-2, 2], color="0.7")
ax.plot(target, predicted, ".", color="tab:blue")
ax.set(
    xlabel="true sum", ylabel="predicted sum", title="300 new sequences", aspect="equal"
)
plt.show()
