"""Without PyTorch, `import xrnn` works, and `import xrnn.torch` says what to install."""

from __future__ import annotations

from tests.fresh import NO_TORCH, run_python


def test_the_error_names_the_command() -> None:
    done = run_python(f"{NO_TORCH}\nimport xrnn\nimport xrnn.torch")
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: xrnn.torch needs PyTorch, which is not installed: `pip install -e '.[torch]'`"
    )
