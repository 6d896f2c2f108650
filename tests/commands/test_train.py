"""The outputs of a run, and that a run replaces no file of the user's."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.models.text.texts import TINY_OPTIONS, write_text
from xrnn.commands.main import main
from xrnn.commands.picture import is_own_picture
from xrnn.commands.progress import Goal
from xrnn.models.checkpoint import Checkpoints, PictureRecord, Snapshot
from xrnn.models.text.checkpoint import CHARLM_CHECKPOINTS
from xrnn.models.text.corpus import Corpus, load_corpus
from xrnn.models.text.trainer import CharLMTrainer
from xrnn.typing import HostArray

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture(autouse=True)
def folder(workdir: Path) -> Path:
    """A working directory with nothing but a folder `texts`, which holds a text."""
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[plot]'")
    (workdir / "texts").mkdir()
    write_text(workdir / "texts" / "text.txt")
    return workdir


def run(*options: str, steps: int = 2) -> int:
    return main(["train", "texts", *TINY_OPTIONS, "--steps", str(steps), *options])


def resume(checkpoint: str, *options: str, steps: int = 3) -> int:
    return main(["train", "texts", "--resume", checkpoint, "--steps", str(steps), *options])


def steps_in(checkpoint: str) -> int:
    return len(CHARLM_CHECKPOINTS.load(Path(checkpoint)).arrays["losses"])


def contents() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in os.listdir() if Path(name).is_file()}


# ---- the course of a run ----


def test_it_saves_at_the_given_interval_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    saved, really_save = [], Checkpoints.save

    def save(self: Checkpoints[Any], path: Path, snapshot: Snapshot[Any], *write: Any) -> None:
        saved.append(snapshot.step)
        really_save(self, path, snapshot, *write)

    monkeypatch.setattr(Checkpoints, "save", save)
    assert run("--save-every", "4", steps=10) == 0
    assert saved == [4, 8, 10, 10]  # the last one records the picture
    assert sorted(contents()) == ["char-lm.png", "char-lm.safetensors"]


@pytest.mark.parametrize(("seconds_a_step", "reads"), [(0.0, 1), (60.0, 5)])
def test_losses_are_read_at_an_interval_of_time_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, seconds_a_step: float, reads: int
) -> None:
    seen: list[int] = []
    really_step, really_read, now = CharLMTrainer.step, CharLMTrainer.read_losses, [0.0]

    def step(self: CharLMTrainer) -> None:
        now[0] += seconds_a_step
        really_step(self)

    def read_losses(self: CharLMTrainer) -> None:
        if self.steps not in seen:  # a snapshot reads the remaining losses
            seen.append(self.steps)
        really_read(self)

    monkeypatch.setattr(CharLMTrainer, "step", step)
    monkeypatch.setattr(CharLMTrainer, "read_losses", read_losses)
    monkeypatch.setattr("xrnn.commands.run.time", SimpleNamespace(monotonic=lambda: now[0]))
    assert run(steps=5) == 0
    assert len(seen) == reads
    assert seen[-1] == 5


def test_minutes_are_converted_to_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    goals: list[tuple[int | None, float]] = []

    def after_two_steps(last_step: int | None, seconds: float) -> Goal:
        goals.append((last_step, seconds))
        return Goal(2, seconds)

    monkeypatch.setattr("xrnn.commands.run.Goal", after_two_steps)
    assert main(["train", "texts", *TINY_OPTIONS, "--minutes", "1.5"]) == 0
    assert goals == [(None, 90.0)]


# ---- names ----


def test_the_same_command_again_takes_the_next_free_name(capsys: pytest.CaptureFixture[str]) -> None:
    said = "char-lm.safetensors or its picture is taken: this run writes {}"
    assert run() == 0
    assert "is taken" not in capsys.readouterr().out
    before = contents()
    assert run(steps=3) == 0
    out = capsys.readouterr().out
    assert said.format("char-lm-2.safetensors") in out.splitlines()
    assert "loss curve: char-lm-2.png" in out.splitlines()
    assert run(steps=4) == 0
    assert said.format("char-lm-3.safetensors") in capsys.readouterr().out.splitlines()
    assert contents().items() > before.items()
    assert [steps_in(f"char-lm{i}.safetensors") for i in ("", "-2", "-3")] == [2, 3, 4]
    assert all(is_own_picture(Path(f"char-lm{i}.png").read_bytes()) for i in ("", "-2", "-3"))


def test_a_name_with_a_foreign_picture_is_taken() -> None:
    Path("char-lm.png").write_bytes(b"mine")
    assert run() == 0
    assert sorted(contents()) == ["char-lm-2.png", "char-lm-2.safetensors", "char-lm.png"]
    assert run("--plot", "loss.svg") == 0  # the picture has another name, so the checkpoint's is free
    assert "char-lm.safetensors" in contents()
    assert Path("char-lm.png").read_bytes() == b"mine"


@pytest.mark.parametrize("out", [[], ["--out", "c"]])
def test_runs_at_the_same_time_write_different_files(monkeypatch: pytest.MonkeyPatch, out: list[str]) -> None:
    """The run that saves first gets the name."""
    statuses: list[int | None] = []

    def run_another(paths: Sequence[Path]) -> Corpus:
        if not statuses:
            statuses.append(None)
            statuses[0] = run(*out, steps=3)
        return load_corpus(paths)

    monkeypatch.setattr("xrnn.commands.train.load_corpus", run_another)
    assert run(*out, steps=2) == 0
    assert statuses == [0]
    first, second = ("c", "c-2") if out else ("char-lm.safetensors", "char-lm-2.safetensors")
    assert (steps_in(first), steps_in(second)) == (3, 2)
    assert len(contents()) == 4


@pytest.mark.parametrize("before", [False, True])
def test_a_foreign_file_that_appears_during_training_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    """Also if it appears at the name of the checkpoint or picture that the run may replace."""
    if before:
        assert run("--out", "c") == 0

    def appear(paths: Sequence[Path]) -> Corpus:
        for name in ("c", "c.png"):
            Path("theirs").write_bytes(b"foreign")
            Path("theirs").replace(name)
        return load_corpus(paths)

    monkeypatch.setattr("xrnn.commands.train.load_corpus", appear)
    assert run("--out", "c", "--overwrite", steps=3) == 0
    out = capsys.readouterr().out.splitlines()
    for name, other in {"c": "c-2", "c.png": "c-2.png"}.items():
        assert f"another program wrote {name} during this run: it is kept, and this run writes {other}" in out
        assert Path(name).read_bytes() == b"foreign"
    assert any(line.startswith("checkpoint: c-2 ") for line in out)
    assert "loss curve: c-2.png" in out
    assert steps_in("c-2") == 3
    assert is_own_picture(Path("c-2.png").read_bytes())
    assert sorted(contents()) == ["c", "c-2", "c-2.png", "c.png"]


def test_a_checkpoint_is_replaced_only_with_overwrite(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", "c") == run("--out", "d") == 0
    capsys.readouterr()
    before = contents()
    for refused in (run("--out", "c", steps=5), resume("c", "--out", "d")):
        assert refused == 1
    out, err = capsys.readouterr()
    assert "bits per character" not in out
    assert err == "".join(
        f"error: {name} is a checkpoint already: expected --resume {name} to continue it, --overwrite to replace "
        "it, or another --out\n"
        for name in ("c", "d")
    )
    assert contents() == before
    assert run("--out", "c", "--overwrite", steps=5) == 0
    assert resume("c", "--out", "d", "--overwrite", steps=6) == 0
    assert (steps_in("c"), steps_in("d")) == (5, 6)
    assert resume("d", "--out", "./d", steps=7) == 0  # the same file: the run continues
    assert steps_in("d") == 7


def test_overwrite_without_a_name_replaces_the_default() -> None:
    assert run() == run("--overwrite", steps=3) == 0
    assert sorted(contents()) == ["char-lm.png", "char-lm.safetensors"]
    assert steps_in("char-lm.safetensors") == 3


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs are POSIX's")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--out", "y.png"],
            "--out and --plot would both write y.png: expected two files; name another with --plot",
        ),
        (
            ["--out", "mine.safetensors"],
            "mine.png exists: expected a new name; name another with --plot, or replace it with --overwrite",
        ),
        (
            ["--out", "c", "--plot", "mine.svg"],
            "mine.svg exists: expected a new name; name another with --plot, or replace it with --overwrite",
        ),
        (
            ["--out", "mine.png", "--overwrite", "--plot", "other.png"],
            "mine.png exists and is no checkpoint: expected a new name, or a checkpoint to replace; name another with "
            "--out",
        ),
        (
            ["--out", "texts/text.txt"],
            "texts/text.txt exists and is no checkpoint: expected a new name, or a checkpoint to replace; name another "
            "with --out",
        ),
        (
            ["--out", "loop"],
            "can't write loop: expected the name of a file, but it is a link to itself; remove the link, or name "
            "another with --out",
        ),
        (
            ["--out", "c", "--plot", "loop.png"],
            "can't write loop.png: expected the name of a file, but it is a link to itself; remove the link, or name "
            "another with --plot",
        ),
        (["--out", "dangling"], "can't write dangling: expected the name of a file, but it is a link to "),
        (
            ["--out", "fifo"],
            "can't write fifo: expected the name of a file, but it is a device, a pipe or a socket; name",
        ),
    ],
)
def test_an_output_that_may_not_be_written_is_found_before_training(
    folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine.png", "mine.svg"):
        Path(name).write_bytes(b"mine")
    Path("loop").symlink_to("loop")
    Path("loop.png").symlink_to("loop.png")
    Path("dangling").symlink_to("nowhere")
    os.mkfifo("fifo")
    before = sorted(os.listdir()), Path("texts/text.txt").read_bytes(), Path("mine.png").read_bytes()
    assert run(*options) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert "bits per character" not in out
    assert (sorted(os.listdir()), Path("texts/text.txt").read_bytes(), Path("mine.png").read_bytes()) == before


def test_a_picture_never_replaces_the_resumed_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", "c.svg", "--plot", "p.svg") == 0
    before = Path("c.svg").read_bytes()
    assert resume("c.svg", "--out", "d", "--plot", "c.svg") == 1
    assert capsys.readouterr().err == (
        "error: c.svg exists and is not the picture that c.svg records: expected that one or a new name; name another "
        "with --plot, or replace it with --overwrite\n"
    )
    assert resume("c.svg", "--out", "d", "--plot", "c.svg", "--overwrite") == 1
    assert (
        capsys.readouterr().err == "error: --plot is c.svg, which this run reads: expected another file; name another\n"
    )
    assert Path("c.svg").read_bytes() == before


def test_an_output_is_no_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", "c", "--plot", "p.svg") == 0
    assert main(["train", "p.svg", "texts", "--out", "d", "--plot", "p.svg", "--overwrite"]) == 1
    assert (
        capsys.readouterr().err == "error: --plot is p.svg, which this run reads: expected another file; name another\n"
    )


def test_a_picture_is_replaced_only_by_its_own_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", "c") == 0
    assert resume("c", steps=4) == 0  # its checkpoint records the picture
    Path("c.png").write_bytes(b"foreign")
    capsys.readouterr()
    assert resume("c", steps=5) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: c.png exists and is not the picture that c records: expected that one or a new name; name another "
        "with --plot, or replace it with --overwrite\n"
    )
    assert Path("c.png").read_bytes() == b"foreign"
    assert steps_in("c") == 4
    assert resume("c", "--overwrite", steps=5) == 0
    assert is_own_picture(Path("c.png").read_bytes())
    assert resume("c", steps=6) == 0


def test_an_interrupted_run_keeps_the_record_of_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--out", "c") == 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xrnn.commands.train.bits_per_character", interrupt)
        assert resume("c", steps=4) == 130
    assert resume("c", steps=5) == 0


def test_a_checkpoint_without_a_picture_can_be_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions wrote no record of the picture, and a run without Matplotlib writes none."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        assert run("--out", "c") == 0
    assert CHARLM_CHECKPOINTS.load(Path("c")).picture is None
    assert resume("c") == 0
    assert CHARLM_CHECKPOINTS.load(Path("c")).picture == PictureRecord.of(Path("c.png"), Path("c.png").read_bytes())


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_the_target_of_a_link_is_written() -> None:
    assert run("--out", "c") == 0
    Path("link").symlink_to("c")
    assert resume("link", steps=4) == 0
    assert Path("link").is_symlink()
    assert steps_in("c") == 4


# ---- outputs in the folder of the text ----


@pytest.mark.parametrize("name", ["loss.svg", "loss.png", "loss.pdf"])
def test_a_run_does_not_read_its_own_outputs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--out", "texts/model", "--plot", f"texts/{name}"]
    assert run(*files) == 0
    assert re.search("^text: 1 file, ", capsys.readouterr().out, re.MULTILINE)
    assert resume("texts/model", "--plot", f"texts/{name}") == 0
    assert resume("texts/model", "--plot", "texts/another.svg", steps=4) == 0
    assert re.search("^text: 1 file, ", capsys.readouterr().out, re.MULTILINE)


# ---- weights ----


def test_loaded_weights_are_not_initialized_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", "c") == 0

    def draw(rng: object, *shape: int) -> HostArray:
        assert shape in [(1,), (1, 1), (1, 2), (1, 3)], (
            "drawn"
        )  # the layers that those in a checkpoint are compared with
        return np.zeros((shape[0], shape[-1]))

    monkeypatch.setattr("xrnn.init.orthogonal", draw)
    monkeypatch.setattr("xrnn.init.glorot_uniform", draw)
    assert main(["generate", "c", "--length", "3"]) == 0
    assert resume("c") == 0
    with pytest.raises(AssertionError, match="drawn"):
        run("--out", "d")


def test_the_model_is_described_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(*arguments: object) -> None:
        raise MemoryError("8 TiB")

    monkeypatch.setattr("xrnn.init.glorot_uniform", draw)
    assert run("--hidden", "1000000") == 1
    out, err = capsys.readouterr()
    assert "model: 2 RNN layers of 1000000, 3,000,322,016,640 weights; " in out
    assert err == "error: out of memory (8 TiB): lower --hidden or --batch\n"
