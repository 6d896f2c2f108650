"""The compiled kernels of the NumPy backend.

The arrays of one call are all float32 or all float64, otherwise TypeError; they may have any strides unless stated. The
operations release the GIL, except calls of a few microseconds. On the main thread they let Python handle signals every
50 ms. If a handler raises, they end early with its exception, and the arrays that they were overwriting become NaN.

`products` is the precision of products of float32 arrays, as `xrnn.precision.Precision.products`: with 3 or 1 they may
be computed as this number of products of bfloat16 parts (kernels/parts.h), with 0 they are computed in float32. Sums,
and everything else, stay float32. It has no effect on float64, or if `products_by(products)` is None.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from xrnn.typing import Array, ArrayIfNeeded

def compiler() -> str:
    """The compiler that built this module, with its version."""

def levels() -> list[str]:
    """The compiled levels that this CPU has, lowest first: `baseline`, on x86-64 also `avx2`, `avx512`, `amx`."""

def compiled_levels() -> list[str]:
    """The levels of this build, lowest first. Some may not run on this CPU."""

def emulated_levels() -> list[str]:
    """The levels for tests on any CPU, not in `levels()`: `amx-emulated` and `pairs-emulated`, if they were built."""

def cells() -> list[str]:
    """The names of the cells that have kernels."""

def level() -> str:
    """The level in use."""

def products_by(products: int) -> str | None:
    """The instructions of the level in use for 3 or 1 products of bfloat16 parts.

    None if it has none that are faster than float32, and for 0, float32.
    """

def has_bfloat16_instruction() -> bool:
    """Whether the CPU has `avx512_bf16`."""

def tile_refusal() -> str | None:
    """The error of the system if the CPU has tile registers (AMX) and this process may not use them, otherwise None."""

def set_level(name: str) -> None:
    """Use this level from now on; no other thread may be computing. ValueError if this CPU does not have it."""

def max_threads() -> int:
    """The number of threads that a call may use: `asked_threads()` up to `thread_cap()`."""

def share_threads_with(set_callback: int, most_threads: int, shared: bool) -> None:
    """From now on the products of an OpenBLAS run on the kernels' threads, or, if not `shared`, on its own again.

    A forked child uses OpenBLAS's own threads.

    set_callback  the address of its openblas_set_threads_callback_function; it must stay loaded
    most_threads  the number of threads for which it was built, MAX_THREADS in its configuration
    """

def shares_threads_with(set_callback: int) -> bool:
    """Whether the products of that OpenBLAS run on the kernels' threads in this process."""

def count_unknown_products() -> int:
    """The number of products on the kernels' threads whose jobs OpenBLAS described in another way than expected."""

def set_on_delays(function: Callable[[], bool]) -> None:
    """From now on call this function after every few delays of the kernels' threads, until it returns True.

    A delay is a long wait for another thread, or a call without a thread that did not answer: other threads use the
    CPUs.
    """

class ThreadLimit:
    """The policy for the number of threads. Times are nanoseconds; `kind` is a hash of an operation and its sizes."""

    def __init__(self, cpu_clock: Callable[[], int]) -> None:
        """cpu_clock   the CPU time of the process"""

    def threads(self, most: int) -> int:
        """The number of threads of a call that could use `most`."""

    def report(self, kind: int, most: int, threads: int, multiply_adds: float, elapsed: int, now: int) -> None:
        """A call on this number of threads has ended now."""

def thread_limit() -> tuple[int, int]:
    """The last call that could use several threads: its number without trials, and the number that it could use."""

def asked_threads() -> int:
    """The number of threads that OMP_NUM_THREADS and, with OpenMP, threadpoolctl have set, up to 64."""

def thread_cap() -> int:
    """The number of CPUs that the process may use, by affinity and quota, up to 64; 1 in a forked child."""

def use_openmp(functions: tuple[int, int, int] | None) -> None:
    """From now on use the threads of an OpenMP library, and its number of threads; None: the kernels' own threads.

    functions  the addresses of its GOMP_parallel, omp_get_max_threads, omp_get_num_threads; it must stay loaded
    """

OPENMP: bool
"""Whether this module was built with OpenMP."""

def uses_openmp() -> bool:
    """Whether the threads belong to an OpenMP library."""

def set_quota(cpus: int | None) -> None:
    """Use at most this number of threads from now on; None: the number that the affinity allows."""

def partition(
    T: int, N: int, K: int, H: int, itemsize: int, max_threads: int, Wx: tuple[int, int], tiles: bool = False
) -> tuple[int, Literal["rows", "columns"], bool]:
    """How a pass is divided → threads, the split, whether the input is projected before the first step.

    K is the number of terms in a sum: D + H for the recurrence, D + H/k with k heads. `Wx` is the shape of Wx.
    kernels/partition.cpp explains the choice.
    """

def scan_partition(
    T: int, N: int, D: int, gates: int, H: int, itemsize: int, max_threads: int, tiles: bool = False
) -> tuple[int, Literal["rows", "columns"], bool]:
    """The same for a cell without a recurrent product. Wx is (D, gates · H)."""

def is_worth_waking(multiply_adds: int, itemsize: int, weight_reads: int) -> bool:
    """Whether a call wakes sleeping threads.

    weight_reads   the bytes of weights that it reads from beyond a core's own cache
    """

def form(products: int, T: int, N: int, K: int, H: int, heads: int = 1, units: int = 0) -> tuple[int, bool]:
    """The form of the products of a float32 call → bytes of an operand for each term of a sum, whether by tiles.

    The bytes are 4 in float32, and 4 or 2 for 3 or 1 products of bfloat16 parts.

    Sizes as for `partition`; T is 1 for an affine map.

    heads, units   of a recurrence with several heads: their number, and the units of each
    """

def repays_bfloat16(T: int, N: int, K: int, H: int) -> bool:
    """Whether `avx512_bf16` is faster than float32 in products of this size, where the instruction is fast."""

def repays_tiles(products: int, T: int, N: int, K: int, H: int) -> bool:
    """Whether this number of products of bfloat16 parts by tiles is faster than float32 in this size."""

def tanh(x: Array) -> Array:
    """tanh of x (n,), by the function that the cells use."""

class PackedForms:
    """The packed weights of each form of `forward`, from Wx and Wh, which must not change.

    A call with other arrays does not use them.
    """

    def __init__(self, Wx: Array, Wh: Array) -> None: ...

def forward(
    cell: str,
    x: Array,
    Wx: Array,
    Wh: Array,
    b: Array,
    initial: Sequence[Array | None] | None,
    add: Array | None,
    lengths: Array | None,
    reverse: bool,
    own: tuple[Array | float, ...],
    training: bool,
    products: int,
    packed: PackedForms | None,
    /,
) -> tuple[tuple[Array, ...], Array | None, None]:
    """x (T, N, D), Wx (D, X·H), Wh (H, R·H), b (PRE·H,), lengths (N,) int64 → states, z, kept.

    With k heads, Wh is (k, H/k, R·H/k): `xrnn.ops.heads`. A single step may have x (N, D). A state is (T+1, N, H);
    `initial` has (N, H) for each, None for zeros. State k before step t is states[k][t], after it states[k][t+1]; with
    `reverse` the other way round. Past the end of a row its states do not change. z (T, N, PRE·H) is as the cell's step
    leaves it (kernels/cells); it is None without `training`, and if the backward pass does not need it. The kernels
    keep nothing else: kept is None.

    add     (T, N, PRE·H), or (N, PRE·H) for one step: added to z, with the parts of b; None for zeros
    cell    one of `cells()`: the names in kernels/cells
    own     the cell's own parameters, `Cell.coefficients`: an array (H,) each, or a number for all units
    packed  the packed weights of Wx and Wh; None if Wx and Wh may change

    TypeError for arrays that do not fit each other in type, dtype or shape, ValueError for an unknown cell and for
    another number of own parameters; both before anything is read.
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
    d_own: Sequence[Array] | None,
    dadd: Array | None,
    needs_dx: bool,
    products: int,
    /,
) -> tuple[ArrayIfNeeded, tuple[Array, ...]]:
    """The gradients of `forward`, from dstates, those of each state after each step: (T, N, H), None for zeros.

    → dx (T, N, D), None unless `needs_dx`, and dinitial, (N, H) for each state. If x is (N, D), dstates are (N, H) and
    dx is (N, D). Overwrites dWx and dWh, in C or Fortran order, and db, unless all three are None. dWh of several heads
    is in C order. Also overwrites d_own, the gradients of `own`, (H,) each, unless db or d_own is None, and dadd,
    C-contiguous, the gradient of `add`, unless it is None.
    """

def int8_forward(
    cell: str,
    x: Array,
    Wx: tuple[Array, Array, Array],
    Wh: tuple[Array, Array, Array],
    b: Array,
    initial: Sequence[Array | None] | None,
    add: Array | None,
    own: tuple[Array | float, ...],
) -> tuple[Array, ...]:
    """Inference with weights of 8 bits: x (T, N, D) → the states, (T+1, N, H) each, all float32.

    Wx, Wh   the arrays of a packed matrix: `xrnn.backends.numpy.int8.pack`

    The other arguments are those of `forward`. TypeError for arrays that do not fit each other.
    """

def int8_instructions(N: int) -> str:
    """The instructions that multiply int8 weights by N rows: `avx512vnni`, or the level in use."""

def affine(x: Array, W: Array, b: Array, products: int) -> Array:
    """x (M, D), W (D, C), b (C,) → y (M, C)."""

def affine_gradients(
    x: Array, W: Array, dy: Array, dW: Array, db: Array, needs_dx: bool, products: int
) -> ArrayIfNeeded:
    """x (M, D), dy (M, C) → dx (M, D), None unless `needs_dx`; overwrites dW (D, C), db (C,), both C-contiguous."""

def cross_entropy(logits: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
    """logits (M, C), C ≥ 1, targets (M,) int64 in [0, C), weights (M,) → losses (M,), dlogits (M, C).

    ValueError if C is 0, IndexError for a target outside [0, C).
    """

def selective_scan(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    groups: int,
    skip: Array | None,
    z: Array | None,
    bias: Array | None,
    softplus: bool,
    initial: Array | None,
    lengths: Array | None,
    training: bool,
    /,
) -> tuple[Array, Array, Array | None]:
    """The selective scan → y (T, N, D), last (N, D, K), saved (⌈T / 16⌉, N, K, D), or None unless `training`.

    The operands are those of `xrnn.ops.selective_scan.ScanInputs`, but B and C are (T, N, groups · K), and lengths are
    int64. No size is 0. Arrays of steps are copied if their last axis is not contiguous.

    TypeError for arrays that do not fit each other.
    """

def selective_scan_gradients(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    groups: int,
    skip: Array | None,
    z: Array | None,
    bias: Array | None,
    softplus: bool,
    initial: Array | None,
    lengths: Array | None,
    saved: Array,
    dy: Array | None,
    dlast: Array | None,
    /,
) -> tuple[Array, Array, Array, Array, Array, Array | None, Array | None, Array | None, Array | None]:
    """→ du, ddelta, dA, dB, dC, dskip, dz, dbias, dinitial; None for the last four if the operand is None."""

def matrix_memory(
    q: Array,
    k: Array,
    v: Array,
    log_decay: Array,
    initial: Array | None,
    lengths: Array | None,
    training: bool,
    /,
) -> tuple[Array, Array, Array | None]:
    """The matrix memory → y (T, N, H, V), last (N, H, K, V), saved (⌈T / 64⌉, N, H, K, V), or None unless `training`.

    The operands are those of `xrnn.ops.matrix_memory.MemoryInputs`; lengths are int64. No size is 0. q, k and v are
    copied if their last axis is not contiguous.

    TypeError for arrays that do not fit each other.
    """

def matrix_memory_gradients(
    q: Array,
    k: Array,
    v: Array,
    log_decay: Array,
    initial: Array | None,
    lengths: Array | None,
    saved: Array,
    dy: Array | None,
    dlast: Array | None,
    /,
) -> tuple[Array, Array, Array, Array, Array | None]:
    """→ dq, dk, dv, dlog_decay, dinitial; None for the last one if the operand is None."""

def causal_convolution(
    x: Array, weight: Array, bias: Array | None, silu: bool, initial: Array | None, lengths: Array | None, /
) -> tuple[Array, Array]:
    """The causal convolution → y (T, N, D), last (W - 1, N, D).

    The operands are those of `xrnn.ops.causal_convolution.ConvolutionInputs`; lengths are int64. T, N and D are not 0.

    TypeError for arrays that do not fit each other.
    """

def causal_convolution_gradients(
    x: Array,
    weight: Array,
    bias: Array | None,
    silu: bool,
    initial: Array | None,
    lengths: Array | None,
    dy: Array | None,
    dlast: Array | None,
    /,
) -> tuple[Array, Array, Array | None, Array | None]:
    """→ dx, dweight, dbias, dinitial; None for the last two if the operand is None."""

# ---- for tests and measurements: binding/for_tests.h ----

def hold_threads(held: bool) -> None:
    """Always use all threads that are asked for, however long they wait for each other."""

def force_partition(threads: int, split: Literal["rows", "columns"], project_first: bool) -> None:
    """Divide every pass like this from now on; 0 threads: by the usual choice again.

    ValueError for more threads than the kernels can have, or another split.
    """

def force_products(forced: bool) -> None:
    """Take products of bfloat16 parts in every size, if the level has them."""

def set_thread_cap(threads: int | None) -> None:
    """Use this cap in place of the CPUs that the process may use; None: these CPUs again."""

def kept_scratch() -> int:
    """The bytes of scratch memory that the calling thread keeps for its next call: at most 64 MiB, otherwise 0."""

def set_l2(bytes: int | None) -> None:
    """The size of a core's second-level cache that divides the work; None: as the system says."""
