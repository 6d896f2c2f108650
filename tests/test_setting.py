"""Blocks of settings (precision, backend, fused forms, checks of weights), in generators and in other contexts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Any, NamedTuple

import pytest

from tests import standin
from tests.fresh import output_of, run_python
from xrnn import get_backend, set_backend, set_precision, use_backend, use_fused, use_precision, use_weight_checks
from xrnn.arrays.select import backend_of
from xrnn.backend import fused_forms
from xrnn.precision import Precision, precision
from xrnn.weight_checks import weight_checks


class Case(NamedTuple):
    """A setting.   values: two that differ from the one outside of blocks, or the same one"""

    use: Callable[[Any], AbstractContextManager[Any]]
    now: Callable[[], Any]
    values: tuple[Any, Any]


@pytest.fixture(params=["precision", "fused", "weight checks", "backend"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "precision":
        return Case(use_precision, lambda: precision().name, ("bfloat16", "tf32"))
    if request.param == "fused":
        return Case(use_fused, lambda: fused_forms().enabled, (not fused_forms().enabled, fused_forms().enabled))
    if request.param == "weight checks":
        return Case(use_weight_checks, lambda: weight_checks().enabled, (True, False))
    return Case(use_backend, get_backend, (backend_of(standin.zeros(1)), get_backend("numpy")))


def block(case: Case, value: Any) -> Generator[Any, None, None]:
    with case.use(value):
        yield case.now()
        yield case.now()


def test_a_block_lasts_until_its_own_end(case: Case) -> None:
    """Generators that are interleaved end their blocks in any order."""
    before, (one, other) = case.now(), case.values
    for first_to_end in (0, 1):
        blocks = [block(case, one), block(case, other)]
        assert [next(each) for each in blocks] == [one, other]
        blocks.pop(first_to_end).close()
        assert case.now() == (other, one)[first_to_end]
        with case.use(one):
            assert case.now() == one
        assert case.now() == (other, one)[first_to_end]
        blocks.pop().close()
        assert case.now() == before


def in_a_thread(run: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


@pytest.mark.parametrize("run", [copy_context().run, in_a_thread])
def test_a_generator_that_another_context_closes(case: Case, run: Callable[[Any], Any]) -> None:
    before, suspended = case.now(), block(case, case.values[0])
    assert next(suspended) == case.values[0]
    run(suspended.close)  # without an error
    assert case.now() == before


def test_an_abandoned_generator_leaves_nothing_in_a_worker(case: Case) -> None:
    """Threads of a pool keep their context from task to task."""
    suspended = [block(case, case.values[0])]
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(case.now).result()
        assert pool.submit(next, suspended[0]).result() == case.values[0]
        assert pool.submit(case.now).result() == case.values[0]
        suspended.clear()  # this thread closes it
        assert pool.submit(case.now).result() == before
        with case.use(case.values[0]):
            assert pool.submit(case.now).result() == before
        assert pool.submit(list, block(case, case.values[1])).result() == [case.values[1]] * 2
        assert pool.submit(case.now).result() == before


def test_an_async_generator_that_the_event_loop_closes(case: Case) -> None:
    before = case.now()

    async def values() -> AsyncIterator[Any]:
        with case.use(case.values[0]):
            yield case.now()
            yield case.now()

    async def main() -> None:
        async for value in values():
            assert value == case.values[0]
            break
        await asyncio.sleep(0.01)  # the event loop closes it in a task of its own
        assert case.now() == before

    asyncio.run(main())
    assert case.now() == before


def test_a_change_reaches_the_contexts_of_ended_blocks() -> None:
    """The precision and the backend of the process, in a thread that saw a block end elsewhere."""
    name, backend = precision().name, get_backend()
    with ThreadPoolExecutor(1) as pool:
        for use, value in ((use_precision, "tf32"), (use_backend, "numpy")):
            outer, inner = block(Case(use, bool, (0, 0)), value), block(Case(use, bool, (0, 0)), value)
            pool.submit(next, outer).result()
            pool.submit(next, inner).result()
            outer.close()
            inner.close()
        try:
            set_precision("bfloat16")
            assert pool.submit(lambda: (precision().name, precision().bfloat16)).result() == ("bfloat16", True)
            set_backend(backend)
            assert pool.submit(get_backend).result() is backend
        finally:
            set_precision(name)  # type: ignore[arg-type]
            set_backend(None)
        assert pool.submit(lambda: precision().name).result() == name


def test_a_context_with_thousands_of_ended_blocks() -> None:
    context, case = copy_context(), Case(use_precision, lambda: precision().name, ("bfloat16", "tf32"))
    blocks = [block(case, "bfloat16") for _ in range(3000)]
    for each in blocks:
        context.run(next, each)
    for each in blocks:
        each.close()
    assert context.run(case.now) == case.now()


def test_ended_blocks_are_not_kept() -> None:
    """The setting in effect does not refer to more and more ended blocks."""
    case = Case(use_precision, bool, ("bfloat16", "tf32"))
    for _ in range(5):
        blocks = [block(case, value) for value in case.values]
        for each in blocks:
            next(each)
        for each in blocks:
            each.close()
    del blocks, each
    gc.collect()
    assert sum(type(found) is Precision for found in gc.get_objects()) <= 2


def test_an_error_ends_a_block(case: Case) -> None:
    before = case.now()
    with pytest.raises(ZeroDivisionError), case.use(case.values[0]):
        raise ZeroDivisionError
    assert case.now() == before


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "True float32 the default"),
        ({"XRNN_FUSED": "1", "XRNN_PRECISION": ""}, "True float32 the default"),
        ({"XRNN_FUSED": " 0 ", "XRNN_PRECISION": " BFloat16 "}, "False bfloat16 XRNN_PRECISION=bfloat16"),
    ],
)
def test_the_environment_at_the_start_of_a_process(environment: dict[str, str], expected: str) -> None:
    code = "from xrnn import backend, precision; now = precision.precision()\n"
    assert output_of(code + "print(backend.fused_forms().enabled, now.name, now.decided_by)", **environment) == expected


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "XRNN_CHECK_WEIGHTS",
            "yes",
            "XRNN_CHECK_WEIGHTS is 'yes': expected 1 to compare weights in backward, or 0; set one of them",
        ),
        ("XRNN_FUSED", "false", "XRNN_FUSED is 'false': expected 0 for the plain forms, or 1; set one of them"),
        (
            "XRNN_PRECISION",
            "half",
            "unknown precision 'half' (XRNN_PRECISION=half): expected one of float32, ",
        ),
    ],
)
def test_an_invalid_environment(name: str, value: str, line: str) -> None:
    failed = run_python("import numpy, xrnn; xrnn.Linear(numpy.ones((2, 3)), numpy.ones(3))", **{name: value})
    assert f"\nValueError: {line}" in failed.stderr


def test_an_unknown_attribute_is_an_error() -> None:
    with pytest.raises(AttributeError, match="value"):
        precision().value  # type: ignore[attr-defined]  # noqa: B018
