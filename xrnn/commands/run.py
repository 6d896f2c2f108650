"""A training run, from its options to its results: the part that all training commands share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

from xrnn.backend import Backend
from xrnn.commands.options import selected
from xrnn.commands.outputs import Outputs, write
from xrnn.commands.pictures import Picture
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal, status_of
from xrnn.info import selection_lines
from xrnn.models.checkpoint import Kind
from xrnn.models.errors import SettingsError
from xrnn.models.trainer import Trainer
from xrnn.optional import install_hint

_MAX_UNITS: Final = 10**12  # steps or epochs

T = TypeVar("T", bound=Trainer[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[T]):
    """A command with its options. A command sets the class variables, and defines `load` and `report`."""

    paths: Sequence[Path]  # the data files and folders
    given: dict[str, Any]  # the settings on the command line; the others have the defaults
    upto: int | None = None  # the number of steps or epochs
    csv: Path | None = None  # the table of results to write
    options: Any

    kind: ClassVar[Kind[Any]]
    default_out: ClassVar[Path]
    trainer: ClassVar[Any]  # the class T
    unit: ClassVar[str]  # the unit of `upto`, such as "steps"

    def __post_init__(self) -> None:
        if self.upto is not None and not 1 <= self.upto <= _MAX_UNITS:
            raise SettingsError(f"--{self.unit} is {self.upto}: expected a whole number from 1 to {_MAX_UNITS}")

    def load(self, settings: Any) -> Any:
        """Read the data at `paths` → an object with `facts`, see `Snapshot`, and a line, `source`.

        Raises DataError.
        """
        raise NotImplementedError

    def choose(self, settings: Any, data: Any, backend: Backend, terminal: Terminal) -> Any:
        """The settings, with those that follow from the data. By default, `settings`.

        terminal   prints the progress
        """
        return settings

    def default_upto(self, data: Any) -> int:
        """The number of steps or epochs if `upto` is not given."""
        raise NotImplementedError

    def steps_per_unit(self, settings: Any, data: Any) -> int:
        """The number of steps in one of the units of `upto`."""
        return 1

    def report(self, trainer: T, terminal: Terminal) -> tuple[dict[str, Any], Picture]:
        """Test the model on held-out data and print the results → the results for `--json`, the picture to draw."""
        raise NotImplementedError

    def table(self, trainer: T, results: dict[str, Any]) -> bytes:
        """The content of the file `csv`."""
        raise NotImplementedError


def run_command(command: Command[T]) -> int:
    """Run it → the exit status: 0, 128 + the number of the signal that stopped it, or `status_of` a failed output.

    Raises ModelError for a user error. Errors that can be found before training are raised before anything is printed.
    """
    options, selection = command.options, selected(command.options.backend)
    terminal = Terminal(quiet=options.quiet, json=options.json)
    settings, outputs = (
        command.kind.settings(**command.given),
        Outputs.choose(options, command.default_out, command.paths, command.csv),
    )
    data = command.load(settings)
    upto = command.default_upto(data) if command.upto is None else command.upto
    last = upto * command.steps_per_unit(settings, data)
    for line in [*selection_lines(selection), f"series: {data.source}"]:
        terminal.note(line)
    settings = command.choose(settings, data, selection.backend, terminal)
    weights = command.kind.plan(settings, data.facts).weights
    terminal.note(f"model: {settings.architecture}, {weights:,} weights; {settings.training}; seed {settings.seed}")
    if terminal.lost:
        return status_of(terminal.lost)
    trainer: T = command.trainer(settings, data, selection.backend)
    trainer.upto, trainer.tell = command.upto, terminal.note
    status = _train(trainer, command, last, outputs, terminal)
    if not status:
        _report(trainer, command, outputs, terminal)
    return status


def _train(trainer: T, command: Command[T], last: int, outputs: Outputs, terminal: Terminal) -> int:
    """Train and save → 0, or the status of the signal or the lost output that stopped the run."""
    with TrainingProgress(terminal) as progress:
        progress.began(trainer, last)
        trainer.run(lambda: trainer.steps >= last or progress.stopped, progress.updated)
        trainer.read_losses()
        progress.ended()
        trainer.calibrate(lambda: progress.stopped)
    status = progress.status
    if not status or trainer.usable:
        write(outputs.checkpoint, command.kind.content(trainer.snapshot()))
    if status:
        line = "stopped: nothing was written, since the model is not complete"
        if trainer.usable:
            line = f"stopped at {trainer.position}: {outputs.checkpoint.path} holds the best model so far"
        terminal.say(line)
        if terminal.lost and sys.stderr is not None:
            Terminal(sys.stderr).say(line)
    return status


def _report(trainer: T, command: Command[T], outputs: Outputs, terminal: Terminal) -> None:
    """Print the results, and draw the picture.   Raises OutputError."""
    checkpoint = str(outputs.checkpoint.path)
    terminal.result(f"checkpoint: {checkpoint} (xrnn predict {shlex.quote(checkpoint)} FILE...)")
    results, picture = command.report(trainer, terminal)
    content = picture.content(outputs.picture.path)
    if content is None:
        terminal.result(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
    else:
        write(outputs.picture, content)
        terminal.result(f"picture: {outputs.picture.path}")
    if outputs.table:
        write(outputs.table, command.table(trainer, results))
        terminal.result(f"table: {outputs.table.path}")
    if command.options.json:
        files: dict[str, Any] = {
            "checkpoint": checkpoint,
            "picture": None if content is None else str(outputs.picture.path),
        }
        terminal.json_line(results | {"steps": trainer.steps} | files)
