"""In every Python that a test starts: measure which lines it reaches, or run the changed module.

The environment says which: MUTANTS_REACH, a folder for the measurement, and MUTANTS_TEST, the test that is running; or
MUTANTS_FILE, a module, and MUTANTS_SOURCE, the file that holds what to run in its place.
"""

from __future__ import annotations

import os
from types import CodeType


def measure(folder: str) -> None:
    import atexit

    import coverage

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    measurement = coverage.Coverage(
        data_file=os.path.join(folder, f"of-process-{os.getpid()}"),
        source=[os.path.join(root, name) for name in ("xrnn", "backends")],
        context=os.environ["MUTANTS_TEST"],
        config_file=False,
        messages=False,
    )
    measurement._warn_no_data = False
    measurement.start()
    atexit.register(measurement.save)
    atexit.register(measurement.stop)  # the last one registered runs first


def change(path: str, source: str) -> None:
    """From now on an import of the file `path` compiles `source`."""
    from importlib.machinery import SourceFileLoader

    unchanged = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        if os.path.realpath(self.path) == path:
            return compile(source, self.path, "exec", dont_inherit=True)
        return unchanged(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]


if "MUTANTS_REACH" in os.environ:
    measure(os.environ["MUTANTS_REACH"])
if "MUTANTS_FILE" in os.environ:
    with open(os.environ["MUTANTS_SOURCE"], encoding="utf-8") as file:
        change(os.environ["MUTANTS_FILE"], file.read())
