"""Without PyTorch: `import xrnn` works, and its door says what to install."""

from __future__ import annotations

from tests.fresh import output_of, run_python

NO_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
"""


def test_the_error_names_the_command() -> None:
    done = run_python(f"{NO_TORCH}\nimport xrnn\nimport xrnn.torch")
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: xrnn.torch needs PyTorch, which is not installed: `pip install -e '.[torch]'`"
    )


def test_importing_xrnn_imports_no_pytorch() -> None:
    assert output_of("import sys, xrnn; print('torch' in sys.modules)") == "False"
