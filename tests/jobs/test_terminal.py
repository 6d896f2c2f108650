"""A stream that is lost is noted, and what is printed steers no terminal."""

from __future__ import annotations

import errno
import io

import pytest

from xrnn.jobs.terminal import CLOSED_PIPE, SafeStream, Terminal, status_of


class Failing(io.StringIO):
    """Takes so many writes, then fails."""

    def __init__(self, writes: int, number: int) -> None:
        super().__init__()
        self.writes, self.number = writes, number

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise OSError(self.number, "lost")
        return super().write(text)


@pytest.mark.parametrize(("number", "status"), [(errno.EPIPE, CLOSED_PIPE), (errno.ENOSPC, 1), (errno.EIO, 1)])
def test_a_lost_stream_is_noted_once_and_silent_from_then_on(number: int, status: int) -> None:
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


def test_what_fails_only_when_it_is_flushed_is_noted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stream = io.StringIO()
    monkeypatch.setattr(stream, "flush", full)
    safe = SafeStream(stream)
    safe.write("text")
    safe.flush()
    assert safe.lost
    safe.flush()


def test_what_is_said_steers_no_terminal() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True).say("checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert stream.getvalue() == "checkpoint: �]0;title�[bold]c\n\tof it\n".expandtabs(8)


def test_a_row_for_other_programs_keeps_its_fields_apart() -> None:
    stream = io.StringIO()
    Terminal(stream, force_terminal=True, width=10).row("a label\twith a tab", "\x1b[2J", "a name longer than the line")
    assert stream.getvalue() == "a label�with a tab\t�[2J\ta name longer than the line\n"
