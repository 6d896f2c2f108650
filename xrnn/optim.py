"""Optimizers: built from a list of layers, they update the parameters in place. Nothing waits for the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Protocol

from xrnn.checks import check_float, check_number, check_place
from xrnn.select import backend_of, device_of, kind_of
from xrnn.typing import Array


class HasParameters(Protocol):
    """What an optimizer needs of a layer."""

    @property
    def params(self) -> list[Array]: ...
    @property
    def grads(self) -> list[Array]: ...


class Optimizer:
    """Parameters with the gradients that the next `step` will use.

    params   the parameters of the layers, in order
    grads    the layers' own gradients, or, between `accumulate` and `step`, their sums
    steps    how many steps were taken
    lr       the learning rate; set it between steps for a schedule

    Raises TypeError for what is no list of layers, ValueError for a layer that is listed twice, or whose parameters are
    read-only, and for a bad `lr`.
    """

    def __init__(self, layers: Iterable[HasParameters], lr: float) -> None:
        check_number("lr", lr, "a positive, finite learning rate", lambda lr: 0 < lr < math.inf)
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers is a {kind_of(layers)}: expected a list of layers, as in SGD([rnn, linear])")
        layers = list(layers)
        for i, layer in enumerate(layers):
            if not (hasattr(layer, "params") and hasattr(layer, "grads")):
                raise TypeError(
                    f"layers[{i}] is a {kind_of(layer)}: expected a list of layers, as in SGD([rnn, linear])"
                )
            for k, param in enumerate(layer.params):
                if not getattr(getattr(param, "flags", None), "writeable", True):
                    raise ValueError(
                        f"params[{k}] of layers[{i}] is read-only: expected parameters that can be updated in place; "
                        "make the layer of copies"
                    )
        self.lr = lr
        self.steps = 0
        # Those that notice when a forward ran with other weights than its backward does.
        self._counting = [layer for layer in layers if hasattr(layer, "updates")]
        self.params = [p for layer in layers for p in layer.params]
        self._layer_grads = [g for layer in layers for g in layer.grads]
        if len({id(g) for g in self._layer_grads}) < len(self._layer_grads):
            raise ValueError("layers holds a layer twice, which each step would update twice: list each layer once")
        self._sums: list[Array] | None = None

    @property
    def grads(self) -> list[Array]:
        return self._layer_grads if self._sums is None else self._sums

    def accumulate(self, layer: HasParameters | None = None) -> None:
        """Add the gradients of `layer`, of all layers without one, to a sum that the next `step` uses and then drops.

        Call it after every `backward` of a large batch taken in parts, the last one included. Losses average over
        their part: scale each part's gradient by its share of the batch to get the gradient of the whole.

        A layer that is used twice in a graph has two backward passes: `accumulate(layer)` after each adds that layer
        alone, and once after the backward pass of every other layer. What was not added counts as zero.

        Raises ValueError for a layer that this optimizer does not hold.
        """
        grads = self._layer_grads if layer is None else layer.grads
        places = range(len(grads)) if layer is None else [self._place_of(g, layer) for g in grads]
        if self._sums is None:
            self._sums = self._zeros()
        for place, g in zip(places, grads, strict=True):
            with device_of(g):
                self._sums[place] += g

    def _place_of(self, gradient: Array, layer: HasParameters) -> int:
        for place, g in enumerate(self._layer_grads):
            if g is gradient:
                return place
        raise ValueError(
            f"this optimizer does not hold this {kind_of(layer)}: expected one of the layers it was made of"
        )

    def step(self) -> None:
        """Update every parameter in place from `grads`."""
        self.steps += 1
        self._update()
        self._sums = None
        for layer in self._counting:
            layer.updates += 1

    def _update(self) -> None:
        raise NotImplementedError

    @property
    def state(self) -> dict[str, list[Array]]:
        """The moments by name, one array a parameter, for a checkpoint; write into them to restore."""
        return {}

    def _zeros(self) -> list[Array]:
        zeros = []
        for p in self.params:
            with device_of(p):
                zeros.append(backend_of(p).xp.zeros(p.shape, p.dtype))
        return zeros


def _is_decay(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < 1


class SGD(Optimizer):
    """v = momentum · v + dp;  p -= lr · v   (Polyak, 1964; without momentum, plain gradient descent)."""

    def __init__(self, layers: Iterable[HasParameters], lr: float = 0.1, *, momentum: float = 0.0) -> None:
        super().__init__(layers, lr)
        check_number("momentum", momentum, "a number in [0, 1)", _is_decay)
        self.momentum = momentum
        self._velocity = self._zeros() if momentum else []

    def _update(self) -> None:
        lr = float(self.lr)  # a NumPy scalar from a schedule would promote float32 arrays
        if not self.momentum:
            for p, dp in zip(self.params, self.grads, strict=True):
                with device_of(p):
                    p -= lr * dp
            return
        for p, dp, v in zip(self.params, self.grads, self._velocity, strict=True):
            with device_of(p):
                v *= self.momentum
                v += dp
                p -= lr * v

    @property
    def state(self) -> dict[str, list[Array]]:
        return {"velocity": self._velocity} if self.momentum else {}


class Adam(Optimizer):
    """m = β₁m + (1-β₁)dp;  v = β₂v + (1-β₂)dp²;  p -= lr · m̂ / (√v̂ + ε)   (Kingma & Ba, 2015).

    m̂ = m / (1-β₁ᵏ), v̂ = v / (1-β₂ᵏ) at step k undo the bias of moments that start from zero.
    """

    def __init__(
        self,
        layers: Iterable[HasParameters],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(layers, lr)
        if not (isinstance(betas, Sequence) and len(betas) == 2 and all(map(_is_decay, betas))):
            raise ValueError(f"betas is {betas!r}: expected two numbers in [0, 1), as in betas=(0.9, 0.999)")
        check_number("eps", eps, "a small number of at least 0", lambda eps: eps >= 0)
        self.betas, self.eps = betas, eps
        self._m, self._v = self._zeros(), self._zeros()

    def _update(self) -> None:
        beta1, beta2 = self.betas
        # Both corrections folded into scalars: lr · m̂ / (√v̂ + ε) = rate · m / (√v + ε · root).
        root = (1 - beta2**self.steps) ** 0.5
        rate = float(self.lr) * root / (1 - beta1**self.steps)
        for p, dp, m, v in zip(self.params, self.grads, self._m, self._v, strict=True):
            with device_of(p):
                m *= beta1
                m += (1 - beta1) * dp
                v *= beta2
                v += (1 - beta2) * (dp * dp)
                p -= rate * m / (v**0.5 + self.eps * root)

    @property
    def state(self) -> dict[str, list[Array]]:
        return {"m": self._m, "v": self._v}


def clip_grad_norm(grads: Sequence[Array], max_norm: float) -> Array:
    """Scale `grads` in place so that their joint norm √Σg² is at most max_norm   (Pascanu et al., 2013).

    Returns the norm before, 0-d on the device: nothing waits for it. A NaN makes the norm and every gradient NaN.
    A max_norm of infinity leaves the gradients as they are.
    `optimizer.grads` is what to pass.

    Raises ValueError unless max_norm is positive and there are gradients, TypeError and ValueError for arrays that
    are not float32 or float64 in one place.
    """
    check_number("max_norm", max_norm, "a positive number", lambda max_norm: max_norm > 0)
    if not isinstance(grads, Sequence):
        raise TypeError(
            f"grads is a {kind_of(grads)}: expected a list of gradients, such as optimizer.grads; "
            "use [grads] for one array, list(grads) for a generator"
        )
    if not grads:
        raise ValueError("grads is empty: expected the gradients to scale; pass optimizer.grads")
    backend = check_float("grads[0]", grads[0])
    for i, g in enumerate(grads):
        check_place(f"grads[{i}]", g, backend, grads[0].device, "grads[0]")
        check_float(f"grads[{i}]", g)
    xp = backend.xp
    with backend.device_of(grads[0]):
        norm: Array = xp.asarray(xp.sqrt(sum(xp.sum(g * g) for g in grads)))
        if max_norm < math.inf:
            scale = 1 / xp.maximum(norm / max_norm, 1)
            for g in grads:
                g *= scale
    return norm
