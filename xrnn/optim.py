"""Optimizers: they update the parameters of a list of layers in place, without waiting for the GPU."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, Self, TypeVar, overload

import numpy as np

from xrnn.checks import check_bool, check_float, check_integer, check_number, check_place, is_read_only
from xrnn.select import backend_of, device_of, kind_of
from xrnn.sharing import count_update, refuse_shared, users_of
from xrnn.typing import Array

V = TypeVar("V")


class _Checked(Generic[V]):
    """An attribute that is checked at each assignment, so that a schedule can't set NaN either.

    check   (name, value) → the value to hold; raises TypeError and ValueError
    """

    def __init__(self, check: Callable[[str, Any], V]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: object, owner: type) -> V: ...
    def __get__(self, holder: Any, owner: type) -> Any:
        return self if holder is None else vars(holder)[self._name]

    def __set__(self, holder: object, value: V) -> None:
        vars(holder)[self._name] = self._check(self._name, value)


def _number(expected: str, fits: Callable[[float], bool]) -> Callable[[str, Any], float]:
    return lambda name, value: check_number(name, value, expected, fits)


_share: Final = _number("a number in [0, 1)", lambda share: 0 <= share < 1)
_finite: Final = _number("a finite number of at least 0", lambda number: 0 <= number < math.inf)


def _betas(name: str, betas: Any) -> tuple[float, float]:
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise ValueError(f"{name} is {betas!r}: expected two numbers in [0, 1), as in betas=(0.9, 0.999)")
    return _share(f"{name}[0]", betas[0]), _share(f"{name}[1]", betas[1])


class HasParameters(Protocol):
    """A layer, as an optimizer sees it."""

    @property
    def params(self) -> list[Array]: ...
    @property
    def grads(self) -> list[Array]: ...


class Optimizer:
    """Updates the parameters of its layers from their gradients.

    layers   the layers, in order
    params   their parameters, in order
    grads    the gradients for the next update: the layers' own, or the sums of `accumulate`
    steps    the number of updates so far
    lr       the learning rate; set it between updates for a schedule

    For layers with other settings, such as no weight decay, use another optimizer.

    Raises TypeError if `layers` is not a list of layers; ValueError for a bad `lr`, for read-only parameters, and for
    a layer or an array that is listed twice. Setting `lr` or another number raises TypeError and ValueError too.
    """

    lr = _Checked(_finite)  # a schedule may end at 0
    weight_decay = _Checked(_finite)

    def __init__(self, layers: Iterable[HasParameters], lr: float, weight_decay: float = 0.0) -> None:
        check_number("lr", lr, "a positive, finite learning rate", lambda lr: 0 < lr < math.inf)
        self.layers = checked_layers(layers)
        self.lr, self.weight_decay = lr, weight_decay
        self.params = [p for layer in self.layers for p in layer.params]
        self._layer_grads = [g for layer in self.layers for g in layer.grads]
        self._count = np.zeros((), np.int64)
        self._sums: list[Array] | None = None
        if len({id(g) for g in self._layer_grads}) < len(self._layer_grads):
            raise ValueError("layers holds a layer twice, which each step would update twice: list each layer once")
        refuse_shared(
            dict(enumerate(self.layers)),
            "which each step would update twice",
            "list one of the two layers, and add the gradients of the other to its own before the step",
        )
        self._users = [users_of(p) for p in self.params]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_users"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._users = [users_of(p) for p in self.params]

    @property
    def steps(self) -> int:
        return int(self._count)

    @steps.setter
    def steps(self, count: int) -> None:
        self._count[...] = count

    @property
    def grads(self) -> list[Array]:
        return self._layer_grads if self._sums is None else self._sums

    def accumulate(self, layer: HasParameters | None = None) -> None:
        """Add the gradients of `layer`, or of all layers, to a sum. The next `step` uses the sum and drops it.

        To compute a large batch in parts, call it after the `backward` of each part, including the last. Each loss is
        the mean over its part, so multiply its gradient by the part's share of the batch.

        If a graph uses a layer twice, the layer has two backward passes: call `accumulate(layer)` after each of them,
        and once after the backward pass of every other layer. A layer that was not added counts as zero.

        Raises ValueError for a layer that is not one of this optimizer's.
        """
        grads = self._layer_grads if layer is None else layer.grads
        places = range(len(grads)) if layer is None else [self._place_of(g, layer) for g in grads]
        if self._sums is None:
            self._sums = zeros_like(self.params)
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
        self._count += 1
        if self.weight_decay:
            factor = 1 - self.lr * self.weight_decay
            for p in self.params:
                with device_of(p):
                    p *= factor
        self._update()
        self._sums = None
        count_update(self._users)

    def _update(self) -> None:
        raise NotImplementedError

    @property
    def accumulated(self) -> bool:
        """Whether `grads` are sums of `accumulate`."""
        return self._sums is not None

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options: `type(optimizer)(layers, **optimizer.options)` makes an equal optimizer."""
        return {"lr": self.lr, "weight_decay": self.weight_decay}

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's arrays by name, for a checkpoint. Write into them to restore them.

        `count` is a 0-d int64 array, the number of updates. Each other entry is a list of one array per parameter.
        """
        return {"count": self._count} | self._moments()

    def _moments(self) -> dict[str, list[Array]]:
        """The entries of `state` that a subclass adds: lists of one array per parameter."""
        return {}


def checked_layers(layers: Iterable[HasParameters]) -> list[HasParameters]:
    """`layers` as a list.   Raises TypeError for other objects, ValueError for read-only parameters."""
    example = "expected a list of layers, as in SGD([rnn, linear])"
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers is a {kind_of(layers)}: {example}")
    layers = list(layers)
    for i, layer in enumerate(layers):
        if not (hasattr(layer, "params") and hasattr(layer, "grads")):
            raise TypeError(f"layers[{i}] is a {kind_of(layer)}: {example}")
        for k, param in enumerate(layer.params):
            if is_read_only(param):
                raise ValueError(
                    f"params[{k}] of layers[{i}] is read-only: expected parameters that can be updated in place; "
                    "make the layer of copies, as copy.deepcopy of a frozen layer does"
                )
    return layers


def zeros_like(params: Iterable[Array]) -> list[Array]:
    zeros = []
    for p in params:
        with device_of(p):
            zeros.append(backend_of(p).xp.zeros(p.shape, p.dtype))
    return zeros


class SGD(Optimizer):
    """v = momentum · v + dp;  p -= lr · v   (Polyak, 1964; without momentum, plain gradient descent).

    nesterov       p -= lr · (dp + momentum · v)   (Sutskever et al., 2013)
    weight_decay   p *= 1 - lr · weight_decay before each update   (SGDW: Loshchilov & Hutter, 2019)

    >>> linear = Linear.init(3, 1, rng=0)
    >>> optimizer = SGD([linear], lr=0.1, momentum=0.9)
    >>> loss, dy = mean_squared_error(linear.forward(np.ones((4, 3), "float32")), np.zeros((4, 1), "float32"))
    >>> dx = linear.backward(dy)
    >>> optimizer.step()
    >>> optimizer.steps
    1
    """

    momentum = _Checked(_share)
    nesterov = _Checked(check_bool)

    def __init__(
        self,
        layers: Iterable[HasParameters],
        lr: float = 0.1,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(layers, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True, but momentum is 0: expected a momentum, as in momentum=0.9")
        self._velocity = zeros_like(self.params) if momentum else []

    def _update(self) -> None:
        if not self.momentum:
            for p, dp in zip(self.params, self.grads, strict=True):
                with device_of(p):
                    p -= self.lr * dp
            return
        for p, dp, v in zip(self.params, self.grads, self._velocity, strict=True):
            with device_of(p):
                v *= self.momentum
                v += dp
                p -= self.lr * (dp + self.momentum * v if self.nesterov else v)

    def _moments(self) -> dict[str, list[Array]]:
        return {"velocity": self._velocity} if self.momentum else {}

    @property
    def options(self) -> dict[str, Any]:
        return super().options | {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """m = β₁m + (1-β₁)dp;  v = β₂v + (1-β₂)dp²;  p -= lr · m̂ / (√v̂ + ε)   (Kingma & Ba, 2015).

    m̂ = m / (1-β₁ᵏ), v̂ = v / (1-β₂ᵏ) at update k correct the bias of moments that start from zero.

    weight_decay   p *= 1 - lr · weight_decay before each update   (AdamW: Loshchilov & Hutter, 2019)

    >>> optimizer = Adam([Linear.init(3, 1, rng=0)], lr=0.001, weight_decay=0.01)
    >>> sorted(optimizer.state)
    ['count', 'm', 'v']
    """

    betas = _Checked(_betas)
    eps = _Checked(_finite)

    def __init__(
        self,
        layers: Iterable[HasParameters],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(layers, lr, weight_decay)
        self.betas, self.eps = betas, eps
        self._m, self._v = zeros_like(self.params), zeros_like(self.params)

    def _update(self) -> None:
        beta1, beta2 = self.betas
        # Both corrections folded into scalars: lr · m̂ / (√v̂ + ε) = rate · m / (√v + ε · root).
        root = (1 - beta2**self.steps) ** 0.5
        rate = self.lr * root / (1 - beta1**self.steps)
        for p, dp, m, v in zip(self.params, self.grads, self._m, self._v, strict=True):
            with device_of(p):
                m *= beta1
                m += (1 - beta1) * dp
                v *= beta2
                v += (1 - beta2) * (dp * dp)
                p -= rate * m / (v**0.5 + self.eps * root)

    def _moments(self) -> dict[str, list[Array]]:
        return {"m": self._m, "v": self._v}

    @property
    def options(self) -> dict[str, Any]:
        return super().options | {"betas": list(self.betas), "eps": self.eps}


class EMA:
    """Exponential moving average of weights: a = decay · a + (1 - decay) · p   (Polyak & Juditsky, 1992).

        average = EMA([rnn, linear], decay=0.99)
        …; optimizer.step(); average.update()      # after each update
        with average.applied():                     # evaluate with the averaged weights
            y = rnn(x)

    layers   the layers, in order
    params   the averages, in the order of the layers' parameters; the first `update` copies the weights

    Raises TypeError if `layers` is not a list of layers; ValueError for read-only parameters, an array that is listed
    twice, or a decay outside [0, 1).

    >>> linear = Linear.init(3, 1, rng=0)
    >>> average = EMA([linear], decay=0.999)
    >>> average.update()  # after each step of the optimizer
    >>> with average.applied():
    ...     y = linear(np.ones((4, 3), "float32"))
    """

    decay = _Checked(_share)

    def __init__(self, layers: Iterable[HasParameters], decay: float = 0.999) -> None:
        self.decay, self.layers = decay, checked_layers(layers)
        refuse_shared(
            dict(enumerate(self.layers)), "which `applied` would exchange twice", "list one of the two layers"
        )
        self._weights = [p for layer in self.layers for p in layer.params]
        self.params = zeros_like(self._weights)
        self._count = np.zeros((), np.int64)
        self._is_applied = False

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options."""
        return {"decay": self.decay}

    @property
    def state(self) -> dict[str, Any]:
        """The averages and their number of updates, as `Optimizer.state`.   Raises RuntimeError within `applied`."""
        self._refuse_applied()
        return {"count": self._count, "average": self.params}

    def update(self) -> None:
        """Update the averages with the current weights.   Raises RuntimeError within `applied`."""
        self._refuse_applied()
        new = 1 - self.decay if self._count else 1.0
        self._count += 1
        for average, p in zip(self.params, self._weights, strict=True):
            with device_of(p):
                average += new * (p - average)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the layers have the averaged weights.

        Raises RuntimeError before the first `update`, and within another such block.
        """
        self._refuse_applied()
        if not self._count:
            raise RuntimeError("the average has no weights yet: expected an update; call update() first")
        self._swap()
        self._is_applied = True
        try:
            yield
        finally:
            self._is_applied = False
            self._swap()

    def _refuse_applied(self) -> None:
        if self._is_applied:
            raise RuntimeError(
                "the layers have the averaged weights: expected the weights of training; leave the block of applied() "
                "first"
            )

    def _swap(self) -> None:
        for average, p in zip(self.params, self._weights, strict=True):
            with device_of(p):
                weights = p.copy()
                p[...] = average
                average[...] = weights
        count_update(map(users_of, self._weights))  # so that layers refuse the backward of an earlier forward


def _after_warmup(update: int, total: int, warmup: int) -> float | None:
    """The completed fraction of the decay, in [0, 1]; None during the warm-up."""
    update, warmup = check_integer("update", update, least=0), check_integer("warmup", warmup, least=0)
    total = check_integer("total", total, least=warmup + 1)
    return None if update < warmup else min((update - warmup) / (total - warmup), 1.0)


def cosine(update: int, total: int, warmup: int = 0) -> float:
    """A factor for the learning rate: `optimizer.lr = 1e-3 * cosine(optimizer.steps, 10_000, warmup=500)`.

    (1 + cos πs) / 2, with s from 0 to 1 at `total` updates   (Loshchilov & Hutter, 2017). During the first `warmup`
    updates the factor rises linearly: (update + 1) / warmup.

    >>> [round(cosine(update, 100, warmup=10), 2) for update in (0, 9, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """
    s = _after_warmup(update, total, warmup)
    return (update + 1) / warmup if s is None else (1 + math.cos(math.pi * s)) / 2


def linear(update: int, total: int, warmup: int = 0) -> float:
    """A factor for the learning rate, as `cosine`: it falls linearly from 1 to 0 at `total` updates.

    >>> [round(linear(update, 100, warmup=10), 2) for update in (0, 9, 55, 100)]
    [0.1, 1.0, 0.5, 0.0]
    """
    s = _after_warmup(update, total, warmup)
    return (update + 1) / warmup if s is None else 1 - s


def clip_grad_norm(grads: Sequence[Array], max_norm: float) -> Array:
    """Scale `grads` in place so that their joint norm √Σg² is at most max_norm   (Pascanu et al., 2013).

    grads   arrays on one device, such as `optimizer.grads`

    Returns the norm before scaling, 0-d, on the device: nothing waits for it. NaN in any gradient makes the norm and
    all gradients NaN. An infinite max_norm leaves the gradients unchanged.

    Raises TypeError unless all gradients are float32 or float64 arrays of one backend; ValueError if they are on
    several devices, if there are none, or if max_norm is not positive.

    >>> grads = [np.array([3.0, 4.0])]
    >>> float(clip_grad_norm(grads, 1.0)), grads[0].round(3).tolist()
    (5.0, [0.6, 0.8])
    """
    max_norm = check_number("max_norm", max_norm, "a positive number", lambda max_norm: max_norm > 0)
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
