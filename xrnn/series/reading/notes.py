"""A line on stderr that says how a file was read, if a reader had to decide something that may be wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from xrnn.files import printable


class Note(NamedTuple):
    """A decision of a reader, such as "1.000 is read as 1", and what to do if it is wrong, "give --decimal ,"."""

    fact: str
    remedy: str


def tell(name: str, notes: Sequence[Note]) -> None:
    """Log all notes about a file in one line; nothing without any."""
    if notes:
        options = [note.remedy.removeprefix("give ") for note in notes if note.remedy.startswith("give ")]
        others = [note.remedy for note in notes if not note.remedy.startswith("give ")]
        remedies = [f"give {' or '.join(options)}", *others] if options else others  # "give --encoding or --decimal ,"
        facts = "; ".join(note.fact for note in notes)
        logging.getLogger("xrnn").warning(f"{printable(name)}: {facts}; if this is wrong, {', or '.join(remedies)}")
