"""What the training commands share: a fit with its progress, the files that it writes, and the results."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from xrnn.commands.options import RunOptions, selected
from xrnn.commands.outputs import check_outputs, write_output
from xrnn.commands.pictures import Draw, drawn
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal, to_stderr
from xrnn.info import selection_lines
from xrnn.optional import install_hint
from xrnn.select import use_backend
from xrnn.series.errors import DataError, ModelError, OutputError

Results: TypeAlias = dict[str, Any]  # for JSON


class Run:
    """A run of a training command. Errors that can be found before training are raised before anything is printed."""

    def __init__(self, options: RunOptions, default: str, inputs: Sequence[Path]) -> None:
        """Raises OutputError and SettingsError.

        default   the name of the checkpoint;   inputs: what the run reads
        """
        self._json, self._overwrite = options.json, options.overwrite
        self.selection = selected(options.backend)
        self.terminal = Terminal(quiet=options.json)
        self._out = out = options.out or Path(default)
        self._picture = out.parent / f"{out.stem}.png"
        if out.suffix.lower() not in (".safetensors", ""):
            raise OutputError(f"--out is {out}: expected a name that ends in .safetensors; change the ending")
        check_outputs([out, self._picture], inputs, overwrite=self._overwrite)

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
            if fitted := estimator.__sklearn_is_fitted__():
                write_output(self._out, estimator._content(), overwrite=self._overwrite)
        if not progress.status:
            name = shlex.quote(str(self._out))
            self.terminal.say(f"checkpoint: {self._out} (xrnn predict {name} FILE...)")
        elif fitted:
            at = f" at {progress.position}" if progress.position else ""
            to_stderr(f"stopped{at}: {self._out} holds the model so far")
        else:
            to_stderr("stopped: nothing was written, since the model is not complete")
        return progress.status

    def finish(self, results: Results, draw: Draw, advice: str | None = None) -> int:
        """Draw the picture, print the advice and the results as JSON → 0.   Raises OutputError."""
        picture = drawn(draw)
        if picture is None:
            self.terminal.say(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
        else:
            write_output(self._picture, picture, overwrite=self._overwrite)
            self.terminal.say(f"picture: {self._picture}")
        if advice:
            self.terminal.say(advice)
        if self._json:
            files = {"checkpoint": str(self._out), "picture": None if picture is None else str(self._picture)}
            print(json.dumps(results | {"steps": len(self._estimator.losses_)} | files))
        return 0
