"""What a run prints and writes: tables, the names of its files, and that no file of the user's is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.commands.runs import (
    CLASSIFY,
    REGRESS,
    UPDATES,
    Capture,
    Patch,
    at_update,
    failed,
    files,
    updates_in,
    write_data,
)
from tests.series.waves import waves, write_folder
from xrnn.commands.options import RunOptions
from xrnn.commands.output import Run, counted, span, table

POSIX = pytest.mark.skipif(os.name != "posix", reason="links and FIFOs are POSIX's")
ELSEWHERE = "can't write {}: expected the name of a file, but it is {}"
IN_A_FOLDER = "can't write {} ({}): make the folder, or choose one that you may write to"
NEW = "{} already exists; choose another name, or --overwrite"
READS = "{} is among the files to read; write to another place"
pytestmark = pytest.mark.usefixtures("blank_pictures")


def is_picture(name: str) -> bool:
    return Path(name).read_bytes().startswith(b"\x89PNG")


def test_an_existing_file_is_replaced_only_with_overwrite(folder: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[series]'")
    assert CLASSIFY(epochs=1) == CLASSIFY("--out", "c", epochs=1) == 0
    Path("d.png").write_bytes(b"theirs")
    Path("empty").touch()
    before = files()
    for options, name in (([], "classifier.safetensors"), (["--out", "c"], "c"), (["--out", "d"], "d.png")):
        assert failed(capsys, *CLASSIFY.words(*options)) == NEW.format(name)
    assert files() == before
    for words in (["--overwrite"], ["--out", "d", "--overwrite"], ["--out", "empty"]):
        assert CLASSIFY(*words) == 0
    assert [updates_in(name) for name in ("classifier.safetensors", "d", "empty")] == [UPDATES] * 3
    assert all(is_picture(name) for name in ("classifier.png", "d.png", "empty.png"))


def test_a_file_that_appears_during_training_is_kept(folder: Path, monkeypatch: Patch, capsys: Capture) -> None:
    at_update(monkeypatch, 2, lambda _: Path("c").write_bytes(b"foreign"))
    assert CLASSIFY("--out", "c") == 1
    assert capsys.readouterr().err == f"error: {NEW.format('c')}\n"
    assert Path("c").read_bytes() == b"foreign"


def test_without_matplotlib_the_picture_is_left_out(folder: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert CLASSIFY("--out", "c", epochs=1) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "picture: not drawn, Matplotlib is not installed (`pip install -e '.[series]'`)"
    assert "c.png" not in files()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with foreign files, a link and a FIFO."""
    folder = tmp_path_factory.mktemp("crowded")
    write_data(folder)
    (folder / "notes").write_bytes(b"mine")
    (folder / "link").symlink_to("notes")
    os.mkfifo(folder / "fifo")
    return folder


@POSIX
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out ./link", NEW.format("link")),
        ("--out levels.ts", "--out is levels.ts; the name must end in .safetensors"),
        ("--out .", ELSEWHERE.format(".", "a folder; name a file in it")),
        ("--out fifo --overwrite", ELSEWHERE.format("fifo", "a device, a pipe or a socket; name")),
        ("--out nowhere/c", IN_A_FOLDER.format("nowhere/c", "No such file or directory")),
        (f"--out {'x' * 300}", IN_A_FOLDER.format("x" * 300, "File name too long")),
    ],
)
def test_an_output_that_may_not_be_written_is_found_before_training(
    crowded: Path, options: str, message: str, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.chdir(crowded)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    before = sorted(os.listdir()), {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert failed(capsys, *REGRESS.words(*options.split())).startswith(message)
    assert (sorted(os.listdir()), {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}) == before


def test_an_output_is_no_input(folder: Path, capsys: Capture) -> None:
    Path("levels.ts").rename("levels.safetensors")
    words = REGRESS.words("--out", "./levels.safetensors", "--overwrite")
    assert failed(capsys, "regress", "levels.safetensors", *words[2:]) == READS.format("levels.safetensors")
    write_folder(Path("g"), waves(4, 0))
    for path in ("g/slow/0", "./g/quick/new.safetensors"):
        expected = READS.format(path.removeprefix("./"))
        assert failed(capsys, "classify", "g/", "--out", path, "--overwrite") == expected


# ---- text ----


def test_control_characters_are_replaced(workdir: Path, capsys: Capture) -> None:
    Run(RunOptions(), "c", []).say("", "checkpoint: \x1b]0;title\x07[bold]c\n\tof it")
    assert capsys.readouterr().out == "checkpoint: �]0;title�[bold]c\n\tof it\n"


def test_the_columns_of_a_table_are_aligned() -> None:
    """A wide character takes two cells of a terminal."""
    assert table(["label", "n"], ["猫", "12"], ["a", "3"]) == "label   n\n猫     12\na       3"


def test_numbers_of_things() -> None:
    assert [counted(count, "step") for count in (1, 2, 1234)] == ["1 step", "2 steps", "1,234 steps"]
    assert (span([2, 1234, 5]), span([3, 3])) == ("2 to 1,234", "3")
