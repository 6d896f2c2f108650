"""Folders of labels, .csv and .npy files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.errors import one_line
from xrnn.series.errors import DataError
from xrnn.series.reading.files import files_in, read_path
from xrnn.series.reading.tables import Columns

pytestmark = pytest.mark.usefixtures("workdir")


def file(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def saved(array: object) -> Path:
    np.save("f.npy", np.asarray(array), allow_pickle=True)
    return Path("f.npy")


def test_a_folder_gives_its_labels_in_order_and_other_files_are_skipped() -> None:
    file("d/walk/b.csv", "1,2\n?,4\n\n")
    file("d/walk/a.CSV", "5,6")
    file("d/run/z.npy", b"")
    np.save("d/run/z.npy", np.array([[7, 8], [9, 1]], np.int16))
    file("d/walk/notes.txt", "mine")
    file("d/walk/.hidden.csv", "text")
    file("d/.git/config.csv", "text")
    file("d/README.csv", "text")
    series = read_path(Path("d"))
    assert [each.label for each in series] == ["run", "walk", "walk"]
    assert [each.name for each in series] == [
        os.path.join("d", *n) for n in (("run", "z.npy"), ("walk", "a.CSV"), ("walk", "b.csv"))
    ]
    for each, values in zip(series, ([[7, 8], [9, 1]], [[5, 6]], [[1, 2], [np.nan, 4]]), strict=True):
        np.testing.assert_array_equal(each.values, np.array(values, np.float64))


def test_text_files_are_tables_unless_a_folder_has_other_files() -> None:
    (series,) = read_path(file("f.TXT", "x\ty\r\n1\t2\r\n".encode("utf-16")))  # "Unicode text" of Excel
    assert (series.channel_names, series.values.tolist()) == (("x", "y"), [[1, 2]])
    file("d/walk/a.txt", "1 2\n".replace(" ", "\t"))
    file("d/run/a.csv", "3,4\n")
    file("d/run/notes.txt", "mine")
    assert [(each.label, each.values.tolist()) for each in read_path(Path("d"))] == [
        ("run", [[3, 4]]),
        ("walk", [[1, 2]]),
    ]


def test_a_column_of_labels_comes_before_the_name_of_a_folder() -> None:
    file("d/walk/a.csv", "x,kind\n1,run\n")
    for columns, label in ((Columns(label="kind"), "run"), (Columns(skip=("kind",)), "walk")):
        assert [each.label for each in read_path(Path("d"), columns)] == [label]


def test_files_without_labels_may_be_in_a_flat_folder() -> None:
    for name in ("b", "a"):
        file(f"d/{name}.csv", "v\n1\n2\n")
    series = read_path(Path("d"), Columns(timed=True))  # to forecast
    assert [(each.name, each.label) for each in series] == [(os.path.join("d", f"{x}.csv"), None) for x in "ab"]
    with one_line(DataError, "d holds no series; put .csv, .txt, .xlsx, .parquet or .npy files into a folder for each"):
        read_path(Path("d"))
    file("d/walk/c.csv", "v\n1\n2\n")  # files beside folders are no series
    assert [each.name for each in read_path(Path("d"), Columns(timed=True))] == [os.path.join("d", "walk", "c.csv")]
    file("e/notes.txt", "mine")
    Path("e/empty").mkdir()
    with one_line(DataError, "empty holds no series"):
        files_in(Path("e"), need_labels=True)


def test_an_empty_folder_gets_one_line() -> None:
    Path("d").mkdir()
    with one_line(
        DataError, "d holds no series; put .csv, .txt, .xlsx, .parquet or .npy files into a folder for each label"
    ):
        read_path(Path("d"))
    file("d/a/1.csv", "1")
    Path("d/b").mkdir()
    with one_line(
        DataError, f"{Path('d/b')} holds no series; put .csv, .txt, .xlsx, .parquet or .npy files into a folder"
    ):
        read_path(Path("d"))


def test_folders_in_the_folder_of_a_label_are_groups() -> None:
    for name in ("good/m1/a", "good/m1/b", "good/m2/a", "worn/m1/c", "fine/d"):
        file(f"d/{name}.csv", "x,g\n1,u\n")
    file("d/fine/old/e.csv", "x,g\n1,u\n")  # beside files, a folder is no group
    found = read_path(Path("d"), Columns(skip=("g",)))
    assert [(each.label, each.group) for each in found] == [
        ("fine", None),
        ("good", "m1"),
        ("good", "m1"),
        ("good", "m2"),
        ("worn", "m1"),
    ]
    assert {each.group for each in read_path(Path("d"), Columns(group="g"))} == {"u"}
    assert len(files_in(Path("d"), need_labels=False)) == 5


def npy_header(shape: str, kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode()


NOT_WHOLE = "f.npy can't be used ("


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: saved([[1, "x"]]),
            "f.npy can't be used (it holds <U21 (1, 2)); save the numbers of each series",
        ),
        (lambda: saved(np.array([[1, None]])), NOT_WHOLE),
        (
            lambda: saved([1.0, 2.0]),
            "(it holds float64 (2,)); save the numbers of each series",
        ),
        (lambda: saved(np.zeros((4, 3, 2))), "(it holds float64 (4, 3, 2)); save"),
        (lambda: saved([[1j]]), "(it holds complex128 (1, 1)); save"),
        (lambda: saved([[True]]), "(it holds bool (1, 1)); save"),
        (lambda: saved([[1, np.inf]]), "f.npy holds inf in row 1, column 2; scale the numbers to at most 1e+30"),
        (
            lambda: saved(np.array([[1]], np.longdouble)),
            " (1, 1)); save the numbers of each series",
        ),
        (lambda: saved(np.zeros((0, 2))), "f.npy has no values"),
        (lambda: saved(np.zeros((2, 0))), "f.npy has no values"),
        (lambda: file("f.npy", b""), NOT_WHOLE),
        (lambda: file("f.npy", b"\x80\x04K\x01."), NOT_WHOLE),  # a pickle
        (lambda: file("f.npy", "text"), NOT_WHOLE),
        (lambda: file("f.npy", npy_header("(10, 2)") + bytes(80)), NOT_WHOLE),  # truncated
        (lambda: file("f.npy", npy_header(f"({2**40}, {2**20})")), NOT_WHOLE),  # beyond memory
        (lambda: file("f.npy", npy_header(f"({2**62}, {2**62})")), NOT_WHOLE),
        (lambda: file("f.npy", npy_header("(")), NOT_WHOLE),
        (lambda: file("f.npy", npy_header("(True, 2)") + bytes(16)), NOT_WHOLE),
        (lambda: file("f.npy", npy_header("(1, 1), 1: 2") + bytes(8)), NOT_WHOLE),
        (lambda: file("f.npy", b"PK\x03\x04"), NOT_WHOLE),  # begins as an archive
        (lambda: file("f.npy", npy_header("(1, 1)", "|O") + b"\x80\x04K\x01."), NOT_WHOLE),
    ],
)
def test_bad_npy_files_get_one_line(make: Callable[[], Path], words: str) -> None:
    with one_line(DataError, words):
        read_path(make())


def test_a_npy_file_of_python_2_is_read_and_nan_is_a_missing_value() -> None:
    with pytest.warns(UserWarning, match="created on Python 2"):
        (series,) = read_path(file("f.npy", npy_header("(1L, 2L)") + np.array([3.0, 4.0]).tobytes()))
    np.testing.assert_array_equal(series.values, [[3, 4]])
    (series,) = read_path(saved([[1, np.nan], [3, 4], [np.nan, np.nan]]))
    np.testing.assert_array_equal(series.values, [[1, np.nan], [3, 4]])


@pytest.mark.skipif(os.name != "posix", reason="FIFOs are POSIX's")
def test_missing_files_get_one_line() -> None:
    os.mkfifo("fifo.csv")
    missing = dict.fromkeys(("missing.csv", "missing", "missing.ts"), "doesn't exist")
    for name, got in {**missing, "fifo.csv": "is not a file"}.items():
        with one_line(DataError, f"{name} {got}; check the path"):
            read_path(Path(name))


def test_other_files_get_one_line() -> None:
    for name in ("f.doc", "f.dat"):
        with one_line(
            DataError, f"{name} is not a .ts, .csv, .txt, .xlsx, .parquet or .npy file; convert it, or name another"
        ):
            read_path(file(name, ""))
    for suffix in ("", ".ts", ".csv"):
        name = "x" * 300 + suffix
        with one_line(DataError, f"can't read {name} ("):
            read_path(Path(name))
