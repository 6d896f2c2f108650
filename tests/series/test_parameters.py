"""The parameters of the estimators: defaults, bounds and descriptions. The documentation's figures are for these."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.errors import one_line
from xrnn.series import Classifier, Regressor
from xrnn.series.checks import SettingsError, param


def test_the_defaults() -> None:
    defaults = {"model": "recurrent", "cell": "gru", "hidden": 64, "layers": 1, "one_way": False}
    defaults |= {"dropout": 0.3, "noise": 0.3, "patch": 0, "scaling": "auto", "lr": 0.003, "batch": 32}
    defaults |= {"epochs": None, "seed": 0}
    assert Regressor().get_params() == defaults
    assert Classifier().get_params() == defaults | {"balance": False}


@pytest.mark.parametrize(
    ("name", "fitting", "beyond"),
    [
        *((name, [1, 2**20], [-1, 0, 2**20 + 1]) for name in ("hidden", "batch")),
        ("layers", [1, 100], [-1, 0, 101]),
        ("lr", [1e-9, 1000], [-1, 0, 1000.1, math.inf, math.nan]),
        ("seed", [0, 2**70], [-1]),
        ("dropout", [0, 0.999], [-0.1, 1, 1.5, math.nan]),
        ("noise", [0, 1000], [-0.1, -1, 1000.1, math.inf, math.nan]),
        ("epochs", [None, 1, 10**9], [0, -1, 10**9 + 1]),
        ("patch", [0, 1024], [-1, 1025]),
    ],
)
def test_the_bounds(name: str, fitting: list[Any], beyond: list[Any]) -> None:
    for value in fitting:
        assert getattr(Classifier(**{name: value}).check_params(), name) == value
    for value in beyond:
        with one_line(SettingsError, f"{name} is {value}: expected a "):
            Classifier(**{name: value}).check_params()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"hidden": 2.5}, "hidden is 2.5: expected a whole number from 1 to 1048576"),
        ({"hidden": True}, "hidden is True: expected a whole number"),
        ({"one_way": 1}, "one_way is 1: expected True or False"),
        ({"epochs": 2.5}, "epochs is 2.5: expected a whole number from 1 to 1000000000"),
        ({"lr": "high"}, "lr is 'high': expected a positive number up to 1000"),
        ({"cell": "lstn"}, "cell is 'lstn': expected one of rnn, lstm"),
    ],
)
def test_a_wrong_parameter_is_named(params: dict[str, Any], words: str) -> None:
    with one_line(SettingsError, words):
        Classifier(**params).check_params()


def test_the_name_of_a_parameter_may_have_digits() -> None:
    error = SettingsError(f"{param('L2_decay')} is -1")
    assert (str(error), error.shown(str.upper)) == ("L2_decay is -1", "L2_DECAY is -1")
