"""TRAIN and TEST: series are divided by label and seed; those that do not fit together are refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.runs import write_levels
from tests.errors import one_line, refused
from tests.series.waves import waves, write_csv, write_folder, write_ts
from xrnn.commands.labelled import read_series
from xrnn.commands.options import TableOptions
from xrnn.series.errors import DataError
from xrnn.series.labelled.splits import classes_of
from xrnn.series.one_series import Series

pytestmark = pytest.mark.usefixtures("workdir")


def read(
    paths: list[Path], seed: int = 0, *, numbers: bool = False, **table: Any
) -> tuple[list[Series], list[Series], str]:
    return read_series(paths, TableOptions(**table), seed, numbers=numbers)


def series(label: str, T: int = 3, D: int = 2) -> Series:
    return Series(np.ones((T, D)), label, label)


def ts(name: str, *of: Series) -> Path:
    return write_ts(Path(name), list(of), sorted({str(each.label) for each in of}))


@pytest.mark.parametrize("kind", ["ts", "folder"])
def test_train_and_test_are_read_as_they_are(kind: str) -> None:
    write = write_ts if kind == "ts" else write_folder
    paths = [write(Path(f"{i}.{kind}"), waves(8, seed)) for i, seed in enumerate((0, 1))]
    train, test, about = read(paths)
    for got, expected in ((train, waves(8, 0)), (test, waves(8, 1))):
        key = lambda each: (each.label, each.values[0, 0])  # noqa: E731
        for a, b in zip(sorted(got, key=key), sorted(expected, key=key), strict=True):
            assert a.label == b.label
            np.testing.assert_array_equal(a.values, b.values)
    assert about == "series: 8 to train on, 8 to test on; 2 channels, 5 to 9 steps"


def test_a_share_of_each_label_is_held_out_by_the_seed() -> None:
    path = ts("f.ts", *[series("a")] * 12, *[series("b", 4)] * 2)
    train, test, _ = read([path])
    assert Counter(each.label for each in test) == {"a": 3, "b": 1}
    assert Counter(each.label for each in train) == {"a": 9, "b": 1}
    names = {frozenset(each.name for each in read([path], seed)[1]) for seed in (0, 0, 1, 2)}
    assert len(names) == 3
    assert not {each.name for each in test} & {each.name for each in train}


def test_labels_that_are_numbers_are_in_their_order() -> None:
    for names, expected in (
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["b10", "b9"], ["b10", "b9"]),
        # NaN has no place among numbers: the order would be that of a set, another in each process.
        (["nan", *map(str, range(9))], sorted(["nan", *map(str, range(9))])),
    ):
        assert classes_of(names * 2, by_number=True) == expected


def test_a_table_and_folders_named_by_numbers() -> None:
    train, test, _ = read([write_levels(Path("levels.ts"), 8, 0)], numbers=True)
    made = [*train, *test]
    rows = [f"{i},{x},{y},{each.label}" for i, each in enumerate(made) for x, y in each.values]
    Path("t.csv").write_text("\n".join(["id,x,y,level", *rows]))
    for each in made:
        folder = Path("d", str(each.label))
        folder.mkdir(parents=True)
        np.save(folder / "f.npy", each.values)
    of_table, *_ = read([Path("t.csv")], numbers=True, id="id", label="level")
    train, test, _ = read([Path("d")], numbers=True)
    assert len(of_table) == len(train) == 6
    assert of_table[0].channel_names == ("x", "y")
    assert {each.label for each in train + test} == {each.label for each in made}


def test_targets_with_a_decimal_comma() -> None:
    rows = [f"{i};{i},5;{t},25;{t}" for i in range(8) for t in range(4)]
    Path("t.csv").write_text("\n".join(["id;level;x;y", *rows]))
    train, test, about = read([Path("t.csv")], numbers=True, decimal=",", id="id", label="level")
    assert {each.label for each in train + test} == {i + 0.5 for i in range(8)}
    assert about == "series: 6 to train on, 2 to test on, held out; 2 channels (x, y), 4 steps"


def test_bad_targets_get_one_line() -> None:
    for label in ("x", "nan", "1e31"):
        Path("f.ts").write_text("\n".join(["@targetLabel true", "@data", "1,1:1", f"1,1:{label}", "1,1:2", "1,1:3"]))
        with one_line(DataError, f"f.ts, line 4 has the target '{label}', which is no number up to 1e+30; correct"):
            read([Path("f.ts")], numbers=True)


def test_series_that_do_not_fit_get_one_line() -> None:
    for train, test, words in (
        ([series("a"), series("b")], [], "f.ts has too few series to hold out some"),
        ([series("a"), series("b", D=3)], [], "f.ts, line 6 has 3 channels, but f.ts, line 5 has 2"),
        (
            [series("a"), series("b")],
            [series("a"), series("c")],
            "g.ts, line 6 has the label c, but TRAIN has only a, b",
        ),
        (
            [series("a"), series("b")],
            [series("a", D=1)],
            "g.ts, line 5 has 1 channels, but f.ts, line 5 has 2; correct the series",
        ),
    ):
        with one_line(DataError, words):
            read([ts("f.ts", *train), *([ts("g.ts", *test)] if test else [])])
    both = read([ts("f.ts", series("a"), series("b")), ts("g.ts", series("a", T=4))])  # enough beside a TEST
    assert [*map(len, both[:2])] == [2, 1]


def test_a_test_on_the_training_series_is_refused() -> None:
    """Its accuracy would say nothing about new series."""
    train = write_ts(Path("f.ts"), waves(8))
    Path("copy.ts").write_bytes(train.read_bytes())
    write_ts(Path("part.ts"), waves(8)[::-2])
    for name in ("f.ts", "copy.ts", "part.ts"):
        with one_line(DataError, f"{name} has only series that f.ts has too"):
            read([train, Path(name)])
    some = write_ts(Path("some.ts"), [*waves(8)[:7], *waves(1, 1)])
    assert len(read([train, some])[1]) == 8


def machines(path: str, names: str = "stuvwxyz") -> Path:
    """A table with three recordings of each machine; the first half of the machines is good."""
    rows = [
        f"{m}{i},{m},{'good' if m < 'w' else 'worn'},{np.sin(i + t):.3f},{t % 2}"
        for m in names
        for i in range(3)
        for t in range(5)
    ]
    Path(path).write_text("\n".join(["id,machine,state,x,y", *rows]) + "\n")
    return Path(path)


def test_series_of_one_group_are_held_out_together(capsys: pytest.CaptureFixture[str]) -> None:
    path = machines("t.csv")
    table: dict[str, Any] = {"id": "id", "label": "state", "group": "machine"}
    train, test, about = read([path], **table)
    assert about == (
        "series: 18 to train on, 6 to test on, held out; 6 and 2 groups, which stay together; 2 channels (x, y), "
        "5 steps"
    )
    assert not {each.group for each in train} & {each.group for each in test}
    assert {each.label for each in test} == {"good", "worn"}
    assert capsys.readouterr().err == ""
    other = Path("u.csv")
    other.write_text(machines("u.csv", "sz").read_text().replace("z", "q").replace("0.", "1."))
    *_, about = read([path, other], **table)
    assert about.startswith("series: 24 to train on, 6 to test on; 8 groups, which stay together; 2 channels")
    assert capsys.readouterr().err == (
        "1 group of TEST is in TRAIN too (s): the score may be too high for new groups; leave TEST out to hold out "
        "groups\n"
    )
    with one_line(DataError, "v.csv has too few groups to hold out some; add groups, so that a label has two"):
        read([machines("v.csv", "sz")], **table)
    with one_line(DataError, "t.csv, state good has the groups s and t; correct the column, or give id"):
        read([path], **table | {"id": "state", "skip_columns": "id"})


def test_series_without_a_label_get_one_line() -> None:
    Path("f.ts").write_text("@classLabel false\n@data\n1,2\n")
    write_csv(Path("g.csv"), np.ones((2, 2)))
    train = ts("h.ts", series("a", D=1), series("b", D=1))
    words = " has no label"
    refused(
        (DataError, lambda: read([Path("f.ts")]), f"f.ts, line 3{words}"),
        (DataError, lambda: read([train, Path("f.ts")]), f"f.ts, line 3{words}"),
        (DataError, lambda: read([Path("g.csv")], numbers=True), f"g.csv{words}"),
    )


def test_without_a_path_the_files_of_aeon_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not imported: importing this one would fail."""
    words = "comes with the package aeon, which is not installed; name TRAIN, or run `pip install --no-deps aeon` (its"
    with monkeypatch.context() as patch:
        patch.setattr("sys.path", [])
        with one_line(DataError, words):
            read([])
    site = tmp_path / "site"
    folder = site / "aeon" / "datasets" / "data" / "JapaneseVowels"
    folder.mkdir(parents=True)
    (site / "aeon" / "__init__.py").write_text("raise ImportError('imported')")
    (site / "aeon-1.0.dist-info").mkdir()
    (site / "aeon-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: aeon\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    with one_line(DataError, words):
        read([])
    for part, seed in (("TRAIN", 0), ("TEST", 1)):
        write_ts(folder / f"JapaneseVowels_{part}.ts", waves(4, seed))
    train, test, _ = read([])
    assert (len(train), len(test)) == (4, 4)


def test_a_channel_that_rises_or_falls_steadily_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds in a column become a channel; the model would learn how long a recording is."""

    def noted(header: str, *columns: str, skip: str = "") -> str:
        for i in range(4):
            folder = Path("f") / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(i)
            t = np.arange(8)
            x = {
                "x": rng.standard_normal(8),
                "t_s": t / 10,
                "n": t + rng.random(8),
                "seconds": t // 2,
                "left": 100 - t,
                "gaps": np.where(t % 3 == 1, np.nan, t),
                "step": 1 * (t > 3),  # too few changes
                "both": t if i else -t,
            }
            lines = [",".join(str(x[name][t]) for name in columns) for t in range(8)]
            (folder / f"{i}.csv").write_text("\n".join([header, *lines]) + "\n")
        read([Path("f")], skip_columns=skip)
        return capsys.readouterr().err

    one = (
        "t_s rises or falls steadily in every series, and is a channel of the model: if it is a time or a row number, "
    )
    assert noted("t_s,x", "t_s", "x") == f"{one}leave it out by --skip-columns t_s\n"
    for name in ("seconds", "left", "gaps"):
        assert noted("t_s,x", name, "x") == f"{one}leave it out by --skip-columns t_s\n", name
    assert noted("step,both,x", "step", "both", "x") == ""
    both = "t_s, n rise or fall steadily in every series, and are channels of the model: if they are times or row "
    assert noted("t_s,n,x", "t_s", "n", "x") == f"{both}numbers, leave them out by --skip-columns t_s,n\n"
    assert noted("t_s,x", "t_s", "x", skip="t_s") == ""
    assert noted("time,x", "t_s", "x") == ""  # no channel
    assert noted("t_s", "t_s") == ""  # the only channel
    assert noted("a,b", "x", "x") == ""
