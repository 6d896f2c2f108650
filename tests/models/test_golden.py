"""Files that earlier versions of the commands and of `save_checkpoint` wrote: they load, predict and resume as before.

`golden/` holds each file, compressed, and `expected.json`: what the version that wrote it predicted, and the losses and
results of the run that it continued with the file.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import xrnn
from tests.forge import Forgery
from xrnn.commands.main import main
from xrnn.models.checkpoint import Kind
from xrnn.models.forecast.model import FORECASTER
from xrnn.models.labelled.model import CLASSIFIER, REGRESSION
from xrnn.models.text import CHARACTER_MODEL
from xrnn.select import get_backend

GOLDEN: Final = Path(__file__).parent / "golden"
EXPECTED: Final[dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text())

_SMALL: Final = ["--hidden", "4", "--batch", "4"]
_WINDOWS: Final = ["--horizon", "3", "--context", "6", "--season", "2", *_SMALL]
_KNOWN: Final = ["--target", "v", "--known", "weekday", "--time", "day"]
# By the name of the golden file: the command, its data, its other options.
RUNS: Final = {
    "train": ("train", "text.txt", ["--cell", "lstm", "--layers", "2", "--seq-len", "8", *_SMALL]),
    "classify": (
        "classify",
        "labels.ts",
        ["--cell", "lstm", "--layers", "2", "--patience", "2", "--mask", "--balance", *_SMALL],
    ),
    "classify-one-way": ("classify", "labels.ts", ["--one-way", *_SMALL]),
    "regress": ("regress", "numbers.ts", _SMALL),
    "forecast": ("forecast", "series.csv", _WINDOWS),
    "forecast-known": ("forecast", "known.csv", ["--layers", "2", *_KNOWN, *_WINDOWS]),
    "forecast-id": ("forecast", "long.csv", ["--id", "key", *_KNOWN, *_WINDOWS]),
}


def _wave(i: int, T: int) -> list[float]:
    t = np.arange(T)
    wave: list[float] = np.round(3 + i / 7 + np.sin(t * (0.3 + 0.4 * (i % 2)) + i), 4).tolist()
    return wave


def write_data(folder: Path) -> None:
    """The data of RUNS."""
    (folder / "text.txt").write_text("".join(f"def f{i}(x):\n    return x * {i * i % 97}\n" for i in range(40)))
    for name, tag, label in (
        ("labels", "@classLabel true slow quick", ["slow", "quick"]),
        ("numbers", "@targetLabel true", ["1.5", "7", "-2.25"]),
    ):
        lines = [
            ":".join([*(",".join(map(str, _wave(j, 5 + i % 4))) for j in (i, i + 3)), label[i % len(label)]])
            for i in range(10)
        ]
        (folder / f"{name}.ts").write_text("\n".join([tag, "@data", *lines]) + "\n")
    (folder / "series.csv").write_text("v\n" + "".join(f"{v}\n" for v in _wave(1, 60)))
    rows = {
        key: [f"{t},{v if t < 50 else ''},{t % 7}" for t, v in enumerate(_wave(i, 53))]
        for key, i in (("a", 1), ("b", 2))
    }
    (folder / "known.csv").write_text("\n".join(["day,v,weekday", *rows["a"]]) + "\n")
    (folder / "long.csv").write_text(
        "\n".join(["key,day,v,weekday", *(f"{k},{r}" for k in rows for r in rows[k])]) + "\n"
    )


def predicted(command: str, file: Path, data: str, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """What the model in `file` predicts."""
    if command == "train":
        words = ["generate", str(file), "--prompt", "def", "--length", "20", "--temperature", "0"]
        assert main(words) == 0
        return [capsys.readouterr().out]
    assert main(["predict", str(file), data, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def resumed(command: str, file: Path, data: str, capsys: pytest.CaptureFixture[str]) -> tuple[Any, list[float]]:
    """The results of the run that continues with `file`, and its losses."""
    out = file.with_name("more.safetensors")
    upto = ["--steps", "6"] if command in ("train", "forecast") else ["--epochs", "3"]
    files = ["--out", str(out), "--plot", str(out.with_suffix(".png")), "--overwrite"]
    assert main([command, data, "--resume", str(file), *files, *upto, "--quiet", "--json"]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in ("checkpoint", "picture", "baseline"):  # the first versions had no baseline
        results.pop(name, None)
    results.get("backtest", {}).pop("ETS", None)  # it is there if statsforecast is installed
    return results, xrnn.load_checkpoint(out).extra["arrays"]["losses"].tolist()


def unpack(name: str, folder: Path) -> Path:
    file = folder / f"{name}.safetensors"
    file.write_bytes(lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()))
    return file


def assert_close(got: Any, expected: Any) -> None:
    """Equal text, and numbers up to the rounding of another CPU's kernels."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        got, expected = list(got.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert got == expected


@pytest.mark.parametrize("name", RUNS)
def test_a_file_of_a_command_predicts_and_resumes_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XRNN_BACKEND", "numpy")
    monkeypatch.setattr("xrnn.models.forecast.data.find_spec", lambda name: None)  # no row ETS, which is optional
    write_data(tmp_path)
    command, data, _ = RUNS[name]
    file = unpack(name, tmp_path)
    assert_close(predicted(command, file, data, capsys), EXPECTED[name]["predicted"])
    results, losses = resumed(command, file, data, capsys)
    assert_close(results, EXPECTED[name]["results"])
    assert_close(losses, EXPECTED[name]["losses"])


KINDS: Final[dict[str, Kind[Any]]] = {
    "train": CHARACTER_MODEL,
    "classify": CLASSIFIER,
    "regress": REGRESSION,
    "forecast": FORECASTER,
}


@pytest.mark.parametrize("name", RUNS)
def test_a_loaded_file_is_written_again(tmp_path: Path, name: str) -> None:
    """With the same arrays and metadata. Only their order may differ, which safetensors draws at random.

    The golden files have no number of heads, which is 1 in the new file.

    The golden classifiers and regressions have one member, no patches, and one learning rate for all layers: in the
    new file, a patch has 1 step, and the rate of the linear layer is 1.

    The golden forecasters lack the step of their times, which is unknown in the new file, and the base that they
    correct: they are of a version that only had the naive one, and no logarithms.
    """
    file, kind = unpack(name, tmp_path), KINDS[RUNS[name][0]]
    again, golden = Forgery.of(kind.content(kind.load(file, get_backend("numpy")))), Forgery.of(file.read_bytes())
    described = [json.loads(each.metadata.pop("checkpoint")) for each in (again, golden)]
    described[1]["extra"]["dict"]["settings"]["dict"]["heads"] = 1
    if kind in (CLASSIFIER, REGRESSION):
        described[1]["extra"]["dict"]["settings"]["dict"] |= {"patch": 1, "head_rate": 1.0, "members": 1}
    if kind is FORECASTER:
        extra = described[1]["extra"]["dict"]
        extra["facts"]["dict"] |= {"step": "", "log": False, "calendar": ""}
        extra["settings"]["dict"] |= {"base": "naive", "calendar": "auto"}
    assert described[0] == described[1]
    assert again == golden


def train_layers(layers: Mapping[str, Any], optimizer: Any, updates: range) -> list[float]:
    """The losses of some updates of an embedding, a stack with dropout, and a linear layer."""
    losses = []
    for k in updates:
        index = (np.arange(24).reshape(6, 4) * (k + 1) % 5).astype(np.int32)
        h, _ = layers["stack"].forward(layers["embedding"].forward(index))
        target = (np.stack([index, index + 1], axis=-1) / 5).astype("float32")
        loss, dy = xrnn.mean_squared_error(layers["linear"].forward(h), target)
        dx, _ = layers["stack"].backward(layers["linear"].backward(dy))
        layers["embedding"].backward(dx)
        optimizer.step()
        losses.append(float(loss))
    return losses


def apply_layers(layers: Mapping[str, Any]) -> Any:
    h, _ = layers["stack"](layers["embedding"]((np.arange(8).reshape(4, 2) % 5).astype(np.int32)))
    return layers["linear"](h).tolist()


def test_a_file_of_save_checkpoint_predicts_and_resumes_as_before(tmp_path: Path) -> None:
    checkpoint = xrnn.load_checkpoint(unpack("layers", tmp_path), backend="numpy")
    assert_close(apply_layers(checkpoint.layers), EXPECTED["layers"]["predicted"])
    assert checkpoint.extra["epoch"] == 3
    assert checkpoint.extra["table"].tolist() == [0, 1, 2, 3]
    losses = train_layers(checkpoint.layers, checkpoint.optimizer, range(3, 6))
    assert_close(losses, EXPECTED["layers"]["losses"])
