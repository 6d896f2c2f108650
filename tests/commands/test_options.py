"""Options: their help, and the parameters that they set."""

from __future__ import annotations

import re
from pathlib import Path

from tests.commands.runs import CLASSIFY, Capture
from xrnn.commands.main import main
from xrnn.commands.options import helps_of
from xrnn.series import Classifier, Forecaster

COMMANDS = ["classify", "regress", "forecast", "predict", "convert", "info"]


def test_the_help_of_a_command_shows_plain_defaults(capsys: Capture) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        words = " ".join(capsys.readouterr().out.split())
        assert not any(each in words for each in ("<bool>", "<int>", "default: ("))
        assert (command in ("convert", "forecast")) or "--backend auto|cupy|numpy" in words
        if command == "classify":
            cells = "rnn|lstm|gru|min-gru|min-lstm|slstm|lru"
            for option, default in {f"--cell {cells}": "gru", "--hidden N": "64", "--dropout X": "0.3"}.items():
                assert re.search(rf"{re.escape(option)} [^-][^\[]*\[default: {re.escape(default)}\]", words), option


def test_each_parameter_is_described() -> None:
    for kind in (Classifier, Forecaster):
        assert helps_of(kind).keys() == kind().get_params().keys()
    assert helps_of(Classifier)["lr"] == "highest learning rate of Adam"


def test_options_set_the_parameters_of_the_estimator(folder: Path, capsys: Capture, blank_pictures: None) -> None:
    assert CLASSIFY("--out", "c", "--cell", "LSTM", "--one-way", "--class-weight", "balanced", "--seed", "7") == 0
    given = {
        "hidden": 6,
        "batch": 4,
        "lr": 0.02,
        "epochs": 2,
        "cell": "lstm",
        "one_way": True,
        "class_weight": "balanced",
        "seed": 7,
    }
    assert Classifier.load("c").get_params() == Classifier().get_params() | given
