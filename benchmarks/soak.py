"""Training for hours with kills and resumes: `python -m benchmarks.soak --minutes M` (Linux).

Each cell is trained in its own process, one cell after the other. A *life* lasts from the start of its process to a
kill (SIGKILL) at a random moment. The next life resumes from the checkpoint. The number of threads and the load of the
machine change at random. The command ends with status 1 unless

- an update that is repeated after a kill, or at the end on one thread, gives the same weights, bit for bit;
- each checkpoint that was reported exists;
- neither memory nor the number of files grows.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

import xrnn
from benchmarks import machine
from benchmarks.processes import busy

CELLS: Final[dict[str, Any]] = {
    "rnn": xrnn.RNN.init,
    "leak": partial(xrnn.RNN.init, leak=0.3),
    "lstm": xrnn.LSTM.init,
    "gru": xrnn.GRU.init,
    "gru-reset-before": partial(xrnn.GRU.init, reset_after=False),
}
SAVE_EVERY: Final = 5  # updates
T, N, D, H = 12, 32, 48, 96  # large enough for a second thread
_SPAWN: Final = multiprocessing.get_context("spawn")
# Bytes that the resident memory may grow in one life after its first checkpoints. Some growth is normal: malloc makes
# an arena for each new thread.
_ALLOWED: Final = 8e6
_WARM: Final = 5  # memory is compared after this number of checkpoints
_REPLAYED: Final = 500  # updates repeated at the end


class Run:
    """A training run, which continues from its checkpoint. Its batches depend on the number of updates alone."""

    def __init__(self, cell: str, path: Path) -> None:
        self.path = path
        rng = np.random.default_rng(0)
        self.layer = CELLS[cell](D, H, rng=rng, backend="numpy")
        self.readout = xrnn.Linear.init(H, 1, rng=rng, backend="numpy")
        self.optimizer = xrnn.Adam([self.layer, self.readout])
        if path.exists():
            c = xrnn.load_checkpoint(path, backend="numpy")
            self.layer, self.readout, self.optimizer = *c.layers.values(), c.optimizer

    def save(self) -> None:
        xrnn.save_checkpoint(self.path, {"layer": self.layer, "readout": self.readout}, optimizer=self.optimizer)

    def step(self) -> None:
        """Make one update. The target is the mean of the inputs so far; x is NaN past a row's end."""
        rng = np.random.default_rng(self.optimizer.steps)
        lengths = rng.integers(0, T, N, endpoint=True)
        within = (np.arange(T)[:, None] < lengths)[..., None]
        x = rng.standard_normal((T, N, D), np.float32)
        target = x.mean(-1, keepdims=True).cumsum(0, dtype=np.float32)
        result = self.layer.forward(np.where(within, x, np.float32("nan")), lengths=lengths)
        y = self.readout.forward(result[0] if isinstance(result, tuple) else result)
        _, dy = xrnn.mean_squared_error(y, np.where(within, target, y))
        dh = self.readout.backward(dy)
        self.layer.backward(*([dh, None] if isinstance(result, tuple) else [dh]))
        self.optimizer.step()

    def digest(self) -> str:
        digest = 0
        for param in self.optimizer.params:
            digest = zlib.crc32(param.data, digest)
        return f"{digest:08x}"


def train(cell: str, path: Path, pipe: Connection) -> None:
    """Train until the process is killed, and report the start, each update and each checkpoint.

    ("from", updates)    ("step", updates, digest of the weights)    ("saved", updates, resident bytes)
    """
    run = Run(cell, path)
    threads = machine.threadpools().ThreadpoolController()
    pipe.send(("from", run.optimizer.steps))
    while True:
        with threads.limit(limits=random.randint(1, os.cpu_count() or 1), user_api="openmp"):
            for _ in range(SAVE_EVERY):
                run.step()
                pipe.send(("step", run.optimizer.steps, run.digest()))
        run.save()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        pipe.send(("saved", run.optimizer.steps, resident))


@dataclass
class Record:
    """What the lives of one cell's run reported. `failures` describes what was lost and what grew."""

    cell: str
    saved: int = 0
    lives: int = 0
    repeated: int = 0  # updates that were repeated after a kill
    failures: list[str] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)  # of the weights after each update

    def add(self, reports: Iterable[tuple[Any, ...]]) -> None:
        """Add the reports of one life, from `train`."""
        self.lives += 1
        memory = []
        for report in reports:
            match report:
                case ("from", step):
                    # A kill may come after a checkpoint is written and before it is reported.
                    if step not in (self.saved, self.saved + SAVE_EVERY):
                        self.failures.append(f"the checkpoint of step {self.saved} is lost: it continued from {step}")
                case ("saved", step, resident):
                    self.saved = step
                    memory.append(resident)
                case ("step", step, digest):
                    self.repeated += step in self.digests
                    self.compare(step, digest)
        if len(memory) > 2 * _WARM:
            grown = statistics.median(memory[-_WARM:]) - statistics.median(memory[_WARM:][:_WARM])
            if grown > _ALLOWED:
                self.failures.append(f"memory grew by {grown / 1e6:.1f} MB in one life")

    def compare(self, step: int, digest: str) -> bool:
        if (before := self.digests.setdefault(step, digest)) != digest:
            self.failures.append(f"step {step}: its weights were {before} at first, and {digest} when it was repeated")
        return before == digest


def live(record: Record, folder: Path, seconds: float) -> None:
    """One life of the cell's run, killed after `seconds`. Raises RuntimeError if the run ends by itself."""
    pipe, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=train, args=(record.cell, folder / record.cell, theirs), daemon=True)
    process.start()
    theirs.close()
    reports = []
    try:
        end = None  # `seconds` after the first report
        while end is None or time.monotonic() < end:
            if pipe.poll(0.01):
                reports.append(pipe.recv())
                end = end or time.monotonic() + seconds
    except EOFError:
        process.join()
        raise RuntimeError(f"the run of {record.cell} ended by itself: status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    with contextlib.suppress(EOFError, OSError):  # the last report may be incomplete
        while True:
            reports.append(pipe.recv())
    record.add(reports)


def replay(record: Record, folder: Path) -> None:
    """Repeat the first updates on one thread without a kill, and compare the weights."""
    run = Run(record.cell, folder / f"{record.cell} again")
    with machine.threadpools().ThreadpoolController().limit(limits=1, user_api="openmp"):
        while (step := run.optimizer.steps + 1) in record.digests and step <= _REPLAYED:
            run.step()
            if not record.compare(step, run.digest()):
                return


def soak(minutes: float, folder: Path, seed: int) -> list[Record]:
    rng = random.Random(seed)
    records = [Record(cell) for cell in CELLS]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and (sound := [record for record in records if not record.failures]):
        for record in sound:
            # Most lives are short; a few are long enough to show growing memory.
            seconds = min(rng.expovariate(1 / (0.5 + minutes)), 60 * minutes / len(records))
            try:
                with busy(rng.choice((0, 0, 1, os.cpu_count() or 1))):
                    live(record, folder, seconds)
            except RuntimeError as error:
                record.failures.append(str(error))
    for record in records:
        replay(record, folder)
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="train, kill, resume, for hours")
    parser.add_argument("--minutes", type=machine.amount, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    options = parser.parse_args(arguments)
    machine.print_version()
    with tempfile.TemporaryDirectory(prefix="xrnn-soak-") as name:
        records = soak(options.minutes, folder := Path(name), options.seed)
        failures = [f"{record.cell}: {failure}" for record in records for failure in record.failures]
        left = sorted(set(os.listdir(folder)) - set(CELLS))
    if len(left) > len(CELLS):
        failures.append(f"killed runs left {len(left)} files beside the checkpoints: {', '.join(left[:3])}, …")
    for r in records:
        print(f"{r.cell}: {len(r.digests):,} updates in {r.lives:,} lives, {r.repeated:,} of them repeated")
    sys.exit("\n".join(failures) or 0)


if __name__ == "__main__":
    main()
