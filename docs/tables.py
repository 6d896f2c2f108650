"""Marks the tables of text, which become lists on a narrow page (site.css).

Tables of numbers stay tables, and scroll.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes

_LONG = 25  # characters of a cell that holds text


def _mark(app: Any, tree: nodes.document) -> None:
    for table in tree.findall(nodes.table):
        if any(
            len(entry.astext()) > _LONG
            for row in table.findall(nodes.tbody)
            for entry in row.findall(nodes.entry)
        ):
            table["classes"].append("text")


def setup(app: Any) -> dict[str, bool]:
    app.connect("doctree-read", _mark)
    return {"parallel_read_safe": True}
