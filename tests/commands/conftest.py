"""Fixtures for the tests of commands: a folder with data, each training command in turn, and a model of each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.commands.runs import REGRESS, RUNS, Patch, Run, write_data


@pytest.fixture
def folder(workdir: Path) -> Path:
    write_data(workdir)
    return workdir


# `xrnn regress` differs from `classify` by a head only, so only .ci/proof runs it.
@pytest.fixture(
    params=[pytest.param(run, marks=[pytest.mark.proof] * (run is REGRESS), id=run.command) for run in RUNS]
)
def run(request: pytest.FixtureRequest, folder: Path) -> Run:
    return request.param


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and, named by its command, a checkpoint of each. Tests write nothing there."""
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder)
    with Patch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XRNN_BACKEND", "numpy")
        patch.setitem(sys.modules, "matplotlib.figure", None)  # no pictures
        for run in RUNS:
            assert run("--out", run.command) == 0
    return folder
