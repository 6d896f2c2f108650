"""The methods that `accelerate` gives a module, as attributes of the instance: its type stays torch.nn's own.

`forward` runs the kernels. The others keep it correct when PyTorch copies, converts or scripts the module.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, Final

from torch import nn

from xrnn.torch.forward import run
from xrnn.torch.weights import drop_wrapped


class _Bound(functools.partial[Any]):
    """A function of a module, bound to it by a weak reference, so that a deleted module is freed at once."""

    @property
    def module(self) -> Any:
        return self.args[0]()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bound:
        # Within a copy of the module, which is then in `memo`.
        return _bound(self.func, memo.get(id(self.module), self.module))

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound, (self.func, self.module)


def _bound(function: Callable[..., Any], module: nn.Module) -> _Bound:
    return _Bound(function, weakref.ref(module))


def _module(ref: Callable[[], Any]) -> Any:
    module = ref()
    if module is None:
        raise ReferenceError("the module of this method was deleted: expected it to exist; keep a reference to it")
    return module


def _forward(ref: Any, input: Any, hx: Any = None) -> Any:
    module = ref() or _module(ref)
    return run(module, type(module).forward, input, hx)


def _apply(ref: Any, *arguments: Any, **options: Any) -> Any:
    """Conversions, as by `.to(…)`: the old weights must not stay in memory."""
    module = _module(ref)
    drop_wrapped(module)
    return type(module)._apply(module, *arguments, **options)


def _replicate(ref: Any) -> Any:
    module = _module(ref)
    replica = type(module)._replicate_for_data_parallel(module)
    bind(replica)
    return replica


def _prepare_scriptable(ref: Any) -> Any:
    return plain_copy(_module(ref))


def _reduce(ref: Any, protocol: Any) -> tuple[Any, ...]:
    """For copies and pickles: the new module gets methods of its own."""
    module = _module(ref)
    make, arguments, state, *rest = module.__class__.__reduce_ex__(module, protocol)
    return (remade, (make, arguments), _without_methods(state), *rest)


def remade(make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """An accelerated module without its state: pickles name this function."""
    module = make(*arguments)
    bind(module)
    return module


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "forward": _forward,
    "_apply": _apply,
    "_replicate_for_data_parallel": _replicate,
    "__prepare_scriptable__": _prepare_scriptable,
    "__reduce_ex__": _reduce,
}


def bind(module: nn.Module) -> None:
    vars(module).update({name: _bound(function, module) for name, function in _METHODS.items()})


def unbind(module: nn.Module) -> None:
    for name in _METHODS:
        vars(module).pop(name, None)
    drop_wrapped(module)


def _without_methods(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a module without these methods, but with those that the user has set in their place."""
    return {name: v for name, v in attributes.items() if name not in _METHODS or not isinstance(v, _Bound)}


def is_bound(module: nn.Module) -> bool:
    """Whether `module` has these methods, and they are its own: a copied `__dict__` holds those of the original."""
    forward = vars(module).get("forward")
    return isinstance(forward, _Bound) and forward.module is module


def plain_copy(module: Any, kind: Any = None) -> Any:
    """A module of the same Parameters without kernels: torch.jit.script cannot compile them."""
    copy = nn.Module.__new__(kind or type(module))
    vars(copy).update(_without_methods(vars(module)))
    return copy
