"""The kernels under ThreadSanitizer, AddressSanitizer and UBSan in the emulator; and that these notice broken ones."""

from __future__ import annotations

import re

import pytest

from tests.cuda.emulated import Job, Problem, Variant, variants
from tests.cuda_emulator.module import Sanitizer
from xrnn.backends.cupy import launch

pytestmark = [pytest.mark.proof, pytest.mark.usefixtures("emulator")]

EVERY_KERNEL = [v for v in variants() if v.rows == 2 and v.kept == 16]
BARRIER = re.compile(r"__syncthreads(?:_or)?\(")


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
@pytest.mark.parametrize("variant", EVERY_KERNEL, ids=str)
def test_sanitizers_find_nothing(variant: Variant, sanitizer: Sanitizer) -> None:
    for problem in (Problem(), Problem(T=3, N=7, H=24, columns=12, relu=True)):
        done = Job(variant, problem, sanitizer=sanitizer).start()
        assert done.returncode == 0, done.stderr


def barriers(form: str) -> list[str]:
    """The lines of the source that have a barrier."""
    return [line for line in launch.source(form).splitlines() if BARRIER.search(line) and line.strip()[:2] != "//"]


def without_barrier(line: str) -> str:
    """The line doing the same without one."""
    return line.replace("__syncthreads_or", "bool") if "_or" in line else line.replace("__syncthreads();", "")


@pytest.mark.parametrize("line", barriers("one-block"), ids=str.strip)
def test_a_missing_barrier_of_one_block_is_reported(line: str) -> None:
    done = Job(Variant("one-block", "float32", 2, 16, False), edit=(line, without_barrier(line))).start()
    assert done.returncode == 66, done.stderr
    assert "data race" in done.stderr


@pytest.mark.parametrize("line", barriers("group"), ids=str.strip)
def test_a_missing_barrier_of_a_group_is_reported(line: str) -> None:
    done = Job(Variant("group", "float32", 2, 16, False), edit=(line, without_barrier(line))).start()
    assert done.returncode == 66, done.stderr
    assert "data race" in done.stderr


def test_an_exchange_that_does_not_wait_is_reported() -> None:
    edit = ("} while (waiting && !gave_up);", "} while (false);")
    done = Job(Variant("group", "float32", 2, 16, False), edit=edit).start()
    assert "Not equal to tolerance" in done.stderr


@pytest.mark.parametrize(
    "edit",
    [("emulator::store(p, value);", "*p = value;"), ("return emulator::load(p);", "return emulator::look(p), *p;")],
    ids=["an ordinary store", "an ordinary load"],
)
def test_an_exchange_by_ordinary_accesses_is_reported(edit: tuple[str, str]) -> None:
    done = Job(Variant("group", "float32", 2, 16, False), edit=edit).start()
    assert done.returncode == 66, done.stderr
    assert "data race" in done.stderr


@pytest.mark.parametrize("form", ["one-block", "group"])
def test_states_that_start_uninitialised_are_reported(form: str) -> None:
    edit = ("state[i] = 0;", ";")
    done = Job(Variant(form, "float32", 2, 16, False), edit=edit).start()
    assert "Not equal to tolerance" in done.stderr


def test_a_nan_that_looks_empty_is_reported() -> None:
    edit = ("is_empty(value) ? nan : value", "value == value ? value : emulator::bits<float>(~0u)")
    done = Job(Variant("group", "float32", 2, 16, False), Problem(spoil=float("nan")), edit=edit).start()
    assert "livelock" in done.stderr


@pytest.mark.parametrize("form", ["one-block", "group"])
def test_a_write_beyond_shared_memory_is_reported(form: str) -> None:
    edit = (
        "i < ROWS * slices * g.pitch;",
        "i <= ROWS * slices * g.pitch + slices * ROWS * g.column_threads * kVector;",
    )
    done = Job(Variant(form, "float32", 2, 16, False), sanitizer="address,undefined", edit=edit).start()
    assert done.returncode == 67, done.stderr
    assert "heap-buffer-overflow" in done.stderr
