"""The precision of matrix products: how it is selected, what `xrnn info` says, and which products use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import one_line
from tests.needs_kernels import NOT_BUILT
from xrnn import RNN, get_backend, set_precision, use_fused, use_precision
from xrnn.backend import RECURRENCES, Operation
from xrnn.backends.numpy import kernels
from xrnn.info import config, describe, explain
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUResetBeforeCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.precision import NAMES, Name, precision


def test_what_a_precision_means() -> None:
    meanings: Any = {"bfloat16x3": (3, False, False), "bfloat16": (1, True, False), "tf32": (0, False, True)}
    for name, meaning in meanings.items():
        with use_precision(name):
            assert (precision().products, precision().bfloat16, precision().tf32) == meaning
            assert f"precision: {name} (decided by use_precision({name!r}))" in config()


def test_an_unknown_precision_is_refused() -> None:
    before = precision().name
    expected = f"expected one of {', '.join(NAMES)}"
    with one_line(ValueError, "unknown precision 'float16' (set_precision('float16'))", expected):
        set_precision("float16")  # type: ignore[arg-type]
    with one_line(ValueError, "unknown precision 'half' (use_precision('half'))", expected), use_precision("half"):  # type: ignore[arg-type]
        pass
    assert precision().name == before


def test_the_instruction_is_used_only_where_it_is_fast() -> None:
    """VDPBF16PS has twice the rate of float32 on AMD's processors, and gains nothing on Intel's."""
    get_backend("numpy")
    cpuinfo = Path("/proc/cpuinfo")
    if not (kernels and cpuinfo.exists() and kernels.level() == "avx512"):
        pytest.skip("this machine does not run the level avx512 by default, or has no /proc/cpuinfo")
    text = cpuinfo.read_text()
    assert kernels.has_bfloat16_instruction() == ("avx512_bf16" in text)
    fast = "avx512_bf16" in text and "AuthenticAMD" in text
    assert kernels.products_by(1) == ("avx512bf16" if fast else None)


@pytest.mark.parametrize("isa", ["", "amx", "avx512", " AVX2 "])
def test_refused_tiles_are_reported_if_they_are_asked_for(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        pytest.skip(NOT_BUILT)
    monkeypatch.setattr(kernels, "tile_refusal", lambda: "not permitted")
    monkeypatch.setenv("XRNN_ISA", isa)
    reported = " (amx: the system refused this process the tile registers: not permitted)"
    assert describe(get_backend("numpy"))["instruction set"].endswith(reported) == (isa in ("", "amx"))


def test_explain_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = get_backend("numpy")
    if not kernels:
        pytest.skip(NOT_BUILT)

    def why(operation: Operation = "recurrence_forward", dtype: str = "float32", cell: Cell | None = None) -> str:
        return explain(backend, operation, cell or LSTMCell(), {"T": 5, "N": 3, "D": 2, "H": 7}, dtype).why

    monkeypatch.setattr(kernels, "products_by", lambda products: None)
    before = why()
    with use_precision("tf32"):
        assert why() == before + ", products in float32: CPUs have no TF32"
    with use_precision("bfloat16x3"):
        assert why() == before + ", products in float32: no tiles (AMX) on this CPU, level or cell"
    with use_precision("bfloat16"):
        monkeypatch.setattr(kernels, "products_by", lambda products: "avx512bf16" if products == 1 else None)
        monkeypatch.setattr(
            kernels, "form", lambda products, *sizes: (2 if kernels.repays_bfloat16(*sizes[:4]) else 4, False)
        )
        for operation in ("affine_forward", "affine_backward"):
            assert why(operation).endswith(", products in bfloat16 by avx512bf16, small ones in float32")
        for operation in RECURRENCES:
            assert why(operation).endswith(", products in float32: too small")
            large = explain(backend, operation, LSTMCell(), {"T": 50, "N": 16, "D": 64, "H": 256}, "float32").why
            assert ", products in bfloat16 by avx512bf16" in large
        assert "bfloat16" not in why("add_rows") + why("cross_entropy") + why(dtype="float64")
        assert describe(backend)["products in bfloat16"] == "avx512bf16"
        monkeypatch.setattr(kernels, "products_by", lambda products: None)
        monkeypatch.setattr(kernels, "level", lambda: "avx512")
        for has, reason in (
            (True, "avx512_bf16 is not faster on this CPU, or was not compiled (XRNN_ALL_LEVELS=1 compiles it)"),
            (False, "no bfloat16 kernel for this CPU, level or cell"),
        ):
            monkeypatch.setattr(kernels, "has_bfloat16_instruction", lambda has=has: has)
            assert f", products in float32: {reason}" in why()
            assert "no bfloat16 kernel for this CPU, level or cell" in why(cell=GRUResetBeforeCell())
            assert describe(backend)["products in bfloat16"].startswith(reason)
        with use_fused(False):
            assert why().endswith("; factors of products rounded to bfloat16")
            assert "bfloat16" not in why("add_rows") + why(dtype="float64")


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.needs("ml_dtypes", "bench"))])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_arrays_of_half_precision_are_refused_with_the_remedy(dtype: str, name: Name) -> None:
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: F401  # NumPy then knows the dtype
    layer = RNN.init(3, 4, rng=0)
    with use_precision(name), one_line(TypeError, dtype, "float32"):
        layer(np.zeros((2, 3), dtype))
