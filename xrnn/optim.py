"""Optimizers: they update the parameters of a list of layers in place, without waiting for the GPU."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, Required, Self, TypeAlias, TypedDict, TypeGuard, TypeVar, overload

import numpy as np

from xrnn.backend import Backend
from xrnn.checks import check_bool, check_float, check_integer, check_number, check_place, is_read_only
from xrnn.select import backend_of, device_of, kind_of
from xrnn.sharing import FixedList, count_update, refuse_shared, users_of
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


def _optional(name: str, value: Any) -> float | None:
    return None if value is None else _finite(name, value)


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


class ParameterGroup(TypedDict, total=False):
    """Layers with a learning rate or a weight decay of their own, in the list of layers of an optimizer.

    layers        a list of layers
    params        only the parameters with these names of `layer.named_params`, or with names that end in them: "Wh"
                  stands for all Wh in a Stack. A second group with the same layers may have the other parameters
    lr            the learning rate; without this entry, that of the optimizer
    weight_decay  without this entry, that of the optimizer
    """

    layers: Required[Iterable[HasParameters] | Mapping[str, HasParameters]]
    params: Sequence[str]
    lr: float
    weight_decay: float


Layers: TypeAlias = Iterable[HasParameters] | Mapping[str, HasParameters]
LayersOrGroups: TypeAlias = Iterable[HasParameters | ParameterGroup] | Mapping[str, HasParameters]


class Group:
    """The parameters that an optimizer updates with the same settings: an entry of `optimizer.groups`.

    layers         the layers, in order
    names          the names of the parameters; None for all
    scale          the learning rate is scale · optimizer.lr
    weight_decay   None for that of the optimizer
    params, grads  the parameters and their gradients, in order
    places         their indices in `optimizer.params`
    """

    scale = _Checked(_finite)
    weight_decay = _Checked(_optional)

    def __init__(
        self, layers: list[HasParameters], names: Sequence[str] | None, scale: float, weight_decay: float | None
    ) -> None:
        self.layers, self.names = layers, names
        self.scale, self.weight_decay = scale, weight_decay
        self.params, self.grads = map(FixedList, self._arrays())
        self.places = slice(0)

    def _arrays(self) -> tuple[list[Array], list[Array]]:
        """The parameters that the layers have now, and their gradients."""
        if self.names is None:
            params = [p for layer in self.layers for p in layer.params]
            return params, [g for layer in self.layers for g in layer.grads]
        pairs = [pair for layer in self.layers for pair in _parameters(layer, self.names)]
        return [p for p, _ in pairs], [g for _, g in pairs]

    def check_replaced(self, optimizer: str) -> None:
        """Raises RuntimeError if a layer no longer has the arrays of the group."""
        params, grads = self._arrays()
        _check_same("params", params, self.params, optimizer)
        _check_same("grads", grads, self.grads, optimizer)

    @property
    def is_default(self) -> bool:
        """Whether the group has all parameters of its layers, and no settings of its own."""
        return self.names is None and self.scale == 1 and self.weight_decay is None


class Optimizer:
    """Updates the parameters of its layers from their gradients.

    layers   the layers, in order
    groups   the parameter groups; one, if no group was given
    params   the parameters of all groups, in order
    grads    the gradients for the next update: the layers' own, or the sums of `accumulate`
    steps    the number of updates so far
    lr       the learning rate; set it between updates for a schedule. The learning rates of all groups keep their ratio
             to it: a schedule multiplies all of them by the same factor

    Raises TypeError if `layers` is not a list of layers and groups; ValueError for a bad `lr`, read-only parameters, a
    layer or an array that is listed twice, and a layer with needs_grads=False. Setting `lr` or another number raises
    TypeError and ValueError too.
    """

    lr = _Checked(_finite)  # a schedule may end at 0
    weight_decay = _Checked(_finite)
    decay_biases = _Checked(check_bool)

    def __init__(self, layers: LayersOrGroups, lr: float, weight_decay: float = 0.0, decay_biases: bool = True) -> None:
        check_number("lr", lr, "a positive, finite learning rate", lambda lr: 0 < lr < math.inf)
        self.lr, self.weight_decay, self.decay_biases = lr, weight_decay, decay_biases
        self.groups = _groups(layers, self.lr)
        self.layers = [*{id(layer): layer for group in self.groups for layer in group.layers}.values()]
        self.params: list[Array] = FixedList(p for group in self.groups for p in group.params)
        self._layer_grads: list[Array] = FixedList(g for group in self.groups for g in group.grads)
        ends = [0, *itertools.accumulate(len(group.params) for group in self.groups)]
        for group, places in zip(self.groups, itertools.pairwise(ends), strict=True):
            group.places = slice(*places)
        self._count = np.zeros((), np.int64)
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
        self._users = [users_of(p) for p in self.params]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={self.lr:g}, {_counted(self.params)})"

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
        if not {id(g) for g in grads} <= {id(g) for each in self.layers for g in each.grads}:
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
        RuntimeError if an array in `params` or `grads` of a layer has been replaced.
        """
        _refuse_untrained(self.layers)
        for group in self.groups:
            group.check_replaced(type(self).__name__)
        self._count += 1
        for group in self.groups:
            lr = self.lr * group.scale
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            if decay:
                factor = 1 - lr * decay
                for p in group.params:
                    if p.ndim > 1 or self.decay_biases:
                        with device_of(p):
                            p *= factor
            self._update(group.places, lr)
        self._sums = None
        count_update(self._users)

    def _update(self, places: slice, lr: float) -> None:
        """Update the parameters at these places."""
        raise NotImplementedError

    @property
    def accumulated(self) -> bool:
        """Whether `grads` are sums of `accumulate`."""
        return self._sums is not None

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's options, for all groups: `type(optimizer)(layers, **optimizer.options)`."""
        options = {"lr": self.lr, "weight_decay": self.weight_decay}
        # True is left out: checkpoints from before this option lack it.
        return options if self.decay_biases else options | {"decay_biases": False}

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's arrays by name, for a checkpoint. Write into them to restore them.

        `count` is a 0-d int64 array, the number of updates. Each other entry is a list of one array per parameter.
        """
        return {"count": self._count} | self._moments()

    def _moments(self) -> dict[str, list[Array]]:
        """The entries of `state` that a subclass adds: lists of one array per parameter."""
        return {}


def _check_same(name: str, found: list[Array], held: list[Array], optimizer: str) -> None:
    """Raises RuntimeError unless the layers have the arrays that the optimizer holds.   name: "params" or "grads\""""
    if len(found) == len(held) and (all(map(operator.is_, found, held)) or all(map(_is_same_memory, found, held))):
        return
    raise RuntimeError(
        f"an array in {name} of a layer was replaced after this {optimizer} was made: expected changes in place; write "
        f"{name}[i][...] = new, or make a new {optimizer}"
    )


def _is_same_memory(found: Any, held: Array) -> bool:
    """Whether a layer made another view of the same array."""
    return (
        type(found) is type(held)
        and (found.dtype, found.shape, found.strides) == (held.dtype, held.shape, held.strides)
        and users_of(found) is users_of(held)
    )


def _counted(arrays: list[Array]) -> str:
    return f"{len(arrays)} array{'s' * (len(arrays) != 1)}"


_EXAMPLE: Final = "expected a list of layers, as in SGD([rnn, linear])"


def _as_list(layers: Any) -> list[Any]:
    """The layers of a list, or of a dict by name; those of a Network in the list too.   Raises TypeError."""
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers is a {kind_of(layers)}: {_EXAMPLE}")
    if isinstance(layers, dict) and isinstance(layers.get("layers"), list | tuple | dict):
        raise TypeError("layers is one parameter group: expected a list of groups; put it into a list, as in [group]")
    given: list[Any] = []
    for each in [layers] if _is_network(layers) else layers.values() if isinstance(layers, Mapping) else layers:
        given += _distinct([*each.values()]) if _is_network(each) else [each]
    return given


def _is_network(layers: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(layers, Mapping) and hasattr(layers, "params")


def _distinct(layers: list[Any]) -> list[Any]:
    """Without the layers that are also another one of the list, or in it."""
    grads = [frozenset(map(id, layer.grads)) for layer in layers]
    return [
        layer
        for i, layer in enumerate(layers)
        if not grads[i] or not (any(grads[i] < other for other in grads) or grads[i] in grads[:i])
    ]


def checked_layers(layers: Layers) -> list[HasParameters]:
    """`layers` as a list.   Raises TypeError for other objects, ValueError for read-only parameters."""
    given = _as_list(layers)
    for i, layer in enumerate(given):
        if not (hasattr(layer, "params") and hasattr(layer, "grads")):
            raise TypeError(f"layers[{i}] is a {kind_of(layer)}: {_EXAMPLE}")
        for k, param in enumerate(layer.params):
            if is_read_only(param):
                remedy = "make the layer of copies, as copy.deepcopy of a frozen layer does"
                if getattr(layer, "is_int8", False):
                    remedy = "train the float32 layer, then quantize it again"
                raise ValueError(
                    f"params[{k}] of layers[{i}] is read-only: expected parameters that can be updated in place; "
                    + remedy
                )
    return given


def _groups(layers: LayersOrGroups, lr: float) -> list[Group]:
    """The groups of the `layers` of an optimizer; the layers that stand in no group form the first one."""
    given = _as_list(layers)
    own = [each for each in given if isinstance(each, dict)]
    rest = checked_layers([each for each in given if not isinstance(each, dict)])
    groups = [Group(rest, None, 1.0, None)] if rest or not own else []
    groups += [_group(each, f"groups[{i}]", lr) for i, each in enumerate(own, start=len(groups))]
    for group in groups:
        _refuse_untrained(group.layers)
    return groups


def _refuse_untrained(layers: Iterable[Any]) -> None:
    """Raises ValueError for a layer with needs_grads=False."""
    for layer in layers:
        if not getattr(layer, "needs_grads", True):
            inner = getattr(layer, "layers", [])
            some = any(each.needs_grads for each in inner)
            raise ValueError(
                f"layers has a {kind_of(layer)} with needs_grads=False{' in a layer of it' * some}: expected layers "
                f"that are trained; {'list its other layers instead' if some else 'leave this one out'}, or set its "
                "needs_grads to True"
            )


def _group(given: dict[str, Any], name: str, lr: float) -> Group:
    known = (*ParameterGroup.__annotations__,)
    if unknown := [key for key in given if key not in known]:
        raise ValueError(f"{name} has the entry {unknown[0]!r}: expected {', '.join(known)}")
    if "layers" not in given:
        raise ValueError(f'{name} has no layers: expected a list of layers, as in {{"layers": [rnn], "lr": 0.01}}')
    layers, names = checked_layers(given["layers"]), given.get("params")
    if names is not None:
        _check_names(name, names, layers)
    rate = _finite(f"lr of {name}", given.get("lr", lr))
    decay = given.get("weight_decay")
    return Group(layers, names, rate / lr, None if decay is None else _finite(f"weight_decay of {name}", decay))


def _check_names(group: str, names: Any, layers: list[HasParameters]) -> None:
    """Raises TypeError, ValueError unless each of the names is that of a parameter of the layers."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise TypeError(f'params of {group} is {names!r}: expected a list of names, as in "params": ["Wh"]')
    known = [key for layer in layers for key in _names_of(layer)]
    for name in names:
        if not any(_matches(key, [name]) for key in known):
            raise ValueError(
                f"params of {group} has {name!r}: expected names of parameters of its layers, "
                f"{', '.join(dict.fromkeys(known)) or 'which have none'}"
            )


def _names_of(layer: Any) -> list[str]:
    return list(layer.named_params) if hasattr(layer, "named_params") else []


def _matches(key: str, names: Sequence[str]) -> bool:
    """Whether a parameter, such as "0.Wh" of a Stack, has one of the names: the whole one, or its last part."""
    return key in names or key.rpartition(".")[2] in names


def _parameters(layer: HasParameters, names: Sequence[str] | None) -> list[tuple[Array, Array]]:
    """The parameters with these names, and their gradients."""
    pairs = [*zip(layer.params, layer.grads, strict=True)]
    if names is None:
        return pairs
    return [pair for key, pair in zip(_names_of(layer), pairs, strict=True) if _matches(key, names)]


def zeros_like(params: Iterable[Array]) -> list[Array]:
    zeros = []
    for p in params:
        with device_of(p):
            zeros.append(backend_of(p).xp.zeros(p.shape, p.dtype))
    return zeros


class SGD(Optimizer):
    """v = momentum · v + dp;  p -= lr · v   (Polyak, 1964; without momentum, plain gradient descent).

    layers         a list of layers, or a dict of them. Layers with other settings stand in a `ParameterGroup`:
                   SGD([rnn, {"layers": [readout], "lr": 0.01, "weight_decay": 0}], lr=0.1, weight_decay=1e-4)
    nesterov       p -= lr · (dp + momentum · v)   (Sutskever et al., 2013)
    weight_decay   p *= 1 - lr · weight_decay before each update   (SGDW: Loshchilov & Hutter, 2019)
    decay_biases   False: parameters with one axis, which are the biases and those of a LayerNorm, do not decay

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

    @functools.cached_property
    def _velocity(self) -> list[Array]:  # made when it is needed first: `momentum` may be set between updates
        return zeros_like(self.params)

    def _update(self, places: slice, lr: float) -> None:
        params, grads = self.params[places], self.grads[places]
        if not self.momentum:
            for p, dp in zip(params, grads, strict=True):
                with device_of(p):
                    p -= lr * dp
            return
        for p, dp, v in zip(params, grads, self._velocity[places], strict=True):
            with device_of(p):
                v *= self.momentum
                v += dp
                p -= lr * (dp + self.momentum * v if self.nesterov else v)

    def _moments(self) -> dict[str, list[Array]]:
        return {"velocity": self._velocity} if self.momentum else {}

    @property
    def options(self) -> dict[str, Any]:
        return super().options | {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """m = β₁m + (1-β₁)dp;  v = β₂v + (1-β₂)dp²;  p -= lr · m̂ / (√v̂ + ε)   (Kingma & Ba, 2015).

    m̂ = m / (1-β₁ᵏ), v̂ = v / (1-β₂ᵏ) at update k correct the bias of moments that start from zero.

    layers         a list of layers, or a dict of them. Layers with other settings stand in a `ParameterGroup`:
                   Adam([rnn, {"layers": [readout], "lr": 1e-4, "weight_decay": 0}], lr=1e-3, weight_decay=0.01)
    weight_decay   p *= 1 - lr · weight_decay before each update   (AdamW: Loshchilov & Hutter, 2019)
    decay_biases   False: parameters with one axis, which are the biases and those of a LayerNorm, do not decay

    >>> optimizer = Adam([Linear.init(3, 1, rng=0)], lr=0.001, weight_decay=0.01)
    >>> optimizer
    Adam(lr=0.001, 2 arrays)
    >>> sorted(optimizer.state)
    ['count', 'm', 'v']
    """

    betas = _Checked(_betas)
    eps = _Checked(_finite)

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
        self._m, self._v = zeros_like(self.params), zeros_like(self.params)

    def _update(self, places: slice, lr: float) -> None:
        beta1, beta2 = self.betas
        # Both corrections folded into scalars: lr · m̂ / (√v̂ + ε) = rate · m / (√v + ε · root).
        root = (1 - beta2**self.steps) ** 0.5
        rate = lr * root / (1 - beta1**self.steps)
        arrays = self.params, self.grads, self._m, self._v
        for p, dp, m, v in zip(*(each[places] for each in arrays), strict=True):
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

    def __init__(self, layers: Layers, decay: float = 0.999) -> None:
        self.decay, self.layers = decay, checked_layers(layers)
        refuse_shared(
            dict(enumerate(self.layers)), "which `applied` would exchange twice", "list one of the two layers"
        )
        self._weights = self._layer_params()
        self.params = zeros_like(self._weights)
        self._count = np.zeros((), np.int64)
        self._is_applied = False

    def _layer_params(self) -> list[Array]:
        return [p for layer in self.layers for p in layer.params]

    def __repr__(self) -> str:
        return f"EMA(decay={self.decay:g}, {_counted(self.params)})"

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
        """Update the averages with the current weights.

        Raises RuntimeError within `applied`, and if a parameter of a layer has been replaced.
        """
        self._refuse_applied()
        _check_same("params", self._layer_params(), self._weights, "EMA")
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
        _check_same("params", self._layer_params(), self._weights, "EMA")
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
