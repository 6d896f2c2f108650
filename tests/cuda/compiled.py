"""Compiles the CUDA kernels as CuPy would for a GPU that isn't here, and reads what the machine code takes."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.cuda_emulator.module import cached
from xrnn.backends.cupy.choice import tiles
from xrnn.backends.cupy.launch import Variant, variants

ARCHITECTURES = ("80", "90", "100")
EVERY_CELL = "90"  # on the others only the cells that take most registers are compiled
# One variant for each form and direction: the code differs little.
MORE_ARCHITECTURES = ("75", "86", "89", "120")
_READING = "2"  # the version of what is read from the machine code: a part of the cache's key
_RESOURCES = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\n"
    r".*Used (\d+) registers(?:.*?(\d+) bytes smem)?"
)
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)|^\.L\w+:", re.MULTILINE)
_BRANCH = re.compile(r"$|(BRA|BRX|BSYNC|BREAK|CALL|EXIT|JMP|RET)\b")


def _find_nvdisasm() -> str | None:
    wheel = Path(sysconfig.get_path("purelib"), "nvidia")
    spec = importlib.util.find_spec("nvidia")
    folders = [wheel, *map(Path, (spec.submodule_search_locations or []) if spec else [])]
    found = [str(path) for folder in folders for path in sorted(folder.glob("cu*/bin/nvdisasm"))]
    return found[0] if found else shutil.which("nvdisasm")


NVDISASM = _find_nvdisasm()


def missing() -> str:
    """What is missing for compiling here, or ""."""
    if importlib.util.find_spec("cupy") is None:
        return "compiling CUDA code needs CuPy: pip install -e '.[proof]'"
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:
        return f"compiling CUDA code needs NVRTC ({type(error).__name__}): pip install -e '.[proof]'"
    return "" if NVDISASM else "reading machine code needs nvdisasm: pip install -e '.[proof]'"


@dataclass(frozen=True)
class Resources:
    """What ptxas says of one kernel, and its instructions' names (`LDS.128`)."""

    registers: int
    stack: int  # bytes, as the next two
    spilled: int
    static_shared: int
    instructions: list[str]  # in their order, "" marks the target of a branch; read for the largest variants only

    def count(self, prefix: str) -> int:
        """How many instructions start so."""
        return sum(name.startswith(prefix) for name in self.instructions)

    def together(self, name: str) -> list[int]:
        """The numbers of this instruction that stand together: nothing branches between two of them, or to there."""
        stretches = itertools.groupby(self.instructions, key=lambda other: bool(_BRANCH.match(other)))
        numbers = (list(stretch).count(name) for branches, stretch in stretches if not branches)
        return [number for number in numbers if number]


def options_of_cupy(options: tuple[str, ...], arch: str, cooperative: bool) -> tuple[str, ...]:
    """What CuPy itself hands to NVRTC for a RawModule with these options: asked of the installed CuPy.

    Its own chain of calls runs up to the compiler. What would ask the driver is answered in its place.
    """
    from cupy._core import core
    from cupy.cuda import compiler

    program = mock.Mock()
    program.return_value.compile.side_effect = InterruptedError  # as far as we want to go
    with (
        mock.patch.object(compiler, "_NVRTCProgram", program),
        mock.patch.object(compiler, "_preprocess", return_value=""),
        mock.patch.object(compiler, "_get_cupy_cache_key", return_value=""),
        mock.patch.object(compiler, "_get_arch_for_options_for_nvrtc", return_value=(f"-arch=sm_{arch}", "cubin")),
        contextlib.suppress(InterruptedError),
    ):
        core.compile_with_cache(
            "", options, arch=arch, prepend_cupy_headers=False, enable_cooperative_groups=cooperative
        )
    return program.return_value.compile.call_args.args[0]


def compile_source(code: str, options: tuple[str, ...], arch: str, cooperative: bool = False) -> tuple[str, bytes]:
    """→ the compiler's log and the machine code. Raises RuntimeError with the compiler's words."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(code, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*options_of_cupy(options, arch, cooperative), "--ptxas-options=-v"))
        return nvrtc.getProgramLog(program), nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(f"{' '.join(options)} for sm_{arch}: {nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)


def compile_variant(variant: Variant, arch: str) -> Resources:
    """Raises RuntimeError with the compiler's words.

    Results are cached by source, options, architecture and compiler version: a change of one cell compiles that cell.
    """
    from cupy.cuda import nvrtc

    def compile_to(output: Path) -> None:
        log, cubin = compile_source(variant.source, variant.options, arch, variant.cooperative)
        assert log.count("stack frame") == 1, f"expected one kernel, with everything inlined, in the log:\n{log}"
        stack, stores, loads, registers, shared = (int(number or 0) for number in _RESOURCES.findall(log)[0])
        # Reading the instructions takes as long as compiling.
        instructions = _instructions(cubin) if is_largest(variant) else []
        output.write_text(json.dumps([registers, stack, stores + loads, shared, instructions]))

    parts = (variant.source, *variant.options, arch, *map(str, nvrtc.getVersion()), _READING)
    return Resources(*json.loads(cached("\0".join(parts), ".json", compile_to).read_text()))


def _instructions(cubin: bytes) -> list[str]:
    assert NVDISASM is not None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin + b"\0")  # CuPy drops the last byte
        file.flush()
        text = subprocess.run([NVDISASM, "-c", file.name], capture_output=True, text=True, check=True).stdout
    return list(_INSTRUCTION.findall(text))


def compiled_variants() -> Iterator[tuple[Variant, str]]:
    """Each cell's largest variants for one architecture. For the cells that take most: all tiles there, the largest
    variants for some other architectures, a few for the rest."""
    for variant in variants():
        takes_most = variant.cell.name in ("leak", "slstm", "lru")
        if is_largest(variant) or takes_most:
            yield variant, EVERY_CELL
        if is_largest(variant) and takes_most:
            few = MORE_ARCHITECTURES if variant.cell.fed != 1 and variant.dtype == "float32" else ()
            yield from ((variant, arch) for arch in (*ARCHITECTURES, *few) if arch != EVERY_CELL)


def is_largest(variant: Variant) -> bool:
    """Whether the variant has the most registers to fill of its cell, form, direction and dtype."""
    return not variant.tiled or (variant.rows, variant.held) == tiles(variant.form, variant.dtype)[-1]
