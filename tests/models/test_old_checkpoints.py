"""Checkpoints in the earlier format load: `old/` holds files that the commands wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import xrnn
from xrnn.commands.main import main
from xrnn.models.checkpoint import Checkpoints
from xrnn.models.forecast.checkpoint import FORECAST_CHECKPOINTS
from xrnn.models.labelled.classifier_checkpoint import CLASSIFIER_CHECKPOINTS
from xrnn.models.labelled.regression_checkpoint import REGRESSION_CHECKPOINTS

OLD = Path(__file__).parent / "old"


@pytest.mark.parametrize("checkpoints", [CLASSIFIER_CHECKPOINTS, REGRESSION_CHECKPOINTS, FORECAST_CHECKPOINTS])
def test_every_array_is_read(tmp_path: Path, checkpoints: Checkpoints[Any]) -> None:
    path = OLD / f"{checkpoints.command.removeprefix('xrnn ')}.checkpoint"
    assert checkpoints.wrote(path)
    snapshot = checkpoints.load(path)
    params = [param for layer in snapshot.layers.values() for param in layer.params]
    moments = [moment for name in "mv" for moment in snapshot.optimizer.state[name]]
    read = [array.tobytes() for array in (*params, *moments, *snapshot.arrays.values())]
    assert sorted(read) == sorted(array.tobytes() for array in safetensors.numpy.load_file(path).values())
    assert snapshot.optimizer.steps == len(snapshot.arrays["losses"]) > 0
    checkpoints.save(tmp_path / "new", snapshot)
    c = xrnn.load_checkpoint(tmp_path / "new", backend="numpy")
    for name, layer in c.layers.items():
        for param, same in zip(layer.params, snapshot.layers[name].params, strict=True):
            np.testing.assert_array_equal(param, same)


def test_a_forecaster_with_the_deviations_of_its_series_is_read_and_continued(tmp_path: Path) -> None:
    old, file = OLD / "forecast-deviations.checkpoint", tmp_path / "f.csv"
    arrays = FORECAST_CHECKPOINTS.load(old).arrays
    assert sorted(arrays) == ["deviation", "known.deviation", "known.mean", "losses", "offsets"]
    file.write_text(FORECAST)
    new = tmp_path / "new"
    assert main(["forecast", str(file), "--resume", str(old), "--steps", "4", "--out", str(new)]) == 0
    assert sorted(FORECAST_CHECKPOINTS.load(new).arrays) == ["known.deviation", "known.mean", "losses", "offsets"]


T = np.arange(40)
FORECAST = "v\n" + "".join(f"{v:.3f}\n" for v in (10 + 0.5 * T) * (1 + 0.3 * np.sin(np.pi * T / 2)))


@pytest.mark.parametrize(
    ("command", "name", "content", "expected"),
    [
        (
            "classify",
            "c.ts",
            "@classLabel true slow\n@data\n0.261,0.338,0.284,0.22:0.0,0.841,0.909,0.141:slow\n",
            [0.649],
        ),
        ("regress", "r.ts", "@targetLabel true\n@data\n0.819,0.624,0.792,0.796:0.0,0.841,0.909,0.141:1\n", [261.27689]),
        ("forecast", "f.csv", FORECAST, [27.9621818, 37.0121818]),
        ("forecast-deviations", "f.csv", FORECAST, [28.0853623, 37.1353623]),
    ],
)
def test_predictions_are_those_of_the_program_that_wrote_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, content: str, expected: list[float]
) -> None:
    (tmp_path / name).write_text(content)
    assert (
        main(["predict", str(OLD / f"{command}.checkpoint"), str(tmp_path / name), "--json", "--backend", "numpy"]) == 0
    )
    got = json.loads(capsys.readouterr().out)
    numbers = (
        [step["value"] for step in got["forecast"]] if "forecast" in got else [got.get("value", got.get("probability"))]
    )
    np.testing.assert_allclose(numbers, expected, rtol=1e-3 if command == "classify" else 1e-6)
