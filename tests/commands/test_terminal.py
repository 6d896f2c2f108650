"""A stream keeps its first error, and no control characters are printed."""

from __future__ import annotations

import errno
import io

import pytest

from xrnn.commands.terminal import CLOSED_PIPE, SafeStream, Terminal, status_of


class Failing(io.StringIO):
    """Fails after `writes` writes."""

    def __init__(self, writes: int, number: int) -> None:
        super().__init__()
        self.writes, self.number = writes, number

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(self.number, "lost")
        return super().write(text)


@pytest.mark.parametrize(("number", "status"), [(errno.EPIPE, CLOSED_PIPE), (errno.ENOSPC, 1), (errno.EIO, 1)])
def test_the_first_error_is_kept_and_later_output_dropped(number: int, status: int) -> None:
    stream = Failing(1, number)
    terminal = Terminal(stream)
    terminal.say("one")
    assert (terminal.lost, status_of(terminal.lost)) == (None, 0)
    terminal.say("two")
    terminal.say("three")
    assert terminal.lost
    assert terminal.lost.errno == number
    assert status_of(terminal.lost) == status
    assert stream.getvalue() == "one\n"
    assert stream.writes == -1


def test_an_error_of_flush_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stream = io.StringIO()
    monkeypatch.setattr(stream, "flush", full)
    safe = SafeStream(stream)
    safe.write("text")
    safe.flush()
    assert safe.lost
    safe.flush()


def test_control_characters_are_replaced() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True).say("checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert stream.getvalue() == "checkpoint: �]0;title�[bold]c\n\tof it\n".expandtabs(8)


def test_a_row_has_one_tab_between_its_fields() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True, width=10).row("a label\twith a tab", "\x1b[2J", "a name longer than the line")
    assert stream.getvalue() == "a label�with a tab\t�[2J\ta name longer than the line\n"
