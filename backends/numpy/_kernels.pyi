"""The compiled kernels of the NumPy backend.

Arrays of one call are all float32 or all float64, of any strides unless said otherwise; else TypeError. Each call
releases the GIL.
"""

from typing import Literal

from xrnn.ops.rnn import Array

def compiler() -> str:
    """The compiler that built this module, with its version."""

def levels() -> list[str]:
    """The instruction-set levels that this CPU runs, lowest first: `baseline`, on x86-64 also `avx2`, `avx512`."""

def level() -> str:
    """The level in use."""

def set_level(name: str) -> None:
    """Use this level from now on. Not for use while another thread computes. ValueError where it doesn't run."""

def max_threads() -> int:
    """How many threads the next call may use: OpenMP's number, and 1 in a forked child."""

def partition(
    T: int, N: int, D: int, H: int, itemsize: int, max_threads: int
) -> tuple[int, Literal["rows", "columns"], bool]:
    """How a forward pass is divided → threads, the split, whether the input is projected before the first step.

    D = 0 for a backward pass. The rule itself is documented in kernels/partition.cpp.
    """

def tanh(x: Array) -> Array:
    """tanh of x (n,), by the function that the recurrence applies."""

def forward(x: Array, Wx: Array, Wh: Array, b: Array, h_prev: Array | None, relu: bool) -> Array:
    """x (T, N, D), Wx (D, H), Wh (H, H), b (H,), h_prev (N, H) or None for zeros → hs (T+1, N, H)."""

def backward(hs: Array, Wh: Array, dh: Array, relu: bool) -> tuple[Array, Array]:
    """hs (T+1, N, H), Wh (H, H), dh (T, N, H) → dz (T, N, H), dh_prev (N, H)."""

def gradients(x: Array, hs: Array, dz: Array, Wx: Array, dWx: Array, dWh: Array, db: Array) -> Array:
    """Overwrites dWx (D, H), dWh (H, H), db (H,), all C-contiguous → dx (T, N, D)."""
