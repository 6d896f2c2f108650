"""The adding problem, learned by an LRU.   `python -m benchmarks.adding [--length 1000]`

A sequence has two features: numbers, uniform in [0, 1), and markers, which are 1 at one step of each half and 0
elsewhere. The target is the sum of the two marked numbers (Hochreiter & Schmidhuber, 1997). Predicting the mean gives a
mean squared error of 1/6.

The recurrence of an LRU is linear in its input, so it cannot multiply the numbers by the markers. A Linear and a relu
in front of it can: relu(number + marker - 1) is the marked number or 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from xrnn import LRU, Adam, Linear, clip_grad_norm, cosine, get_backend, mean_squared_error
from xrnn.backend import Backend
from xrnn.typing import HostArray

_EVERY = 50  # updates between two tests


def draw(rng: np.random.Generator, length: int, rows: int) -> tuple[HostArray, HostArray]:
    """→ x (length, rows, 2), target (rows, 1)."""
    x = np.zeros((length, rows, 2), "float32")
    x[:, :, 0] = rng.uniform(size=(length, rows))
    half, each = length // 2, np.arange(rows)
    for marked in (rng.integers(0, half, rows), rng.integers(half, length, rows)):
        x[marked, each, 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=0)[:, None]


def train(length: int, updates: int, backend: Backend, rows: int = 50, lr: float = 0.01) -> Iterator[tuple[int, float]]:
    """Train, and after every 50 updates yield their number and the mean squared error on 500 other sequences."""
    xp, rng = backend.xp, np.random.default_rng(0)
    marked = Linear.init(2, 32, rng=rng, backend=backend)
    lru = LRU.init(
        32, 32, r_min=1 - 5 / length, r_max=1 - 0.05 / length, max_phase=0.5 / length, rng=rng, backend=backend
    )
    readout = Linear.init(lru.output_size, 1, rng=rng, backend=backend)
    optimizer = Adam([marked, lru, readout], lr=lr)
    test_x, test_target = (backend.asarray(a) for a in draw(np.random.default_rng(1), length, 500))

    for update in range(1, updates + 1):
        x, target = (backend.asarray(a) for a in draw(rng, length, rows))
        y = marked.forward(x)
        h = lru.forward(xp.maximum(y, 0))
        _, dy = mean_squared_error(readout.forward(h[-1]), target)
        dh = xp.zeros_like(h)
        dh[-1] = readout.backward(dy)
        dy, _ = lru.backward(dh)
        marked.backward(dy * (y > 0), needs_dx=False)
        clip_grad_norm(optimizer.grads, 1.0)
        optimizer.lr = lr * cosine(update, updates)
        optimizer.step()
        if update % _EVERY == 0 or update == updates:
            found = readout(lru(xp.maximum(marked(test_x), 0))[-1])
            yield update, float(((found - test_target) ** 2).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--updates", type=int, default=400)
    options = parser.parse_args()
    began = time.perf_counter()
    for update, error in train(options.length, options.updates, get_backend()):
        print(f"update {update:,}: mean squared error {error:.4f}, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
