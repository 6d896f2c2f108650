"""The whole test suite, the C++ kernels with it: `python -m benchmarks.gpu.suite [PYTEST'S ARGUMENTS]`.

It runs in a copy of the sources, in which the kernels are built with what this Python has: nothing is fetched, and the
sources and the Python stay as they are. Without a compiler the tests run on the plain forms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
# As on no other machine, where warnings are errors: a warning of a newer library must not hide what a test has to say.
PYTEST: Final = ("-m", "pytest", "-q", "-o", "filterwarnings=default", "-p", "no:cacheprovider")
_LEFT_BEHIND: Final = shutil.ignore_patterns(".*venv*", ".git", "build", "dist", "__pycache__", ".*_cache", "*.so")
_COMPILERS: Final = ("c++", "g++", "clang++")


def copy_sources(folder: Path) -> Path:
    return Path(shutil.copytree(ROOT, folder / "sources", symlinks=True, ignore=_LEFT_BEHIND))


def build_kernels(sources: Path, folder: Path) -> str:
    """Put the C++ kernels beside their adapter in `sources` → what came of it, in words."""
    if not any(map(shutil.which, _COMPILERS)):
        return f"no C++ kernels: none of {', '.join(_COMPILERS)} is here"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--no-compile")
    # Build tools of this Python may be programs beside it.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [*pip, *offline, "--target", str(folder / "installed"), str(sources)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    built = [*(folder / "installed" / "xrnn" / "backends" / "numpy").glob("_kernels*.so")]
    for library in built:
        shutil.copy(library, sources / "backends" / "numpy")
    if built:
        return "C++ kernels: built"
    return f"no C++ kernels: {(done.stderr.strip() or 'the build gave none').splitlines()[-1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.suite", description="the whole test suite")
    parser.add_argument("--no-kernels", action="store_true", help="don't build the C++ kernels")
    options, for_pytest = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = copy_sources(folder)
        if not options.no_kernels:
            print(build_kernels(sources, folder), flush=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(sources), os.environ.get("PYTHONPATH", "")])}
        return subprocess.call([sys.executable, *PYTEST, *for_pytest], cwd=sources, env=environment)


if __name__ == "__main__":
    raise SystemExit(main())
