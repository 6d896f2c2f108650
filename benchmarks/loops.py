"""The speed of the register tiles on processors that you don't have: `python -m benchmarks.loops`.

llvm-mca predicts the cycles of a tile's innermost loop, if all data are in the nearest cache. The ratio is the time of
the loop's multiply-adds alone, divided by the time of the complete loop. It is low if loads take longer.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import machine
from benchmarks.tables import table, wide_console

BUILD: Final = Path(sys.prefix) / "build"
PROCESSORS: Final = {"avx2": ["haswell", "znver3"], "avx512": ["skylake-avx512", "znver4"]}
_ITERATIONS: Final = 100
_FUNCTION: Final = re.compile(r"^[0-9a-f]+ <(.*)>:$", re.MULTILINE)
_TILE: Final = re.compile(r"tile<[\w ]+, (\d+), (\d+), (\d+)>\(")
_INSTRUCTION: Final = re.compile(r"^ *([0-9a-f]+):\t([^<#\n]*)", re.MULTILINE)
_JUMP: Final = re.compile(r"j\w+ +([0-9a-f]+)")
_MULTIPLY_ADD: Final = re.compile(r"vfmadd\w+|vdpbf16ps")


class Loop(NamedTuple):
    tile: str  # rows x vectors, partial sums
    code: list[str]
    multiply_adds: list[str]  # those of the code, with operands in registers


def loops(disassembly: str) -> Iterator[Loop]:
    """The innermost loop of each tile in the output of objdump: the shortest one that adds to all sums."""
    _, *parts = _FUNCTION.split(disassembly)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if not (shape := _TILE.search(name)):
            continue
        rows, vectors, partials = map(int, shape.groups())
        sums = rows * vectors * partials
        code = [(int(address, 16), text.strip()) for address, text in _INSTRUCTION.findall(body)]
        jumps = [(int(jump[1], 16), end) for end, text in code if (jump := _JUMP.match(text))]
        bodies = ([text for at, text in code if begin <= at < end] for begin, end in jumps)
        complete = [body for body in bodies if len(_MULTIPLY_ADD.findall("\n".join(body))) >= sums]
        if not complete:  # a compiler may cut the loop
            continue
        loop = min(complete, key=len)
        register = "%zmm" if "%zmm" in "".join(loop) else "%ymm"
        names = _MULTIPLY_ADD.findall("\n".join(loop))
        alone = [f"{name} {register}0, {register}0, {register}{1 + i % sums}" for i, name in enumerate(names)]
        yield Loop(f"{rows} x {vectors}, {partials}", loop, alone)


def cycles(codes: Sequence[list[str]], processor: str, llvm_mca: str) -> list[float]:
    """The predicted cycles of one iteration of each loop."""
    regions = (f"# LLVM-MCA-BEGIN {i}\n" + "\n".join(code) + f"\n# LLVM-MCA-END {i}\n" for i, code in enumerate(codes))
    command = [llvm_mca, "-mtriple=x86_64", f"-mcpu={processor}", f"-iterations={_ITERATIONS}", "-resource-pressure=0"]
    result = subprocess.run(command, input="".join(regions), capture_output=True, text=True, check=False)
    totals = re.findall(r"Total Cycles: +(\d+)", result.stdout)
    if result.stderr or len(totals) != len(codes):
        reason = result.stderr.partition("\n")[0] or "no cycles in its output"
        raise SystemExit(f"{llvm_mca} can't predict {processor} ({reason}): expected another --cpu or a newer LLVM")
    return [int(total) / _ITERATIONS for total in totals]


def program(*names: str, package: str) -> str:
    """The first of these programs that is installed."""
    for name in filter(shutil.which, names):
        return name
    raise SystemExit(f"{names[-1]} is not installed: expected it on the PATH (apt-get install {package})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loops", description="predicted cycles of the tiles")
    parser.add_argument("--cpu", nargs="+", help="LLVM's names of processors (default: two for each level)")
    parser.add_argument("--lowest", type=machine.positive, default=0, help="also print the N tiles of the lowest ratio")
    options = parser.parse_args(arguments)

    objdump = program("objdump", package="binutils")
    llvm_mca = program(*(f"llvm-mca-{version}" for version in range(40, 15, -1)), "llvm-mca", package="llvm-19")
    objects = sorted(BUILD.glob(f"cp{sys.version_info[0]}{sys.version_info[1]}-*/CMakeFiles/avx*/**/level.cpp.o"))
    if not objects:
        remedy = f"pip install -C build-dir='{BUILD}/{{wheel_tag}}' -e ."
        raise SystemExit(f"{BUILD} has no object files of AVX2 or AVX-512: expected a build on x86-64 ({remedy})")
    machine.print_version()
    rows, lowest = [], []
    for path in objects:
        level = path.relative_to(BUILD).parts[2].removesuffix(".dir").replace("_", " ")
        text = subprocess.run([objdump, "-dC", "--no-show-raw-insn", path], check=True, capture_output=True, text=True)
        tiles = list(loops(text.stdout))
        for processor in options.cpu or PROCESSORS["avx512" if level.startswith("avx512") else "avx2"]:
            times = cycles([code for tile in tiles for code in (tile.multiply_adds, tile.code)], processor, llvm_mca)
            ratios = [alone / complete for alone, complete in zip(times[::2], times[1::2], strict=True)]
            rows.append([level, processor, str(len(tiles)), f"{statistics.mean(ratios):.2f}", f"{min(ratios):.2f}"])
            for ratio, time, tile in sorted(zip(ratios, times[1::2], tiles, strict=True))[: options.lowest]:
                counts = [str(len(tile.multiply_adds)), str(len(tile.code)), f"{time:.1f}", f"{ratio:.2f}"]
                lowest.append([level, processor, tile.tile, *counts])
    console, columns = wide_console(), ["level", "processor"]
    console.print(table("ratio of the tiles", [*columns, "tiles", "mean", "lowest"], rows, left=2))
    if lowest:
        columns += ["rows x vectors, partial sums", "multiply-adds", "instructions", "cycles", "ratio"]
        console.print(table("the lowest", columns, lowest, left=3))


if __name__ == "__main__":
    main()
