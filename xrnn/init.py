"""Initial weights. They are drawn on the host, so that a seed gives the same weights on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from xrnn.typing import HostArray


def glorot_uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> HostArray:
    """(fan_in, fan_out) float64, uniform in ±√(6 / (fan_in + fan_out))   (Glorot & Bengio, 2010)."""
    bound = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def orthogonal(rng: np.random.Generator, size: int) -> HostArray:
    """(size, size) float64 orthogonal matrix, uniform over the orthogonal group   (Saxe et al., 2014).

    The Q of a QR decomposition alone is not uniform: its columns take the signs of R's diagonal (Mezzadri, 2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return q


def as_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """A Generator from a Generator, a seed, or None for a fresh seed.   Raises TypeError, ValueError."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng is {rng!r}: expected a seed (an integer from 0), a numpy.random.Generator or None"
        ) from None


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """float32 or float64, from a name, type or dtype.   Raises TypeError for any other value."""
    if isinstance(dtype, str | type | np.dtype):
        for allowed in (np.dtype("float32"), np.dtype("float64")):
            if allowed == dtype:
                return allowed
    raise TypeError(f"dtype is {dtype!r}: expected 'float32' or 'float64'")
