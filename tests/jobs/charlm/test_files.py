"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from xrnn.jobs.charlm.errors import OutputError
from xrnn.jobs.charlm.files import check_writable, replace_file


def test_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"the other"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")
def test_a_link_and_a_mode_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"before")
    path.chmod(0o600)
    link.symlink_to(path)
    replace_file(link, b"after")
    assert link.is_symlink()
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_check_leaves_nothing(tmp_path: Path) -> None:
    other = tmp_path / f".file.{os.getpid() + 1}.partial"  # of a process that is writing the same file
    other.touch()
    check_writable(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [other]
    with pytest.raises(OutputError, match="expected a file's name, but it is a folder"):
        check_writable(tmp_path)
