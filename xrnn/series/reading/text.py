"""The text of files in any encoding."""

from __future__ import annotations

import contextlib
from pathlib import Path

from xrnn.series.errors import DataError, param
from xrnn.series.reading.notes import Note


def read_text(path: Path, encoding: str = "") -> tuple[str, list[Note]]:
    """The text of a file, with \\n at the end of its lines, and how it was read.

    encoding   empty: UTF-8; if the bytes are not UTF-8, cp1252, and a note says so

    Raises DataError and OSError.
    """
    content = path.read_bytes()
    if not encoding and 0 in content:
        raise DataError(f"{path} is UTF-16 or no text; save it as UTF-8, or give {param('encoding')} utf-16")
    for name in [encoding] if encoding else ["utf-8", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(name)
            notes = []
            if not encoding and name == "cp1252":
                notes.append(Note("it is not UTF-8, and is read as cp1252", "give --encoding NAME"))
            return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), notes
    raise DataError(f"{path} is not {encoding or 'UTF-8'}; save it as UTF-8, or give {param('encoding')}")
