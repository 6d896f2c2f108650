"""The compiled kernels of the NumPy backend.

Arrays of one call are all float32 or all float64, of any strides unless said otherwise; else TypeError. The operations
release the GIL, unless they end within some microseconds. On the main thread they let Python handle signals every
50 ms; where a handler raises, they end early with its exception, and the arrays that they were to overwrite are NaN.
"""

from collections.abc import Sequence
from typing import Any, Literal

from xrnn.typing import Array, ArrayIfNeeded

def compiler() -> str:
    """The compiler that built this module, with its version."""

def levels() -> list[str]:
    """The instruction-set levels that this CPU runs, lowest first: `baseline`, on x86-64 also `avx2`, `avx512`."""

def level() -> str:
    """The level in use."""

def set_level(name: str) -> None:
    """Use this level from now on. Not for use while another thread computes. ValueError where it doesn't run."""

def max_threads() -> int:
    """How many threads a call may use: OpenMP's number up to `thread_cap()`; fewer while `load()` says so."""

def load() -> tuple[int | None, int]:
    """What other processes leave: the most threads of a call, None for any number, and how this came about.

    That is the percentage of the time for which threads had waited for one that had lost its CPU.
    """

def hold_threads(held: bool) -> None:
    """For tests and measurements: always as many threads as are asked for, however long they wait for each other."""

def threads_after(threads: int, calls: list[tuple[int, int]]) -> int:
    """The rule: how many threads the next call may use after calls on so many, each (nanoseconds, of them waited)."""

def more_threads(threads: int) -> int:
    """The rule: how many threads calls may use next where a CPU was found to be free."""

def naps_needed(naps: int, held: bool) -> int:
    """The rule: how often in a row a CPU must be found free before calls use more threads.

    After a number that was enough the last time; `held`: those calls then didn't have to wait.
    """

def asked_threads() -> int:
    """OpenMP's number, which OMP_NUM_THREADS and threadpoolctl set, up to 64."""

def thread_cap() -> int:
    """The CPUs that the process may use, by its affinity and its quota; 1 in a forked child, 64 at most."""

def use_openmp(functions: tuple[int, int, int] | None) -> None:
    """Compute on the threads of an OpenMP library, and on its number of them, from now on; None: on one's own.

    The addresses of its GOMP_parallel, omp_get_max_threads and omp_get_num_threads. It is to stay loaded.
    """

def uses_openmp() -> bool:
    """Whether the threads are those of an OpenMP library."""

def set_quota(cpus: int | None) -> None:
    """Use no more threads than this from now on; None: as many as the affinity allows."""

def set_thread_cap(threads: int | None) -> None:
    """For tests: this cap in place of the CPUs that the process may use; None: those again."""

def partition(
    T: int, N: int, K: int, H: int, itemsize: int, max_threads: int
) -> tuple[int, Literal["rows", "columns"], bool]:
    """How a pass is divided → threads, the split, whether the input is projected before the first step.

    K terms in a sum: D + H for the recurrence. The rule itself is documented in kernels/partition.cpp.
    """

def is_worth_waking(multiply_adds: int, itemsize: int, weight_bytes: int) -> bool:
    """Whether a call of so many multiply-adds, which reads weights of so many bytes, wakes threads that sleep."""

def force_partition(threads: int, split: Literal["rows", "columns"], project_first: bool) -> None:
    """Divide every pass like this from now on, for tests and measurements; 0 threads: by the rule again.

    ValueError for more threads than can meet, or another split.
    """

def tanh(x: Array) -> Array:
    """tanh of x (n,), by the function that the recurrence applies."""

def forward(
    cell: str,
    x: Array,
    Wx: Array,
    Wh: Array,
    b: Array,
    initial: Sequence[Array | None] | None,
    lengths: Array | None,
    reverse: bool,
    own: tuple[Array | float, ...],
    training: bool,
    /,
) -> tuple[tuple[Array, ...], Array | None]:
    """x (T, N, D), Wx (D, X·H), Wh (H, R·H), b (PRE·H,), lengths (N,) int64 → states, z.

    One step may be x (N, D). A state is (T+1, N, H), `initial` gives (N, H) of each, None is zeros. State k before and
    after step t is states[k][t] and states[k][t+1], or the other way round with `reverse`. Past a row's end after =
    before. z (T, N, PRE·H) is as the cell's step leaves it (kernels/cells); None without `training`, and where no
    backward pass needs it.

    cell  `tanh` or `relu` (Elman's cell), `leaky_tanh` or `leaky_relu`, `lstm`, `gru`: the names in kernels/cells
    own   the cell's own parameters, (H,) each, or a number that serves all units; () for a cell without

    ValueError for an unknown cell, and for another number of own parameters.
    """

def infer(
    cell: str,
    params: list[Array],
    x: Array,
    initial: Sequence[Array | None],
    reverse: bool,
    own: tuple[Array | float, ...],
    dtype: Any,
    /,
) -> tuple[Array, ...] | None:
    """The states that `forward` gives without lengths.

    None unless x, the initial states and both weight matrices are plain arrays of this dtype, and x and the states fit
    the matrices. TypeError, as from `forward`, where the weights don't fit each other.
    """

def surely_fit(x: Any, initial: Any, dtype: Any, input_size: int, hidden_size: int, /) -> bool:
    """Whether x is (T, N, D) or (N, D), and each state in the tuple `initial` (N, H) or None, plain and of this dtype.

    Never true of what doesn't fit.
    """

def backward(
    cell: str,
    x: Array,
    Wx: Array,
    Wh: Array,
    states: Sequence[Array],
    z: Array | None,
    lengths: Array | None,
    reverse: bool,
    own: tuple[Array | float, ...],
    dstates: Sequence[Array | None] | None,
    dWx: Array | None,
    dWh: Array | None,
    db: Array | None,
    needs_dx: bool,
    /,
) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
    """The gradients of `forward`, from dstates (T, N, H), of each state after each step, None for zeros.

    → dx (T, N, D), None unless `needs_dx`, and dinitial (N, H) of each state; after x (N, D) they are (N, H), and dx
    (N, D). Overwrites dWx and dWh, in C or Fortran order, and db, unless all three are None.
    """

def affine(x: Array, W: Array, b: Array) -> Array:
    """x (M, D), W (D, C), b (C,) → y (M, C)."""

def affine_gradients(x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool) -> ArrayIfNeeded:
    """x (M, D), dy (M, C) → dx (M, D), None unless `needs_dx`; overwrites dW (D, C), db (C,), both C-contiguous."""

def cross_entropy(logits: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """logits (M, C), C ≥ 1, targets (M,) int64 in [0, C), weights (M,) → losses (M,), dlogits (M, C).

    ValueError where C is 0, IndexError for a target outside.
    """
