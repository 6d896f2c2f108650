"""What classify, regress and forecast share: a training with its progress, the files, and the results."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from xrnn.commands.options import RunOptions
from xrnn.commands.outputs import check_outputs, write_output
from xrnn.commands.pictures import Draw, drawn
from xrnn.commands.progress import TrainingProgress
from xrnn.commands.terminal import Terminal, to_stderr
from xrnn.info import selection_lines
from xrnn.optional import install_hint
from xrnn.select import Selection, use_backend
from xrnn.series.errors import DataError, ModelError, OutputError

Results: TypeAlias = dict[str, Any]  # for JSON


class Run:
    """A run of one of these commands. Errors of the options and of the names of files are raised before it starts."""

    def __init__(self, options: RunOptions, default: str, inputs: Sequence[Path]) -> None:
        """Raises OutputError.

        default   the name of the checkpoint;   inputs: what the run reads
        """
        self._json, self._overwrite = options.json, options.overwrite
        self.terminal = Terminal(quiet=options.json)
        self._out = out = options.out or Path(default)
        self._picture = out.parent / f"{out.stem}.png"
        if out.suffix.lower() not in (".safetensors", ""):
            raise OutputError(f"--out is {out}: expected a name that ends in .safetensors; change the ending")
        check_outputs([out, self._picture], inputs, overwrite=self._overwrite)

    def fit(self, estimator: Any, fit: Callable[[], object], source: str, selection: Selection) -> int:
        """Train on a backend and save → 0, or 128 + the number of the signal that stopped it.

        If the training is stopped, the model so far is saved, if the estimator has one.

        source   the data, a line to print before the training

        Raises ValueError and OutputError.
        """
        with TrainingProgress(self.terminal, [*selection_lines(selection), source]) as progress:
            estimator.watcher = progress
            try:
                with use_backend(selection.backend):
                    fit()
            except ValueError as error:  # such as a label that no array can hold
                raise error if isinstance(error, ModelError) else DataError(str(error)) from error
            if fitted := estimator.__sklearn_is_fitted__():
                write_output(self._out, estimator._content(), overwrite=self._overwrite)
        if not progress.status:
            self._say_saved()
        elif fitted:
            at = f" at {progress.position}" if progress.position else ""
            to_stderr(f"stopped{at}: {self._out} holds the model so far")
        else:
            to_stderr("stopped: nothing was written, since the model is not complete")
        return progress.status

    def save(self, estimator: Any) -> None:
        """Write the checkpoint of a fitted estimator.   Raises OutputError."""
        write_output(self._out, estimator._content(), overwrite=self._overwrite)
        self._say_saved()

    def _say_saved(self) -> None:
        self.terminal.say(f"checkpoint: {self._out} (xrnn predict {shlex.quote(str(self._out))} FILE...)")

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
            print(json.dumps(results | files))
        return 0
