"""A setting for debugging: `backward` compares the weights with those that its `forward` used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from xrnn.setting import Setting, within
from xrnn.typing import Array

_SETTING: Final = os.environ.get("XRNN_CHECK_WEIGHTS", "").strip() or "0"


class WeightChecks(Setting):
    """Whether a `forward` keeps a copy of the weights."""

    __slots__ = ("enabled",)

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled


_process: Final = WeightChecks(_SETTING == "1")
_checks: ContextVar[WeightChecks] = ContextVar("xrnn_weight_checks", default=_process)
weight_checks: Final = _checks.get  # the setting in effect; as for `fused_forms`, without a function around it


def check_setting() -> None:
    """Raise ValueError if XRNN_CHECK_WEIGHTS is neither 0 nor 1. Called by backends."""
    if _SETTING not in ("0", "1"):
        raise ValueError(
            f"XRNN_CHECK_WEIGHTS is {_SETTING!r}: expected 1 to compare weights in backward, or 0; set one of them"
        )


@contextlib.contextmanager
def use_weight_checks(enabled: bool = True) -> Iterator[None]:
    """For debugging: `backward` raises RuntimeError if weights have changed since the `forward` in this block.

    A `forward` in the block copies the layer's weights. Its `backward`, in the block or after it, compares them. It
    notices a change of any value, also one that no optimizer made: `layer.Wh[...] = …`, `np.copyto`, a change through a
    view, by another thread, or of a memory-mapped file. The error names the parameter and the layer. Such a change
    would otherwise give wrong gradients. The results are the same. For each cache, a layer needs the memory of its
    weights once more, and the time to copy and to compare them.

    Outside of a block `XRNN_CHECK_WEIGHTS` decides: `1` for comparisons, `0` (the default) for none. It is read once,
    when xrnn is imported. Generators and threads: see `use_precision`.

    >>> rnn, x = RNN.init(3, 8, rng=0), np.zeros((20, 4, 3), "float32")
    >>> with use_weight_checks():
    ...     h = rnn.forward(x)
    >>> rnn.Wh[0, 0] += 1
    >>> try:
    ...     rnn.backward(h)
    ... except RuntimeError as error:
    ...     print(str(error).partition(" since")[0])
    Wh of this RNN(3 → 8, 96 parameters, float32, numpy) has changed in 1 of 64 values
    """
    with within(_checks, WeightChecks(bool(enabled))):
        yield


def count_changed(before: Array, now: Array) -> int:
    """The number of values that differ. NaN counts as equal to NaN."""
    same = (before == now) | ((before != before) & (now != now))
    return int(same.size - same.sum())
