"""A loop that only reads the weights, on all threads: Wx once, and Wh once for each step.

A forward pass of few rows is hardly faster. It can be faster if its weights do not fit the caches: the loop always
starts at their beginning, while a pass of xrnn starts each step with the weights that it has used last.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.cases import Problem
from benchmarks.peers import Built

_SOURCE: Final = """
float read_all(const float *p, long n, int times) {
    float sum = 0;
    for (int i = 0; i < times; ++i)
        #pragma omp parallel for simd schedule(static) reduction(+ : sum)
        for (long k = 0; k < n; ++k) sum += p[k];
    return sum;
}
"""
if not shutil.which("gcc"):
    raise ImportError("gcc is not installed")
# Not -Ofast: GCC 12 then links startup code that makes the process treat subnormal numbers as 0.
_REORDERED_SUMS: Final = ("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")
_UNROLLED: Final = ("-funroll-loops", "-fvariable-expansion-in-unroller")
_COMPILER: Final = ("gcc", "-O3", "-march=native", *_REORDERED_SUMS, *_UNROLLED, "-fopenmp")


def _compiled() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "read.c"), Path(folder, "read.so")
        source.write_text(_SOURCE)
        subprocess.run([*_COMPILER, "-shared", "-fPIC", "-o", library, source], check=True)
        return ctypes.CDLL(str(library))


def about() -> dict[str, str]:
    return {"compiler": " ".join(_COMPILER)}


def build(problem: Problem, threads: int) -> Built:
    read = _compiled().read_all
    read.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
    read.restype = ctypes.c_float
    Wx, Wh = problem.weights[:2]

    def reads(steps: int) -> float:
        return read(Wx.ctypes.data, Wx.size, 1) + read(Wh.ctypes.data, Wh.size, steps)

    return Built({"read step": lambda: reads(1), "read forward": lambda: reads(problem.case.T)})
