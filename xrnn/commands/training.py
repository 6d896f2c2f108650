"""What the training commands share: a fit with its progress, the files that it writes, and the results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from xrnn.commands.options import RunOptions, selected
from xrnn.commands.outputs import Output, check_ending, check_outputs
from xrnn.commands.pictures import Picture
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal
from xrnn.info import selection_lines
from xrnn.optional import install_hint
from xrnn.select import use_backend
from xrnn.series.errors import DataError, ModelError

Results: TypeAlias = dict[str, Any]  # for JSON


class Run:
    """A run of a training command. Errors that can be found before training are raised before anything is printed."""

    def __init__(self, options: RunOptions, default: str, inputs: Sequence[Path], csv: Path | None = None) -> None:
        """Raises OutputError and SettingsError.

        default   the name of the checkpoint;   inputs: what the run reads;   csv: the table
        """
        self.options = options
        self.selection = selected(self.options.backend)
        self.terminal = Terminal(quiet=self.options.quiet, json=self.options.json)
        check_ending("--out", options.out, ".safetensors", "")
        check_ending("--csv", csv, ".csv")
        out, overwrite = options.out or Path(default), options.overwrite
        self._checkpoint = Output("--out", out, overwrite)
        self._picture = Output("--out", out.parent / f"{out.stem}.png", overwrite)
        self._tables = [Output("--csv", csv, overwrite)] if csv else []
        check_outputs([self._checkpoint, self._picture, *self._tables], inputs)

    def fit(self, estimator: Any, fit: Callable[[], object], notes: Sequence[str]) -> int:
        """Fit and save → 0, or 128 + the number of the signal that stopped it.

        If the fit is stopped, the model so far is saved, if the estimator has one.

        notes   lines to print before the training

        Raises ValueError and OutputError.
        """
        with TrainingProgress(self.terminal, [*selection_lines(self.selection), *notes]) as progress:
            self._estimator, estimator.watcher = estimator, progress
            try:
                with use_backend(self.selection.backend):
                    fit()
            except ValueError as error:  # such as a label that no array can hold
                raise error if isinstance(error, ModelError) else DataError(str(error)) from error
            fitted, path = estimator.__sklearn_is_fitted__(), self._checkpoint.path
            if fitted:
                self._checkpoint.write(estimator._content())
        line = f"checkpoint: {path} (xrnn predict {shlex.quote(str(path))} FILE...)"
        if progress.status:
            line = "stopped: nothing was written, since the model is not complete"
            if fitted:
                at = f" at {progress.position}" if progress.position else ""
                line = f"stopped{at}: {path} holds the model so far"
            self.terminal.say(line)
        else:
            self.terminal.result(line)
        return progress.status

    def finish(
        self,
        results: Results,
        picture: Picture,
        table: Callable[[], bytes] = bytes,
        advice: str | None = None,
    ) -> int:
        """Draw the picture, write the table, print the advice and the results as JSON → 0.   Raises OutputError."""
        path = self._picture.path
        if (content := picture.content()) is None:
            self.terminal.result(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
        else:
            self._picture.write(content)
            self.terminal.result(f"picture: {path}")
        for output in self._tables:
            output.write(table())
            self.terminal.result(f"table: {output.path}")
        if advice:
            self.terminal.result(advice)
        if self.options.json:
            files = {"checkpoint": str(self._checkpoint.path), "picture": None if content is None else str(path)}
            self.terminal.json_line(results | {"steps": len(self._estimator.losses_)} | files)
        return 0
