"""The threads of the kernels and those of NumPy's matrix products."""

from __future__ import annotations

from typing import Any

from xrnn.arrays.select import get_backend


def share_threads(shared: bool = True) -> None:
    """Run NumPy's and SciPy's matrix products on the threads of xrnn's kernels; or, with False, on their own again.

    This applies to the process. Without it, the threads of OpenBLAS, NumPy's BLAS library, poll for work for tens of
    milliseconds after each product, on the CPUs that the kernels need. The results are the same, bit for bit. LU
    factorizations, as in `np.linalg.solve` and `inv`, keep OpenBLAS's own threads. Products of several Python threads
    run one after the other. A forked child uses OpenBLAS's own threads. SciPy has an OpenBLAS of its own: import
    `scipy.linalg` first. The environment variable `XRNN_SHARE_THREADS=1` does the same when the NumPy backend is
    loaded. It was tried on Linux.

    Raises RuntimeError if NumPy uses another BLAS (MKL, Accelerate), an OpenBLAS older than 0.3.27, or one that
    describes the work of its threads in an unknown way; and on Windows.

    >>> share_threads()
    >>> product = np.ones((300, 300)) @ np.ones((300, 300))
    >>> share_threads(False)
    """
    backend: Any = get_backend("numpy")
    backend.share_threads(shared)
