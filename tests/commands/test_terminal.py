"""No control characters are printed."""

from __future__ import annotations

import io

from xrnn.commands.terminal import Terminal


def test_control_characters_are_replaced() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True).say("checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert stream.getvalue() == "checkpoint: �]0;title�[bold]c\n\tof it\n".expandtabs(8)


def test_a_row_has_one_tab_between_its_fields() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True, width=10).row("a label\twith a tab", "\x1b[2J", "a name longer than the line")
    assert stream.getvalue() == "a label�with a tab\t�[2J\ta name longer than the line\n"
