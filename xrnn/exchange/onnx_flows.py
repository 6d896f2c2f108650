"""Finds the layers that an array comes from.

Each layer returns numbers that no other layer returns, so that a number in an array shows its layer.
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
    """

    array: HostArray
    parts: tuple[Part, ...] = ()
    before: Flow | None = None
    halves: tuple[Flow, ...] = ()

    def chain(self) -> list[Flow]:
        """This flow and those before it, from the first to the last."""
        return [*(self.before.chain() if self.before else []), self]

    @property
    def timed(self) -> bool:
        """Whether a recurrent layer is in the chain, which shows that time is the first axis."""
        return any(part.recurrent for flow in self.chain() for part in flow.parts)


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
        self._inputs: list[tuple[int, int]] = []  # the numbers of each input of the graph
        self._both: dict[tuple[int, int], Flow] = {}

    def fresh(self, *shape: int) -> HostArray:
        """Numbers that no other array has. None of them is small.   Raises FileError for a large shape."""
        size = math.prod(shape)
        if min(shape, default=1) < 1 or size > MOST_ELEMENTS or self._count + size > FIRST + 8 * MOST_ELEMENTS:
            raise FileError(
                f"an array has the shape {quoted(str(shape))}: expected sizes from 1, and at most {MOST_ELEMENTS:,} "
                "elements, eight times as many in all arrays; export the model with symbolic sizes"
            )
        first, self._count = self._count + 1, self._count + size
        return np.arange(first, first + size, dtype=np.float64).reshape(shape)

    def input(self, shape: Sequence[int], is_integer: bool) -> HostArray:
        """The numbers of an input of the graph."""
        before = self._count
        array = self.fresh(*shape)
        self._inputs.append((before + 1, self._count + 1))
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
        self._own(count, Flow(array if array.ndim == 3 else array[:, None], (part,), before))
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

    def owners(self, array: HostArray) -> list[Flow] | None:
        """The flows that the numbers in `array` belong to; None if a number belongs to none."""
        numbers, found = np.unique(array), []
        for first, end, flow in self._owners:
            mine = (numbers >= first) & (numbers < end)
            if mine.any():
                found.append(flow)
                numbers = numbers[~mine]
        return None if numbers.size or not found else found

    def source(self, array: HostArray, *views: View) -> tuple[Flow, View] | None:
        """The flow and the view that give `array`, view(flow.array); None if there is none."""
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
        before = [each for flow in last.chain()[:-1] for each in (flow, *flow.halves)] if last else []
        if last is None or any(flow not in before for flow in found if len(flow.chain()) < longest):
            raise FileError("the outputs come from several branches: expected a chain of layers; export each alone")
        for name, array in outputs.items():
            if last.halves and array.ndim < 4 and np.isin(last.array, array).all():
                arrays = [np.squeeze(view(last.array)) for view in (same, swapped, flat)]
                if not any(np.array_equal(np.squeeze(array), each) for each in arrays):
                    raise FileError(f"the output '{quoted(name)}' joins directions wrongly: expected forward, reverse")
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
