"""Finds the layers that an array of an ONNX graph comes from.

The graph is run once, with numbers that serve as names: no two elements have the same one. An operator that moves
elements, such as Transpose, moves their numbers with them. A layer does not compute: it returns new numbers. So the
numbers that a layer reads show which layer they come from, and how they were moved on the way:

    the input of the graph    1 … 30, as (T, N, F) = (5, 2, 3)
    GRU reads 1 … 30          returns 31 … 70, as (5, 2, 4)
    Transpose                 the same numbers, as (2, 5, 4)
    Linear reads these        they belong to the GRU, and are its results with the first two axes swapped

`Flows` gives each layer its numbers (`fresh`, from FIRST on), knows the owner of each number (`owners`), and finds the
layer and the view of its results that an array is (`source`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xrnn.exchange.onnx_evaluate import FIRST, MOST_ELEMENTS
from xrnn.files import FileError, quoted
from xrnn.typing import HostArray


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One direction of a recurrent layer, a Linear or an Embedding, with its weights in xrnn's layout."""

    layer: Any
    options: dict[str, Any]
    params: tuple[HostArray, ...]

    @property
    def key(self) -> Any:
        return self.layer, self.options, [param.shape for param in self.params]

    @property
    def recurrent(self) -> bool:
        return "reverse" in self.options


@dataclass(slots=True, eq=False)
class Flow:
    """What a layer returns, or an input of the graph.

    array     (T, N, F) different numbers
    parts     one for a layer, two for a layer with both directions, none for an input of the graph
    before    what the layer reads; None for an input of the graph
    halves    the flows of the two directions, if there are two
    final     (N, F): the numbers of the final h, and of the final c
    is_timed  whether a recurrent layer returned or read it, so that time is the first axis
    """

    array: HostArray
    parts: tuple[Part, ...] = ()
    before: Flow | None = None
    halves: tuple[Flow, ...] = ()
    final: tuple[HostArray, ...] = ()
    is_timed: bool = False

    def chain(self) -> list[Flow]:
        """This flow and those before it, from the first to the last."""
        return [*(self.before.chain() if self.before else []), self]


View: TypeAlias = Callable[[HostArray], HostArray]


def same(array: HostArray) -> HostArray:
    return array


def swapped(array: HostArray) -> HostArray:
    return array.swapaxes(0, 1)


def flat(array: HostArray) -> HostArray:
    return array.reshape(-1, array.shape[-1])


def flipped(array: HostArray) -> HostArray:
    return array[::-1]


def swapped_flipped(array: HostArray) -> HostArray:
    return array.swapaxes(0, 1)[::-1]


class Flows:
    """All flows, with the numbers of each."""

    def __init__(self) -> None:
        self._count = FIRST
        self._owners: list[tuple[int, int, Flow]] = []  # the numbers [from, to) of a flow
        self._compared = np.zeros(0)
        self._inputs: dict[tuple[int, int], tuple[int, ...]] = {}  # numbers [from, to) → shape, of each graph input
        self._both: dict[tuple[int, int], Flow] = {}

    def fresh(self, *shape: int) -> HostArray:
        """Numbers that no other array has. None of them is small.   Raises FileError for a large shape."""
        size = math.prod(shape)
        if min(shape, default=1) < 1 or size > MOST_ELEMENTS or self._count + size > FIRST + 8 * MOST_ELEMENTS:
            raise FileError(
                f"an array has the shape {quoted(str(shape))}: expected sizes from 1, and at most {MOST_ELEMENTS:,} "
                "elements, eight times as many in all arrays; export the model with symbolic sizes"
            )
        first = self._count + 1
        self._count = self._count + size
        return np.arange(first, first + size, dtype=np.float64).reshape(shape)

    def input(self, shape: Sequence[int], is_integer: bool) -> HostArray:
        """The numbers of an input of the graph."""
        before = self._count
        array = self.fresh(*shape)
        self._inputs[before + 1, self._count + 1] = array.shape
        if is_integer:
            return array.astype(np.int64)
        if array.ndim in (2, 3):
            self._own(before, Flow(array if array.ndim == 3 else array[:, None]))
        return array

    def add(self, shape: Sequence[int], part: Part, before: Flow | None, more: Sequence[int] = ()) -> list[HostArray]:
        """New numbers for the result of a layer, in this shape; with `more`, also for its final c, in that shape."""
        count = self._count
        array = self.fresh(*shape)
        others = [self.fresh(*more)] if more else []
        flow = Flow(array if array.ndim == 3 else array[:, None], (part,), before, is_timed=part.recurrent)
        if part.recurrent:
            flow.final = (array[0 if part.options["reverse"] else -1], *others)
        self._own(count, flow)
        return [array, *others]

    def _own(self, before: int, flow: Flow) -> None:
        """Record that `flow` has the numbers that were made after `before`."""
        self._owners.append((before + 1, self._count + 1, flow))

    def is_input(self, array: HostArray) -> bool:
        """Whether each number is one of the inputs of the graph."""
        numbers = np.unique(array)
        for first, end in self._inputs:
            numbers = numbers[(numbers < first) | (numbers >= end)]
        return not numbers.size

    def index_source(self, index: HostArray) -> tuple[tuple[int, ...], View] | None:
        """The shape and the view of the input of the graph that is the index; None if it is no complete input."""
        numbers = np.sort(index, axis=None)
        of_input = self._inputs.get((numbers[0], numbers[-1] + 1))
        if of_input is None or np.isin(numbers, self._compared).any():
            return None
        for view in (same, flipped, swapped, swapped_flipped)[: 2 * index.ndim]:
            shape = index.shape if view in (same, flipped) else index.shape[::-1]
            if _without_ones(shape) == _without_ones(of_input) and np.array_equal(view(numbers.reshape(shape)), index):
                return shape, view
        return None

    def compare(self, arrays: Sequence[HostArray]) -> None:
        """Record that the graph compares an input as lengths. The numbers of an index must not be compared."""
        self._compared = np.concatenate([self._compared, *(array[array >= FIRST] for array in arrays)])

    def owners(self, array: HostArray) -> list[Flow] | None:
        """The flows that the numbers in `array` belong to; None if a number belongs to none."""
        numbers = np.unique(array)
        found = []
        for first, end, flow in self._owners:
            mine = (numbers >= first) & (numbers < end)
            if mine.any():
                found.append(flow)
                numbers = numbers[~mine]
        return None if numbers.size or not found else found

    def source(self, array: HostArray, *views: View) -> tuple[Flow, View] | None:
        """The flow and the view that give `array`, view(flow.array); None if there is none."""
        if array.dtype.kind != "f":  # a cast rounded it
            return None
        flow = self._joined(self.owners(array) or [])
        fitting = [view for view in views if flow is not None and np.array_equal(view(flow.array), array)]
        return (flow, fitting[0]) if flow is not None and fitting else None

    def end(self, outputs: Mapping[str, HostArray]) -> Flow:
        """The last layer of the graph, whose results are the outputs.   Raises FileError."""
        found: list[Flow] = []
        for name, array in outputs.items():
            owners = self.owners(array)
            if owners is None or not all(flow.parts for flow in owners):
                raise FileError(f"the output '{quoted(name)}' is not a result of layers: expected only such outputs")
            found += [flow for flow in owners if flow not in found]
        longest = max(len(flow.chain()) for flow in found)
        last = self._joined([flow for flow in found if len(flow.chain()) == longest])
        before = [earlier for flow in last.chain()[:-1] for earlier in (flow, *flow.halves)] if last else []
        if last is None or any(flow not in before for flow in found if len(flow.chain()) < longest):
            raise FileError("the outputs come from several branches: expected a chain of layers; export each alone")
        each_half = [half for flow in last.chain() for half in flow.halves or (flow,)]
        for name, array in outputs.items():
            owners = self.owners(array) or []
            if array.dtype.kind != "f" or not _are_results([half for half in each_half if half in owners], array):
                raise FileError(
                    f"the output '{quoted(name)}' leaves out or moves results: expected all rows and features in "
                    "their order, of successive steps or of the final states; remove the operators after the last layer"
                )
        return last

    def _joined(self, flows: Sequence[Flow]) -> Flow | None:
        """One flow, or both directions of a layer as one flow; None for others."""
        if len(flows) < 2:
            return flows[0] if flows else None
        by_direction = {flow.parts[0].options.get("reverse"): flow for flow in flows if flow.parts}
        if len(flows) > 2 or flows[0].before is not flows[1].before or by_direction.keys() != {False, True}:
            return None
        halves = by_direction[False], by_direction[True]
        key = id(halves[0]), id(halves[1])
        if key not in self._both:  # one object, because flows are compared by identity
            array = np.concatenate([half.array for half in halves], axis=-1)
            self._both[key] = Flow(array, halves[0].parts + halves[1].parts, halves[0].before, halves)
        return self._both[key]


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _are_results(halves: Sequence[Flow], array: HostArray) -> bool:
    """Whether `array` has successive steps, or the final states, of all rows and features in their order.

    Axes may be in any order. Directions are joined along the features or along an axis of their own.
    """
    candidates: list[HostArray] = []
    for final in zip(*(half.final for half in halves), strict=False):
        candidates += _both_joined(final)
    steps = np.flatnonzero(np.isin(halves[0].array, array).any(axis=(1, 2)))
    if len(steps) and len({id(half.before) for half in halves}) == 1:
        part = slice(steps[0], steps[-1] + 1)
        joined = _both_joined([half.array[part] for half in halves])
        candidates += [*joined, flat(joined[0]), flat(swapped(joined[0]))]
    got = _ordered(array)
    return any(np.array_equal(got, _ordered(candidate)) for candidate in candidates)


def _both_joined(arrays: Sequence[HostArray]) -> list[HostArray]:
    """The arrays (…, F) joined along the features, and along a new axis."""
    if len({array.shape[:-1] for array in arrays}) > 1:
        return []
    stacked = [np.stack(arrays)] if len({array.shape for array in arrays}) == 1 else []
    return [np.concatenate(arrays, axis=-1), *stacked]


def _ordered(array: HostArray) -> HostArray:
    """Without axes of size 1; the others in the order in which the numbers grow: from the slowest to the fastest."""
    array = np.squeeze(array)
    first = array.flat[0]
    growth = [abs(array[(0,) * axis + (1,) + (0,) * (array.ndim - axis - 1)] - first) for axis in range(array.ndim)]
    return array.transpose(np.argsort(growth)[::-1])
