"""The files that are read, the held-out part, and the chunks of each stream."""

from __future__ import annotations

import os
import sysconfig
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.errors import one_line
from tests.models.texts import write_text
from xrnn.commands.pictures import loss_curve
from xrnn.commands.train import refusal
from xrnn.models.corpus import Streams, load_corpus
from xrnn.models.errors import DataError


def make_files(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def test_a_folder_gives_its_text_sorted_by_name_without_hidden_and_binary_files(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        {"b.txt": b"B" * 30, "a/z.txt": b"A" * 30, ".hidden": b"X" * 9, ".git/x": b"X" * 9, "image": b"\x89\0PNG"},
    )
    corpus = load_corpus([tmp_path])
    text = np.concatenate([corpus.train, corpus.held_out]).tobytes()
    assert text == b"A" * 30 + b"B" * 30
    assert "2 files, 60 bytes" in corpus.source
    assert corpus.source.endswith("skipped 1 binary or special files")


def test_few_files_hold_out_the_last_bytes(tmp_path: Path) -> None:
    text = bytes(range(1, 201))
    (tmp_path / "text").write_bytes(text)
    corpus = load_corpus([tmp_path / "text"])
    assert (corpus.train.tobytes(), corpus.held_out.tobytes()) == (text[:190], text[190:])


def test_many_files_hold_out_complete_files_independent_of_their_folder(tmp_path: Path) -> None:
    contents = {f"{i:03}.txt": bytes([33 + i]) * 10 for i in range(60)}
    here, there = (load_corpus([make_files(tmp_path / place, contents)]) for place in ("here", "there/and/deeper"))
    held_out = here.held_out.tobytes()
    assert len(held_out) == 30  # 5 % of 60 files
    assert all(held_out.count(byte) == 10 and byte not in here.train for byte in set(held_out))
    assert len(here.train) == 570
    assert held_out == there.held_out.tobytes()
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize(("count", "held_out"), [(19, "the last 9 bytes (5 %"), (20, "1 files of 10 bytes")])
def test_twenty_files_are_many(tmp_path: Path, count: int, held_out: str) -> None:
    corpus = load_corpus([make_files(tmp_path, {f"{i:02}": bytes([65 + i]) * 10 for i in range(count)})])
    assert f"held out: {held_out}" in corpus.source


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    file = write_text(tmp_path / "text")
    before = load_corpus([file]).fingerprint
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert load_corpus([file]).fingerprint != before


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write_text(tmp_path / "text", size=100)
    corpus = load_corpus([file, tmp_path, tmp_path / ".." / tmp_path.name / "text"])
    assert len(corpus.train) + len(corpus.held_out) == 100
    write_text(tmp_path / "z", size=50)  # a file after it in the folder is read
    corpus = load_corpus([file, tmp_path])
    assert len(corpus.train) + len(corpus.held_out) == 150


def test_without_paths_it_reads_the_standard_library_without_its_tests() -> None:
    corpus = load_corpus()
    text = corpus.train.tobytes() + corpus.held_out.tobytes()
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    assert (stdlib / "this.py").read_bytes() in text
    assert (stdlib / "json" / "decoder.py").read_bytes() in text
    assert not any(file.read_bytes() in text for file in sorted((stdlib / "test").glob("test_*.py"))[:5])
    assert "skipped" not in corpus.source


def test_folders_of_tests_are_left_out_of_the_standard_library_at_any_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = ["test/a.py", "json/tests/b.py", "idle/tests/c/d.py", "site-packages/numpy/e.py", "json/notes.txt"]
    kept = ["this.py", "json/decoder.py", "json/test.py"]
    make_files(tmp_path, dict.fromkeys(left_out, b"x" * 50) | dict.fromkeys(kept, b"y" * 50))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    corpus = load_corpus()
    assert corpus.train.tobytes() + corpus.held_out.tobytes() == b"y" * 150


@pytest.mark.parametrize(
    ("contents", "named", "message"),
    [
        ({}, "missing", "missing doesn't exist: expected a text file or a folder of them; check the path"),
        ({"f": b"a\0b"}, "f", "f is binary (it has a NUL byte): expected text; name a text file"),
        ({"f": b"", "g": b"\0"}, ".", "(1 empty files, 1 binary): expected text files; name others"),
        ({"f": b"twelve bytes"}, "f", "has 12 bytes, of which 0 would be held out: expected at least 2 there"),
        (
            {"f": b"a" * 39},
            "f",
            "has 39 bytes, of which 1 would be held out: expected at least 2 there; give more text",
        ),
    ],
)
def test_unusable_text_is_refused(tmp_path: Path, contents: dict[str, bytes], named: str, message: str) -> None:
    make_files(tmp_path, contents)
    with pytest.raises(DataError) as error:
        load_corpus([tmp_path / named])
    assert message in str(error.value)


def test_two_bytes_to_hold_out_are_enough(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a" * 38 + b"bc")
    corpus = load_corpus([tmp_path / "f"])
    assert (corpus.train.tobytes(), corpus.held_out.tobytes()) == (b"a" * 38, b"bc")
    assert "held out: the last 2 bytes" in corpus.source


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "text")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # tests that run as root can read any file
    with pytest.raises(DataError) as error:
        load_corpus([tmp_path])
    assert str(error.value) == (
        f"can't read {tmp_path / 'text'} (Permission denied): expected a readable text file; "
        "change its permissions or leave it out"
    )


def test_a_large_binary_file_is_not_read_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "text", size=100)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**31)
    load_corpus([tmp_path])  # so that imports of the first call are not measured
    tracemalloc.start()
    try:
        corpus = load_corpus([tmp_path])
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert len(corpus.train) + len(corpus.held_out) == 100
    assert corpus.source.endswith("skipped 1 binary or special files")


def test_a_long_text_is_read_completely(tmp_path: Path) -> None:
    write_text(tmp_path / "text", size=3_000_000)
    corpus = load_corpus([tmp_path / "text"])
    assert np.concatenate([corpus.train, corpus.held_out]).tobytes() == (tmp_path / "text").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_links_to_themselves_and_to_their_folder_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_text(folder / "text", size=100)
    for name, target in {"loop": "loop", "one": "other", "other": "one", "nowhere": "missing", "here": "."}.items():
        (folder / name).symlink_to(target)
    corpus = load_corpus([folder, folder / "here", folder / "here" / "here"])
    assert len(corpus.train) + len(corpus.held_out) == 100
    for name in ("loop", "one"):
        with one_line(DataError, f"{folder / name} is neither a file nor a folder: expected a text file or a folder"):
            load_corpus([folder / name])


@pytest.mark.parametrize("name", ["loss.svg", "loss.png", "loss.pdf"])
def test_a_picture_that_a_run_drew_is_no_text(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    write_text(tmp_path / "text")
    before = load_corpus([tmp_path], refusal)
    content = loss_curve([8.0], "bits per character", {}).content(tmp_path / name)
    assert content
    (tmp_path / name).write_bytes(content)
    after = load_corpus([tmp_path], refusal)
    assert after.fingerprint == before.fingerprint
    with one_line(DataError, str(tmp_path / name), ": expected text; name a text file"):
        load_corpus([tmp_path / name], refusal)


def test_each_stream_reads_the_text_cyclically() -> None:
    text = np.arange(100, dtype=np.uint8)
    T, N = 7, 3
    streams = Streams(text, T, N)
    seen = []
    for step in range(20):
        chunk = streams.chunk(step)
        assert chunk.shape == (T + 1, N)
        assert chunk.dtype == np.int32
        for n, start in enumerate((0, 33, 66)):
            np.testing.assert_array_equal(chunk[:, n], (start + step * T + np.arange(T + 1)) % 100)
        seen.append(chunk[:-1])
    assert set(np.concatenate(seen)[:, 1].tolist()) == set(range(100))


def test_a_text_shorter_than_one_chunk_is_refused() -> None:
    Streams(np.zeros(24, np.uint8), 7, 3)
    with pytest.raises(DataError) as error:
        Streams(np.zeros(23, np.uint8), 7, 3)
    assert str(error.value) == (
        "the text to train on has 23 bytes: expected at least 24 for one chunk (batch 3 × (seq_len 7 + 1)); "
        "give more text, or lower one of them"
    )
