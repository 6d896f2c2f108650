"""The methods that `accelerate` gives a module. They are attributes of the instance, so its type stays the same.

`forward` runs the kernels. The others keep it correct when PyTorch copies, converts or scripts the module.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable
from typing import Any, Final

from torch import nn

from xrnn.torch.fallbacks import forget, share
from xrnn.torch.forward import run
from xrnn.torch.mixers import is_mixer, run_mixer
from xrnn.torch.weights import INFERENCE, drop_wrapped

_log: Final = logging.getLogger("xrnn.torch")


class _Bound(functools.partial[Any]):
    """A method of one module. It holds the module by a weak reference, so that a deleted module is freed at once."""

    @property
    def module(self) -> Any:
        return self.args[0]()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bound:
        # If the module itself is being copied, `memo` has the copy: the new method belongs to that.
        return _bound(self.func, memo.get(id(self.module), self.module))

    def __reduce__(self) -> tuple[Any, ...]:
        return _bound, (self.func, self.module)


def _bound(function: Callable[..., Any], module: nn.Module) -> _Bound:
    return _Bound(function, weakref.ref(module))


def _module(ref: Callable[[], Any]) -> Any:
    module = ref()
    if module is None:
        raise ReferenceError(
            "the module of this method was deleted: expected a living one; keep a reference to the module"
        )
    return module


def _forward(ref: Any, input: Any, hx: Any = None) -> Any:
    module = ref() or _module(ref)
    return run(module, type(module).forward, input, hx)


def _mixer_forward(ref: Any, *arguments: Any, **options: Any) -> Any:
    module = _module(ref)
    return run_mixer(module, type(module).forward, *arguments, **options)


def _apply(ref: Any, *arguments: Any, **options: Any) -> Any:
    """PyTorch calls it for conversions, such as `.to(…)`. The wrapped weights would keep the old ones in memory."""
    module = _module(ref)
    drop_wrapped(module)
    return type(module)._apply(module, *arguments, **options)


def _replicate(ref: Any) -> Any:
    module = _module(ref)
    replica = type(module)._replicate_for_data_parallel(module)
    bind(replica)
    share(module, replica)
    return replica


def _prepare_scriptable(ref: Any) -> Any:
    return plain_copy(_module(ref))


def _reduce(ref: Any, protocol: Any) -> tuple[Any, ...]:
    """For copies and pickles: `remade` gives the new module methods of its own."""
    module = _module(ref)
    make, arguments, state, *rest = module.__class__.__reduce_ex__(module, protocol)
    return (remade, (make, arguments), _without_methods(state), *rest)


def remade(make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Make an accelerated module, without its state, for a copy or a pickle. Pickles hold the name of this function."""
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
    methods = _METHODS | {"forward": _mixer_forward} if is_mixer(module) else _METHODS
    vars(module).update({name: _bound(function, module) for name, function in methods.items()})


def unbind(module: nn.Module) -> None:
    for name in _METHODS:
        vars(module).pop(name, None)
    vars(module).pop(INFERENCE, None)
    drop_wrapped(module)
    forget(module)


def _without_methods(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a module without these methods. If the user has replaced a method, it stays."""
    return {name: v for name, v in attributes.items() if name not in _METHODS or not isinstance(v, _Bound)}


def is_bound(module: nn.Module) -> bool:
    """Whether `module` has these methods. A copied `__dict__` does not count: it holds those of the original."""
    forward = vars(module).get("forward")
    return isinstance(forward, _Bound) and forward.module is module


def plain_copy(module: Any, kind: Any = None) -> Any:
    """A module that runs in PyTorch, with the same Parameters, for torch.jit.script: it cannot compile the kernels.

    It also replaces `module` in the model that is scripted: PyTorch puts it there.
    """
    _log.warning(
        "torch.jit.script replaces the accelerated %s in your model by PyTorch's own: "
        "call xrnn.torch.accelerate(model) again, or script copy.deepcopy(model)",
        type(module).__name__,
    )
    copy = nn.Module.__new__(kind or type(module))
    vars(copy).update(_without_methods(vars(module)))
    return copy
