"""Files are checked before they are read, and replaced atomically."""

from __future__ import annotations

import itertools
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import xrnn
from tests.errors import one_line, refused
from xrnn.files import FileError, arrays_content, check_writable, open_arrays, printable, quoted, write_file
from xrnn.series import Classifier, Forecaster, Regressor

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes, links, locks and FIFOs are POSIX's")
WANTED = "weights; name a file of them"


def replace_file(path: Path, content: bytes) -> None:
    write_file(path, content, lambda path: True, "")


def create_file(path: Path, content: bytes) -> None:
    write_file(path, content, lambda path: False, "exists: expected a new name")


def failing(error: Exception) -> Callable[..., Any]:
    def call(*arguments: object, **options: object) -> Any:
        raise error

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the content `before`."""
    (tmp_path / "file").write_bytes(b"before")
    return tmp_path / "file"


# ---- writing ----


def test_a_failed_write_leaves_the_old_file_and_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", failing(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


@POSIX
def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, replace = [], os.replace

    def fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def rename(*paths: Any) -> None:
        done.append("rename")
        replace(*paths)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", rename)
    replace_file(path, b"content")
    assert done == ["file", "rename", "folder"]


@POSIX
def test_links_and_modes_are_kept(path: Path) -> None:
    link = path.with_name("link")
    path.chmod(0o600)
    link.symlink_to(path)
    replace_file(link, b"after")
    assert link.is_symlink()
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
@pytest.mark.parametrize("write", [check_writable, lambda path: replace_file(path, b"content")])
def test_only_a_regular_file_is_replaced(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename would replace a device node too: /dev/null, for a process with the permissions of root."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("folder").mkdir()
    Path("link").symlink_to("fifo")
    Path("loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        before = {name: os.lstat(name).st_ino for name in os.listdir()}
        other = "expected the name of a file, but it is "
        refused(
            *(
                (FileExistsError, partial(write, Path(name)), f"can't write {name}: {other}a device, a pipe or a")
                for name in ("fifo", "link", "socket")
            ),
            (IsADirectoryError, partial(write, Path("folder")), f"can't write folder: {other}a folder; name a"),
            (OSError, partial(write, Path("loop")), "Too many levels of symbolic links: 'loop'"),
        )
    assert {name: os.lstat(name).st_ino for name in os.listdir()} == before


def test_a_folder_that_may_not_be_opened_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse, really_open = failing(PermissionError(13, "Permission denied")), os.open

    def open_no_folder(path: str, *arguments: Any, **options: Any) -> int:
        return int((refuse if os.path.isdir(path) else really_open)(path, *arguments, **options))

    monkeypatch.setattr("os.open", open_no_folder)  # tests that run as root have all permissions
    replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_longest_name_of_the_file_system_is_possible(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255 if os.name == "posix" else "x" * 100)
    replace_file(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_replaces_none_but_an_empty_one(path: Path) -> None:
    with one_line(FileExistsError, f"{path} exists: expected a new name"):
        create_file(path, b"other")
    assert path.read_bytes() == b"before"
    path.write_bytes(b"")
    create_file(path, b"in place of an empty file")
    assert path.read_bytes() == b"in place of an empty file"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("new", [True, False])
def test_a_file_that_appears_while_another_is_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    """Also in place of a file that may be replaced."""
    path = tmp_path / "file"
    if not new:
        path.write_bytes(b"mine: one")
    sync = os.fsync

    def appear(descriptor: int) -> None:
        sync(descriptor)
        path.write_bytes(b"theirs")

    monkeypatch.setattr("os.fsync", appear)
    with one_line(FileExistsError, f"{path} exists: name another"):
        write_file(path, b"mine: two", lambda path: path.read_bytes().startswith(b"mine"), "exists: name another")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_file_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # tests that run as root have all permissions
    with one_line(PermissionError, f"can't write {path}: expected a writable file, but it is read-only; make it"):
        replace_file(path, b"after")
    assert path.read_bytes() == b"before"


def test_the_check_leaves_no_file(tmp_path: Path) -> None:
    check_writable(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        check_writable(tmp_path / "nowhere" / "file")


# ---- what the functions that write files may replace ----

LAYERS: dict[str, Any] = {"rnn": xrnn.RNN.init(2, 3, rng=0), "readout": xrnn.Linear.init(3, 1, rng=0)}
SERIES = np.random.default_rng(0).standard_normal((8, 12))
SIZES: dict[str, Any] = {"hidden": 2, "batch": 4}


def save_run(path: Path, **options: Any) -> None:
    xrnn.save_checkpoint(path, LAYERS, extra={"job": options.pop("job", 7)}, **options)


@pytest.fixture(scope="module")
def writers() -> dict[str, Callable[..., object]]:
    forecaster = Forecaster(horizon=2, season=2).fit(SERIES)
    return {
        "xrnn.save": partial(xrnn.save, layer=LAYERS["rnn"]),
        "xrnn.save_checkpoint": save_run,
        "xrnn.to_onnx": partial(xrnn.to_onnx, LAYERS),
        "xrnn.to_c": partial(xrnn.to_c, LAYERS),
        "Classifier.save": Classifier(epochs=1, **SIZES).fit(SERIES, [0, 1] * 4).save,
        "Regressor.save": Regressor(epochs=1, **SIZES).fit(SERIES, np.arange(8.0)).save,
        "Forecaster.save": forecaster.save,
    }


@pytest.mark.needs("onnx", "onnx")
def test_a_file_of_another_program_is_kept(writers: dict[str, Callable[..., object]], tmp_path: Path) -> None:
    path, link, foreign = tmp_path / "file", tmp_path / "link", tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2)}, foreign, {"format": "pt"})
    link.symlink_to(path)
    contents = (b"PK\x03\x04 a thesis", b"time,value\n1,2\n", b"{", b"/* mine */", b"\x08", foreign.read_bytes())
    for name, write in writers.items():
        path.write_bytes(b"")
        for _ in range(2):  # an empty file, then its own
            write(path)
        size = path.stat().st_size
        for content, each in itertools.product(contents, (path, link)):
            path.write_bytes(content)
            with one_line(FileExistsError, f"{each} already exists, and {name} did not write it: choose another name"):
                write(each)
            assert path.read_bytes() == content
            assert sorted(tmp_path.iterdir()) == [path, foreign, link]
        write(link, overwrite=True)
        assert (path.stat().st_size, link.is_symlink()) == (size, True)
        with one_line(TypeError, "overwrite is 'no': expected True or False; use bool(overwrite)"):
            write(path, overwrite="no")


@pytest.mark.needs("onnx", "onnx")
def test_the_functions_replace_no_file_of_each_other(writers: dict[str, Callable[..., object]], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name, other in itertools.permutations(writers, 2):
        writers[other](path, overwrite=True)
        content = path.read_bytes()
        with one_line(FileExistsError, f"{path} already exists, and {name} did not write it"):
            writers[name](path)
        assert path.read_bytes() == content
    with one_line(IsADirectoryError, "file/ is a folder's name: expected that of a file; name one in it"):
        writers["xrnn.save"](f"{path}/")


def test_a_checkpoint_replaces_that_of_a_command_only_with_its_job(
    writers: dict[str, Callable[..., object]], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for job in (np.arange(3), "mine", None, "xrnn series classifier", "xrnn series classifier"):
        save_run(path, job=job)  # any `job` of a user's own
    for other in ("xrnn series regression", np.arange(3)):
        with one_line(FileExistsError, f"{path} already exists, and xrnn.save_checkpoint did not write it"):
            save_run(path, job=other)
    writers["Classifier.save"](path)
    checkpoint = xrnn.load_checkpoint(path)
    xrnn.save_checkpoint(path, checkpoint.layers, optimizer=checkpoint.optimizer, extra=checkpoint.extra)


# ---- reading ----


def example(path: Path) -> Path:
    arrays = {"a": np.ones((2, 3), "float32"), "b": np.arange(4.0)[::2]}
    path.write_bytes(arrays_content(arrays, {"about": "an example", "ä": "\x7f", "b": ""}))
    return path


def test_arrays_are_read_back_and_give_the_same_file_again(path: Path) -> None:
    with open_arrays(example(path), WANTED) as file:
        assert file.metadata["about"] == "an example"
        arrays = file.read()
    np.testing.assert_array_equal(arrays["a"], np.ones((2, 3), "float32"))
    np.testing.assert_array_equal(arrays["b"], [0.0, 2.0])
    assert len({example(path).read_bytes() for _ in range(9)}) == 1


def test_other_content_is_refused(path: Path) -> None:
    whole = example(path).read_bytes()
    for content, words in {
        b"": f"is not a safetensors file: expected {WANTED}",
        b"To be, or not to be": f"is not a safetensors file: expected {WANTED}",
        b"\xff" * 8 + b"{}": "is truncated or damaged (",
        b"\x02" + b"\0" * 7 + b"{": "is truncated or damaged (",
        whole[:-1]: "): expected a complete file; use another copy",
        whole[:-1] + bytes([whole[-1] ^ 1]): "was changed after it was written: expected content",
        safetensors.numpy.save({"a": np.zeros(2)}): "was changed after it was written",  # it has no digest
    }.items():
        path.write_bytes(content)
        with one_line(FileError, words), open_arrays(path, WANTED) as file:
            file.read()


@POSIX
def test_a_special_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in {
        "fifo": "fifo is not a regular file: expected weights; name a file of them",
        "": f"can't read {tmp_path} (Is a directory): expected weights",
        "loop": "loop (Too many levels of symbolic links): expected weights",
        "missing": "missing (No such file or directory): expected weights",
    }.items():
        with one_line(FileError, words), open_arrays(tmp_path / name, WANTED):
            pass


# ---- printable text ----


def test_printed_names_have_no_control_characters(tmp_path: Path) -> None:
    assert printable("a\x1b]0;title\x07\u202eé\udcff\n") == "a�]0;title��é��"
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb�"
    assert quoted("x" * 100 + "\x1b") == "x" * 80 + "…"
    assert quoted("x" * 80) == "x" * 80
    path = example(tmp_path / "\x1b[2J")
    with open_arrays(path, WANTED) as file, pytest.raises(FileError) as caught:
        file.check_format("xrnn layer", "1")
    assert str(caught.value).isprintable()
