"""The build of the site checks the links within it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CONF = f"""
import sys
sys.path += [{str(DOCS)!r}, "."]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "links"]
"""
PAGE = """
Title
=====

.. autofunction:: own.f
.. autofunction:: own.length

.. raw:: html

   <a href="{}">a link</a> <a href="https://example.org/a.html">to another site</a>
"""
MODULE = """
length = len

def f():
    "Documented."
"""


@pytest.mark.needs("sphinx", "docs")
@pytest.mark.parametrize(
    ("link", "error"),
    [
        ("_modules/index.html", ""),
        ("lost.html", "links to pages that do not exist: index.html links to lost.html"),
    ],
)
def test_a_link_to_a_page_that_does_not_exist_ends_the_build(link: str, error: str, tmp_path: Path) -> None:
    """Names of builtins have no source: without `links`, the list of modules with sources would link to it."""
    for name, text in (("conf.py", CONF), ("own.py", MODULE), ("index.rst", PAGE.format(link))):
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", ".", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(error), done.stderr
    assert error in done.stderr
