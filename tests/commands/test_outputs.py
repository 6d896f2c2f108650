"""The files that a run writes: their names, and that no file of the user's is lost."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import xrnn.commands.run as running
from tests.commands.runs import (
    CLASSIFY,
    REGRESS,
    RUNS,
    UPDATES,
    Capture,
    Patch,
    Run,
    at_update,
    files,
    name_of,
    updates_in,
    write_data,
)
from tests.series.waves import waves, write_folder
from xrnn.commands.main import main

POSIX = pytest.mark.skipif(os.name != "posix", reason="links and FIFOs are POSIX's")
ELSEWHERE = "can't write {}: expected the name of a file, but it is {}"
IN_A_FOLDER = "can't write {} ({}): expected an existing folder with write permission; make it or name another"
NEW = "{} exists: expected a new name; name another with --out, or replace it with --overwrite"
NEW_PICTURE = "{} exists: expected a new name; name another with --plot, or replace it with --overwrite"
NOT_ITS_OWN = (
    "{} exists: expected a new name, or the picture that c records; name another with --plot, or replace it with "
    "--overwrite"
)
READS = "--plot is {}, which this run reads: expected another file; name another"
pytestmark = pytest.mark.usefixtures("blank_pictures")


# The files are those of any training command: `make test` runs one of them, .ci/proof all.
@pytest.fixture(
    params=[pytest.param(run, marks=[] if run is CLASSIFY else [pytest.mark.proof], id=run.command) for run in RUNS]
)
def run(request: pytest.FixtureRequest, folder: Path) -> Run:
    run: Run = request.param
    return run


def is_picture(name: str) -> bool:
    return Path(name).read_bytes().startswith(b"\x89PNG")


def refused(capsys: Capture, message: str, status: int) -> None:
    """The command failed with one line, before anything was printed."""
    out, err = capsys.readouterr()
    assert (status, out, err) == (1, "", f"error: {message}\n")


# ---- names ----


def test_the_same_command_again_takes_the_next_free_name(run: Run, capsys: Capture) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    said = f"{run.default}.safetensors or its picture is taken: this run writes {run.default}{{}}.safetensors"
    assert run(units=1) == 0
    assert "is taken" not in capsys.readouterr().out
    Path(f"{run.default}-2.png").write_bytes(b"mine")  # a name with a foreign picture is taken too
    before = files()
    assert run() == 0
    out = capsys.readouterr().out.splitlines()
    assert said.format("-3") in out
    assert f"picture: {run.default}-3.png" in out
    assert files().items() > before.items()
    assert [updates_in(f"{run.default}{i}.safetensors") for i in ("", "-3")] == [run.per_unit, UPDATES]
    assert is_picture(f"{run.default}.png")
    assert is_picture(f"{run.default}-3.png")
    before = files()
    assert run("--overwrite", units=1) == 0  # replaces the default
    assert files().keys() == before.keys()
    assert updates_in(f"{run.default}.safetensors") == run.per_unit


def test_the_name_of_a_checkpoint_is_free_if_the_picture_has_another(folder: Path) -> None:
    Path("regression.png").write_bytes(b"mine")
    assert REGRESS("--plot", "loss.PNG") == 0
    assert "regression.safetensors" in files()
    assert Path("regression.png").read_bytes() == b"mine"


@pytest.mark.parametrize("out", [[], ["--out", "c"]], ids=name_of)
def test_runs_at_the_same_time_write_different_files(run: Run, out: list[str], monkeypatch: Patch) -> None:
    """The run that saves first gets the name."""
    statuses: list[int] = []
    before = files().keys()
    at_update(monkeypatch, 1, lambda _: statuses.append(run(*out, units=1)))
    assert run(*out) == 0
    first, second = ("c", "c-2") if out else (f"{run.default}.safetensors", f"{run.default}-2.safetensors")
    assert (statuses, updates_in(first), updates_in(second)) == ([0], run.per_unit, UPDATES)
    assert len(files().keys() - before) == 4


@pytest.mark.parametrize("before", [False, True])
def test_a_foreign_file_that_appears_during_training_is_kept(
    run: Run, before: bool, monkeypatch: Patch, capsys: Capture
) -> None:
    """Also if it appears at the name of a checkpoint or picture that the run may replace."""
    if before:
        assert run("--out", "c", units=1) == 0

    def appear(_: object) -> None:
        for name in ("c", "c.png"):
            Path("theirs").write_bytes(b"foreign")
            Path("theirs").replace(name)

    at_update(monkeypatch, 2, appear)
    assert run("--out", "c", "--overwrite") == 0
    out = capsys.readouterr().out.splitlines()
    for name, other in {"c": "c-2", "c.png": "c-2.png"}.items():
        assert f"another program wrote {name} during this run: it is kept, and this run writes {other}" in out
        assert Path(name).read_bytes() == b"foreign"
    assert any(line.startswith("checkpoint: c-2 ") for line in out)
    assert "picture: c-2.png" in out
    assert updates_in("c-2") == UPDATES
    assert is_picture("c-2.png")
    assert "c-3" not in files()


@POSIX
def test_a_pipe_that_appears_is_kept_and_a_removed_file_written_again(folder: Path, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        at_update(patch, 2, lambda _: os.mkfifo("c"))
        assert REGRESS("--out", "c") == 0
    assert stat.S_ISFIFO(os.stat("c").st_mode)
    assert updates_in("c-2") == UPDATES
    at_update(monkeypatch, 2, lambda _: Path("d").unlink())
    monkeypatch.setattr("xrnn.commands.run.SAVE_EVERY", 1)
    assert REGRESS("--out", "d") == 0
    assert updates_in("d") == UPDATES


# ---- what may be replaced ----


def test_a_checkpoint_is_replaced_only_with_overwrite(run: Run, capsys: Capture) -> None:
    assert run("--out", "c", units=1) == run("--out", "d", units=1) == 0
    capsys.readouterr()
    before = files()
    for name, options in (("c", []), ("d", ["--resume", "c"])):
        message = (
            f"{name} exists: expected a new name, or --resume {name} to continue it; name another with --out, or "
            "replace it with --overwrite"
        )
        refused(capsys, message, run("--out", name, *options))
    assert files() == before
    assert run("--out", "c", "--overwrite") == run("--resume", "c", "--out", "d", "--overwrite") == 0
    assert (updates_in("c"), updates_in("d")) == (UPDATES, UPDATES)
    assert run("--resume", "d", "--out", "./d", units=9) == 0  # the same file: the run continues
    assert updates_in("d") == 9 * run.per_unit
    Path("empty").touch()
    Path("theirs").write_bytes(b"foreign")
    assert run("--out", "empty", units=1) == run("--out", "theirs", "--overwrite", units=1) == 0
    assert (updates_in("empty"), updates_in("theirs")) == (run.per_unit, run.per_unit)


def test_a_picture_is_replaced_only_by_its_own_run(run: Run, capsys: Capture) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    assert run("--out", "c", units=1) == 0
    assert run("--resume", "c", units=2) == 0  # its checkpoint records the picture
    Path("c.png").write_bytes(b"foreign")
    before = files()
    capsys.readouterr()
    refused(capsys, NOT_ITS_OWN.format("c.png"), run("--resume", "c", units=3))
    refused(capsys, NEW_PICTURE.format("c.png"), run("--out", "c.safetensors", units=3))
    assert files() == before
    assert run("--resume", "c", "--overwrite", units=3) == 0
    assert is_picture("c.png")
    assert run("--resume", "c", units=4) == 0


def test_a_run_without_a_picture_can_be_continued(run: Run, monkeypatch: Patch, capsys: Capture) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        assert run("--out", "c", units=1) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "picture: not drawn, Matplotlib is not installed (`pip install -e '.[plot]'`)"
    assert "c.png" not in files()
    assert run("--resume", "c", units=2) == run("--resume", "c", units=3) == 0  # the second replaces its own picture


@POSIX
def test_the_target_of_a_link_is_written(folder: Path) -> None:
    assert REGRESS("--out", "c", units=1) == 0
    Path("link").symlink_to("c")
    assert REGRESS("--resume", "link") == 0
    assert Path("link").is_symlink()
    assert updates_in("c") == UPDATES


@pytest.fixture(scope="module")
def crowded(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint `c` of `xrnn regress`, foreign files, links and a FIFO."""
    folder = tmp_path_factory.mktemp("crowded")
    write_data(folder)
    shutil.copy(trained / "regress", folder / "c")
    for name in ("mine.png", "mine.svg", "notes"):
        (folder / name).write_bytes(b"mine")
    for name, target in {
        **{"loop": "loop", "one": "other", "other": "one", "loop.png": "loop.png", "dangling": "nowhere"},
        **{"link": "notes", "here": ".", "soft.png": "c"},
    }.items():
        (folder / name).symlink_to(target)
    (folder / "hard.png").hardlink_to(folder / "c")
    os.mkfifo(folder / "fifo")
    return folder


LOOP = "a link to itself; remove the link, or name another with {}"
BOTH = "--out and --plot would both write {}: expected two files; name another with --plot"


@POSIX
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out notes", NEW.format("notes")),
        ("--out ./link", NEW.format("link")),
        ("--out levels.ts", NEW.format("levels.ts")),
        ("--out mine.safetensors", NEW_PICTURE.format("mine.png")),
        ("--out d --plot mine.svg", NEW_PICTURE.format("mine.svg")),
        ("--resume c --plot mine.png", NOT_ITS_OWN.format("mine.png")),
        ("--resume c --out d --plot c --overwrite", "--plot is c: expected a name that ends in .png, .svg, .pdf; add"),
        ("--plot loss.gif", "--plot is loss.gif: expected a name that ends in .png, .svg, .pdf; add one of them"),
        ("--out y.png", BOTH.format("y.png")),
        ("--out y.png --plot here/y.png", BOTH.format("y.png")),
        ("--out y.png --plot {}/./y.png", BOTH.format("y.png")),
        ("--out .", ELSEWHERE.format(".", "a folder; name a file in it")),
        ("--out loop", ELSEWHERE.format("loop", LOOP.format("--out"))),
        ("--out one", ELSEWHERE.format("one", "a link to itself")),
        ("--out d --plot loop.png", ELSEWHERE.format("loop.png", LOOP.format("--plot"))),
        ("--out dangling", ELSEWHERE.format("dangling", "a link to {}/nowhere, which doesn't exist; remove the link")),
        ("--out fifo", ELSEWHERE.format("fifo", "a device, a pipe or a socket; name")),
        ("--out fifo --overwrite", ELSEWHERE.format("fifo", "a device, a pipe or a socket; name")),
        (f"--out {os.devnull}", ELSEWHERE.format(os.devnull, "a device")),
        ("--out nowhere/c", IN_A_FOLDER.format("nowhere/c", "No such file or directory")),
        ("--plot nowhere/p.png", IN_A_FOLDER.format("nowhere/p.png", "No such file or directory")),
        ("--out loop/c", IN_A_FOLDER.format("loop/c", "Too many levels of symbolic links")),
        ("--out fifo/c", IN_A_FOLDER.format("fifo/c", "Not a directory")),
        (f"--out {'x' * 300}", IN_A_FOLDER.format("x" * 300, "File name too long")),
        ("--log notes", "notes exists: expected a new name; name another with --log, or replace it with --overwrite"),
        ("--resume c --log notes", "notes exists: expected a new name, or the log of such a run; name"),
        ("--out d --log d", "--out and --log would both write d: expected two files; name another with --log"),
        ("--out c --overwrite --plot soft.png", BOTH.format("c")),
        ("--out c --overwrite --plot hard.png", BOTH.format("c")),
    ],
)
def test_an_output_that_may_not_be_written_is_found_before_training(
    crowded: Path, options: str, message: str, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.chdir(crowded)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    before = sorted(os.listdir()), {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    words = REGRESS.words(*options.replace("{}", str(crowded)).split())
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {message.replace('{}', os.path.realpath(crowded))}")
    assert (sorted(os.listdir()), {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}) == before


def test_a_read_only_file_is_not_replaced(folder: Path, monkeypatch: Patch, capsys: Capture) -> None:
    assert REGRESS("--out", "c") == 0
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # tests that run as root have all permissions
    capsys.readouterr()
    message = "can't write c: expected a writable file, but it is read-only; make it writable, or name another"
    refused(capsys, message, REGRESS("--out", "c", "--overwrite"))


def test_an_output_is_no_input(folder: Path, capsys: Capture) -> None:
    assert REGRESS("--out", "c.svg", "--plot", "p.svg") == 0
    capsys.readouterr()
    refused(capsys, READS.format("c.svg"), REGRESS("--resume", "c.svg", "--out", "d", "--plot", "c.svg", "--overwrite"))


@pytest.mark.parametrize("name", ["--log waves/slow/a.csv", "--log ./link/new.csv"])
def test_no_table_is_written_into_an_input_folder(workdir: Path, name: str, capsys: Capture) -> None:
    """A later run would read it."""
    write_folder(Path("waves"), waves(8, 0))
    Path("link").symlink_to("waves")
    before = {path: path.read_bytes() for path in Path("waves").rglob("*") if path.is_file()}
    option, path = name.split()
    folder = (
        f"{option} is {Path(path)}, in the folder waves, which this run reads: expected a file outside it; name another"
    )
    words = ["classify", "waves", *CLASSIFY.options, "--out", "m", "--epochs", "1", "--overwrite", *name.split()]
    refused(capsys, folder, main(words))
    assert {path: path.read_bytes() for path in Path("waves").rglob("*") if path.is_file()} == before


# ---- the log ----


def steps(log: str) -> list[int]:
    return [int(row.split(",")[0]) for row in Path(log).read_text().splitlines()[1:]]


FIGURES = {
    "classify": "step,seconds,series,loss,accuracy",
    "regress": "step,seconds,series,loss",
    "forecast": "step,seconds,windows,loss",
}


def test_the_log_has_a_row_for_each_report(run: Run, monkeypatch: Patch) -> None:
    """Reading the losses waits for the device, so they are read at an interval, and at the end."""
    monkeypatch.setattr("xrnn.commands.run._SECONDS_BETWEEN_READS", 1e9)
    assert run("--log", "last.csv", units=1) == 0
    assert steps("last.csv") == [run.per_unit]
    monkeypatch.setattr("xrnn.commands.run._SECONDS_BETWEEN_READS", 0.0)
    assert run("--log", "all.csv") == 0
    assert steps("all.csv") == [*range(1, UPDATES + 1), UPDATES]
    header, *rows = Path("all.csv").read_text().splitlines()
    assert header == FIGURES[run.command]
    columns = list(zip(*(map(float, row.split(",")) for row in rows), strict=True))
    assert list(columns[1]) == sorted(columns[1])
    assert list(columns[2]) == sorted(columns[2])
    assert all(0 < loss < 9 for loss in columns[3])
    if run is CLASSIFY:
        assert columns[2][-1] == 20  # ten series in each of two epochs


def test_a_resumed_run_appends_to_its_log(run: Run, capsys: Capture) -> None:
    assert run("--log", "l.csv", "--out", "c", units=1) == run("--resume", "c", "--log", "l.csv") == 0
    assert steps("l.csv") == [run.per_unit, UPDATES]
    assert run("--log", "l.csv", "--out", "d", "--overwrite", units=1) == 0
    assert steps("l.csv") == [run.per_unit]
    Path("empty.csv").touch()
    assert run("--resume", "d", "--log", "empty.csv") == 0
    assert steps("empty.csv")[-1] == UPDATES


def test_a_foreign_file_that_appears_at_the_name_of_the_log_is_kept(folder: Path, monkeypatch: Patch) -> None:
    """Reading the data may take minutes."""
    last_step = running._last_step

    def appear(*arguments: Any) -> Any:
        Path("l.csv").write_bytes(b"foreign")
        return last_step(*arguments)

    monkeypatch.setattr(running, "_last_step", appear)  # called after the data were read
    assert REGRESS("--log", "l.csv") == 0
    assert Path("l.csv").read_bytes() == b"foreign"
    assert steps("l-2.csv")[-1] == UPDATES


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_log_that_can_not_be_written_does_not_stop_the_run(folder: Path, capsys: Capture, monkeypatch: Patch) -> None:
    def fill(_: object) -> None:
        for descriptor in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{descriptor}") == os.path.realpath("l.csv"):
                os.dup2(os.open("/dev/full", os.O_WRONLY), int(descriptor))

    monkeypatch.setattr("xrnn.commands.run._SECONDS_BETWEEN_READS", 0.0)
    at_update(monkeypatch, 3, fill)
    assert REGRESS("--out", "c", "--log", "l.csv") == 0
    said = "can't write l.csv (No space left on device): the run continues without a log\n"
    assert capsys.readouterr().out.count(said) == 1
    assert (steps("l.csv"), updates_in("c")) == ([1, 2], UPDATES)
