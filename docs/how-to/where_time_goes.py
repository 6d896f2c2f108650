"""Where the time of a training loop goes: `python where_time_goes.py`, some seconds.

A leaky network with noise in its units learns to report the sign of a pulse. The loop runs as it was written first, and
with the changes that its own times suggest.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from xrnn import RNN, Adam, Linear, clip_grad_norm, softmax_cross_entropy

T, N, H, LEAK, UPDATES = 100, 32, 200, 0.2, 60
DEVIATION = np.float32(0.05 * np.sqrt(2 / LEAK))
Array: TypeAlias = npt.NDArray[np.float32]
seconds: Counter[str] = Counter()


@contextmanager
def part(name: str) -> Iterator[None]:
    """Add the time of the block to the part of this name."""
    begin = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - begin


def loop(name: str, noise_of: Callable[[], Array], needs_dx: bool) -> None:
    """Train, and print the milliseconds of an update by part.

    noise_of   → (T, N, H), of the standard deviation DEVIATION
    needs_dx   whether to compute the gradient of x, which is data
    """
    rng = np.random.default_rng(0)
    network = RNN.init(1, H, rng=1, leak=LEAK, nonlinearity="relu")
    readout = Linear.init(H, 2, rng=2)
    optimizer = Adam([network, readout], lr=0.001)
    for update in range(UPDATES):
        if update == UPDATES // 3:
            seconds.clear()  # the first updates are slower
        with part("trials"):
            sign = rng.integers(0, 2, N)
            x = np.zeros((T, N, 1), "float32")
            x[:5, :, 0] = 2 * sign - 1
        with part("noise"):
            noise = noise_of()
        with part("forward"):
            h = network.forward(x, add=noise)
        with part("loss"):
            _, dlogits = softmax_cross_entropy(readout.forward(h[-1]), sign)
            dh = np.zeros_like(h)
            dh[-1] = readout.backward(dlogits)
        with part("backward"):
            network.backward(dh, needs_dx=needs_dx)
        with part("update"):
            clip_grad_norm(optimizer.grads, 1.0)
            optimizer.step()
    each = {
        key: 1000 * value / (UPDATES - UPDATES // 3) for key, value in seconds.items()
    }
    print(f"{name}: {sum(each.values()):.1f} ms an update")
    print("  " + ", ".join(f"{key} {value:.1f}" for key, value in each.items()))


rng = np.random.default_rng(0)
fast = np.random.Generator(np.random.SFC64(0))
buffer = np.empty((T, N, H), "float32")


def as_written_first() -> Array:
    return (DEVIATION * rng.standard_normal((T, N, H))).astype("float32")


def in_float32() -> Array:
    fast.standard_normal(dtype="float32", out=buffer)
    return np.multiply(buffer, DEVIATION, out=buffer)


pool = [in_float32().copy() for _ in range(16)]

loop("as written first", as_written_first, needs_dx=True)
loop(
    "noise in float32, by a faster generator, into one array; no dx",
    in_float32,
    needs_dx=False,
)
loop("noise from a pool of 16 arrays", lambda: pool[rng.integers(16)], needs_dx=False)
