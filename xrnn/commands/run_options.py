"""The options that all training commands have, and the choice of the files that a run writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xrnn.commands.log import is_log
from xrnn.commands.outputs import Output, check_outputs, next_free, same_file, sha256
from xrnn.commands.picture import check_format
from xrnn.models.errors import SettingsError

_MAX_MINUTES: Final = 365 * 24 * 60


def _help(text: str, *flags: str) -> dict[str, Any]:
    return {"help": text, "flags": flags}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Each field is an option.   Raises SettingsError for an invalid value."""

    minutes: float | None = field(default=None, metadata=_help("Train for this time, from now."))
    out: Path | None = field(default=None, metadata=_help("Checkpoint to write. Default: the resumed, or a new one."))
    plot: Path | None = field(default=None, metadata=_help("Picture to write: .png, .svg or .pdf."))
    log: Path | None = field(default=None, metadata=_help("CSV file of the run's figures, a row for each report."))
    resume: Path | None = field(default=None, metadata=_help("Continue from this checkpoint, on the same data."))
    overwrite: bool = field(default=False, metadata=_help("Replace an existing checkpoint, picture and log."))
    quiet: bool = field(default=False, metadata=_help("Print the results only.", "-q"))
    json: bool = field(default=False, metadata=_help("Print the results as JSON, in the last line."))

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes <= _MAX_MINUTES:
            raise SettingsError(
                f"--minutes is {self.minutes}: expected a positive number up to {_MAX_MINUTES}, which is a year"
            )


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files that a run writes."""

    checkpoint: Output
    picture: Output
    log: Output | None

    @classmethod
    def choose(
        cls,
        options: RunOptions,
        default: Path,
        is_checkpoint: Callable[[Path], bool],
        picture_sha256: str,
        log_columns: Sequence[str],
        inputs: Iterable[Path],
        note: Callable[[str], None],
        say: Callable[[str], None],
    ) -> Outputs:
        """Choose the names that `options` leave open, and check all outputs.   Raises OutputError.

        default         the name of the checkpoint; if it is taken, `default-2`, `default-3`, … are tried
        is_checkpoint   tells whether a file is a checkpoint of this job
        picture_sha256  the hash of the picture that the resumed checkpoint records, or empty
        inputs          the files that the run reads
        note            prints a line with the chosen name
        say             prints a line during the run
        """
        out, plot, resume, overwrite = options.out or options.resume, options.plot, options.resume, options.overwrite
        if plot:
            check_format(plot)
        if out is None:
            out = default if overwrite else next_free(default, lambda path: _taken(path, plot))
            if out != default:
                note(f"{default} or its picture is taken: this run writes {out}")
        picture = plot or _picture_beside(out)
        continues = resume is not None and same_file(out, resume)
        pictures = {picture_sha256, sha256(picture) if overwrite else ""} - {""}

        def refuse_checkpoint(path: Path, written: bool) -> str:
            if not is_checkpoint(path):
                return (
                    "exists and is no checkpoint: expected a new name, or a checkpoint to replace; name another with "
                    "--out"
                )
            if written or continues or overwrite:
                return ""
            return (
                f"is a checkpoint already: expected --resume {path} to continue it, --overwrite to replace it, or "
                "another --out"
            )

        def refuse_picture(path: Path, written: bool) -> str:
            if sha256(path) in pictures:
                return ""
            what = f" and is not the picture that {resume} records: expected that one or" if resume else ": expected"
            return f"exists{what} a new name; name another with --plot, or replace it with --overwrite"

        def refuse_log(path: Path, written: bool) -> str:
            if overwrite or (resume and is_log(path, log_columns)):
                return ""
            what = " and is no log of such a run" if resume else ""
            return f"exists{what}: expected a new name; name another with --log, or replace it with --overwrite"

        outputs = cls(
            Output("--out", out, refuse_checkpoint, say),
            Output("--plot", picture, refuse_picture, say),
            Output("--log", options.log, refuse_log, say) if options.log else None,
        )
        written = [outputs.checkpoint, outputs.picture, *([outputs.log] if outputs.log else [])]
        check_outputs(written, [*inputs, *([resume] if resume and not continues else [])])
        return outputs


def _taken(checkpoint: Path, plot: Path | None) -> bool:
    return os.path.lexists(checkpoint) or (plot is None and os.path.lexists(_picture_beside(checkpoint)))


def _picture_beside(checkpoint: Path) -> Path:
    return checkpoint.parent / f"{checkpoint.stem}.png"
