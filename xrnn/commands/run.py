"""A training run, from its options to its results: the part that all training commands share."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from xrnn.backend import Backend
from xrnn.commands.options import Command, T, flag, selected
from xrnn.commands.outputs import Outputs
from xrnn.commands.progress import Goal, TrainingProgress
from xrnn.commands.terminal import Terminal, noted_signals, raised_signals, status_of
from xrnn.info import selection_lines
from xrnn.models.checkpoint import PictureRecord, Snapshot
from xrnn.models.errors import DivergedError, OutputError, SettingsError, file_errors
from xrnn.models.settings import Settings
from xrnn.optional import install_hint

SAVE_EVERY: Final = 250  # steps
_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step


def run_command(command: Command[T]) -> int:
    """Run it → the exit status: 0, 128 + the number of the signal that stopped it, or `status_of` a failed output.

    Raises ModelError for a user error. Errors that can be found before training are raised before anything is printed.
    """
    options, selection = command.options, selected(command.options.backend)
    backend = selection.backend
    terminal = Terminal(quiet=options.quiet, json=options.json)
    settings, snapshot = _settings(command, backend)
    outputs = Outputs.choose(command, settings, snapshot.picture if snapshot else None, terminal.note)
    data = command.load(settings)
    last = _last_step(command, settings, data, snapshot)
    for line in [*selection_lines(selection), *outputs.lines, f"series: {data.source}"]:
        terminal.note(line)
    if snapshot is None:
        settings = command.choose(settings, data, backend, terminal)
    terminal.note(_description(command, settings, data, snapshot))
    if terminal.lost:
        return status_of(terminal.lost)
    trainer: T = (
        command.trainer.resume(snapshot, data, backend) if snapshot else command.trainer(settings, data, backend)
    )
    trainer.upto, trainer.timed, trainer.tell = command.upto, options.minutes is not None, terminal.note
    status = _train(trainer, command, last, outputs, terminal)
    if status:
        return status
    try:
        with raised_signals():
            _report(trainer, command, outputs, terminal)
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "number", signal.SIGINT)
        line = f"interrupted after training; {outputs.checkpoint.path} holds step {trainer.steps:,}"
        if command.unfinished:
            # The command makes no more updates. If the training chose their number, the checkpoint holds it.
            upto = command.upto if options.minutes is None else trainer.steps or None
            rest = replace(command, upto=upto, options=replace(options, minutes=None))
            line += f", but {command.unfinished}; finish with"
            line += f"\n  {_resume_command(rest, outputs.checkpoint.path)}"
        terminal.say(line)
        return 128 + number
    return 0


def _settings(command: Command[T], backend: Backend) -> tuple[Settings, Snapshot[Any] | None]:
    """The settings of the run, and the snapshot that it continues."""
    resume = command.options.resume
    if resume is None:
        return command.kind.settings(**command.given), None
    snapshot = command.kind.load(resume, backend)
    for name, value in command.given.items():
        if value != (kept := getattr(snapshot.settings, name)):
            raise SettingsError(
                f"{flag(name)} is {value}, but {resume} was trained with {kept}: leave the option out, or "
                "start a new run without --resume"
            )
    return snapshot.settings, snapshot


def _last_step(command: Command[T], settings: Any, data: Any, snapshot: Snapshot[Any] | None) -> int | None:
    """The step at which to stop, counted from the first run; None to stop after a time.   Raises SettingsError."""
    if snapshot and (data.fingerprint, data.facts) != (snapshot.fingerprint, snapshot.facts):
        raise SettingsError(
            f"{command.options.resume} was trained on other series: expected the same {command.argument} "
            "with the same content; name that, or start a new run without --resume"
        )
    if command.options.minutes is not None:
        return None
    first, per_unit = snapshot.step if snapshot else 0, command.steps_per_unit(settings, data)
    if command.upto is None:
        return max(first, command.default_upto(data) * per_unit)
    last = command.upto * per_unit
    if last < first:
        end = f", which end at step {last:,}," if per_unit > 1 else ","
        raise SettingsError(
            f"--{command.unit} is {command.upto:,}{end} but {command.options.resume} is at step {first:,}: expected "
            f"the total number of {command.unit}, with earlier ones; give more"
        )
    return last


def _description(command: Command[T], settings: Any, data: Any, snapshot: Snapshot[Any] | None) -> str:
    weights = command.kind.plan(settings, data.facts).weights
    resumed = f"; resumed at step {snapshot.step:,}" if snapshot and snapshot.step else ""
    return f"model: {settings.architecture}, {weights:,} weights; {settings.training}; seed {settings.seed}{resumed}"


def _train(trainer: T, command: Command[T], last: int | None, outputs: Outputs, terminal: Terminal) -> int:
    """Train and save → 0, or the status of the signal or the lost output that stopped the run."""
    goal = Goal(last, (command.options.minutes or 0.0) * 60)
    out = outputs.checkpoint
    last_read = time.monotonic()
    saved: int | None = None

    def save() -> None:
        nonlocal saved
        command.kind.save(out.path, replace(trainer.snapshot(), picture=outputs.drawn), out.write)
        saved = trainer.steps

    def after_step() -> None:
        nonlocal last_read
        if trainer.steps % SAVE_EVERY == 0:
            save()
        if time.monotonic() - last_read >= _SECONDS_BETWEEN_READS:
            trainer.read_losses()
            progress.show()
            last_read = time.monotonic()

    try:
        with (
            outputs.open_log(terminal.say) as log,
            noted_signals() as noted,
            TrainingProgress(terminal, goal, trainer, log) as progress,
        ):
            trainer.run(lambda: bool(goal.reached(trainer.steps) or noted or terminal.lost), after_step)
            save()
            progress.finish()
    except DivergedError as error:
        kept = f"{out.path} holds step {saved:,}" if saved is not None else "no checkpoint was written"
        raise DivergedError(f"{error.marked}; {kept}") from error
    status = 128 + noted[0] if noted else status_of(terminal.lost)
    if status:
        line = f"stopped at step {trainer.steps:,} and saved {out.path}; continue with"
        line += f"\n  {_resume_command(command, out.path)}"
        terminal.say(line)
        if terminal.lost and sys.stderr is not None:
            Terminal(sys.stderr).say(line)
    return status


def _report(trainer: T, command: Command[T], outputs: Outputs, terminal: Terminal) -> None:
    """Print the results, and draw the picture.   Raises OutputError."""
    results, picture = command.report(trainer, terminal)
    checkpoint = str(outputs.checkpoint.path)
    terminal.result(f"checkpoint: {checkpoint} (xrnn predict {shlex.quote(checkpoint)} FILE...)")
    snapshot = trainer.snapshot()
    path = outputs.picture.path
    content = picture.content(path)
    # The checkpoint with the picture's SHA-256 is saved first. If the run is killed between the two writes, a later run
    # finds no picture that looks like a foreign file.
    record = PictureRecord.of(path, content) if content is not None else outputs.drawn
    command.kind.save(outputs.checkpoint.path, replace(snapshot, picture=record), outputs.checkpoint.write)
    if content is None:
        terminal.result(f"picture: not drawn, Matplotlib is not installed ({install_hint('plot')})")
    else:
        with file_errors(OutputError, "write", path, "expected free space and permission"):
            outputs.picture.write(content)
        terminal.result(f"picture: {outputs.picture.path}")
    if outputs.table:
        with file_errors(OutputError, "write", outputs.table.path, "expected free space and permission"):
            outputs.table.write(command.table(trainer, results))
        terminal.result(f"table: {outputs.table.path}")
    if command.options.json:
        files = {"checkpoint": checkpoint, "picture": None if content is None else str(outputs.picture.path)}
        terminal.row(json.dumps(results | {"steps": trainer.steps} | files))


def _resume_command(command: Command[T], out: Path) -> str:
    """The command that continues the saved run."""
    options = command.options
    words = [*command.kind.writer.split(), *map(str, command.paths), "--resume", str(out)]
    words += [f"--{command.unit}", str(command.upto)] if command.upto is not None else []
    words += ["--csv", str(command.csv)] if command.csv else []
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name not in ("out", "resume", "overwrite") and value != each.default:
            shown = f"{value:g}" if each.name == "minutes" else str(value)
            words += [flag(each.name), *([] if value is True else [shown])]
    return shlex.join(words)
