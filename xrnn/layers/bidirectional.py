"""Two recurrent layers that read the same sequence in opposite directions."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np

from xrnn import init
from xrnn.arrays.select import backend_of, device_of
from xrnn.layers.composite import Composite, Part, States
from xrnn.layers.mamba import Mamba
from xrnn.layers.mamba2 import Mamba2
from xrnn.layers.mlstm import MLSTM
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.typing import Array, ArrayIfNeeded, Lengths


class Bidirectional(Composite):
    """h[t] = (h[t] of forward, h[t] of backward), concatenated along the features   (Schuster & Paliwal, 1997).

    forward    a layer that runs from the first step to the last
    backward   a layer made with `reverse=True`, with the same input size

    With `lengths`, the backward layer starts each row at the last step of that row.

    Raises TypeError if a layer is not a recurrent one; ValueError for a wrong direction, or if sizes do not fit.

    >>> both = Bidirectional(GRU.init(3, 8, rng=0), GRU.init(3, 8, rng=1, reverse=True))
    >>> h, states = both(np.zeros((20, 4, 3), "float32"))
    >>> h.shape
    (20, 4, 16)
    """

    _cache_type = list

    def __init__(self, forward: Part, backward: Part) -> None:
        super().__init__([forward, backward])
        for name, layer, reverse in (("forward", forward, False), ("backward", backward, True)):
            if not hasattr(layer, "reverse"):
                raise ValueError(
                    f"{name} is a {layer.title}, which has no direction: expected a recurrent layer, such as a GRU, "
                    f"with reverse={reverse}"
                )
            if layer.reverse is not reverse:
                raise ValueError(
                    f"{name} is a {layer.title} with reverse={layer.reverse}: expected a layer made with "
                    f"reverse={reverse}"
                )
        if forward.input_size != backward.input_size:
            raise ValueError(
                f"forward takes {forward.input_size} features, but backward takes {backward.input_size}: expected two "
                "layers of one input size"
            )

    @classmethod
    def init(
        cls,
        layer: type[RecurrentLayer | Mamba | Mamba2 | MLSTM],
        input_size: int,
        hidden_size: int,
        *,
        rng: np.random.Generator | int | None = None,
        **options: Any,
    ) -> Self:
        """Two layers of the recurrent class `layer`, of `hidden_size` each, with new weights.

        options   more arguments of `layer.init`: dtype, backend, nonlinearity, …

        Raises TypeError for a class that is not recurrent, such as Mamba.
        """
        if not issubclass(layer, RecurrentLayer):
            raise TypeError(
                f"{layer.__name__} does not run in reverse: expected a recurrent layer, such as GRU, or one direction"
            )
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
    def directions(self) -> tuple[tuple[int, bool], ...]:
        return tuple((layer.output_size, reverse) for layer, reverse in zip(self.layers, (False, True), strict=True))

    @property
    def streams(self) -> bool:
        return False

    def stream(self, x: Array, state: States | None = None) -> NoReturn:
        """Raises ValueError: the backward layer starts at the last step, and a stream has no last step."""
        raise ValueError(
            "a Bidirectional has a layer that runs in reverse, from the last step to the first: expected layers that "
            "run forward; stream with its forward layer alone, layers[0]"
        )

    def forward_part(self, x: Array, states: Any, lengths: Lengths | None, *, training: bool) -> tuple[Array, States]:
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
        caches = self._cached(cache)
        split = self.layers[0].output_size
        if len(caches) != 2 or None in caches:
            raise ValueError("cache is not of this Bidirectional: expected its own; take layer.cache after its forward")
        backend_of(dh, "dh")  # raises TypeError if dh is not an array
        if dh.shape[-1:] != (self.output_size,):
            raise ValueError(
                f"dh has shape {dh.shape}, but this Bidirectional expects {self.output_size} features: "
                "the shape of what the last forward returned"
            )
        of_layers = self._each_state("dstates", dfinal)
        (dx, dstate), (dx_reverse, dstate_reverse) = (
            layer.backward_part(half, dstates, layer_cache, needs_dx)
            for layer, half, dstates, layer_cache in zip(
                self.layers, (dh[..., :split], dh[..., split:]), of_layers, caches, strict=True
            )
        )
        if needs_dx:
            with device_of(dx):
                dx += dx_reverse
        return dx, (dstate, dstate_reverse)
