"""A stack of recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from xrnn import init
from xrnn.checks import check_bool, check_integer, check_number, check_size
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.composite import Composite, Part, States
from xrnn.layers.dropout import Dropout
from xrnn.layers.mamba import Mamba
from xrnn.layers.mamba2 import Mamba2
from xrnn.layers.mlstm import MLSTM
from xrnn.layers.recurrent import RecurrentLayer
from xrnn.typing import Array, ArrayIfNeeded, Lengths


class Cache(NamedTuple):
    """What a forward keeps for `backward`: the caches of all layers."""

    layers: list[Any]
    dropouts: list[Any]


class Stack(Composite):
    """The input of each layer is the h of the layer before, with dropout between them   (Zaremba et al., 2014).

    layers    recurrent layers, also quantized ones, Bidirectional, Stack or LayerNorm; the input size of each is the
              output size of the layer before
    dropout   the probability in [0, 1) that `forward` drops an element between two layers
    rng       a seed or a Generator for the dropout; None for a random seed

    Raises TypeError for other layers; ValueError if there is no layer, or if sizes do not fit.

    >>> stack = Stack.init(LSTM, input_size=3, hidden_size=8, depth=2, dropout=0.3, rng=0)
    >>> x = np.zeros((20, 4, 3), "float32")
    >>> h, states = stack.forward(x[:10])
    >>> h, states = stack.forward(x[10:], states)  # truncated BPTT: the next chunk
    >>> h.shape
    (10, 4, 8)
    """

    _cache_type = Cache

    def __init__(
        self, layers: Sequence[Part], *, dropout: float = 0.0, rng: np.random.Generator | int | None = None
    ) -> None:
        super().__init__(layers)
        if not self.layers:
            raise ValueError("layers is empty: expected at least one recurrent layer, as in Stack([LSTM.init(32, 64)])")
        for i, (layer, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if layer.output_size != after.input_size:
                raise ValueError(
                    f"layers[{i}] gives {layer.output_size} features, but layers[{i + 1}] takes {after.input_size}: "
                    "expected equal sizes"
                )
        check_number("dropout", dropout, "a probability in [0, 1)", lambda p: 0 <= p < 1)
        self.dropout: list[Dropout] = []
        if dropout:  # otherwise draw nothing from `rng`, which the caller may use for the weights of other layers
            seed = int(init.as_generator(rng).integers(2**63))
            self.dropout = [Dropout(dropout, seed=seed, layer=i) for i in range(len(self.layers) - 1)]

    @classmethod
    def init(
        cls,
        layer: type[RecurrentLayer | Mamba | Mamba2 | MLSTM],
        input_size: int,
        hidden_size: int,
        depth: int = 2,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        rng: np.random.Generator | int | None = None,
        **options: Any,
    ) -> Self:
        """A stack of `depth` layers of the recurrent class `layer`, or of `Mamba` or a similar layer, with new weights.

        bidirectional   make each layer a `Bidirectional` of two; not for Mamba and similar layers
        options         more arguments of `layer.init`: dtype, backend, nonlinearity, …
        """
        size = check_size("input_size", input_size)
        rng = init.as_generator(rng)
        bidirectional = check_bool("bidirectional", bidirectional)
        layers: list[Any] = []
        for _ in range(check_integer("depth", depth, least=1)):
            if bidirectional:
                layers.append(Bidirectional.init(layer, size, hidden_size, rng=rng, **options))
            else:
                layers.append(layer.init(size, hidden_size, rng=rng, **options))
            size = layers[-1].output_size
        return cls(layers, dropout=dropout, rng=rng)

    @property
    def input_size(self) -> int:
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        return self.layers[-1].output_size

    @property
    def directions(self) -> tuple[tuple[int, bool], ...]:
        """Those of the last recurrent layer. A LayerNorm after it has none."""
        found = (getattr(layer, "directions", None) for layer in reversed(self.layers))
        return next(filter(None, found), ((self.output_size, False),))

    @property
    def streams(self) -> bool:
        return all(layer.streams for layer in self.layers)

    def stream(self, x: Array, state: States | None = None) -> tuple[Array, States]:
        """Inference on the next step (N, D) or steps (T, N, D) of an endless signal → h, state.

        state   the state that the previous call returned; None at the beginning. The layers do not keep it.

        Raises ValueError if a layer runs in reverse.
        """
        if not self.streams:
            i, layer = next((i, layer) for i, layer in enumerate(self.layers) if not layer.streams)
            raise ValueError(
                f"layers[{i}] of this Stack, a {layer.title}, runs in reverse, from the last step to the first: "
                "expected layers that run forward; stream with other layers"
            )
        return self.forward_part(x, state, None, training=False)

    def forward_part(self, x: Array, states: Any, lengths: Lengths | None, *, training: bool) -> tuple[Array, States]:
        final = []
        for i, (layer, state) in enumerate(zip(self.layers, self._each_state("states", states), strict=True)):
            if i and training and self.dropout:
                x = self.dropout[i - 1].forward(x)
            x, after = layer.forward_part(x, state, lengths, training=training)
            final.append(after)
        if training:
            self.cache = Cache([layer.cache for layer in self.layers], [dropout.cache for dropout in self.dropout])
        return x, tuple(final)

    def backward_part(self, dh: Array, dfinal: Any, cache: Any, needs_dx: bool) -> tuple[ArrayIfNeeded, States]:
        caches = self._cached(cache)
        if (len(caches.layers), len(caches.dropouts)) != (len(self.layers), len(self.dropout)):
            raise ValueError(
                "cache is of another Stack: expected one from this Stack; take stack.cache after its forward"
            )
        dstates = list(self._each_state("dstates", dfinal))
        dinitial = []
        for i in reversed(range(len(self.layers))):
            # dx of a layer is the gradient of the layer before it. Only the dx of the first layer may be left out.
            dh, dstate = self.layers[i].backward_part(dh, dstates[i], caches.layers[i], needs_dx or i > 0)
            dinitial.append(dstate)
            if i and self.dropout:
                dh = self.dropout[i - 1].backward(dh, cache=caches.dropouts[i - 1])
        return dh, tuple(reversed(dinitial))
