"""Optimizers: they update the parameters of a list of layers in place, without waiting for the GPU."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from xrnn.arrays.select import backend_of, device_of
from xrnn.backend import Backend
from xrnn.checks import check_bool, check_float, check_integer, check_number, check_place
from xrnn.groups import (
    HasParameters,
    Layers,
    LayersOrGroups,
    check_same,
    checked,
    checked_layers,
    finite,
    groups_of,
    refuse_untrained,
)
from xrnn.messages import kind_of
from xrnn.sharing import FixedList, count_update, refuse_shared, users_of
from xrnn.typing import Array


def _share(name: str, value: Any) -> float:
    return check_number(name, value, "a number in [0, 1)", lambda share: 0 <= share < 1)


def _betas(name: str, betas: Any) -> tuple[float, float]:
    if not isinstance(betas, Sequence) or isinstance(betas, str) or len(betas) != 2:
        raise ValueError(f"{name} is {betas!r}: expected two numbers in [0, 1), as in betas=(0.9, 0.999)")
    return _share(f"{name}[0]", betas[0]), _share(f"{name}[1]", betas[1])


class _Updates:
    """What an optimizer and an average of weights share: arrays, options, and the number of updates."""

    _options: ClassVar[tuple[str, ...]]
    params: list[Array]

    def __init__(self) -> None:
        self._count = np.zeros((), np.int64)

    def _use(self, weights: list[Array]) -> None:
        """Record the weights that are updated or averaged, and the layers that hold them."""
        self._weights = weights
        self._users = [users_of(p) for p in weights]

    def _refuse_applied(self) -> None:
        """Raises RuntimeError within `EMA.applied` of these weights."""
        if any(users.is_averaged for users in self._users):
            raise RuntimeError(
                "the layers have the averaged weights: expected the weights of training; leave the block of applied() "
                "first"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_users"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._use(self._weights)

    def __repr__(self) -> str:
        first = self._options[0]
        count = len(self.params)
        return f"{type(self).__name__}({first}={getattr(self, first):g}, {count} array{'' if count == 1 else 's'})"

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options, for all groups: `type(optimizer)(layers, **optimizer.options)`."""
        values = {name: getattr(self, name) for name in self._options}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


class Optimizer(_Updates):
    """Updates the parameters of its layers from their gradients.

    layers   the layers, in order
    groups   the parameter groups; one, if no group was given
    params   the parameters of all groups, in order
    grads    the gradients for the next update: the layers' own, or the sums of `accumulate`
    steps    the number of updates so far
    lr       the learning rate; set it between updates for a schedule. The learning rates of all groups keep their ratio
             to it: a schedule multiplies all of them by the same factor

    A list of layers may hold parameter groups, with settings of their own:

        SGD([rnn, {"layers": [readout], "lr": 0.01, "weight_decay": 0}], lr=0.1, weight_decay=1e-4)

    weight_decay   p *= 1 - lr · weight_decay before each update   (Loshchilov & Hutter, 2019)
    decay_biases   False: parameters with one axis, which are the biases and those of a LayerNorm, do not decay

    Raises TypeError if `layers` is not a list or dict of layers and groups; ValueError for a bad `lr`, read-only
    parameters, a layer or an array that is listed twice, and a layer with needs_grads=False. Setting `lr` or another
    number raises TypeError and ValueError too.
    """

    _options: ClassVar[tuple[str, ...]] = ("lr", "weight_decay", "decay_biases")

    lr: float = checked("lr", finite)  # a schedule may end at 0
    weight_decay: float = checked("weight_decay", finite)
    decay_biases: bool = checked("decay_biases", check_bool)

    def __init__(self, layers: LayersOrGroups, lr: float, weight_decay: float = 0.0, decay_biases: bool = True) -> None:
        super().__init__()
        check_number("lr", lr, "a positive, finite learning rate", lambda lr: 0 < lr < math.inf)
        self.lr, self.weight_decay, self.decay_biases = lr, weight_decay, decay_biases
        self.groups = groups_of(layers, self.lr)
        self.layers = [*{id(layer): layer for group in self.groups for layer in group.layers}.values()]
        self.params = FixedList(p for group in self.groups for p in group.params)
        self._layer_grads: list[Array] = FixedList(g for group in self.groups for g in group.grads)
        self._arrays: dict[str, list[Array]] = {}
        self._sums: list[Array] | None = None
        if len({id(g) for g in self._layer_grads}) < len(self._layer_grads):
            raise ValueError(
                "layers holds a layer twice, which each step would update twice: list each layer once, or in groups "
                "with different params"
            )
        refuse_shared(
            dict(enumerate(self.layers)),
            "which each step would update twice",
            "list one of the two layers, and add the gradients of the other to its own before the step",
        )
        self._use(self.params)

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
        if not {id(g) for g in grads} <= {id(g) for layer in self.layers for g in layer.grads}:
            raise ValueError(
                f"this optimizer does not hold this {kind_of(layer)}: expected one of the layers it was made of"
            )
        if self._sums is None:
            self._sums = zeros_like(self.params)
        added = {id(g) for g in grads}
        for total, g in zip(self._sums, self._layer_grads, strict=True):
            if id(g) in added:
                with device_of(g):
                    total += g

    def step(self) -> None:
        """Update every parameter in place from `grads`.

        Raises ValueError if needs_grads of a layer has become False: momentum and weight decay would still change it;
        RuntimeError if an array in `params` or `grads` of a layer has been replaced, and within `EMA.applied`.
        """
        refuse_untrained(self.layers)
        for group in self.groups:
            group.check_replaced(type(self).__name__)
        self._refuse_applied()
        self._count += 1
        arrays = zip(self.params, self.grads, *self._moments().values(), strict=True)
        for group in self.groups:
            lr = self.lr * group.scale
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            for p, dp, *moments in itertools.islice(arrays, len(group.params)):
                with device_of(p):
                    if decay and (p.ndim > 1 or self.decay_biases):
                        p *= 1 - lr * decay
                    self._update(lr, p, dp, *moments)
        self._sums = None
        count_update(self._users)

    def _update(self, lr: float, p: Array, dp: Array, *moments: Array) -> None:
        """Update one parameter in place.   moments: its arrays of `_kept`"""
        raise NotImplementedError

    @property
    def accumulated(self) -> bool:
        """Whether `grads` are sums of `accumulate`."""
        return self._sums is not None

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's arrays by name, for a checkpoint. Write into them to restore them.

        `count` is a 0-d int64 array, the number of updates. Each other entry is a list of one array per parameter.
        """
        return {"count": self._count} | self._moments()

    @property
    def _kept(self) -> tuple[str, ...]:
        """The names of the arrays, one for each parameter, that `_update` changes. They start from zero."""
        return ()

    def _moments(self) -> dict[str, list[Array]]:
        for name in self._kept:  # made when they are needed first: `momentum` may be set between updates
            if name not in self._arrays:
                self._arrays[name] = zeros_like(self.params)
        return {name: self._arrays[name] for name in self._kept}


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

    The other arguments are those of `Optimizer`.

    >>> linear = Linear.init(3, 1, rng=0)
    >>> optimizer = SGD([linear], lr=0.1, momentum=0.9)
    >>> loss, dy = mean_squared_error(linear.forward(np.ones((4, 3), "float32")), np.zeros((4, 1), "float32"))
    >>> dx = linear.backward(dy)
    >>> optimizer.step()
    >>> optimizer.steps
    1
    """

    _options = *Optimizer._options, "momentum", "nesterov"

    momentum: float = checked("momentum", _share)
    nesterov: bool = checked("nesterov", check_bool)

    def __init__(
        self,
        layers: LayersOrGroups,
        lr: float = 0.1,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(layers, lr, weight_decay, decay_biases)
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True, but momentum is 0: expected a momentum, as in momentum=0.9")

    @property
    def _kept(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def _update(self, lr: float, p: Array, dp: Array, *moments: Array) -> None:
        if not moments:
            p -= lr * dp
            return
        (v,) = moments
        v *= self.momentum
        v += dp
        p -= lr * (dp + self.momentum * v if self.nesterov else v)


class Adam(Optimizer):
    """m = β₁m + (1-β₁)dp;  v = β₂v + (1-β₂)dp²;  p -= lr · m̂ / (√v̂ + ε)   (Kingma & Ba, 2015).

    m̂ = m / (1-β₁ᵏ), v̂ = v / (1-β₂ᵏ) at update k correct the bias of moments that start from zero.

    weight_decay   p *= 1 - lr · weight_decay before each update   (AdamW: Loshchilov & Hutter, 2019)

    The other arguments are those of `Optimizer`.

    >>> optimizer = Adam([Linear.init(3, 1, rng=0)], lr=0.001, weight_decay=0.01)
    >>> optimizer
    Adam(lr=0.001, 2 arrays)
    >>> sorted(optimizer.state)
    ['count', 'm', 'v']
    """

    _options = *Optimizer._options, "betas", "eps"
    _kept = "m", "v"

    betas: tuple[float, float] = checked("betas", _betas)
    eps: float = checked("eps", finite)

    def __init__(
        self,
        layers: LayersOrGroups,
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(layers, lr, weight_decay, decay_biases)
        self.betas, self.eps = betas, eps

    def _update(self, lr: float, p: Array, dp: Array, *moments: Array) -> None:
        (m, v), (beta1, beta2) = moments, self.betas
        # Both corrections folded into scalars: lr · m̂ / (√v̂ + ε) = rate · m / (√v + ε · root).
        root = (1 - beta2**self.steps) ** 0.5
        rate = lr * root / (1 - beta1**self.steps)
        m *= beta1
        m += (1 - beta1) * dp
        v *= beta2
        v += (1 - beta2) * (dp * dp)
        p -= rate * m / (v**0.5 + self.eps * root)


class EMA(_Updates):
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

    _options = ("decay",)

    decay: float = checked("decay", _share)

    def __init__(self, layers: Layers, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.layers = checked_layers(layers)
        refuse_shared(
            dict(enumerate(self.layers)), "which `applied` would exchange twice", "list one of the two layers"
        )
        self._use(self._layer_params())
        self.params = zeros_like(self._weights)

    def _layer_params(self) -> list[Array]:
        return [p for layer in self.layers for p in layer.params]

    @property
    def state(self) -> dict[str, Any]:
        """The averages and their number of updates, as `Optimizer.state`.   Raises RuntimeError within `applied`."""
        self._refuse_applied()
        return {"count": self._count, "average": self.params}

    def update(self) -> None:
        """Update the averages with the current weights.

        Raises RuntimeError within `applied`, and if a parameter of a layer has been replaced.
        """
        self._refuse_applied()
        check_same("params", self._layer_params(), self._weights, "EMA")
        new = 1 - self.decay if self._count else 1.0
        self._count += 1
        for average, p in zip(self.params, self._weights, strict=True):
            with device_of(p):
                average += new * (p - average)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the layers have the averaged weights.

        Raises RuntimeError before the first `update`, within another such block, and if a parameter of a layer has been
        replaced.
        """
        self._refuse_applied()
        check_same("params", self._layer_params(), self._weights, "EMA")
        if not self._count:
            raise RuntimeError("the average has no weights yet: call update() first")
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_applied()
        return super().__getstate__()

    def _swap(self) -> None:
        for average, p in zip(self.params, self._weights, strict=True):
            with device_of(p):
                weights = p.copy()
                p[...] = average
                average[...] = weights
        for users in self._users:
            users.is_averaged = not users.is_averaged
        count_update(self._users)  # so that layers refuse the backward of an earlier forward


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
        raise ValueError("grads is empty: pass optimizer.grads")
    backend = check_float("grads[0]", grads[0])
    for i, g in enumerate(grads):
        check_place(f"grads[{i}]", g, backend, grads[0].device, "grads[0]")
        check_float(f"grads[{i}]", g)
    xp = backend.xp
    with backend.device_of(grads[0]):
        norm = _norm(backend, grads)
        if max_norm < math.inf:
            scale = 1 / xp.maximum(norm / max_norm, 1)
            for g in grads:
                g *= scale.astype(g.dtype)
        with np.errstate(over="ignore"):  # the norm may exceed float32, although no gradient does
            in_dtype: Array = xp.asarray(norm.astype(np.result_type(*{g.dtype for g in grads})))
    return in_dtype


def _norm(backend: Backend, grads: Sequence[Array]) -> Array:
    """√Σg² of gradients on one device.

    The squares of float32 numbers above 1e19 overflow. They are then computed in float64; on a GPU always, because the
    host would have to wait for it to notice the overflow.
    """
    xp = backend.xp
    norm: Array
    if backend.reads_are_free:
        with np.errstate(over="ignore"):
            norm = xp.sqrt(sum(xp.sum(g * g) for g in grads))
        if not xp.isinf(norm):
            return norm
    norm = xp.sqrt(sum(xp.sum(xp.square(g, dtype="float64")) for g in grads))
    return norm
