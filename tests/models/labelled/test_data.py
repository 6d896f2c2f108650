"""Series with labels are divided by label and seed; series that do not fit together are refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.errors import one_line
from tests.series.waves import waves, write_csv, write_folder, write_ts
from xrnn.models.errors import DataError
from xrnn.models.labelled.data import load_labelled
from xrnn.models.labelled.settings import ClassifierSettings
from xrnn.series.checks import Series

pytestmark = pytest.mark.usefixtures("workdir")
SETTINGS = ClassifierSettings()


def series(label: str, T: int = 3, D: int = 2) -> Series:
    return Series(np.ones((T, D)), label, label)


def ts(name: str, *of: Series) -> Path:
    return write_ts(Path(name), list(of), sorted({str(each.label) for each in of}))


@pytest.mark.parametrize("kind", ["ts", "folder"])
def test_train_and_test_are_read_as_they_are(kind: str) -> None:
    write = write_ts if kind == "ts" else write_folder
    paths = [write(Path(f"{i}.{kind}"), waves(8, seed)) for i, seed in enumerate((0, 1))]
    data = load_labelled(paths, SETTINGS)
    for got, expected in ((data.train, waves(8, 0)), (data.test, waves(8, 1))):
        key = lambda each: (each.label, each.values[0, 0])  # noqa: E731
        for a, b in zip(sorted(got, key=key), sorted(expected, key=key), strict=True):
            assert a.label == b.label
            np.testing.assert_array_equal(a.values, b.values)
    assert data.facts.labels == ("quick", "slow")
    assert data.facts.channels == 2
    assert data.source == "8 to train on, 8 to test on; 2 labels, 2 channels, 5 to 9 steps"


def test_a_share_of_each_label_is_held_out_by_the_seed() -> None:
    path = ts("f.ts", *[series("a")] * 12, *[series("b", 4)] * 2)
    data = load_labelled([path], SETTINGS)
    assert Counter(each.label for each in data.test) == {"a": 3, "b": 1}
    assert Counter(each.label for each in data.train) == {"a": 9, "b": 1}
    names = {
        frozenset(each.name for each in load_labelled([path], replace(SETTINGS, seed=seed)).test)
        for seed in (0, 0, 1, 2)
    }
    assert len(names) == 3
    assert not {each.name for each in data.test} & {each.name for each in data.train}


def test_the_description_of_series_with_one_channel_and_one_length() -> None:
    test = write_ts(Path("g.ts"), [Series(np.full((3, 1), 2.0), label, "") for label in ("a", "b")], ["a", "b"])
    paths = [ts("f.ts", series("a", D=1), series("b", D=1)), test]
    assert load_labelled(paths, SETTINGS).source == "2 to train on, 2 to test on; 2 labels, 1 channel, 3 steps"


def test_labels_that_are_numbers_are_in_their_order() -> None:
    assert load_labelled(
        [ts("f.ts", *(series(n) for n in ("10", "9", "9", "10", "-1", "-1")))], SETTINGS
    ).facts.labels == ("-1", "9", "10")
    assert load_labelled([ts("g.ts", *(series(n) for n in ("b10", "b9", "b9", "b10")))], SETTINGS).facts.labels == (
        "b10",
        "b9",
    )
    # NaN has no place among numbers: the order would be that of a set, another in each process.
    names = ["nan", *map(str, range(9))]
    assert load_labelled([ts("h.ts", *map(series, names * 2))], SETTINGS).facts.labels == tuple(sorted(names))


def test_the_fingerprint_depends_on_the_training_series() -> None:
    train, test = waves(8, 0), waves(4, 1)
    paths = [write_ts(Path("train.ts"), train), write_ts(Path("test.ts"), test)]
    before = load_labelled(paths, SETTINGS).fingerprint
    write_ts(paths[1], waves(4, 2))
    assert load_labelled(paths, replace(SETTINGS, seed=1)).fingerprint == before
    for changed in (
        train[::-1],
        [replace(train[0], label={"quick": "slow", "slow": "quick"}[str(train[0].label)]), *train[1:]],
        [Series(train[0].values + 1e-9, *("slow", "")), *train[1:]],
        [*train[:-1], series("slow")],
    ):
        write_ts(paths[0], changed)
        assert load_labelled(paths, SETTINGS).fingerprint != before


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([series("a"), series("a")], [], "f.ts has one label, a: expected at least two to tell apart; add series"),
        (
            [series("a"), series("a"), series("b")],
            [],
            "f.ts has a single series of the label b, f.ts, line 7: expected at least two, one of them to be held out; "
            "add some, leave the label out, or name a TEST",
        ),
        (
            [series("a"), series("b", D=3)],
            [],
            "f.ts, line 6 has 3 channels, but f.ts, line 5 has 2: expected the same number in all; correct",
        ),
        (
            [series("a"), series("b")],
            [series("a"), series("c")],
            "g.ts, line 6 has the label c: expected one that TRAIN has, a, b; leave the series out, or add some to",
        ),
        (
            [series("a"), series("b")],
            [series("a", D=1)],
            "g.ts, line 5 has 1 channels, but TRAIN has 2: expected the same number in all",
        ),
    ],
)
def test_series_that_do_not_fit_get_one_line(train: list[Series], test: list[Series], words: str) -> None:
    paths = [ts("f.ts", *train)] + ([ts("g.ts", *test)] if test else [])
    with one_line(DataError, words):
        load_labelled(paths, SETTINGS)


def test_a_train_of_one_label_is_named_beside_a_test() -> None:
    with one_line(DataError, "f.ts has one label, a: expected at least two to tell apart; add series"):
        load_labelled([ts("f.ts", series("a")), ts("g.ts", series("a"), series("b"))], SETTINGS)


def test_one_series_of_a_label_is_enough_beside_a_test() -> None:
    data = load_labelled([ts("f.ts", series("a"), series("b")), ts("g.ts", series("a", T=4))], SETTINGS)
    assert (len(data.train), len(data.test)) == (2, 1)


def test_a_test_on_the_training_series_is_refused() -> None:
    """Its accuracy would say nothing about new series."""
    train = write_ts(Path("f.ts"), waves(8))
    Path("copy.ts").write_bytes(train.read_bytes())
    Path("link.ts").symlink_to("f.ts")
    write_ts(Path("part.ts"), waves(8)[::-2])
    write_folder(Path("folder"), waves(8))
    for name in ("f.ts", "copy.ts", "link.ts", "part.ts", "folder"):
        with one_line(DataError, f"{name} has only series that f.ts has too: expected series that the model has not"):
            load_labelled([train, Path(name)], SETTINGS)
    some = write_ts(Path("some.ts"), [*waves(8)[:7], *waves(1, 1)])
    assert len(load_labelled([train, some], SETTINGS).test) == 8


def test_series_without_a_label_get_one_line() -> None:
    Path("f.ts").write_text("@classLabel false\n@data\n1,2\n")
    with one_line(DataError, "f.ts, line 3 has no label: expected one for each series; name a .ts file with labels,"):
        load_labelled([Path("f.ts")], SETTINGS)
    with one_line(DataError, "g.csv has no label: expected one for each series"):
        load_labelled([write_csv(Path("g.csv"), np.ones((2, 2)))], SETTINGS)
    ts("h.ts", series("a", D=1), series("b", D=1))
    with one_line(DataError, "f.ts, line 3 has no label: expected one that TRAIN has, a, b"):
        load_labelled([Path("h.ts"), Path("f.ts")], SETTINGS)


# ---- the series that come with another package ----


def test_without_a_path_the_files_of_aeon_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not imported: importing this one would fail."""
    site = tmp_path / "site"
    folder = site / "aeon" / "datasets" / "data" / "JapaneseVowels"
    folder.mkdir(parents=True)
    (site / "aeon" / "__init__.py").write_text("raise ImportError('imported')")
    (site / "aeon-1.0.dist-info").mkdir()
    (site / "aeon-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: aeon\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    with one_line(
        DataError, "comes with the package aeon, which is not installed: expected TRAIN, or `pip install --no-deps"
    ):
        load_labelled([], SETTINGS)
    for part, seed in (("TRAIN", 0), ("TEST", 1)):
        write_ts(folder / f"JapaneseVowels_{part}.ts", waves(4, seed))
    data = load_labelled([], SETTINGS)
    assert (len(data.train), len(data.test)) == (4, 4)


def test_without_aeon_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    with one_line(DataError, "expected TRAIN, or `pip install --no-deps aeon` (its dependencies are large, and not"):
        load_labelled([], SETTINGS)
