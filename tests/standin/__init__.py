"""A strict stand-in for CuPy 14, for machines without a GPU.

NumPy does the arithmetic; CuPy's refusals are kept: no implicit conversion, no mixing with NumPy arrays, no name or
keyword that CuPy lacks. Transfers, reads that wait for the device, and launches are counted (`counting.py`). Where
CuPy would go on with a warning or an undefined result, the stand-in refuses. Its module is what `CupyBackend` takes.

    counting.py     the counters, `counted()` and `no_waiting()`; `losing_the_context()`: every later call fails
    imitation.py    the devices as a GPU of choice
    _array.py       ndarray               _memory.py   what the rest knows of it        _index.py  x[...]
    _functions.py   the namespace         _signatures.py  names and parameters          _calls.py  how a call runs
    _device.py      devices, streams      cuda/, cublas.py, raw.py    CuPy's modules of these names
"""

from typing import Any

from tests.standin import cublas, cuda
from tests.standin._array import ndarray
from tests.standin._functions import NAMESPACE
from tests.standin.raw import RawModule

__version__ = "14.0.0"
__all__ = [*NAMESPACE, "RawModule", "cublas", "cuda", "ndarray"]

globals().update(NAMESPACE)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the stand-in for CuPy has no {name!r}: if CuPy has it, add it to _signatures.py")
