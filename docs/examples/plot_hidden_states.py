"""
The hidden states of a trained network: a cube
==============================================

A network with three inputs learns to be a memory of three bits. A pulse of +1 or -1 at an input sets a bit, and an
output must show this bit until the next pulse. Then we look inside: where in its 64-dimensional space does the network
keep the eight memories? The picture of the hidden states is a cube with a memory at each corner (Sussillo and Barak,
2013).

You learn how to get all hidden states of a network, project them by principal component analysis with NumPy, and find
the states in which the network rests.
"""

import itertools
import os

# OpenBLAS reads this when NumPy is imported. Otherwise its threads poll after each of
# NumPy's products, on the CPUs that xrnn's threads need.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import matplotlib.pyplot as plt
import numpy as np
from xrnn import (
    GRU,
    Adam,
    Linear,
    asarray,
    clip_grad_norm,
    mean_squared_error,
    to_numpy,
)
from xrnn.optim import cosine

# %%
# The task and the training
# -------------------------


def flip_flops(T, N, rng):
    """Pulses x (T, N, 3), and the bits (T, N, 3) that they set: -1 or +1. The first step sets all bits."""
    x = rng.choice([-1, 0, 1], (T, N, 3), p=[0.05, 0.9, 0.05]).astype("float32")
    x[0] = rng.choice([-1, 1], (N, 3))
    last_pulse = np.maximum.accumulate(
        np.where(x != 0, np.arange(T)[:, None, None], 0), axis=0
    )
    return x, np.take_along_axis(x, last_pulse, axis=0)


rng = np.random.default_rng(0)
UPDATES, LR = 400, 0.01
gru, readout = GRU.init(3, 64, rng=rng), Linear.init(64, 3, rng=rng)
optimizer = Adam([gru, readout], lr=LR)
for update in range(UPDATES):
    x, bits = map(asarray, flip_flops(50, 32, rng))
    loss, dy = mean_squared_error(readout.forward(gru.forward(x)), bits)
    gru.backward(readout.backward(dy), needs_dx=False)
    clip_grad_norm(optimizer.grads, 1.0)
    optimizer.lr = LR * cosine(update, UPDATES)
    optimizer.step()
print(f"squared error of the last batch: {float(loss):.4f}")

x, bits = flip_flops(100, 32, np.random.default_rng(1))
h = gru(asarray(x))
y = to_numpy(readout(h))
print(f"right bits in new sequences: {(np.sign(y) == bits).mean():.1%}")

fig, axes = plt.subplots(3, 1, figsize=(6.4, 3.6), sharex=True, layout="constrained")
for k, (ax, colour) in enumerate(
    zip(axes, ("tab:red", "tab:green", "tab:blue"), strict=True)
):
    ax.stem(
        np.flatnonzero(x[:, 0, k]),
        x[x[:, 0, k] != 0, 0, k],
        linefmt="0.6",
        markerfmt=" ",
        basefmt=" ",
    )
    ax.plot(y[:, 0, k], color=colour)
    ax.set(ylabel=f"bit {k + 1}", ylim=(-1.4, 1.4), yticks=(-1, 1))
axes[0].set_title("Pulses (grey) and outputs of the network")
axes[-1].set_xlabel("step")
plt.show()

# %%
# The principal components
# ------------------------
#
# The rows of ``components`` are the directions in which the states vary most. Three of 64 hold most of the variance.

states = to_numpy(h).reshape(-1, 64).astype("float64")
mean = states.mean(axis=0)
_, singular, components = np.linalg.svd(states - mean, full_matrices=False)
share = singular**2 / (singular**2).sum()
print("share of the variance: " + ", ".join(f"{each:.1%}" for each in share[:5]))

# %%
# The states in which the network rests
# -------------------------------------
#
# Each of the eight memories is set by one pulse at every input. After that the inputs are 0 for 50 steps, and the state
# comes to rest: in the last of these steps it hardly moves.

corners = np.array(list(itertools.product((-1, 1), repeat=3)), "float32")
quiet = np.zeros((50, 8, 3), "float32")
quiet[0] = corners
after = to_numpy(gru(asarray(quiet))).astype("float64")
print(f"largest movement in the last step: {abs(after[-1] - after[-2]).max():.1e}")

# %%
# The picture
# -----------
#
# A point is the state after one step. Its colour is the memory that the outputs have to show: red, green and blue for
# the three bits. The stars are the states at rest. Neighbours on the cube differ in one bit, and the thin lines are the
# paths of the state when a pulse changes that bit.

fig = plt.figure(figsize=(6.4, 5.6), layout="constrained")
ax = fig.add_subplot(projection="3d")
colours = 0.15 + 0.7 * (bits.reshape(-1, 3) + 1) / 2
points = (states - mean) @ components[:3].T
ax.scatter(*points.T, c=colours, s=8, alpha=0.5, linewidths=0)
rest = (after[-1] - mean) @ components[:3].T
ax.scatter(
    *rest.T,
    c=0.15 + 0.7 * (corners + 1) / 2,
    s=180,
    marker="*",
    edgecolors="black",
    depthshade=False,
)

flips = [(i, k) for i in range(8) for k in range(3)]  # from each corner, flip each bit
pulses = np.zeros((12, len(flips), 3), "float32")
for n, (i, k) in enumerate(flips):
    pulses[0, n, k] = -corners[i, k]
start = np.ascontiguousarray(after[-1][[i for i, _ in flips]].astype("float32"))
paths = to_numpy(gru(asarray(pulses), asarray(start)))
paths = (np.concatenate([start[None], paths]) - mean) @ components[:3].T
for n in range(len(flips)):
    ax.plot(*paths[:, n].T, color="0.4", linewidth=0.7)

ax.set(
    xlabel="component 1",
    ylabel="component 2",
    zlabel="component 3",
    title="Eight memories in 64 dimensions",
)
ax.set_xticklabels([])
ax.set_yticklabels([])
ax.set_zticklabels([])
ax.set_box_aspect((1, 1, 1), zoom=1.05)
ax.view_init(elev=18, azim=-30)
plt.show()

# sphinx_gallery_thumbnail_number = 2
