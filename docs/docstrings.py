"""Shows the docstrings of xrnn, which are written for `help()`, as reStructuredText.

A paragraph of equations becomes a literal block, and a paragraph of arguments (`name   meaning`) a definition list.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ARGUMENT = re.compile(r"(\w[\w`, ]{0,29}?) {2,}(\S.*)")


def converted(lines: list[str]) -> list[str]:
    paragraphs: list[str] = []
    for each in "\n".join(lines).strip("\n").split("\n\n"):
        # an indented block may have blank lines
        if each.startswith("    ") and paragraphs and paragraphs[-1].startswith("    "):
            paragraphs[-1] += f"\n\n{each}"
        else:
            paragraphs.append(each)
    return [
        line
        for paragraph in paragraphs
        for line in [*_paragraph(paragraph.split("\n")), ""]
    ]


def _is_equation(line: str) -> bool:
    return " = " in line and ". " not in line and "`" not in line


def _paragraph(lines: list[str]) -> list[str]:
    starts = [line for line in lines if not line.startswith(" ")]
    if lines[0].startswith(">>>"):
        return lines
    if lines[0].startswith("    ") or all(map(_is_equation, starts)):
        return [
            "::",
            "",
            *(f"    {part}" for line in lines for part in line.split(";  ")),
        ]
    # not as marks of emphasis and substitution
    lines = [re.sub(r"[*|]", r"\\\g<0>", line) for line in lines]
    if not all(ARGUMENT.fullmatch(line) for line in starts):
        return lines
    items: list[str] = []
    for line in lines:
        if match := ARGUMENT.fullmatch(line):
            items += ["", f"``{match[1].strip('`')}``", f"    {match[2]}"]
        else:
            items.append(f"    {line.strip()}")
    return items


def _process(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = converted(lines)
    if pages := _examples(Path(app.srcdir), name):
        lines += [f"Examples: {', '.join(f':doc:`{page}`' for page in pages)}", ""]


def _examples(folder: Path, name: str) -> list[str]:
    """The pages of the gallery that use this name, from a file of sphinx-gallery."""
    listed = folder / "gallery" / "backreferences" / f"{name}.examples"
    text = listed.read_text() if listed.exists() else ""
    return sorted(set(re.findall(r":doc:`(/gallery/\w+)`", text)))


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
