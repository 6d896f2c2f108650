"""What the kernels take on each architecture, read from code compiled as CuPy compiles it: no GPU is needed."""

from __future__ import annotations

import pytest

from benchmarks.gpu.costs import FOLDER, source
from tests.cuda.compiled import ARCHITECTURES, compile_source, compile_variant, missing, options_of_cupy
from tests.cuda.conftest import REQUIRED
from tests.cuda.variants import Variant, variants
from xrnn.backends.cupy.choice import MAX_THREADS

pytestmark = pytest.mark.proof

REGISTER_FILE = 65_536  # of a multiprocessor, on every architecture here
REGISTER_UNIT = 8  # a thread's registers are handed out by so many


@pytest.fixture(autouse=True)
def compiler() -> None:
    if why := missing():
        (pytest.fail if REQUIRED else pytest.skip)(why)


def test_the_options_are_those_of_cupy() -> None:
    options = options_of_cupy(("--std=c++17", "-DREAL=float"), "90", cooperative=True)
    ours = [option for option in options if not option.startswith("-I")]
    assert ours == ["--std=c++17", "-DREAL=float", "-ftz=true", "-arch=sm_90", "--device-as-default-execution-space"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("variant", list(variants()), ids=str)
def test_a_variant_fits(variant: Variant, arch: str) -> None:
    found = compile_variant(variant, arch)
    assert (found.stack, found.spilled) == (0, 0)
    assert (found.count("LDL"), found.count("STL")) == (0, 0)  # registers stay registers
    registers = -(-found.registers // REGISTER_UNIT) * REGISTER_UNIT
    assert registers * MAX_THREADS <= REGISTER_FILE
    assert found.static_shared == 0  # so the selection's dynamic shared memory is all there is
    # Of each row of the tile, the states that meet the rows of W in registers, 16 bytes at a time; the rest of W.
    vector = 4 if variant.dtype == "float32" else 2
    assert found.count("LDS.128") >= variant.rows * variant.kept // vector + variant.rows + vector
    if variant.form == "group":
        # The states of other blocks: four vectors asked for before the first is waited for, whole or by their elements.
        element = "" if variant.dtype == "float32" else ".64"
        assert found.together("LDG.E.128.STRONG.GPU") == [4]
        assert found.together(f"LDG.E{element}.STRONG.GPU") == [4 * vector]
        # What others wait for goes to L2: the outputs, and what a block owes that gives up.
        assert found.count(f"STG.E{element}.STRONG.GPU") == variant.rows + 1
        assert found.count("STG.E.STRONG.SYS") == 1
        assert found.count("STG") == variant.rows + 2
        assert found.count("ST.") == 0
    # Sums in a fixed order, and tanh to its full precision.
    assert found.count("ATOM") + found.count("RED.") + found.count("MUFU.TANH") == 0


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_kernels_that_measure_costs_compile(arch: str) -> None:
    assert compile_source(source(), ("--std=c++17",), arch)
    if int(arch) >= 90:
        assert compile_source((FOLDER / "cluster.cu").read_text(), ("--std=c++17",), arch)
