"""docs/examples/train_text.py, with small sizes: it learns, resumes with the same bits, and refuses in one line."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xrnn
from tests import fresh
from xrnn.backend import Backend

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "train_text.py"
SMALL = {
    "V, E, H = 256, 64, 256": "V, E, H = 256, 5, 12",
    "T, N = 32, 32": "T, N = 7, 3",
    "JUMP, SAVE, CHECK = 32, 500, 500": "JUMP, SAVE, CHECK = 4, 3, 3",
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(workdir: Path, blank_pictures: None) -> Path:
    script = SCRIPT.read_text("utf-8")
    for old, new in SMALL.items():
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    (workdir / "train_text.py").write_text(script, "utf-8")
    rng = np.random.default_rng(0)
    for i in range(20):
        words = rng.choice(["def ", "return ", "self.", "x\n", "é"], size=400)
        name = workdir / f"texts/{i % 3}/{i}.txt"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text("".join(words), "utf-8")
    return workdir


@pytest.fixture
def script(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("train_text", folder / "train_text.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(*options: str) -> subprocess.Popen[str]:
    code = f"{fresh.DEFAULT_SIGNALS}\nimport runpy\nrunpy.run_path('train_text.py', run_name='__main__')"
    command = [sys.executable, "-c", code, *options]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ascii_only)


def content(path: str) -> tuple[list[Any], dict[str, Any]]:
    checkpoint = xrnn.load_checkpoint(path, backend="numpy")
    optimizer, average = checkpoint.optimizer["optimizer"].state, checkpoint.optimizer["average"].state
    states = [state for layer in checkpoint.extra.pop("states") or [] for state in layer]
    best = checkpoint.optimizer["best"].state["average"]
    arrays = [*checkpoint.layers.params, *optimizer["m"], *optimizer["v"], *average["average"], *best, *states]
    counts = {"updates": int(optimizer["count"]), "averaged": int(average["count"])}
    return [*arrays, checkpoint.extra.pop("losses")], checkpoint.extra | counts


def test_it_learns_and_writes_text(script: Any, backend: Backend, capsys: Capture) -> None:
    with xrnn.use_backend(backend):
        script.main(["texts", "--steps", "40"])
        printed = capsys.readouterr().out
        written = []
        for seed in ("3", "3", "4"):
            script.main(["--generate", "char-lm.safetensors", "--prompt", "dé", "--length", "9", "--seed", seed])
            written.append(capsys.readouterr().out)
    losses = xrnn.load_checkpoint("char-lm.safetensors", backend="numpy").extra["losses"]
    assert len(losses) == 40
    assert 7.5 < losses[0] < 9
    assert losses[-10:].mean() < 7
    held_out = re.search(r"^held out: (\d\.\d{3}) bits per character \(zlib level 9: (\d\.\d{3})\)$", printed, re.M)
    assert held_out
    assert 1 < float(held_out[1]) < 7.5
    assert "kept: the average after update 40, the best on the validation text\n" in printed
    _, _, text = script.read_text([Path("texts")])
    assert float(held_out[2]) == pytest.approx(8 * len(zlib.compress(text.tobytes(), 9)) / len(text), abs=5e-4)
    assert Path("char-lm.safetensors.png").read_bytes().startswith(b"\x89PNG")
    one, again, other = written
    assert one.startswith("dé")
    assert one == again != other


def test_the_test_is_the_mean_surprise(script: Any, backend: Backend) -> None:
    """Beside one softmax after the other in float64; the second half of the text is longer than one call reads."""
    text = np.random.default_rng(1).integers(97, 123, 200).astype(np.uint8)
    with xrnn.use_backend(backend):
        model = script.TextModel.new("gru", 0, "")
        for _ in range(3):
            model.update(text)
        with model.average.applied():
            got = model.test(text)
            scores = xrnn.to_numpy(model.scores(text[:-1, None].astype("int32"), None)[0])[:, 0].astype("float64")
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert got == pytest.approx(-np.log2(p[np.arange(199), text[1:]]).mean(), rel=1e-5)


def test_places_and_learning_rate_follow_from_the_update(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update reads on where the one before it ended; every fourth one begins at new places."""
    monkeypatch.setattr(script, "CONSTANT", 4 * 7 * 3)
    chunks, rates, model = list[Any](), [], script.TextModel.new("rnn", 0, "")

    def recorded(chunk: Any) -> Any:
        chunks.append(chunk)
        return chunk

    monkeypatch.setattr(script, "asarray", recorded)
    for _ in range(9):
        model.update(np.arange(251).astype(np.uint8))
        rates.append(model.optimizer.lr)
    assert {chunk.shape for chunk in chunks} == {(8, 3)}
    assert all(((np.diff(chunk, axis=0) - 1) % 251 == 0).all() for chunk in chunks)
    continued = [(chunk[-1] == after[0]).all() for chunk, after in itertools.pairwise(chunks)]
    assert continued == [True, True, True, False] * 2
    np.testing.assert_allclose(rates, [script.LR / max(1, k / 4) ** 0.5 for k in range(9)])


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_run_that_is_stopped_saves_and_names_the_command_that_continues() -> None:
    process = started("texts", "--steps", "100000", "--seed", "5", "--cell", "lstm")
    while not (Path("char-lm.safetensors").exists() and content("char-lm.safetensors")[1]["updates"]):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed, error = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, error
    stopped = re.search(r"stopped at update ([\d,]+) and saved char-lm.safetensors; continue with\n(.*)", printed)
    assert stopped
    assert int(stopped[1].replace(",", "")) == content("char-lm.safetensors")[1]["updates"]
    python, _, *rest = shlex.split(stopped[2])
    assert python == sys.executable
    assert rest == ["texts", "--resume", "char-lm.safetensors", "--steps", "100000"]


def test_any_cell_resumes_with_the_same_bits(script: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a row of chunks, so that the states count."""
    update = script.TextModel.update

    def interrupted(model: Any, text: Any) -> None:
        update(model, text)
        if model.updates == 2:
            signal.raise_signal(signal.SIGINT)

    for cell in script.CELLS if backend.name == "numpy" else ["lstm"]:
        with xrnn.use_backend(backend):
            script.main(["texts", "--cell", cell, "--steps", "7", "--out", f"straight-{cell}"])
            with monkeypatch.context() as patch:
                patch.setattr(script.TextModel, "update", interrupted)
                with pytest.raises(SystemExit):
                    script.main(["texts", "--cell", cell, "--steps", "7", "--out", cell])
            script.main(["texts", "--steps", "7", "--resume", cell])
        (arrays, values), (expected, others) = content(cell), content(f"straight-{cell}")
        assert values == others
        for got, want in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(got, want, strict=True)


def test_a_run_ends_after_its_time_or_its_steps(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    now, ticks, update = 0.0, itertools.count(), script.TextModel.update

    def updating(model: Any, text: Any) -> None:
        nonlocal now
        now += 1.0
        update(model, text)
        if model.updates == 72:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(script, "time", SimpleNamespace(perf_counter=lambda: now + 1e-6 * next(ticks)))
    monkeypatch.setattr(script.TextModel, "update", updating)
    for options, out, updates in (
        ([], "char-lm.safetensors", 60),
        (["--minutes", "0.5"], "char-lm-2.safetensors", 30),  # no run replaces an earlier one
        (["--steps", "7"], "char-lm-3.safetensors", 7),
        (["--resume", "char-lm-3.safetensors", "--minutes", "0.1"], "char-lm-3.safetensors", 13),
        (["--resume", "char-lm-3.safetensors", "--steps", "15"], "char-lm-3.safetensors", 15),
    ):
        script.main(["texts", *options])
        assert content(out)[1]["updates"] == updates
        printed = capsys.readouterr().out
        assert f"update {updates}" in printed
        assert f", saved as {out}\n" in printed
    with pytest.raises(SystemExit, match=str(128 + signal.SIGINT)):
        script.main(["texts", "--resume", "char-lm.safetensors", "--minutes", "0.5"])
    assert capsys.readouterr().out.endswith(" texts --resume char-lm.safetensors --minutes 0.30\n")


def test_the_text(script: Any, capsys: Capture) -> None:
    """One file in twenty is held out, and one is for validation, however often it is named, wherever the folder is."""
    text, validation, held_out = script.read_text([Path("texts")])
    contents = {path.read_bytes(): path for path in Path("texts").rglob("*.txt")}
    assert held_out.tobytes() in contents
    assert validation.tobytes() in contents
    assert validation.tobytes() != held_out.tobytes()
    assert len(text) + len(validation) + len(held_out) == sum(map(len, contents))
    Path("texts/2/.hidden").write_text("x" * 900)
    Path("texts/binary").write_bytes(b"\0" * 900)
    again = script.read_text([Path("texts"), Path("texts/1/1.txt"), contents[held_out.tobytes()]])
    Path("texts").rename("moved")
    for one, other in zip([text, validation, held_out] * 2, [*again, *script.read_text([Path("moved")])], strict=True):
        np.testing.assert_array_equal(one, other)
    lowest = Path("moved", *contents[held_out.tobytes()].parts[1:])
    lowest.write_text("short")  # the file with the lowest hash: the last bytes are held out instead
    text, validation, held_out = script.read_text([Path("moved")])
    assert len(validation) == len(held_out) == (len(text) + len(validation) + len(held_out)) // 20


def test_the_best_average_is_kept(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Random bytes can only be learnt by heart. The score is that of the held-out text, by the best average."""
    monkeypatch.setattr(script, "PATIENCE", 30)
    Path("random").write_bytes(np.random.default_rng(0).integers(97, 123, 12_000).astype(np.uint8).tobytes())
    script.main(["random", "--steps", "1000"])
    printed = capsys.readouterr().out
    checkpoint = xrnn.load_checkpoint("char-lm.safetensors", backend="numpy")
    checks = np.array(checkpoint.extra["checks"])
    best, bits = checks[checks[:, 1].argmin()]
    last = checks[-1, 0]
    assert last == best + 30 < 1000
    assert f"kept: the average after update {best:.0f}, the best on the validation text; stopped, " in printed

    model = script.TextModel.load("char-lm.safetensors")
    _, validation, held_out = script.read_text([Path("random")])
    with model.best.applied():
        assert model.test(validation) == pytest.approx(bits, rel=1e-6)
        assert f"held out: {model.test(held_out):.3f} bits" in printed
    with model.average.applied():
        assert model.test(validation) == pytest.approx(checks[-1, 1], rel=1e-6)


RESUME = "--resume run.safetensors"
REFUSALS = [
    ("nowhere", "nowhere doesn't exist: expected a text file or a folder"),
    ("few", "found 10 bytes of text, 0 for validation, 0 held out: expected at least 500 held out"),
    ("binary", "binary is binary: expected a text file or a folder"),
    (f"texts/0 {RESUME}", "run.safetensors was trained with another text: "),
    (f"texts --cell lstm {RESUME}", "run.safetensors was trained with another cell: "),
    (f"texts --seed 1 {RESUME}", "run.safetensors was trained with another seed: "),
    (f"texts --steps 1 {RESUME}", "run.safetensors has 2 updates: raise"),
    ("texts --resume few", "few is not a safetensors file"),
    ("texts --out x --resume other", "other is not from this script"),
    ("texts --out few", "few exists: name another with --out, or "),
    ("texts --out run.safetensors", "run.safetensors exists: name another"),
    (f"texts/0 {RESUME} --out other", "other exists: "),
    ("texts --out y", "y.png exists: name another"),
    ("texts --out ''", ". exists: name another"),
    ("texts --out nowhere/x", "[Errno 2] No such file or directory: "),
    ("--generate nowhere", "can't read nowhere"),
    ("--generate untrained", "untrained is not trained yet: --resume it first"),
]


def test_refusals(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before the first update, and every file as before."""
    script.main(["texts", "--steps", "2", "--out", "run.safetensors"])
    for name, text in {"few": b"too little", "binary": b"a\0b" * 999, "y.png": b"a picture"}.items():
        Path(name).write_bytes(text)
    script.TextModel.new("gru", 0, "").save("untrained")
    xrnn.save_checkpoint("other", {"linear": xrnn.Linear.init(2, 1, rng=0)})
    monkeypatch.setattr(script.TextModel, "update", None)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for command, words in REFUSALS:
        with pytest.raises(SystemExit) as stopped:
            script.main(shlex.split(command))
        line = str(stopped.value)
        assert "\n" not in line
        assert line.startswith(f"error: {words}")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "LR", 1e38)
    with np.errstate(all="ignore"), pytest.raises(SystemExit, match="expected a finite number; lower LR"):
        script.main(["texts", "--steps", "90"])
    for path in Path().glob("*.safetensors"):
        assert all(np.isfinite(array).all() for array in content(str(path))[0])
