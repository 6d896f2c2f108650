"""What a launcher, such as mpiexec, gives this process: MPI, its CPUs, and the settings of the run."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import warnings
from typing import Any, Final

import numpy as np

from xrnn.optional import install_hint

# Launcher: the variable with the number of its processes. Inside `srun`, another launcher may run: it comes first.
_SIZES: Final = {
    "mpiexec of Open MPI": "OMPI_COMM_WORLD_SIZE",
    "mpiexec": "PMI_SIZE",  # MPICH, Intel MPI, MVAPICH, Cray and PBS
    "srun": "SLURM_STEP_NUM_TASKS",  # not set in the batch script itself, which is one process
}
_CPUS: Final = 4096


class ParallelError(RuntimeError):
    """The ranks can't work together. The message names the cause and the remedy."""


def launcher() -> tuple[str, int]:
    """The launcher of this process and its number of processes: ("", 1) without one."""
    for name, variable in _SIZES.items():
        if os.environ.get(variable, "").isdecimal():
            return name, int(os.environ[variable])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ.get("WORLD_SIZE", 1))
    return "", 1


def launched() -> Any:
    """The module mpi4py.MPI; None if this process is the only one.   Raises ParallelError."""
    name, size = launcher()
    if size == 1 and "mpi4py.MPI" not in sys.modules:
        return None
    if name == "torchrun":
        raise ParallelError(
            f"torchrun started {size} processes, which xrnn.parallel can't connect: expected mpiexec or srun; use "
            "xrnn.torch with DistributedDataParallel, or start with mpiexec"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a launcher of another MPI, which is an error below
            MPI = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ParallelError(
            f"{name} started {size} processes, but mpi4py does not work ({str(error).splitlines()[0]}): expected it to "
            f"connect them; {install_hint('mpi')}, or start one process"
        ) from error
    found = MPI.COMM_WORLD.Get_size()
    if found < size:
        raise ParallelError(
            f"{name} started {size} processes, but mpi4py connects {found}: expected one MPI for both; install mpi4py "
            "for the MPI of the launcher, or use the mpiexec beside this Python"
        )
    return MPI if found > 1 else None


def timeout() -> float:
    """XRNN_PARALLEL_TIMEOUT in seconds; 0 to wait without end.   Raises ParallelError."""
    given = os.environ.get("XRNN_PARALLEL_TIMEOUT", "").strip() or "0"
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(given)) < math.inf:
            return seconds
    raise ParallelError(f"XRNN_PARALLEL_TIMEOUT is {given!r}: expected seconds, such as 60, or 0 to wait without end")


def use_share_of_cpus(local: Any, in_place: Any) -> None:
    """Divide the CPUs of this host among its ranks, unless the launcher has done it.   local: the ranks of this host.

    Without this, each rank would start a thread for every CPU.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    users = np.zeros(_CPUS, np.int32)  # the number of ranks that may run on each CPU
    users[cpus] = 1
    local.Allreduce(in_place, users)
    rank = local.Get_rank()
    size = local.Get_size()
    if size > 1 and (users[cpus] == size).all():
        first = rank * len(cpus) // size
        cpus = cpus[first : max(first + 1, (rank + 1) * len(cpus) // size)]
        os.sched_setaffinity(0, cpus)
    if "OMP_NUM_THREADS" not in os.environ:
        with contextlib.suppress(ImportError):
            importlib.import_module("threadpoolctl").threadpool_limits(len(cpus), "blas")
