#!/usr/bin/env python3
"""Install xrnn in every supported way and train one step with each; prints a line for each way, with its time.

Arguments select ways, as in `editable wheel`. It installs the last commit, in a temporary folder that it removes at the
end. pip downloads the dependencies. Needs Python 3.11 or newer, git, make and a C++ compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = {"XRNN_REQUIRE_KERNELS": "1"}
# Compiled without optimization, which takes seconds: these checks are about packaging, not about speed.
QUICK_KERNELS = {**KERNELS, "SKBUILD_CMAKE_BUILD_TYPE": "Debug"}


def run(*command: object, cwd: Path, env: Mapping[str, str]) -> str:
    """The output of the command. Raises CalledProcessError, with the output, if the command fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout)
    return done.stdout


class Environment:
    """A new virtual environment in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        # Without this run's own settings: the checkout on the path, and XRNN_REQUIRE_KERNELS.
        self.variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("XRNN_")}
        run(sys.executable, "-m", "venv", folder, cwd=folder.parent, env=self.variables)

    def pip(self, *arguments: object, **variables: str) -> str:
        command = (self.python, "-m", "pip", "--disable-pip-version-check", *arguments)
        return run(*command, cwd=self.folder, env=self.variables | variables)

    def train(self, **variables: str) -> Path:
        """Train one step outside the checkout → the folder that xrnn was imported from."""
        command = (self.python, HERE / "training_step.py")
        return Path(run(*command, cwd=self.folder, env=self.variables | variables).splitlines()[-1])

    def info(self) -> str:
        return run(self.folder / "bin" / "xrnn", "info", cwd=self.folder, env=self.variables)


class Packaging:
    """One method for each way to install; they work in the empty folder `work`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.checkout = self.clone("checkout")
        self._packing = threading.Lock()

    def sdist(self) -> Path:
        """The source distribution, created by the first call."""
        with self._packing:
            if not [*self.work.glob("*.tar.gz")]:
                environment = self.environment("build")
                environment.pip("install", "build")
                command = (environment.python, "-m", "build", "--sdist", "--outdir", self.work, self.checkout)
                run(*command, cwd=self.work, env=environment.variables)
            (archive,) = self.work.glob("*.tar.gz")
            return archive

    def clone(self, name: str, *options: str) -> Path:
        folder = self.work / name
        run("git", "clone", "--quiet", *options, HERE.parent, folder, cwd=self.work, env=os.environ)
        return folder

    def environment(self, name: str) -> Environment:
        return Environment(self.work / f"env-{name}")

    def bare_checkout(self) -> None:
        """NumPy and a checkout on PYTHONPATH, without installation: the plain forms."""
        environment = self.environment("checkout")
        environment.pip("install", "numpy")
        assert environment.train(PYTHONPATH=str(self.checkout)) == self.checkout / "xrnn"

    def editable(self) -> None:
        """pip install -e: the checkout's Python files, with kernels."""
        self.check_editable(self.environment("editable"), self.checkout, **QUICK_KERNELS)

    def wheel(self) -> None:
        """A wheel for all processors, installed outside the checkout."""
        environment = self.check_wheel("wheel", self.checkout, **QUICK_KERNELS, XRNN_ALL_LEVELS="1")
        if sys.platform == "linux" and os.uname().machine == "x86_64":
            assert "compiled baseline, avx2, avx512, amx" in environment.info(), environment.info()

    def without_openmp(self) -> None:
        """Kernels of a compiler without OpenMP, such as Apple's, use OMP_NUM_THREADS and otherwise all CPUs."""
        environment = self.environment("without-openmp")
        without = {"CMAKE_ARGS": "-DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON"}
        environment.pip("install", self.checkout, **QUICK_KERNELS, **without)
        code = "from xrnn.backends.numpy import kernels; print(kernels.OPENMP, kernels.asked_threads())"
        for number, threads in (("", len(os.sched_getaffinity(0))), ("3", 3)):
            variables = environment.variables | {"OMP_NUM_THREADS": number}
            printed = run(environment.python, "-c", code, cwd=self.work, env=variables)
            assert printed == f"False {threads}\n", printed

    def git_url(self) -> None:
        """pip install git+URL."""
        environment = self.environment("git-url")
        environment.pip("install", f"git+{self.checkout.as_uri()}", **QUICK_KERNELS)
        assert environment.folder in environment.train().parents
        assert "not built" not in environment.info(), environment.info()

    def source_distribution(self) -> None:
        """An sdist without links, and the wheel from it."""
        with tarfile.open(self.sdist()) as archive:
            links = [member.name for member in archive if member.issym() or member.islnk()]
        assert not links, f"the sdist holds links: {links}"
        self.check_wheel("sdist", self.sdist(), **QUICK_KERNELS)

    def clone_without_links(self) -> None:
        """A clone where xrnn/backends is a text file, as on Windows: a wheel from it and an editable install."""
        clone = self.clone("without-links", "-c", "core.symlinks=false")
        assert not (clone / "xrnn" / "backends").is_symlink()
        self.check_wheel("without-links", clone, **QUICK_KERNELS)
        self.check_editable(self.environment("without-links-editable"), clone, **QUICK_KERNELS)

    def no_compiler(self) -> None:
        """No compiler: `xrnn info` reports the plain forms; if the kernels are required, it is an error."""
        environment = self.environment("no-compiler")
        missing = {"PATH": str(environment.folder / "bin"), "CC": "false", "CXX": "false"}
        environment.pip("install", self.sdist(), **missing)
        assert environment.folder in environment.train().parents
        assert "not built" in environment.info(), environment.info()
        try:
            environment.pip("install", "--force-reinstall", "--no-deps", self.sdist(), **missing, **KERNELS)
        except subprocess.CalledProcessError:
            return
        raise AssertionError("XRNN_REQUIRE_KERNELS=1 hid a failed compile")

    def read_only_source(self) -> None:
        """A wheel from a read-only source, and `make VENV=elsewhere` in it: neither writes into the source."""
        source, elsewhere = self.clone("read-only"), self.work / "env-of-make"
        run("chmod", "-R", "a-w", source, cwd=self.work, env=os.environ)  # root can still write: checked below
        try:
            self.check_wheel("read-only", source, **QUICK_KERNELS)
            variables = {name: os.environ[name] for name in ("HOME", "PATH")}
            variables |= {"PYTHONDONTWRITEBYTECODE": "1", **QUICK_KERNELS}
            make = ("make", f"VENV={elsewhere}", f"PYTHON={sys.executable}", "test")
            run(*make, "ARGS=--version", cwd=source, env=variables)
            written = run("git", "status", "--porcelain", "--ignored", cwd=source, env=os.environ)
            assert not written, f"written into the source: {written}"
        finally:
            run("chmod", "-R", "u+w", source, cwd=self.work, env=os.environ)

    def check_wheel(self, name: str, source: Path, **variables: str) -> Environment:
        environment = self.environment(name)
        folder = self.work / f"wheel-{name}"
        environment.pip("wheel", "--no-deps", "--wheel-dir", folder, source, **variables)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        top = {file.partition("/")[0] for file in files}
        assert "backends" not in top, f"the wheel installs a second `backends`: {sorted(top)}"
        assert any(file.startswith("xrnn/backends/numpy/_kernels.") and file.endswith(".so") for file in files), files
        environment.pip("install", wheel)
        assert environment.folder in environment.train().parents
        assert "not built" not in environment.info(), environment.info()
        return environment

    def check_editable(self, environment: Environment, source: Path, **variables: str) -> None:
        environment.pip("install", "--editable", source, **variables)
        assert environment.train() == source / "xrnn"
        assert "not built" not in environment.info(), environment.info()
        code = "from importlib.util import find_spec; print([find_spec(f'xrnn.{name}') for name in ('tests', 'xrnn')])"
        found = run(environment.python, "-c", code, cwd=self.work, env=environment.variables)
        assert found == "[None, None]\n", f"modules beside the package import as its own: {found}"


def duration(way: Callable[[], None]) -> float:
    start = time.monotonic()
    way()
    return time.monotonic() - start


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="xrnn-packaging-")).resolve()
    try:
        packaging = Packaging(work)
        ways: list[Callable[[], None]] = [
            packaging.bare_checkout,
            packaging.editable,
            packaging.wheel,
            packaging.without_openmp,
            packaging.git_url,
            packaging.source_distribution,
            packaging.clone_without_links,
            packaging.read_only_source,
            packaging.no_compiler,
        ]
        names = {way.__name__ for way in ways}
        if unknown := set(sys.argv[1:]) - names:
            sys.exit(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(names))}")
        chosen = [way for way in ways if not sys.argv[1:] or way.__name__ in sys.argv[1:]]
        # Two at once: pip uses one thread, and waits for the network.
        with ThreadPoolExecutor(2) as pool:
            try:
                for way, seconds in zip(chosen, pool.map(duration, chosen), strict=True):
                    print(f"{way.__name__.replace('_', ' ')}: ok ({seconds:.0f} s)", flush=True)
            finally:
                pool.shutdown(cancel_futures=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.stdout}\nfailed: {' '.join(error.cmd)}")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
