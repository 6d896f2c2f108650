"""Where a run's checkpoint and picture go: names that are chosen, checked and reserved before it begins."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from xrnn.files import reserved
from xrnn.jobs.errors import OutputError
from xrnn.jobs.outputs import Destination, Output, check_outputs, next_free, same_file
from xrnn.jobs.picture import check_format, is_own_picture


@dataclass(frozen=True, slots=True)
class Results:
    """Where they go: names that were checked."""

    checkpoint: Destination
    picture: Destination


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: a name that is None is to be chosen."""

    out: Path | None = None  # None: the resumed checkpoint, or a free name
    plot: Path | None = None  # None: beside the checkpoint
    resume: Path | None = None
    overwrite: bool = False  # a checkpoint at `out`


def choose(
    wanted: Wanted,
    default: Path,
    is_checkpoint: Callable[[Path], bool],
    inputs: Iterable[Path],
    say: Callable[[str], None],
    reservation: contextlib.ExitStack,
) -> Results:
    """Choose the names that were not given, check all of them, and reserve the checkpoint's.

    default        the checkpoint's name where none is given, or the first free one like it
    is_checkpoint  whether the job wrote the file at a path, so that it may be replaced
    inputs         what the run reads
    reservation    until it is closed, no other run writes the checkpoint

    Raises OutputError.
    """
    out = wanted.out or wanted.resume
    chosen = out is None and not wanted.overwrite
    out = out or default
    if chosen:
        out = next_free(default, lambda path: _taken(path, wanted.plot, reservation))
        if out != default:
            say(f"{default} or its picture is taken: this run writes {out}")
    picture = wanted.plot or _picture_beside(out)
    if wanted.plot:
        check_format(wanted.plot)
    results = Results(Destination(out, say), Destination(picture, say))
    goes_on = wanted.resume is not None and same_file(out, wanted.resume)
    outputs = [
        # What is wrong with the checkpoint to go on from is said where it is read, before anything is written.
        Output("--out", out, "checkpoint", lambda path: goes_on or is_checkpoint(path)),
        Output("--plot", picture, "picture that xrnn drew", is_own_picture),
    ]
    check_outputs(outputs, inputs)
    if not chosen and not _reserve(out, reservation):
        raise OutputError(f"another run is writing {out}: expected a name of this run's own; name another with --out")
    if os.path.exists(out) and not (goes_on or wanted.overwrite):
        raise OutputError(
            f"{out} is a checkpoint already: expected --resume {out} to go on from it, --overwrite to lose it, or "
            "another --out"
        )
    return results


def _taken(checkpoint: Path, plot: Path | None, reservation: contextlib.ExitStack) -> bool:
    # Reserved first: by then, another run that had the name has either saved its checkpoint or not.
    if not _reserve(checkpoint, reservation):
        return True
    taken = os.path.lexists(checkpoint) or (plot is None and os.path.lexists(_picture_beside(checkpoint)))
    if taken:
        reservation.close()
    return taken


def _reserve(path: Path, reservation: contextlib.ExitStack) -> bool:
    """Whether no other run writes `path` before `reservation` is closed."""
    try:
        reservation.enter_context(reserved(path))
    except FileExistsError:
        return False
    except OSError:
        pass  # nothing can be written there: `check_outputs` says why
    return True


def _picture_beside(checkpoint: Path) -> Path:
    return checkpoint.parent / f"{checkpoint.stem}.png"
