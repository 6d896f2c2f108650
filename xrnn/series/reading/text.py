"""The text of files in any encoding."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from xrnn.series.errors import DataError, param


def read_text(path: Path, encoding: str = "") -> str:
    """The text of a file, with \\n at the end of its lines.

    encoding   empty: UTF-8; if the bytes are not UTF-8, cp1252, and a line says so

    Raises DataError and OSError.
    """
    content = path.read_bytes()
    if not encoding and 0 in content:
        raise DataError(f"{path} is UTF-16 or no text; save it as UTF-8, or give {param('encoding')} utf-16")
    for name in [encoding] if encoding else ["utf-8", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(name)
            if not encoding and name == "cp1252":
                remedy = "if letters are wrong, name its encoding by --encoding"
                logging.getLogger("xrnn").warning(f"{path} is not UTF-8, and is read as cp1252; {remedy}")
            return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    raise DataError(f"{path} is not {encoding or 'UTF-8'}; save it as UTF-8, or give {param('encoding')}")
