"""The settings of both jobs: defaults and bounds. The figures in the documentation are for these defaults."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from tests.errors import one_line
from xrnn.models.errors import SettingsError, param
from xrnn.models.labelled.settings import ClassifierSettings
from xrnn.models.text import TextSettings
from xrnn.select import get_backend


def test_the_defaults_of_a_language_model() -> None:
    assert asdict(TextSettings()) == {
        "cell": "gru",
        "hidden": 256,
        "heads": 1,
        "layers": 1,
        "batch": 32,
        "lr": 0.004,
        "seed": 0,
        "seq_len": 64,
    }


def test_the_defaults_of_a_classifier() -> None:
    assert asdict(ClassifierSettings()) == {
        "cell": "gru",
        "hidden": 64,
        "heads": 1,
        "layers": 1,
        "batch": 32,
        "lr": 0.003,
        "seed": 0,
        "one_way": False,
        "dropout": 0.3,
        "noise": 0.3,
        "mask": False,
        "patience": 0,
        "decimal": ".",
        "skip_columns": "",
        "id": "",
        "time": "",
        "label": "",
        "balance": False,
    }


def test_heads_divide_the_hidden_size() -> None:
    settings = TextSettings(cell="lstm", hidden=12, heads=4, layers=2)
    assert settings.architecture == "2 LSTM layers of 12 in 4 heads"
    made = [param.shape for layer in settings.plan.make(get_backend("numpy")).values() for param in layer.params]
    assert made == settings.plan.shapes
    expected = "heads is 5, with cell lstm of 12: expected a number that divides hidden, and a cell whose recurrent"
    with one_line(SettingsError, expected):
        TextSettings(cell="lstm", hidden=12, heads=5)


@pytest.mark.parametrize("settings", [TextSettings(), ClassifierSettings()])
def test_settings_do_not_change(settings: TextSettings | ClassifierSettings) -> None:
    with pytest.raises(FrozenInstanceError):
        settings.hidden = 12  # type: ignore[misc]
    assert not hasattr(settings, "__dict__")


@pytest.mark.parametrize(
    ("name", "fitting", "beyond"),
    [
        *((name, [1, 2**20], [-1, 0, 2**20 + 1]) for name in ("hidden", "batch", "seq_len")),
        ("layers", [1, 100], [0, 101]),
        ("lr", [1e-9, 1000], [-1, 0, 1000.1, math.inf, math.nan]),
        ("seed", [0, 2**70], [-1]),
    ],
)
def test_the_bounds_of_a_language_models_settings(name: str, fitting: list[float], beyond: list[float]) -> None:
    for value in fitting:
        assert getattr(replace(TextSettings(), **{name: value}), name) == value  # type: ignore[arg-type]
    for value in beyond:
        with one_line(SettingsError, f"{name} is {value}: expected a "):
            replace(TextSettings(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "fitting", "beyond"),
    [("dropout", [0, 0.999], [-0.1, 1, 1.5, math.nan]), ("noise", [0, 1000], [-0.1, 1000.1, math.inf, math.nan])],
)
def test_the_bounds_of_a_classifiers_settings(name: str, fitting: list[float], beyond: list[float]) -> None:
    for value in fitting:
        assert getattr(replace(ClassifierSettings(), **{name: value}), name) == value  # type: ignore[arg-type]
    for value in beyond:
        with one_line(SettingsError, f"{name} is {value}: expected a "):
            replace(ClassifierSettings(), **{name: value})  # type: ignore[arg-type]


def test_the_name_of_a_parameter_may_have_digits() -> None:
    error = SettingsError(f"{param('L2_decay')} is -1")
    assert (str(error), error.shown(str.upper)) == ("L2_decay is -1", "L2_DECAY is -1")
