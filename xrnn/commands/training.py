"""What classify, regress and forecast share: the names of their files, and what they write and print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from xrnn.commands.options import RunOptions
from xrnn.commands.outputs import check_outputs, write_output
from xrnn.commands.pictures import Draw, drawn
from xrnn.commands.terminal import say
from xrnn.optional import install_hint
from xrnn.series.errors import OutputError

Results: TypeAlias = dict[str, Any]  # for JSON


class Run:
    """A run of one of these commands. Errors of the names of files are raised before it starts."""

    def __init__(self, options: RunOptions, default: str, inputs: Sequence[Path]) -> None:
        """Raises OutputError.

        default   the name of the checkpoint;   inputs: what the run reads
        """
        self._options, self.out = options, options.out or Path(default)
        self._picture = self.out.parent / f"{self.out.stem}.png"
        if self.out.suffix.lower() not in (".safetensors", ""):
            raise OutputError(f"--out is {self.out}: expected a name that ends in .safetensors; change the ending")
        check_outputs([self.out, self._picture], inputs, overwrite=options.overwrite)

    def say(self, text: str) -> None:
        """Print, unless --json asks for the results alone."""
        if not self._options.json:
            say(text)

    def save(self, estimator: Any) -> None:
        """Write the checkpoint of a fitted estimator.   Raises OutputError."""
        write_output(self.out, estimator._content(), overwrite=self._options.overwrite)
        self.say(f"checkpoint: {self.out} (xrnn predict {shlex.quote(str(self.out))} FILE...)")

    def finish(self, results: Results, draw: Draw) -> None:
        """Write the picture, and print the results for --json.   Raises OutputError."""
        picture = drawn(draw)
        if picture is None:
            self.say(f"picture: not drawn, Matplotlib is not installed ({install_hint('series')})")
        else:
            write_output(self._picture, picture, overwrite=self._options.overwrite)
            self.say(f"picture: {self._picture}")
        if self._options.json:
            files = {"checkpoint": str(self.out), "picture": None if picture is None else str(self._picture)}
            print(json.dumps(results | files))
