"""The model of a forecaster: recurrent layers over the context, then one linear layer for all steps ahead."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from xrnn import cells
from xrnn.backend import Backend
from xrnn.layers.dropout import Dropout
from xrnn.layers.linear import Linear
from xrnn.layers.stack import Stack
from xrnn.losses import quantile
from xrnn.models.forecast.settings import ForecastSettings
from xrnn.models.forecast.windows import Shape, Windows
from xrnn.models.model import Model
from xrnn.models.ranks import add_up, share
from xrnn.parallel import World
from xrnn.typing import Array, HostArray

_INFERENCE_BATCH: Final = 256  # windows, so that memory does not grow with their number


class ForecastModel(Model):
    """y = [dropout(h[C]); z; known] @ W + b,   h = stack(x)   (after Lai et al., 2018).

    h[C] is the last hidden state, z (C,) the scaled context, known the covariates of the steps ahead. W begins at 0:
    the first forecast is the seasonal naive one.

    offsets   (Q,): added to the forecast quantiles, in units of a window's scale: see `ForecastTrainer.calibrate`
    """

    def __init__(self, settings: ForecastSettings, shape: Shape, layers: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.settings, self.shape = settings, shape
        self.offsets: HostArray = np.zeros(len(settings.levels))
        self._dropout = Dropout(settings.dropout, seed=settings.seed, layer=settings.layers)
        self.dropouts.append(self._dropout)

    @classmethod
    def init(cls, settings: ForecastSettings, shape: Shape, backend: Backend) -> Self:
        """New float32 weights, the same on every backend."""
        rng, kind = np.random.default_rng(settings.seed), cells.CELLS[settings.cell]
        layers = [kind.init(D, settings.hidden, rng=rng, backend=backend) for D in _input_sizes(settings, shape)]
        W, b = cls.shapes(settings, shape)["linear.W"], cls.shapes(settings, shape)["linear.b"]
        zeros = (backend.asarray(np.zeros(each, np.float32)) for each in (W, b))
        stack = Stack(layers, dropout=settings.dropout, rng=settings.seed)
        return cls(settings, shape, {"stack": stack, "linear": Linear(*zeros)})

    @staticmethod
    def shapes(settings: ForecastSettings, shape: Shape) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, without making the model."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i, size in enumerate(_input_sizes(settings, shape)):
            of_layer = cells.shapes(settings.cell, size, settings.hidden)
            shapes |= {f"{settings.cell}{i}.{name}": each for name, each in of_layer.items()}
        inputs = settings.hidden + shape.context + shape.horizon * shape.known
        outputs = shape.horizon * len(settings.levels)
        return shapes | {"linear.W": (inputs, outputs), "linear.b": (outputs,)}

    def forward(self, x: Array, known: Array) -> Array:
        """x (C, N, 2 + K), known (N, F · K) → y (N, F · Q); keeps the arrays for `backward`."""
        h, _ = self.stack.forward(x)
        self._h_shape = h.shape
        return self.linear.forward(self._features(self._dropout.forward(h[-1]), x, known))

    def backward(self, dy: Array) -> None:
        """dy (N, F · Q) → the gradients of every layer."""
        dfeatures = self.linear.backward(dy)
        dh = self.backend.xp.zeros(self._h_shape, dy.dtype)
        dh[-1] = self._dropout.backward(self.backend.xp.ascontiguousarray(dfeatures[:, : self._h_shape[-1]]))
        self.stack.backward(dh, needs_dx=False)

    def __call__(self, x: Array, known: Array) -> Array:
        """Inference: y without dropout; nothing is kept."""
        h, _ = self.stack(x)
        return self.linear(self._features(h[-1], x, known))

    def train_step(self, x: Array, known: Array, target: Array) -> Array:
        """Forward and backward → the mean pinball loss, 0-d on the device.   target (N, F), NaN for a missing value."""
        xp, levels = self.backend.xp, self.settings.levels
        y = self.forward(x, known).reshape(*target.shape, len(levels))
        dy, exists = xp.empty_like(y), target == target
        loss: Any = 0.0
        for i, level in enumerate(levels):
            of_level, dy[..., i] = quantile(xp.ascontiguousarray(y[..., i]), target, level, mask=exists)
            loss = loss + of_level
        self.backward((dy / len(levels)).reshape(len(dy), -1))
        mean: Array = loss / len(levels)
        return mean

    def forecast(self, windows: Windows, comm: World | None = None) -> HostArray:
        """The quantiles of the steps ahead, (N, F, Q) float64. Higher quantiles are never below lower ones.

        The offsets do not change the median.

        comm   the ranks that divide the windows; each gets all forecasts
        """
        comm, asarray = comm or World(), self.backend.asarray
        mine = share(comm, len(windows.known))
        y = np.zeros((len(windows.known), self.linear.output_size))
        for first in range(mine.start, mine.stop, _INFERENCE_BATCH):
            part = slice(first, min(first + _INFERENCE_BATCH, mine.stop))
            x = asarray(np.ascontiguousarray(windows.x[:, part]))
            y[part] = self.backend.to_numpy(self(x, asarray(windows.known[part])))
        add_up(comm, y)  # the forecasts of one rank and the zeros of the others
        y, m = np.sort(y.reshape(*windows.base.shape, -1), axis=-1), self.settings.levels.index(0.5)
        median = y[..., m : m + 1].copy()
        y += self.offsets
        y[..., :m], y[..., m + 1 :] = np.minimum(y[..., :m], median), np.maximum(y[..., m + 1 :], median)
        return windows.unscaled(np.sort(y, axis=-1))

    def _features(self, h: Array, x: Array, known: Array) -> Array:
        features: Array = self.backend.xp.concatenate([h, x[..., 0].T, known], axis=1)
        return features


def _input_sizes(settings: ForecastSettings, shape: Shape) -> list[int]:
    return [shape.inputs, *itertools.repeat(settings.hidden, settings.layers - 1)]
