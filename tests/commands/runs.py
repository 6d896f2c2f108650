"""The commands that fit models, with tiny data, one row each: the tests of a run use every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import xrnn
from tests.series.waves import waves, write_ts
from xrnn.commands.main import main
from xrnn.commands.output import Draw
from xrnn.typing import HostArray

Capture: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch
UPDATES: Final = 6  # of a training of two epochs


@dataclass(frozen=True)
class Run:
    """A command that fits a model.

    data       the files that it reads, which `write_data` makes
    options    a small model, without the length of a training
    """

    command: str
    data: tuple[str, ...]
    options: tuple[str, ...]

    def __call__(self, *options: str, epochs: int = 2) -> int:
        """Run it → the exit status."""
        return main(self.words(*options, epochs=epochs))

    def words(self, *options: str, epochs: int = 2) -> list[str]:
        length = ["--epochs", str(epochs)] * (self.command != "forecast")
        return [self.command, *self.data, *self.options, *length, *options]


_SIZES: Final = ("--hidden", "6", "--batch", "4", "--lr", "0.02")
CLASSIFY: Final = Run("classify", ("train.ts", "test.ts"), _SIZES)
REGRESS: Final = Run("regress", ("levels.ts", "others.ts"), _SIZES)
FORECAST: Final = Run("forecast", ("rows.csv",), ("--horizon", "3"))
RUNS: Final = [CLASSIFY, REGRESS, FORECAST]


def growth(rows: int = 60) -> HostArray:
    """A season of 4 steps whose level and amplitude grow."""
    t = np.arange(rows)
    return (10 + 0.5 * t) * (1 + 0.3 * np.sin(np.pi * t / 2))


def write_rows(path: str, values: HostArray, start: int = 2001) -> Path:
    """One value for each quarter."""
    rows = [f"{start + i // 4}-{3 * (i % 4) + 1:02}-01,{v}" for i, v in enumerate(values)]
    Path(path).write_text("\n".join(["date,v", *rows]) + "\n")
    return Path(path)


def write_levels(path: Path, count: int, seed: int) -> Path:
    """Series whose target, between 100 and 300, is the level of the first channel."""
    rng = np.random.default_rng(seed)
    lines = ["@targetLabel true", "@data"]
    for i in range(count):
        level = rng.uniform(-1, 1)
        T = 4 + i % 4
        channels = level + rng.normal(0, 0.1, T), rng.normal(size=T)
        lines.append(":".join([*(",".join(map(str, channel)) for channel in channels), str(200 + 100 * level)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_data(folder: Path) -> None:
    write_ts(folder / "train.ts", waves(10, 0))
    write_ts(folder / "test.ts", waves(6, 1))
    write_levels(folder / "levels.ts", 10, 0)
    write_levels(folder / "others.ts", 6, 1)
    write_rows(str(folder / "rows.csv"), growth(120))


def at_update(patch: Patch, number: int, act: Callable[[Any], object]) -> None:
    """Call `act` with the optimizer after this update, which the short trainings that test a model don't reach."""
    step = xrnn.Adam.step

    def stepping(optimizer: Any) -> None:
        step(optimizer)
        if optimizer.steps == number:
            act(optimizer)

    patch.setattr(xrnn.Adam, "step", stepping)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def failed(capsys: Capture, *words: str, status: int = 1) -> str:
    """The one line on stderr, without "error: ", of a command that fails before it prints anything."""
    capsys.readouterr()
    assert main([*words]) == status
    out, err = capsys.readouterr()
    assert (out, err[:7], err.count("\n")) == ("", "error: ", 1)
    assert err[:-1].isprintable()
    return err[7:-1]


def updates_in(checkpoint: str) -> int:
    return len(xrnn.load_checkpoint(checkpoint, backend="numpy").extra["learnt"]["losses_"])


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def name_of(value: Any) -> str:
    return value.command if isinstance(value, Run) else " ".join(value) if isinstance(value, list) else str(value)


def axes_of(draw: Draw) -> list[Any]:
    """The axes of the figure that `draw` fills."""
    matplotlib = pytest.importorskip("matplotlib.figure", reason="needs Matplotlib: pip install -e '.[series]'")
    draw(figure := matplotlib.Figure())
    return figure.axes
