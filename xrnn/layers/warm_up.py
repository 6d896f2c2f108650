"""Compiling and testing a layer's GPU kernels before its first call."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

from xrnn.arrays.select import backend_of
from xrnn.checks import check_bool, check_integer
from xrnn.layers.base import like_states
from xrnn.layers.recurrent import as_tuple
from xrnn.messages import kind_of

_EVERY: Final = 2.0  # least seconds between two lines of progress
_EXPECTED: Final = "expected pairs of time steps and batch rows, as in [(50, 16)]"


def warm_up(layer: Any, sizes: Iterable[tuple[int, int]], *, training: bool = True) -> None:
    """Compile and test the GPU kernels that calls of these sizes use, so that the calls themselves don't wait.

    layer      a recurrent layer, or a Stack or Bidirectional
    sizes      pairs (T, N) of time steps and batch rows, as the calls will have them
    training   False if `backward` will not be called

    On a GPU, the first call of a size may take seconds: a kernel is compiled at its first use, and each division of the
    work among blocks is tested once on each device. The division depends on N, less on T. For each size, this function
    runs the layer forward and backward on zeros. It uses a copy: the gradients and the cache of `layer` stay as they
    are. Between two sizes, it prints its progress to standard error if the last line is more than two seconds old. On
    NumPy nothing is compiled at a first use, so it only checks its arguments.

    Raises TypeError for an object that is not such a layer and for sizes that are not pairs of integers, ValueError for
    sizes below 1.

    >>> lstm = LSTM.init(3, 8, rng=0)
    >>> warm_up(lstm, [(50, N) for N in (1, 16, 64)])
    """
    if not hasattr(layer, "forward_part"):
        raise TypeError(f"layer is a {kind_of(layer)}: expected a recurrent layer; pass an LSTM, or a Stack")
    training = check_bool("training", training)
    if not isinstance(sizes, Iterable):
        raise TypeError(f"sizes is a {kind_of(sizes)}: {_EXPECTED}")
    given = list(sizes)
    for i, size in enumerate(given):
        if not isinstance(size, tuple | list) or len(size) != 2:
            raise TypeError(f"sizes[{i}] is {size!r}: {_EXPECTED}")
    pairs = [tuple(check_integer(letter, n, least=1) for letter, n in zip("TN", size, strict=True)) for size in given]
    like = like_states(layer)
    backend = backend_of(like)
    if not backend.compiles_at_first_use:
        return
    shown = time.monotonic()
    with backend.device_of(like):
        trial = copy.deepcopy(layer)
        for number, (T, N) in enumerate(pairs):
            if time.monotonic() - shown > _EVERY:
                shown = time.monotonic()
                print(f"warm_up: {number} of {len(pairs)} sizes are done", file=sys.stderr)
            x = backend.xp.zeros((T, N, trial.input_size), like.dtype)
            if training:
                trial.backward(backend.xp.zeros_like(as_tuple(trial.forward(x))[0]))
            else:
                trial(x)
