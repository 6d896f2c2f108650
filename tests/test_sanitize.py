"""`.ci/sanitize` runs every compiler that is there, says which are not, and believes no check that can't fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "dirname", "mktemp", "rm", "uname", "grep", "chmod", "cat")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is bash's")

# A compiler whose program says who made it, and, without the barrier, that there is a race, unless it is blind.
COMPILER = """#!/usr/bin/env bash
[ -z "$FAILS" ] || [[ " $* " != *" -c "* ]] || exit 1
while [ "$1" != -o ]; do case $1 in -DXRNN_WITHOUT_BARRIER) race=$SEES ;; esac; shift; done
printf '#!/usr/bin/env bash\\necho "a program of %s"\\n' "${0##*/}" >"$2"
[ -z "$race" ] || printf 'echo "WARNING: ThreadSanitizer: data race"\\nexit 66\\n' >>"$2"
chmod +x "$2"
"""
# Writes no problems, which no program of these compilers reads.
PYTHON = '#!/usr/bin/env bash\n[ -z "$FAILS_TO_WRITE" ] && [ "$1 $2" = "-m tests.backends.numpy.driver_file" ]\n'
QEMU = '#!/usr/bin/env bash\necho emulated; "$1"\n'


def sanitize(folder: Path, *compilers: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script where these compilers are all there are."""
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path, f"this test needs {tool}"
        (folder / tool).symlink_to(path)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    for compiler in compilers:
        (folder / compiler).write_text(QEMU if compiler.startswith("qemu") else COMPILER)
        (folder / compiler).chmod(0o755)
    environment = {"PATH": str(folder), "PYTHON": str(folder / "python"), "SEES": "1", **environment}
    bash = str(folder / "bash")
    return subprocess.run([bash, str(ROOT / ".ci" / "sanitize")], env=environment, capture_output=True, text=True)


def test_both_compilers_and_arm64(tmp_path: Path) -> None:
    done = sanitize(tmp_path, "g++", "clang++", "aarch64-linux-gnu-g++", "qemu-aarch64")
    assert done.returncode == 0, done.stderr
    for compiler in ("g++", "clang++"):
        assert f"== {compiler}: data races\na program of {compiler}\n" in done.stdout
    assert "== arm64, emulated\nemulated\na program of aarch64-linux-gnu-g++\n" in done.stdout
    assert "not " not in done.stdout


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = sanitize(tmp_path, "g++", "qemu-aarch64")
    assert done.returncode == 0, done.stderr
    assert "not by clang++: it is not installed" in done.stdout
    assert "== g++: data races" in done.stdout
    assert "not on arm64: aarch64-linux-gnu-g++ not installed" in done.stdout


def test_a_compiler_by_name_is_the_only_one(tmp_path: Path) -> None:
    done = sanitize(tmp_path, "g++", "clang++", CXX="clang++")
    assert done.returncode == 0, done.stderr
    assert "== clang++: data races" in done.stdout
    assert "g++: data races" not in done.stdout.replace("clang++", "")


def test_no_compiler_is_an_error(tmp_path: Path) -> None:
    done = sanitize(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "no C++ compiler: expected g++ or clang++ (apt-get install g++), or CXX with the name of another\n"
    )


def test_a_level_that_does_not_compile_fails(tmp_path: Path) -> None:
    assert sanitize(tmp_path, "g++", FAILS="1").returncode != 0


def test_a_sanitizer_that_sees_no_missing_barrier_fails(tmp_path: Path) -> None:
    done = sanitize(tmp_path, "g++", SEES="")
    assert done.returncode == 1
    assert "its check of the others proves nothing" in done.stderr


def test_without_problems_nothing_is_checked(tmp_path: Path) -> None:
    done = sanitize(tmp_path, "g++", FAILS_TO_WRITE="1")
    assert done.returncode == 1
    assert "wrote no problems: expected one with the extra `test`" in done.stderr
    assert not done.stdout
