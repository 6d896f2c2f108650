"""Recordings of machines: every second one has a fault, which shows in one property of one channel."""

from __future__ import annotations

import numpy as np

from xrnn.typing import HostArray

FAULTS = ("variance", "frequency", "order", "delay", "nothing")


def recordings(fault: str, count: int, seed: int = 0, steps: int = 300) -> tuple[list[HostArray], list[str]]:
    """Series (T, 3) and their labels. The channels share a signal that reaches one after the other."""
    rng = np.random.default_rng([FAULTS.index(fault), seed])
    made = [_recording(rng, fault if i % 2 else "", steps, has_events=fault == "order") for i in range(count)]
    return made, ["worn" if i % 2 else "good" for i in range(count)]


def _recording(rng: np.random.Generator, fault: str, steps: int, *, has_events: bool) -> HostArray:
    shared = rng.normal(size=steps + 20)
    own = rng.normal(size=(steps, 3))
    t = np.arange(steps)
    delays = [2, 5, 12 if fault == "delay" else 8]
    period = 20 if fault == "frequency" else 25
    x = np.stack([shared[20 - each : 20 - each + steps] for each in delays], axis=1) + 0.5 * own
    x[:, 0] += 2 * np.sin(2 * np.pi * (t / (period * rng.uniform(0.95, 1.05)) + rng.random()))
    if fault == "variance":
        x[:, 1] *= 1.6
    if has_events:  # a rise, and 30 steps later a fall; with the fault, first the fall
        event = 3 * np.repeat([1.0, 0.0, -1.0], [6, 24, 6]) * (-1 if fault else 1)
        for start in rng.integers(0, 20) + np.arange(0, steps - 60, 80):
            x[start : start + 36, 2] += event
    return rng.uniform(0.8, 1.25) * x
