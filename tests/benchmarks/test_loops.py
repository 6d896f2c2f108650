"""The prediction of the tiles' loops: the loop that is taken, the printed ratio, the errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import loops

# The loop over chains contains the loop over terms, which jumps back to 30. The jump to 44 closes a loop of one term.
DISASSEMBLY = """
0000000000000010 <void (anonymous namespace)::close<float>(float*)>:
      10:\tret

0000000000000020 <void (anonymous namespace)::tile<float, 2, 1, 2>((anonymous namespace)::Tile<float> const&)>:
      20:\tmov    (%rdi),%rax
      30:\tvmovups (%rax),%zmm0
      34:\tvfmadd231ps (%rcx){1to16},%zmm0,%zmm1
      38:\tvfmadd231ps (%rcx,%rdx,4){1to16},%zmm0,%zmm2
      39:\tvfmadd231ps (%rcx,%rsi,4){1to16},%zmm0,%zmm3
      3a:\tvfmadd231ps 0x20(%rcx){1to16},%zmm0,%zmm4
      3c:\tadd    %r9,%rax        # 10 <close>
      40:\tjne    30 <void (anonymous namespace)::tile<float, 2, 1, 2>((anonymous namespace)::Tile<float> const&)+0x10>
      44:\tvfmadd231ps (%rcx){1to16},%zmm0,%zmm1
      48:\tjne    44 <void (anonymous namespace)::tile<float, 2, 1, 2>((anonymous namespace)::Tile<float> const&)+0x24>
      50:\tjne    20 <void (anonymous namespace)::tile<float, 2, 1, 2>((anonymous namespace)::Tile<float> const&)>
"""


def test_the_innermost_loop_with_all_sums() -> None:
    (loop,) = loops.loops(DISASSEMBLY)
    assert loop.tile == "2 x 1, 2"
    assert loop.code[0] == "vmovups (%rax),%zmm0"
    assert loop.code[-1] == "add    %r9,%rax"
    assert len(loop.code) == 6
    assert loop.multiply_adds == [f"vfmadd231ps %zmm0, %zmm0, %zmm{sum}" for sum in (1, 2, 3, 4)]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def install(program: str, *lines: str) -> None:
        (tmp_path / program).write_text("#!/bin/sh\n" + "\n".join(lines))
        (tmp_path / program).chmod(0o755)

    monkeypatch.setattr(loops, "BUILD", tmp_path / "build")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^objdump is not installed: .*apt-get install binutils"):
        loops.main([])
    install("objdump", f"echo '{DISASSEMBLY}'")
    with pytest.raises(SystemExit, match=r"^llvm-mca is not installed: .*apt-get install llvm"):
        loops.main([])
    install("llvm-mca", "echo this one is too old >&2")
    install("llvm-mca-19", "echo Total Cycles: 400", "echo Total Cycles: 500")
    with pytest.raises(SystemExit, match=r"has no object files .*pip install -C build-dir="):
        loops.main([])

    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    folder = tmp_path / "build" / f"{version}-{version}-linux" / "CMakeFiles" / "avx512_float.dir" / "kernels"
    folder.mkdir(parents=True)
    (folder / "level.cpp.o").touch()
    loops.main(["--lowest", "1"])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["avx512", "float", "skylake-avx512", "1", "0.80", "0.80"] in printed
    assert ["avx512", "float", "znver4", "2", "x", "1,", "2", "4", "6", "5.0", "0.80"] in printed

    install("llvm-mca-19", "echo nosuch is not a recognized processor >&2")
    with pytest.raises(SystemExit, match=r"^llvm-mca-19 can't predict nosuch .*: expected another --cpu or a newer"):
        loops.main(["--cpu", "nosuch"])
