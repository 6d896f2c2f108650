"""The console and the tables of all benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def wide_console() -> Console:
    """A console that never shortens a column, so that output piped into a file is complete."""
    return Console(width=max(Console().width, 250), highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Table:
    """A table whose first `left` columns hold text, aligned left; the others hold numbers, aligned right."""
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        result.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        result.add_row(*row)
    return result
