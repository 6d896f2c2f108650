"""Run the recurrent modules of an existing model on the kernels, explain which of them do, and undo it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import nn
from torch.nn.utils import parametrize

from xrnn.backend import fused_forms
from xrnn.backends.numpy.info import bfloat16_obstacle
from xrnn.torch.bfloat16 import precision_in_use
from xrnn.torch.fallbacks import counted, forget
from xrnn.torch.forward import PYTORCH_FORWARDS
from xrnn.torch.methods import bind, is_bound, unbind
from xrnn.torch.mixers import check_mixer, is_mixer
from xrnn.torch.mixers import obstacle as obstacle_of_mixer
from xrnn.torch.modules import KernelModule
from xrnn.torch.unsupported import Unsupported, casts, check_mode
from xrnn.torch.weights import INFERENCE, are_bfloat16, directions_of, drop_wrapped, in_float32, weights_of

_TYPES: Final = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)


def accelerate(model: nn.Module, *, freeze: bool = False, int8: bool = False) -> dict[str, str]:
    """Make every nn.RNN, nn.LSTM and nn.GRU in `model` run on xrnn's kernels, in place → the result of `explain`.

    Modules may be float32, float64 or, on a CPU, bfloat16. With `int8`, nn.RNNCell, nn.LSTMCell and nn.GRUCell run on
    the kernels too; without it they stay in PyTorch, which is as fast for a single step.

    The same holds for the mixers of Mamba models in transformers 4.57 and 5.24: Mamba, FalconMamba and Jamba; and of
    Mamba-2: Mamba2, Bamba, FalconH1 and GraniteMoeHybrid, and in 5.24 NemotronH and Zamba2; and of the backends of
    xLSTM in 5.24. `freeze` and `int8` do not change them.

    freeze   for inference: keep the weights in the layout of the kernels, so that a call does not make it. Parameters
             stay, and take their memory
    int8     for inference: with weights of 8 bits, as `xrnn.quantize` makes them, of float32 or bfloat16 weights on the
             CPU; freezes too

    The result says where each recurrent module now runs. A second call with the same options changes nothing and
    returns the same; a call without `freeze` and `int8` makes the modules trainable again.

    `backward` through a frozen module raises RuntimeError. It notices new weights of `load_state_dict` and other
    changes in place, which PyTorch counts, at its next call. It does not notice changes that PyTorch does not count:
    in `weight.data`, and in an array of `weight.numpy()`. The modules of xrnn.torch are frozen too.

    The modules keep their type, Parameters, hooks, parametrisations, mode and device; only `forward` changes, as an
    attribute of the module. The model itself may be such a module; its name is then empty. Subclasses, modules whose
    `forward` was replaced (on the module or on its class), and modules with proj_size are left alone.

    `torch.save` of a whole accelerated module needs xrnn to load it: save `model.state_dict()` for programs without
    xrnn, or call `restore(model)` first.

    Raises TypeError if `model` is not a module.
    """
    for _, module in _named_modules(model):
        if isinstance(module, nn.RNNCellBase) and not int8:
            if is_bound(module):
                unbind(module)
        elif not is_bound(module) and _obstacle(module) is None:
            bind(module)
        if (is_bound(module) and not is_mixer(module)) or isinstance(module, KernelModule):
            _set_inference(module, "int8" if int8 else "frozen" if freeze else None)
    return explain(model)


def _set_inference(module: nn.Module, inference: str | None) -> None:
    if vars(module).get(INFERENCE) != inference:
        vars(module).pop(INFERENCE, None)
        drop_wrapped(module)
        forget(module)
    if inference:
        vars(module)[INFERENCE] = inference


def restore(model: nn.Module) -> list[str]:
    """Undo `accelerate`, in place → the names of the modules that run PyTorch's own `forward` again.

    Raises TypeError if `model` is not a module.
    """
    restored = []
    for name, module in _named_modules(model):
        if is_bound(module):
            unbind(module)
            restored.append(name)
    return restored


def explain(model: nn.Module) -> dict[str, str]:
    """Where each recurrent module in `model` runs, by its name: "kernels", or "PyTorch: " and the reason.

    A module that only infers runs on "kernels, frozen" or "kernels, int8".
    With XRNN_FUSED=0 or `use_fused(False)`, the answer is "xrnn's plain form: " and the reason. It also
    depends on the module, its weights and the current mode (autocast, tracing, …). A single call may still run in
    PyTorch, for example because of the dtype of its input. The answer then lists the number of such calls by reason,
    and the logger `xrnn.torch` gives each reason once, at level WARNING. The numbers begin at 0 again when `accelerate`
    with other options, or `restore`, changes where the module runs.

    Raises TypeError if `model` is not a module.
    """
    ours = "kernels" if fused_forms().enabled else "xrnn's plain form: XRNN_FUSED=0 or use_fused(False)"
    answers = {}
    for name, module in _named_modules(model):
        if _is_recurrent(module):
            why = _why_pytorch(module)
            inference = f", {vars(module)[INFERENCE]}" if INFERENCE in vars(module) else ""
            products = _not_in_bfloat16(module) if why is None else ""
            answers[name] = (ours + inference + products if why is None else f"PyTorch: {why}") + counted(module)
    return answers


def _named_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}: expected a torch.nn.Module; pass the model, not its output"
        )
    return model.named_modules()


def _is_recurrent(module: Any) -> bool:
    if isinstance(module, torch.jit.RecursiveScriptModule):  # its qualified name has the module of the original class
        return bool(module._c._type().qualified_name().startswith("__torch__.torch.nn.modules.rnn."))
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) or is_mixer(module)


def _obstacle(module: nn.Module) -> str | None:
    """The reason why `accelerate` leaves this module unchanged, or None."""
    kind: Any = parametrize.type_before_parametrizations(module)
    if is_mixer(module):
        return "its forward was replaced" if "forward" in vars(module) else obstacle_of_mixer(module)
    if kind not in _TYPES:
        return f"its type is {kind.__module__}.{kind.__qualname__}, not torch.nn.RNN, LSTM, GRU or one of their cells"
    if "forward" in vars(module) or type(module).forward not in PYTORCH_FORWARDS:
        return "its forward was replaced"
    return f"it has proj_size={module.proj_size}" if getattr(module, "proj_size", 0) else None


def _why_pytorch(module: Any) -> str | None:
    if not isinstance(module, KernelModule) and not is_bound(module):
        first = "call xrnn.torch.accelerate(model) first"
        if isinstance(module, nn.RNNCellBase):
            first = "a single step is as fast there; accelerate(model, int8=True) runs it on the kernels"
        return _obstacle(module) or first
    try:
        if is_mixer(module):
            check_mixer(module)
            return None
        check_mode()
        weights = weights_of(module)
        if are_bfloat16(weights):
            in_float32(module, weights, weights[0].float())
        else:
            directions_of(module, weights, weights[0])
    except Unsupported as why:
        return str(why)
    finally:
        drop_wrapped(module)  # a question leaves no trace
    return None


def _not_in_bfloat16(module: Any) -> str:
    """Why products are not in bfloat16 though autocast or the weights ask for it; "" if they are, or are not asked for.

    Small layers compute in float32 on every CPU: this says nothing about sizes.
    """
    if is_mixer(module) or vars(module).get(INFERENCE) == "int8":
        return ""
    weights = weights_of(module)
    if weights[0].device.type != "cpu" or not (casts() or are_bfloat16(weights)):
        return ""
    name, decided_by = precision_in_use()
    if name != "bfloat16":
        return f", products in {name}: {decided_by}"
    obstacle = bfloat16_obstacle()
    return f", products in float32: {obstacle}" if obstacle and fused_forms().enabled else ""
