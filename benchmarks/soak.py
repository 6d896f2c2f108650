"""Training for hours, and killed again and again: `python -m benchmarks.soak --minutes M` (Linux).

Every cell in turn trains in a process of its own, which is ended by SIGKILL at a random moment and goes on from its
checkpoint in the next turn, on a number of threads that changes, while other load comes and goes. A step that is done
again after a kill must give the weights that it gave before, bit for bit, and so must the first steps in a run of one
life on one thread; a checkpoint that was announced must be there; neither memory nor the folder may grow.
It ends with what was lost and what grew, and a status of 1 where that is not nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from threadpoolctl import ThreadpoolController

from benchmarks import machine
from benchmarks.soak_training import CELLS, SAVE_EVERY, Run
from benchmarks.spinning import Spinning, spin, stop

# What the resident memory of one life may gain after its first checkpoints: malloc's blocks, in an arena a thread.
_ALLOWED: Final = 8e6
_WARM: Final = 5  # checkpoints, after which memory is compared
_REPLAYED: Final = 500  # steps


@dataclass
class Record:
    """What is known of one cell's run, from the lines that its lives have printed."""

    cell: str
    steps: int = 0
    saved: int = 0
    lives: int = 0
    again: int = 0  # steps that were done again, with the same weights
    grown: float = 0.0  # bytes, the most in any one life
    resident: float = 0.0  # bytes, at the last checkpoint
    lost: list[str] = field(default_factory=list)
    first: dict[int, str] = field(default_factory=dict)  # the digests of the steps up to _REPLAYED
    _digests: dict[int, str] = field(default_factory=dict)  # of the steps since the last checkpoint

    def hear(self, lines: Iterable[str]) -> None:
        """The lines of one life. The last may have been cut off, and then ends without a newline."""
        self.lives += 1
        memory = []
        for line in (line for line in lines if line.endswith("\n")):
            match line.split():
                case ["from", step]:
                    # A kill between writing a checkpoint and telling of it leaves one that is a little further on.
                    if int(step) not in (self.saved, self.saved + SAVE_EVERY):
                        self.lost.append(f"the checkpoint of step {self.saved}: the run went on from {step}")
                case ["saved", step, resident]:
                    self.saved, self.resident = int(step), float(resident)
                    self._digests = {at: digest for at, digest in self._digests.items() if at > self.saved}
                    memory.append(self.resident)
                case [step, digest]:
                    self._compare(int(step), digest)
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


class Load:
    """Other processes that compute, on and off while the block lasts: `shift` changes it when its time has come."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._until = rng, 0.0
        self._busy: list[Spinning] = []

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def shift(self) -> None:
        if time.monotonic() < self._until:
            return
        self.stop()
        self._busy = spin(self._rng.choice((0, 0, 1, os.cpu_count() or 1)))
        self._until = time.monotonic() + self._rng.uniform(0.5, 5)

    def stop(self) -> None:
        stop(self._busy)
        self._busy = []


def live(record: Record, folder: Path, seconds: float, load: Load) -> None:
    """One life of the cell's run. Raises RuntimeError where it ends by itself."""
    command = [sys.executable, "-m", "benchmarks.soak_training", record.cell, str(folder / record.cell)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        printed = bytearray()
        end = None  # `seconds` after it has loaded
        while end is None or time.monotonic() < end:
            load.shift()
            if select.select([process.stdout], [], [], 0.01)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    raise RuntimeError(f"the run of {record.cell} ended by itself: status {process.wait()}")
                printed += piece
                end = end or time.monotonic() + seconds
        process.kill()
        printed += process.stdout.read()
    record.hear(printed.decode().splitlines(keepends=True))


def replay(record: Record, folder: Path) -> None:
    """Take the first steps again, in one life on one thread."""
    run = Run(record.cell, folder / f"{record.cell} again")
    with ThreadpoolController().limit(limits=1, user_api="openmp"):
        for step, digest in sorted(record.first.items()):
            while run.optimizer.steps < step:
                run.step()
            if run.digest() != digest:
                record.lost.append(f"step {step}: its weights were {digest}, and {run.digest()} in a run of one life")
                return


def soak(minutes: float, folder: Path, seed: int) -> list[Record]:
    rng = random.Random(seed)
    records = [Record(cell) for cell in CELLS]
    end = time.monotonic() + 60 * minutes
    with Load(rng) as load:
        while time.monotonic() < end and (sound := [record for record in records if not record.lost]):
            for record in sound:
                # Most lives are short; a few are long enough for memory to grow.
                seconds = min(rng.expovariate(1 / (0.5 + minutes)), 60 * minutes / len(records))
                try:
                    live(record, folder, seconds, load)
                except RuntimeError as error:
                    record.lost.append(str(error))
    for record in records:
        replay(record, folder)
    return records


def left_behind(folder: Path) -> list[str]:
    """What killed runs left beside their checkpoints, where that is more than one file each."""
    left = sorted(name for name in os.listdir(folder) if name not in CELLS)
    return [f"the folder, by {len(left)} files: {', '.join(left[:3])}, …"] if len(left) > len(CELLS) else []


def report(records: Sequence[Record], left: Sequence[str], console: Console) -> bool:
    """Print what happened to each → whether nothing was lost and nothing grew."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("cell", "steps", "lives", "done again", "resident, MB", "grown, MB"):
        table.add_column(column, justify="left" if column == "cell" else "right", no_wrap=True)
    for r in records:
        figures = (f"{n:,}" for n in (r.steps, r.lives, r.again))
        table.add_row(r.cell, *figures, f"{r.resident / 1e6:.1f}", f"{max(r.grown, 0) / 1e6:.1f}")
    console.print(table)
    lost = [f"{r.cell}: {what}" for r in records for what in r.lost]
    grew = [f"{r.cell}: {r.grown / 1e6:.1f} MB of memory in one life" for r in records if r.grown > _ALLOWED]
    grew += left
    for title, found in (("lost", lost), ("grew", grew)):
        console.print(f"{title}: {'; '.join(found) or 'nothing'}", highlight=False)
    return not lost + grew


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="train, kill, resume, for hours")
    parser.add_argument("--minutes", type=machine.amount, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="xrnn-soak-") as folder:
        records = soak(options.minutes, Path(folder), options.seed)
        sound = report(records, left_behind(Path(folder)), Console())
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
