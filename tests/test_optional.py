"""Installation hints, and the modules that an installation must not have."""

from __future__ import annotations

import importlib
import re
from importlib import metadata

import pytest

from xrnn import optional
from xrnn.backends.numpy.info import not_built

REQUIRES = [
    "numpy>=2",
    'cupy-cuda13x[ctk]>=14; extra == "cuda13"',
    "matplotlib>=3.9; extra == 'series'",
    'matplotlib>=3.9; extra == "test"',
    'pytest>=8.3; extra == "test"',
]


def test_the_hint_in_a_checkout() -> None:
    assert optional.in_checkout()
    assert optional.install_hint("series") == "`pip install -e '.[series]'`"


def test_the_hint_after_an_install_from_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "in_checkout", lambda: False)
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    assert optional.install_hint("cuda13") == "`pip install 'cupy-cuda13x[ctk]>=14'`"
    assert optional.install_hint("test") == "`pip install 'matplotlib>=3.9' 'pytest>=8.3'`"


@pytest.mark.parametrize(
    ("extra", "package"), [("cuda12", "cupy-cuda12x[ctk]"), ("cuda13", "cupy-cuda13x[ctk]"), ("keras", "keras")]
)
def test_every_hinted_extra_names_its_package(extra: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "in_checkout", lambda: False)
    assert re.fullmatch(rf"`pip install '{re.escape(package)}>=[\d.]+'`", optional.install_hint(extra))


def test_kernels_that_were_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not_built() == "the kernels were not built: `pip install -v -e .` says why"
    monkeypatch.setattr(optional, "in_checkout", lambda: False)
    assert not_built() == "the kernels were not built: `XRNN_REQUIRE_KERNELS=1 pip install -v` of the sources says why"


@pytest.mark.parametrize("name", ["xrnn.tests", "xrnn.xrnn", "xrnn.benchmarks"])
def test_folders_beside_the_package_can_not_be_imported_from_it(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)
