"""Two layers, one in each direction, side by side."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np

from xrnn import init
from xrnn.layers.composite import Composite, Part, States
from xrnn.select import backend_of, device_of
from xrnn.typing import Array, ArrayIfNeeded


class Bidirectional(Composite):
    """h[t] = (forward's h[t], backward's h[t]), joined along the features   (Schuster & Paliwal, 1997).

    forward    a layer that runs from the first step on
    backward   one made with `reverse=True`, of the same input size

    With `lengths` each row's backward half starts at the row's own end.

    Raises TypeError for what is no recurrent layer, ValueError for a direction or a size that doesn't fit.
    """

    _cache_type = list

    def __init__(self, forward: Part, backward: Part) -> None:
        super().__init__([forward, backward])
        for name, layer, reverse in (("forward", forward, False), ("backward", backward, True)):
            if getattr(layer, "reverse", None) is not reverse:
                raise ValueError(
                    f"{name} is a {layer.title} with reverse={getattr(layer, 'reverse', None)}: expected a layer made "
                    f"with reverse={reverse}"
                )
        if forward.input_size != backward.input_size:
            raise ValueError(
                f"forward takes {forward.input_size} features, but backward takes {backward.input_size}: expected two "
                "layers of one input size"
            )

    @classmethod
    def init(
        cls,
        layer: Any,
        input_size: int,
        hidden_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        **options: Any,
    ) -> Self:
        """Two layers of this class, RNN, LSTM or GRU, of `hidden_size` each, with fresh weights.

        options   as the class' own `init` takes: dtype, backend, nonlinearity, …
        """
        rng = init.as_generator(rng)
        return cls(
            *(layer.init(input_size, hidden_size, reverse=reverse, rng=rng, **options) for reverse in (False, True))
        )

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        return sum(layer.output_size for layer in self.layers)

    @property
    def streams(self) -> bool:
        return False

    def stream(self, x: Array, state: States | None = None) -> NoReturn:
        """Raises ValueError: the backward half starts at the end, and a stream has none."""
        raise ValueError(
            "a Bidirectional has a half that runs in reverse, from the last step on: expected layers that run forward; "
            "stream with one of them"
        )

    def forward_part(self, x: Array, states: Any, lengths: Any, *, training: bool) -> tuple[Array, States]:
        results = [
            layer.forward_part(x, state, lengths, training=training)
            for layer, state in zip(self.layers, self._each_state("states", states), strict=True)
        ]
        if training:
            self.cache = [layer.cache for layer in self.layers]
        halves, final = zip(*results, strict=True)
        with device_of(x):
            return backend_of(x).xp.concatenate(halves, axis=-1), final

    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, States]:
        caches, split = self._cached(cache), self.layers[0].output_size
        if len(caches) != 2 or None in caches:
            raise ValueError("cache is no Bidirectional's: expected this one's own; take layer.cache after the forward")
        backend_of(dh, "dh")  # has its own words for what is no array
        if dh.shape[-1:] != (self.output_size,):
            raise ValueError(
                f"dh has shape {dh.shape}, but this Bidirectional expects {self.output_size} features: "
                "the shape of what the last forward returned"
            )
        each = self._each_state("dstates", dfinal)
        (dx, dstate), (dx_reverse, dstate_reverse) = (
            layer.backward_part(half, dstates, layer_cache, needs_dx)
            for layer, half, dstates, layer_cache in zip(
                self.layers, (dh[..., :split], dh[..., split:]), each, caches, strict=True
            )
        )
        if needs_dx:
            with device_of(dx):
                dx += dx_reverse
        return dx, (dstate, dstate_reverse)
