"""An existing model, faster."""

from __future__ import annotations

from typing import Final

from torch import nn
from torch.nn.utils import parametrize

from xrnn.torch.modules import GRU, LSTM, RNN, KernelModule

_FASTER: Final[dict[type[nn.Module], type[KernelModule]]] = {nn.RNN: RNN, nn.LSTM: LSTM, nn.GRU: GRU}


def accelerate(model: nn.Module) -> list[str]:
    """Let every nn.RNN, nn.LSTM and nn.GRU in `model` run xrnn's kernels, in place → their names in the model.

    The modules stay the same objects, with the same Parameters, hooks, parametrisations, mode and device: only what
    `forward` runs is another. The model itself may be such a module; its name is then empty. Subclasses and modules
    with a `forward` of their own are left alone, since it may mean something else, and so are modules with proj_size,
    which has no kernel.

    Raises TypeError for what is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}: expected a torch.nn.Module; pass the model, not its output"
        )
    replaced = []
    for name, module in model.named_modules():
        faster = _FASTER.get(parametrize.type_before_parametrizations(module))
        if faster and not module.proj_size and "forward" not in vars(module):
            module.__class__ = _parametrised(type(module), faster) if parametrize.is_parametrized(module) else faster
            replaced.append(name)
    return replaced


def _parametrised(own: type[nn.Module], faster: type[KernelModule]) -> type[nn.Module]:
    """What PyTorch made of the module's class, with the parametrised weights as properties, made of the faster one."""
    attributes = {name: value for name, value in vars(own).items() if name not in ("__dict__", "__weakref__")}
    return type(own.__name__, (faster,), attributes)
