"""`xrnn.parallel` under mpiexec, with real MPI."""

from __future__ import annotations

import os
import sys

import pytest

from tests.errors import one_line
from tests.fresh import run_python
from tests.parallel.launch import NEEDS_MPI, mpiexec, output_of
from xrnn.parallel import ParallelError, world
from xrnn.parallel.launcher import timeout

pytestmark = NEEDS_MPI

_OPERATIONS = """
import numpy as np
from xrnn.parallel import world
comm = world()
rng = np.random.default_rng(comm.rank)
arrays = [rng.standard_normal((3, 4), dtype=np.float32), rng.standard_normal(5, dtype=np.float32)]
given = np.concatenate([a.ravel() for a in arrays])
comm.mean(arrays, comm.rank + 1)
weights = np.asfortranarray(np.full((2, 3), comm.rank + 1.0))
comm.broadcast([weights, count := np.array(comm.rank)])
assert weights.tolist() == [[1, 1, 1], [1, 1, 1]] and count == 0
comm.barrier()
gathered = comm.gather(np.full((comm.rank, 2), comm.rank, np.int16))
assert [part.tolist() for part in gathered] == [[[rank] * 2] * rank for rank in range(comm.size)] * (comm.rank == 0)
inputs, means = comm.gather(given), comm.gather(np.concatenate([a.ravel() for a in arrays]))
if comm.rank == 0:
    expected = sum((rank + 1) * x.astype(float) for rank, x in enumerate(inputs)) / sum(range(1, comm.size + 1))
    np.testing.assert_allclose(means[0], expected, rtol=1e-5, atol=1e-6)
    for mean in means:
        np.testing.assert_array_equal(mean, means[0])
    print(means[0].tobytes().hex())
"""


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.proof), 3])
def test_operations(size: int) -> None:
    """The means are right, the same in each rank, and the same bits in a second run."""
    assert output_of(size, _OPERATIONS) == output_of(size, _OPERATIONS) != ""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
def test_ranks_divide_the_cpus() -> None:
    code = """if True:
        import os
        import numpy as np
        from xrnn.parallel import world
        cpus = world().gather(np.array(sorted(os.sched_getaffinity(0))))
        print([part.tolist() for part in cpus] or "")
    """
    both = [set(part) for part in eval(output_of(2, code))]
    assert both[0] | both[1] == os.sched_getaffinity(0)
    assert len(both[0] & both[1]) == (len(both[0] | both[1]) == 1)


_KNOWN_AND_NEW = """
import numpy as np
from xrnn.parallel import world
comm = world()
for _ in range(3):
    comm.mean([np.zeros(2, np.float32)])
    comm.mean([np.zeros(1)])
comm.mean([np.zeros(2 + 100_000 * (comm.rank == {rank}), np.float32)])
"""


@pytest.mark.parametrize("rank", [0, *(pytest.param(rank, marks=pytest.mark.proof) for rank in (1, 2))])
def test_known_and_new_sizes_end_all_ranks(rank: int) -> None:
    """Without a timeout: the ranks don't wait in different operations."""
    done = mpiexec(3, "-c", _KNOWN_AND_NEW.format(rank=rank))
    assert done.returncode
    assert "ValueError: arrays differ between ranks: rank 0 has 1 arrays with" in done.stderr
    assert "100,002 numbers" in done.stderr


# ---- launchers, in this process ----


@pytest.fixture
def _no_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)


@pytest.mark.usefixtures("_no_mpi4py")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        *(
            ({name: "2"}, "started 2 processes, but mpi4py does not work")
            for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
        ),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "DistributedDataParallel"),
        ({}, ""),
        ({"PMI_SIZE": "1"}, ""),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, ""),  # a batch script, which srun did not start
    ],
)
def test_a_launcher_needs_mpi4py_and_one_process_does_not(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if words:
        with one_line(ParallelError, words):
            world()
    else:
        assert world().size == 1


def test_processes_of_another_mpi_are_refused() -> None:
    """They do not find each other: each would be rank 0 of 1, and write the same files."""
    done = run_python("from xrnn.parallel import world; world()", OMPI_COMM_WORLD_SIZE="4")
    assert "started 4 processes, but mpi4py connects 1" in done.stderr.strip().splitlines()[-1]


def test_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, seconds in (("", 0), ("0", 0), ("2.5", 2.5)):
        monkeypatch.setenv("XRNN_PARALLEL_TIMEOUT", value)
        assert timeout() == seconds
    for value in ("soon", "-1", "inf", "nan"):
        monkeypatch.setenv("XRNN_PARALLEL_TIMEOUT", value)
        with one_line(ParallelError, f"XRNN_PARALLEL_TIMEOUT is '{value}': expected seconds"):
            timeout()
