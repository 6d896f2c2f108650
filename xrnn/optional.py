"""Imports of optional packages. Errors name the command that installs what is missing."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final

_DISTRIBUTION: Final = "xp-rnn"


def in_checkout() -> bool:
    """Whether xrnn runs from a checkout, as after an editable install."""
    return (Path(__file__).resolve().parents[1] / "pyproject.toml").exists()


def install_hint(extra: str) -> str:
    """The command that installs an extra of pyproject.toml.

    If xrnn was installed from a wheel, the command names the packages of the extra: `pip install xrnn[…]` would install
    another project, and the source of the wheel is unknown.
    """
    if in_checkout():
        return f"`pip install -e '.[{extra}]'`"
    needed = [line.partition(";") for line in metadata.requires(_DISTRIBUTION) or []]
    packages = [package.strip() for package, _, when in needed if re.search(rf"extra == ['\"]{extra}['\"]", when)]
    return f"`pip install {shlex.join(packages)}`"


def import_optional(package: str, user: str, title: str = "", extra: str = "") -> ModuleType:
    """Import `package`.   title: its name in errors;   extra: that brings it, by default of the same name

    Raises ImportError, which says that `user` needs it, with the command that installs it. A package that is installed,
    but broken, raises its own error.
    """
    try:
        with contextlib.redirect_stderr(sys.stderr or io.StringIO()):  # NumPy 2.0's f2py, of SciPy, needs an open one
            return importlib.import_module(package)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != package.partition(".")[0]:
            raise
        raise ImportError(
            f"{user} needs {title or package}, which is not installed: {install_hint(extra or package)}"
        ) from error
