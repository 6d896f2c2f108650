"""A training run, from its options to its results: the part that all training commands share."""

from __future__ import annotations

import json
import shlex
import sys
import time
from typing import Any, Final

from xrnn.commands.options import Command, T, selected
from xrnn.commands.outputs import Outputs, write
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal, noted_signals, status_of
from xrnn.info import selection_lines
from xrnn.optional import install_hint

_SECONDS_BETWEEN_READS: Final = 0.25  # reading the losses waits for the device, so it is not done at each step


def run_command(command: Command[T]) -> int:
    """Run it → the exit status: 0, 128 + the number of the signal that stopped it, or `status_of` a failed output.

    Raises ModelError for a user error. Errors that can be found before training are raised before anything is printed.
    """
    options, selection = command.options, selected(command.options.backend)
    terminal = Terminal(quiet=options.quiet, json=options.json)
    settings, outputs = command.kind.settings(**command.given), Outputs.choose(command)
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
    last_read = time.monotonic()

    def after_step() -> None:
        nonlocal last_read
        if time.monotonic() - last_read >= _SECONDS_BETWEEN_READS:
            trainer.read_losses()
            progress.show()
            last_read = time.monotonic()

    with noted_signals() as noted:
        with TrainingProgress(terminal, last, trainer) as progress:
            trainer.run(lambda: bool(trainer.steps >= last or noted or terminal.lost), after_step)
            trainer.read_losses()
            progress.finish()
        trainer.calibrate(lambda: bool(noted or terminal.lost))
        status = 128 + noted[0] if noted else status_of(terminal.lost)
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
        terminal.result(f"picture: not drawn, Matplotlib is not installed ({install_hint('plot')})")
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
        terminal.row(json.dumps(results | {"steps": trainer.steps} | files))
