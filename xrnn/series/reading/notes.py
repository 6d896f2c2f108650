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
        facts, remedies = ("; ".join(texts) for texts in zip(*notes, strict=True))
        remedies = remedies.replace("; give ", " or ")  # "give --encoding or --decimal ,"
        logging.getLogger("xrnn").warning(f"{printable(name)}: {facts}; if this is wrong, {remedies}")
