"""A run replaces no foreign file: outputs are checked before the run, and again when they are written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.errors import one_line
from xrnn.commands.outputs import Output, check_outputs, next_free
from xrnn.models.errors import OutputError

if os.name != "posix":
    pytest.skip("links and FIFOs are POSIX's", allow_module_level=True)

OURS = b"ours"
pytestmark = pytest.mark.usefixtures("workdir")


def output(path: str, option: str = "--out", say: Callable[[str], None] = print) -> Output:
    def refusal(path: Path, written: bool) -> str:
        return "" if path.read_bytes() == OURS else f"is foreign; name another with {option}"

    return Output(option, Path(path), refusal, say)


def check(*paths: str, inputs: tuple[str, ...] = ()) -> None:
    options = ["--out", "--plot"]
    check_outputs([output(path, options[i]) for i, path in enumerate(paths)], [Path(path) for path in inputs])


def test_new_names_and_own_files_may_be_written(workdir: Path) -> None:
    (workdir / "old").write_bytes(OURS)
    (workdir / "link").symlink_to("old")
    check("new", "old")
    check("new", "link")
    check("old", inputs=("new", "."))
    assert sorted(os.listdir(workdir)) == ["link", "old"]


def test_a_foreign_file_is_never_replaced(workdir: Path) -> None:
    (workdir / "notes").write_text("mine")
    (workdir / "link").symlink_to("notes")
    for name in ("notes", "link", "./notes", str(workdir / "notes")):
        with one_line(
            OutputError,
            f"{name.removeprefix('./')} is foreign; name another with --plot",
        ):
            check("new", name)
    assert (workdir / "notes").read_text() == "mine"


def test_a_name_that_no_file_can_have_is_refused(workdir: Path) -> None:
    name = "x" * 300
    with one_line(OutputError, f"can't write {name} (File name too long): expected an existing folder with"):
        check("new", name)
    assert os.listdir(workdir) == []


def test_two_outputs_are_two_files(workdir: Path) -> None:
    (workdir / "old").write_bytes(OURS)
    (workdir / "soft").symlink_to("old")
    (workdir / "hard").hardlink_to("old")
    (workdir / "here").symlink_to(".")
    for one, other in [("y", "y"), ("y", "here/y"), ("old", "soft"), ("old", "hard"), ("y", f"{workdir}/./y")]:
        with one_line(OutputError, f"--out and --plot would both write {one}: expected two files; name another with"):
            check(one, other)


def test_an_output_is_no_input(workdir: Path) -> None:
    (workdir / "old").write_bytes(OURS)
    (workdir / "link").symlink_to("old")
    for read in ("old", "link"):
        with one_line(OutputError, "--plot is old, which this run reads: expected another file; name another"):
            check("new", "old", inputs=("text", read))


def test_a_special_file_is_refused(workdir: Path) -> None:
    (workdir / "dangling").symlink_to("nowhere")
    (workdir / "loop").symlink_to("loop")
    (workdir / "one").symlink_to("other")
    (workdir / "other").symlink_to("one")
    os.mkfifo(workdir / "fifo")
    for name, words in {
        ".": "can't write .: expected the name of a file, but it is a folder; name a file in it",
        "dangling": f"but it is a link to {workdir / 'nowhere'}, which doesn't exist; remove the link, or name another",
        "loop": "can't write loop: expected the name of a file, but it is a link to itself; remove the link, or name",
        "one": "can't write one: expected the name of a file, but it is a link to itself",
        "fifo": "can't write fifo: expected the name of a file, but it is a device, a pipe or a socket; name",
        os.devnull: f"can't write {os.devnull}: expected the name of a file, but it is a device",
        "nowhere/new": "can't write nowhere/new (No such file or directory): expected an existing folder with",
        "loop/new": "can't write loop/new (Too many levels of symbolic links): expected an existing folder",
        "fifo/new": "can't write fifo/new (Not a directory): expected an existing folder",
    }.items():
        with one_line(OutputError, words):
            check(name)
    assert not (workdir / "nowhere").exists()


def test_a_read_only_file_is_not_replaced(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "old").write_bytes(OURS)
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # tests that run as root have all permissions
    with one_line(OutputError, "can't write old: expected a writable file, but it is read-only; make it writable, or"):
        check("old")


def test_the_next_free_name_is_counted() -> None:
    path, taken = Path("folder/name.ext"), {Path("folder/name.ext"), Path("folder/name-2.ext")}
    assert next_free(path, lambda path: False) == path
    assert next_free(path, lambda path: path in taken) == Path("folder/name-3.ext")


@pytest.mark.parametrize("before", [False, True])
def test_a_foreign_file_that_appears_during_the_run_is_kept(workdir: Path, before: bool) -> None:
    said: list[str] = []
    written = output("c", say=said.append)
    if before:
        written.write(OURS)
    (workdir / "c").write_bytes(b"foreign")
    written.write(OURS)
    written.write(OURS)  # over its own file
    assert (workdir / "c").read_bytes() == b"foreign"
    assert (workdir / "c-2").read_bytes() == OURS
    assert said == ["another program wrote c during this run: it is kept, and this run writes c-2"]


def test_a_pipe_that_appears_during_the_run_is_kept(workdir: Path) -> None:
    said: list[str] = []
    written = output("c", say=said.append)
    os.mkfifo("c")
    written.write(OURS)
    assert stat.S_ISFIFO(os.stat("c").st_mode)
    assert (workdir / "c-2").read_bytes() == OURS


def test_a_removed_file_is_written_again(workdir: Path) -> None:
    written = output("c")
    written.write(OURS)
    (workdir / "c").unlink()
    written.write(OURS)
    assert os.listdir(workdir) == ["c"]
