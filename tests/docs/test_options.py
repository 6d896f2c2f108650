"""Every option of each command has an example in the docs, which the command can read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from xrnn.commands.main import app

_DOCS = Path(__file__).parents[2] / "docs"
_COMMANDS: dict[str, Any] = cast(Any, typer.main.get_command(app)).commands


@pytest.mark.parametrize("name", [*_COMMANDS])
def test_every_option_has_an_example(name: str) -> None:
    examples = [
        shlex.split(line.partition(" > ")[0], comments=True)
        for page in sorted(_DOCS.rglob("*.md"))
        for line in re.findall(rf"^\$ xrnn {name}\b(.*)", page.read_text("utf-8"), re.MULTILINE)
    ]
    for words in examples:
        _COMMANDS[name].make_context(name, [*words])  # raises for an unknown option and for a wrong value
    used = {word for words in examples for word in words}
    options = [each.opts for each in _COMMANDS[name].params if each.opts[0].startswith("-")]
    assert [names[0] for names in options if not used.intersection(names)] == []
