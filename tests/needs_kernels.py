"""The mark of tests that need the compiled kernels. Without a compiler, xrnn runs on its plain forms."""

from __future__ import annotations

from typing import Final

import pytest

from xrnn.backends.numpy import kernels

NOT_BUILT: Final = "the kernels were not built: `pip install -v -e .` says why"
NEEDS_KERNELS: Final = pytest.mark.skipif(not kernels, reason=NOT_BUILT)
