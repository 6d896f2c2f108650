"""Signals that stop a run are recorded; ignored signals stay ignored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from xrnn.commands.signals import noted_signals

if os.name != "posix":
    pytest.skip("Windows sends no signals to a process of one's own", allow_module_level=True)

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def before() -> Iterator[list[signal.Signals]]:
    """The signals that reach the previous handlers. The test's own handlers are restored at the end."""
    came: list[signal.Signals] = []
    handlers = {number: signal.signal(number, lambda n, _: came.append(signal.Signals(n))) for number in STOPPING}
    yield came
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_recorded_and_the_second_has_its_normal_effect(
    number: signal.Signals, before: list[signal.Signals]
) -> None:
    with noted_signals() as noted:
        signal.raise_signal(number)
        assert (noted, before) == ([number], [])
        signal.raise_signal(number)
        assert (noted, before) == ([number], [number])


@pytest.mark.parametrize("number", STOPPING)
def test_after_the_block_signals_have_their_normal_effect(number: signal.Signals, before: list[signal.Signals]) -> None:
    with noted_signals() as noted:
        pass
    signal.raise_signal(number)
    assert (noted, before) == ([], [number])


@pytest.mark.parametrize("number", STOPPING)
def test_an_ignored_signal_stays_ignored(number: signal.Signals, before: list[signal.Signals]) -> None:
    signal.signal(number, signal.SIG_IGN)
    with noted_signals() as noted:
        signal.raise_signal(number)
        assert noted == []
    assert signal.getsignal(number) is signal.SIG_IGN
