"""What the kernels take on each architecture, read from code compiled as CuPy compiles it: no GPU is needed."""

from __future__ import annotations

import math

import pytest

from benchmarks.gpu.costs import source
from tests.cuda import compiled
from tests.cuda.conftest import REQUIRED
from xrnn.backends.cupy import choice
from xrnn.backends.cupy.choice import THREADS
from xrnn.backends.cupy.launch import Variant

pytestmark = pytest.mark.proof

REGISTER_FILE = 65_536  # of a multiprocessor, on every architecture here


@pytest.fixture(autouse=True)
def compiler() -> None:
    if why := compiled.missing():
        (pytest.fail if REQUIRED else pytest.skip)(why)


def test_the_options_are_those_of_cupy() -> None:
    options = compiled.options_of_cupy(("--std=c++17", "-DREAL=float"), "90", cooperative=True)
    ours = [option for option in options if not option.startswith("-I")]
    assert ours == ["--std=c++17", "-DREAL=float", "-ftz=true", "-arch=sm_90", "--device-as-default-execution-space"]


# The registers do not hold a few values of these variants and architectures: up to MOST_SPILLED bytes, which depend on
# the version of the compiler.
SPILLED = (
    "CurrentTanhElman one-block backward float64 rows=2 held=32-90",
    "Slstm one-block backward float64 rows=2 held=32-90",
)
MOST_SPILLED = 64


@pytest.mark.parametrize(("variant", "arch"), list(compiled.compiled_variants()), ids=str)
def test_a_variant_fits(variant: Variant, arch: str) -> None:
    found = compiled.compile_variant(variant, arch)
    most = MOST_SPILLED if f"{variant}-{arch}" in SPILLED else 0
    assert max(found.stack, found.spilled) <= most
    registers = 8 * math.ceil(found.registers / 8)  # a thread's registers are allocated by eights
    assert registers * THREADS <= REGISTER_FILE
    assert found.static_shared == 0  # so all shared memory is dynamic, as the selection counts it
    if not compiled.is_largest(variant):
        return
    assert found.count("EXIT") > 0
    if not found.spilled:
        assert (found.count("LDL"), found.count("STL")) == (0, 0)  # registers stay registers
    # Sums in a fixed order, and tanh to its full precision.
    assert found.count("ATOM") + found.count("RED.") + found.count("MUFU.TANH") == 0
    assert found.count("ST.") == 0
    if not variant.tiled:
        # scan requests the inputs of AHEAD rounds before its loop, and those of one round in each turn.
        ahead = 2 * choice.AHEAD * variant.cell.pre if variant.form == "scan" else 1
        assert found.count("LDG.E") >= ahead
        return
    # Of each row of the tile, the operands that meet the weights in registers, 16 bytes at a time; the other weights.
    vector = 4 if variant.dtype == "float32" else 2
    wide = found.count("LDS.128") + found.count("LDS.U.128")  # the latter on compute capability 7.5
    assert wide >= variant.rows * variant.held // vector + variant.rows + vector
    # The weights, 16 bytes at a time, and shuffles that add the slices.
    assert found.count("LDG.E.128") >= variant.held + vector
    assert found.count("SHFL.BFLY") > 0
    if not variant.cooperative:
        return
    assert found.count("STG.E.STRONG.SYS") == 1
    element = "" if variant.dtype == "float32" else ".64"
    loads = choice.LOADS[variant.form]
    if variant.form == "group-partial":  # all partial sums requested before the first is waited for
        assert loads in found.together("LDG.E.STRONG.GPU")
        assert found.count("STG.E.128.STRONG.GPU") == 1
        return
    # The states of other blocks: four vectors requested before the first is waited for, whole or by their elements.
    assert set(found.together("LDG.E.128.STRONG.GPU")) == {loads}
    assert set(found.together(f"LDG.E{element}.STRONG.GPU")) == {loads * vector}
    # What others wait for goes to L2: the outputs, and what a block owes that gives up.
    outputs = choice.max_outputs(variant.cell, variant.form, variant.rows)
    assert found.count(f"STG.E{element}.STRONG.GPU") >= outputs + 1


@pytest.mark.parametrize("arch", [*compiled.ARCHITECTURES, "75"])
def test_the_kernels_that_measure_costs_compile(arch: str) -> None:
    assert compiled.compile_source(source(), ("--std=c++17",), arch)
