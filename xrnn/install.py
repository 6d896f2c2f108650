"""The command that adds what is missing to this installation, for hints."""

from __future__ import annotations

import re
import shlex
from importlib import metadata
from pathlib import Path
from typing import Final

_DISTRIBUTION: Final = "xp-rnn"


def in_checkout() -> bool:
    """Whether the files that run are those of a checkout, which an editable install leaves where they are."""
    return (Path(__file__).resolve().parents[1] / "pyproject.toml").exists()


def install_hint(extra: str) -> str:
    """The command that installs what the extra `extra` of pyproject.toml names.

    From a wheel it names the packages: the name xrnn on PyPI belongs to another project, and the wheel may be from
    anywhere.
    """
    if in_checkout():
        return f"`pip install -e '.[{extra}]'`"
    needed = [line.partition(";") for line in metadata.requires(_DISTRIBUTION) or []]
    packages = [package.strip() for package, _, when in needed if re.search(rf"extra == ['\"]{extra}['\"]", when)]
    return f"`pip install {shlex.join(packages)}`"
