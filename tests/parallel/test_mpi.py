"""`xrnn.parallel` under mpiexec, with real MPI: operations, ranks that fail, launchers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.combinations import thin
from tests.errors import one_line
from tests.fresh import run_python
from tests.parallel.launch import NEEDS_MPI, command, environment, mpiexec, output_of
from xrnn.parallel import ParallelError, world
from xrnn.parallel.launcher import timeout

# ---- operations ----


pytestmark = [NEEDS_MPI, pytest.mark.skipif(os.name != "posix", reason="needs signals")]

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
def _no_mpi4py(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    world.cache_clear()
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    yield
    world.cache_clear()


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


# ---- a rank that fails, is killed or stopped ----


# Each rank writes its process id into a file, and then averages without end.
_LOOP = """
import os, sys, time
import numpy as np
from xrnn.parallel import world
comm = world()
with open(f"rank{comm.rank}.tmp", "w") as file:
    file.write(str(os.getpid()))
os.rename(f"rank{comm.rank}.tmp", f"rank{comm.rank}")
count = np.zeros(1)
while True:
    count += 1
    comm.mean([count])
    time.sleep(0.005)
    if comm.rank == 0:
        with open("count.tmp", "w") as file:
            file.write(str(int(count[0])))
        os.rename("count.tmp", "count")
"""


class Run:
    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command(2, "-c", _LOOP),
            env=environment(**variables),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pids = [int(self.read(f"rank{rank}")) for rank in range(2)]
        self.read("count")

    def read(self, name: str) -> str:
        while not (self.folder / name).exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)
        return (self.folder / name).read_text()

    def ends(self) -> str:
        """Wait for the end of all ranks, with a status other than 0 → the output."""
        output: str = self.process.communicate(timeout=300)[0]
        assert self.process.returncode != 0
        while any(map(_runs, self.pids)):
            time.sleep(0.01)
        return output


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("rank", "number"), thin([0, 1], [signal.SIGKILL, signal.SIGTERM]))
def test_killed_rank_ends_all(tmp_path: Path, rank: int, number: int) -> None:
    run = Run(tmp_path)
    os.kill(run.pids[rank], number)
    run.ends()


def test_a_stopped_rank_is_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    os.kill(run.pids[1], signal.SIGSTOP)
    time.sleep(0.5)
    before = run.read("count")
    time.sleep(0.5)
    assert run.read("count") == before
    os.kill(run.pids[1], signal.SIGCONT)
    while run.read("count") == before:
        assert run.process.poll() is None
        time.sleep(0.01)
    run.process.terminate()
    run.process.communicate()


@pytest.mark.proof
def test_a_stopped_rank_ends_all_after_the_timeout(tmp_path: Path) -> None:
    run = Run(tmp_path, XRNN_PARALLEL_TIMEOUT="3")
    while float(run.read("count")) < 20:  # the first calls of `mean` also compare the sizes, by other messages
        time.sleep(0.01)
    os.kill(run.pids[1], signal.SIGSTOP)
    assert "error: rank 0 waited 3 s for the other ranks in mean (XRNN_PARALLEL_TIMEOUT)" in run.ends()


@pytest.mark.parametrize("runner", [(), ("-m", "mpi4py")])
def test_an_exception_in_one_rank_ends_all(runner: tuple[str, ...]) -> None:
    done = mpiexec(3, *runner, "-c", _EXCEPTION)
    assert done.returncode == 1
    assert done.stderr.count("OSError: disk full") == 1


_EXCEPTION = """
import numpy as np
from xrnn.parallel import world
comm = world()
comm.mean([np.ones(2)])
if comm.rank == 1:
    raise OSError("disk full")
comm.mean([np.ones(2)])
"""


_CALLS = """
import os, sys
import numpy as np
from xrnn.parallel import world
comm = world()
x, y = np.ones(2), np.ones(1000)
reduce, other = comm.reducer([x]), comm.reducer([y])
for _ in range(3):
    reduce([x])
    comm.mean([x])
if comm.rank == {rank}:
    {first}
else:
    {second}
comm.barrier()
"""
_END = "the end of its script"
_REDUCER = "reducer 1 (1 arrays with 2 numbers)"


@pytest.mark.parametrize(
    ("rank", "first", "second", "names"),
    [
        (1, "sys.exit(0)", "reduce([x])", [_END, _REDUCER]),
        (0, "reduce([x])", "other([y])", [_REDUCER, "reducer 2 (1 arrays with 1,000 numbers)"]),
        *(
            pytest.param(*case, marks=pytest.mark.proof)
            for case in (
                (0, "os._exit(0)", "reduce([x])", [_END, _REDUCER]),
                (1, "os._exit(0)", "comm.mean([x])", [_END, "mean"]),
                (0, "pass", "comm.mean([x])", ["barrier", "mean"]),
                (1, "reduce([x])", "comm.mean([x])", [_REDUCER, "mean"]),
                (1, "pass", "reduce([x])", ["barrier", _REDUCER]),
            )
        ),
    ],
)
def test_ranks_that_make_different_calls_end(rank: int, first: str, second: str, names: list[str]) -> None:
    done = mpiexec(3, "-c", _CALLS.format(rank=rank, first=first, second=second))
    assert done.returncode == 1
    found = re.findall(r"rror: .*rank \d has reached (.+), rank \d has reached (.+): expected the same", done.stderr)
    assert {tuple(sorted(each)) for each in found} == {tuple(sorted(names))}  # the order: which ranks arrive first


def test_ranks_may_end_at_different_times() -> None:
    code = """
import os, sys, time
import numpy as np
from xrnn.parallel import world
comm = world()
comm.mean([np.ones(2)])
if comm.rank == 0:
    time.sleep(1.5)  # while the others wait at their end
    sys.exit(print("last"))
"""
    done = mpiexec(3, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "last\n", "")


def test_a_forked_child_ends_alone() -> None:
    code = """
import os
import numpy as np
from xrnn.parallel import world
comm = world()
if not (child := os.fork()):
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
comm.mean([np.ones(2)])
"""
    done = mpiexec(2, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
