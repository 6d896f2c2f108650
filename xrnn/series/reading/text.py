"""The text of files in any encoding."""

from __future__ import annotations

import codecs
import contextlib
from pathlib import Path

from xrnn.series.errors import DataError, param
from xrnn.series.reading.notes import Note


def read_text(path: Path, encoding: str = "") -> tuple[str, list[Note]]:
    """The text of a file, with \\n at the end of its lines, and how it was read.

    encoding   empty: UTF-16 if the file begins with its byte order mark, as Excel's "Unicode text" does; else UTF-8; if
               the bytes are not UTF-8, cp1252, and a note says so

    Raises DataError and OSError.
    """
    content = path.read_bytes()
    names = [encoding] if encoding else ["utf-8", "cp1252"]
    if not encoding and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        names = ["utf-16"]
    for name in names:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(name)
            if not encoding and "\0" in text:
                got = f"{path} is UTF-16 without a byte order mark, or no text"
                raise DataError(f"{got}; save it as UTF-8, or give {param('encoding')} utf-16-le")
            notes = []
            if not encoding and name == "cp1252":
                notes.append(Note("it is not UTF-8, and is read as cp1252", "give --encoding NAME"))
            return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), notes
    raise DataError(f"{path} is not {encoding or names[0].upper()}; save it as UTF-8, or give {param('encoding')}")
