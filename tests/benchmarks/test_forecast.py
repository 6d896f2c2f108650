"""The PyTorch LSTM beside `xrnn forecast` is the same model, trained alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast
from xrnn.cells import cell_of
from xrnn.exchange.torch_weights import from_torch
from xrnn.models.forecast.data import prepare
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.trainer import ForecastTrainer
from xrnn.select import get_backend

SMALL = ForecastSettings(cell="lstm", hidden=4, batch=8, season=12, horizon=3, context=12, dropout=0.0, lr=0.01)


@pytest.mark.needs("torch", "torch")
def test_both_learn_alike_from_the_same_weights() -> None:
    data = prepare([forecast.load("chaotic")], SMALL).past
    assert data is not None
    torch = forecast.TorchRun(SMALL, data)
    for name, parameter in torch._rnn.named_parameters():
        if name.startswith("bias_hh"):  # with two biases, their sum would learn twice as fast
            parameter.detach().zero_()
            parameter.requires_grad_(False)
    xrnn = ForecastTrainer(SMALL, data, get_backend("numpy"))
    parameters = [p.detach().numpy() for p in torch._rnn.parameters()]
    for param, weight in zip(xrnn.model.stack.params, from_torch(np, cell_of("lstm"), *parameters), strict=True):
        param[...] = weight
    for _ in range(20):
        torch.step()
        xrnn.step()
    np.testing.assert_allclose(torch.forecast(data.test), xrnn.model.forecast(data.test), rtol=1e-3, atol=1e-3)


def test_the_linear_model_continues_a_line_with_a_season() -> None:
    t = np.arange(120)
    series = replace(forecast.load("chaotic"), values=(t + 5 * (t % 4))[:, None].astype(float))
    data = prepare([series], replace(SMALL, season=4)).past
    assert data is not None
    np.testing.assert_allclose(forecast.linear_forecast(data), np.asarray(data.test.target), rtol=0.02)


@pytest.mark.needs("torch", "torch")
def test_the_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    forecast.main(["--series", "chaotic", "--seeds", "2", "--steps", "2", "--json", str(out)])
    of = json.loads(out.read_text())["series"]["chaotic"]
    assert (of["rows"], len(of["xrnn"]), len(of["pytorch"])) == (800, 2, 2)
    printed = capsys.readouterr().out
    assert forecast.row("chaotic", of) in printed
    assert printed.splitlines()[-1] == forecast.verdict({"chaotic": of})


def test_the_verdict_counts_standard_deviations() -> None:
    results = {"a": {"xrnn": [1.0, 1.2], "pytorch": [0.9, 1.0]}, "b": {"xrnn": [1.0, 1.2], "pytorch": [0.8, 0.9]}}
    assert forecast.verdict(results) == "PyTorch is better by more than a standard deviation on: a, b"
    assert forecast.verdict({"a": {"xrnn": [1.0], "pytorch": [1.0]}}).endswith(": none")
