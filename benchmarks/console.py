"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console


def wide_console() -> Console:
    """A console that never shortens a column: what is piped into a file is as complete as what is shown."""
    return Console(width=max(Console().width, 190))
