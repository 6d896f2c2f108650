"""Recognizes the launcher that started this process, by the environment variables that it sets."""

from __future__ import annotations

import os
from typing import Final

# Launcher: the variable with the number of its processes. Inside `srun`, another launcher may run: it comes first.
_SIZES: Final = {
    "mpiexec of Open MPI": "OMPI_COMM_WORLD_SIZE",
    "mpiexec": "PMI_SIZE",  # MPICH, Intel MPI, MVAPICH, Cray and PBS
    "srun": "SLURM_STEP_NUM_TASKS",  # not set in the batch script itself, which is one process
}


def launcher() -> tuple[str, int]:
    """The launcher of this process and its number of processes: ("", 1) without one."""
    for name, variable in _SIZES.items():
        if os.environ.get(variable, "").isdecimal():
            return name, int(os.environ[variable])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ.get("WORLD_SIZE", 1))
    return "", 1
