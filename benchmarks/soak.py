"""Training for hours with kills and resumes: `python -m benchmarks.soak --minutes M` (Linux).

Each cell is trained in its own process, one cell after the other. A *life* of a training run lasts from the start of
its process to a kill (SIGKILL) at a random moment. The next life resumes from the checkpoint. The number of threads and
the load of the machine change at random. The command checks:

- If an update is repeated after a kill, it gives the same weights, bit for bit. So do the first updates when they are
  repeated at the end on one thread, without a kill.
- Each checkpoint that was reported exists.
- Neither memory nor the number of files grows.

It prints what was lost and what grew, and ends with status 1 if the list is not empty.
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from threadpoolctl import ThreadpoolController

from benchmarks import machine, soak_training
from benchmarks.processes import busy
from benchmarks.soak_training import CELLS, SAVE_EVERY, Run
from benchmarks.tables import table, wide_console

_SPAWN: Final = multiprocessing.get_context("spawn")
# Bytes that the resident memory may grow in one life after its first checkpoints. Some growth is normal: malloc makes
# an arena for each new thread.
_ALLOWED: Final = 8e6
_WARM: Final = 5  # memory is compared after this number of checkpoints
_REPLAYED: Final = 500  # updates repeated at the end


@dataclass
class Record:
    """What the lives of one cell's run reported."""

    cell: str
    steps: int = 0
    saved: int = 0
    lives: int = 0
    again: int = 0  # updates that were repeated after a kill, with the same weights
    grown: float = 0.0  # bytes: the largest growth of memory in one life
    resident: float = 0.0  # bytes, at the last checkpoint
    lost: list[str] = field(default_factory=list)  # descriptions of the failures
    first: dict[int, str] = field(default_factory=dict)  # digests of the weights after the updates up to _REPLAYED
    _digests: dict[int, str] = field(default_factory=dict)  # the same for the updates since the last checkpoint

    def add(self, reports: Iterable[tuple[Any, ...]]) -> None:
        """Add the reports of one life, from `benchmarks.soak_training`."""
        self.lives += 1
        memory = []
        for report in reports:
            match report:
                case ("from", step):
                    # A kill may come after a checkpoint is written and before it is reported.
                    if step not in (self.saved, self.saved + SAVE_EVERY):
                        self.lost.append(f"the checkpoint of step {self.saved}: the run continued from {step}")
                case ("saved", step, resident):
                    self.saved, self.resident = step, float(resident)
                    self._digests = {at: digest for at, digest in self._digests.items() if at > self.saved}
                    memory.append(self.resident)
                case ("step", step, digest):
                    self._compare(step, digest)
        if len(memory) > 2 * _WARM:
            self.grown = max(self.grown, statistics.median(memory[-_WARM:]) - statistics.median(memory[_WARM:][:_WARM]))

    def _compare(self, step: int, digest: str) -> None:
        if step <= _REPLAYED:
            self.first.setdefault(step, digest)
        before = self._digests.setdefault(step, digest)
        if before != digest:
            self.lost.append(f"step {step}: its weights were {before} before the kill and {digest} after it")
        self.again += step <= self.steps and before == digest
        self.steps = max(self.steps, step)


def live(record: Record, folder: Path, seconds: float) -> None:
    """One life of the cell's run, killed after `seconds`. Raises RuntimeError if the run ends by itself."""
    pipe, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=soak_training.live, args=(record.cell, folder / record.cell, theirs), daemon=True)
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
    with ThreadpoolController().limit(limits=1, user_api="openmp"):
        for step, digest in sorted(record.first.items()):
            while run.optimizer.steps < step:
                run.step()
            if run.digest() != digest:
                record.lost.append(f"step {step}: its weights were {digest}, and without a kill {run.digest()}")
                return


def soak(minutes: float, folder: Path, seed: int) -> list[Record]:
    rng = random.Random(seed)
    records = [Record(cell) for cell in CELLS]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and (sound := [record for record in records if not record.lost]):
        for record in sound:
            # Most lives are short; a few are long enough to show growing memory.
            seconds = min(rng.expovariate(1 / (0.5 + minutes)), 60 * minutes / len(records))
            try:
                with busy(rng.choice((0, 0, 1, os.cpu_count() or 1))):
                    live(record, folder, seconds)
            except RuntimeError as error:
                record.lost.append(str(error))
    for record in records:
        replay(record, folder)
    return records


def left_behind(folder: Path) -> list[str]:
    """A message if killed runs left more files beside the checkpoints than one for each cell; otherwise empty."""
    left = sorted(name for name in os.listdir(folder) if name not in CELLS)
    return [f"the folder, by {len(left)} files: {', '.join(left[:3])}, …"] if len(left) > len(CELLS) else []


def report(records: Sequence[Record], left: Sequence[str], console: Console) -> bool:
    """Print a table → True if nothing was lost and nothing grew."""
    rows = [
        [
            r.cell,
            *(f"{n:,}" for n in (r.steps, r.lives, r.again)),
            *(f"{size / 1e6:.1f}" for size in (r.resident, max(r.grown, 0))),
        ]
        for r in records
    ]
    columns = ["cell", "steps", "lives", "repeated steps", "resident, MB", "grown, MB"]
    console.print(table("training runs", columns, rows))
    lost = [f"{r.cell}: {what}" for r in records for what in r.lost]
    grew = [f"{r.cell}: {r.grown / 1e6:.1f} MB of memory in one life" for r in records if r.grown > _ALLOWED]
    grew += left
    for title, found in (("lost", lost), ("grew", grew)):
        console.print(f"{title}: {'; '.join(found) or 'nothing'}")
    return not lost + grew


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="train, kill, resume, for hours")
    parser.add_argument("--minutes", type=machine.amount, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    options = parser.parse_args(arguments)
    machine.print_version()
    with tempfile.TemporaryDirectory(prefix="xrnn-soak-") as folder:
        records = soak(options.minutes, Path(folder), options.seed)
        sound = report(records, left_behind(Path(folder)), wide_console())
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
