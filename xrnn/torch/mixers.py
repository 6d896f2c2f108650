"""The Mamba mixers of transformers, and the backend of xLSTM, on xrnn's kernels.

On a CPU, transformers computes them in a Python loop over the steps (Mamba), or by matrix products of chunks of steps
(Mamba-2, xLSTM). `_MIXERS` lists the classes, and the forms of their `forward`: they differ in the names of the
arguments, in the cache, and in what the mask multiplies.

Other classes and forms, and calls that these kernels don't support, run transformers' own `forward`. This module does
not import transformers: it finds the classes by their names.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xrnn.torch import mamba, mamba2, mixer_steps, xlstm
from xrnn.torch.fallbacks import run_original
from xrnn.torch.unsupported import Unsupported, check_mode, in_dynamo

__all__ = ["check_mixer", "is_mixer", "obstacle", "run_mixer"]


class _Form(NamedTuple):
    """A `forward` of transformers, and the function that runs it on the kernels."""

    version: str  # of transformers
    arguments: str
    run: Callable[..., Tensor]


_OLD: Final = "hidden_states cache_params cache_position attention_mask"
_NEW: Final = "hidden_states cache attention_mask kwargs"
_MAMBA_4: Final = _Form("4.57", _OLD, mamba.of_4)
_MAMBA_5: Final = _Form("5.24", _NEW, mamba.of_5)
_JAMBA_4: Final = _Form("4.57", "hidden_states cache_params attention_mask", mamba.of_jamba_4)
_MAMBA2_4: Final = _Form("4.57", _OLD, mamba2.of_4)
_FALCON_H1_4: Final = _Form("4.57", _OLD, mamba2.of_hybrid_4)
_HYBRID_4: Final = _Form("4.57", f"{_OLD} seq_idx kwargs", mamba2.of_hybrid_4)
_MAMBA2_5: Final = _Form("5.24", _NEW, mamba2.of_5)
_XLSTM_5: Final = _Form(
    "5.24",
    "query key value igate fgate c_initial n_initial m_initial return_last_states mode",
    xlstm.of_5,
)
_XLSTM: Final = "transformers.models.xlstm.modeling_xlstm.xLSTMBackend"

_MIXERS: Final[dict[str, tuple[_Form, ...]]] = {
    "transformers.models.mamba.modeling_mamba.MambaMixer": (_MAMBA_4, _MAMBA_5),
    "transformers.models.falcon_mamba.modeling_falcon_mamba.FalconMambaMixer": (_MAMBA_4, _MAMBA_5),
    "transformers.models.jamba.modeling_jamba.JambaMambaMixer": (_JAMBA_4, _MAMBA_5),
    "transformers.models.mamba2.modeling_mamba2.Mamba2Mixer": (_MAMBA2_4, _MAMBA2_5),
    "transformers.models.bamba.modeling_bamba.BambaMixer": (_HYBRID_4, _MAMBA2_5),
    "transformers.models.falcon_h1.modeling_falcon_h1.FalconH1Mixer": (_FALCON_H1_4, _MAMBA2_5),
    "transformers.models.granitemoehybrid.modeling_granitemoehybrid.GraniteMoeHybridMambaLayer": (
        _HYBRID_4,
        _MAMBA2_5,
    ),
    "transformers.models.nemotron_h.modeling_nemotron_h.NemotronHMamba2Mixer": (_MAMBA2_5,),
    "transformers.models.zamba2.modeling_zamba2.Zamba2MambaMixer": (_MAMBA2_5,),
    _XLSTM: (_XLSTM_5,),
}


def is_mixer(module: nn.Module) -> bool:
    """Whether this is one of these mixers, or of a class derived from one."""
    return any(_name(kind) in _MIXERS for kind in type(module).__mro__)


def check_mixer(module: Any) -> None:
    """Raises Unsupported if the mixer can't run on the kernels in its present state."""
    if _name(parametrize.type_before_parametrizations(module)) == _XLSTM:
        xlstm.check_backend(module)
    else:
        mixer_steps.check_mixer(module)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def obstacle(module: nn.Module) -> str | None:
    """The reason why this mixer always runs in transformers, or None."""
    form = _form(module)
    return form if isinstance(form, str) else None


def run_mixer(module: Any, original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run `module` on the kernels, or by transformers' `original`, if the kernels do not support the call."""
    if in_dynamo() and not torch.compiler.is_exporting():  # left out of the graphs of torch.compile, as nn.LSTM is
        return torch.compiler.disable(run_mixer)(module, original, *arguments, **options)
    try:
        check_mode()
        form = _form(module)
        if isinstance(form, str):
            raise Unsupported(form)
        return form(module, *arguments, **options)
    except Unsupported as found:
        why = found.with_traceback(None)  # as in `forward.run`
    return run_original(original, why, module, *arguments, **options)


def _form(module: nn.Module) -> Callable[..., Tensor] | str:
    """The form of this mixer's `forward`, or the reason why no form fits."""
    kind: Any = parametrize.type_before_parametrizations(module)
    if _name(kind) not in _MIXERS:
        return f"its type is {_name(kind)}, not a mixer of transformers itself"
    methods = [name for name in ("forward", "slow_forward", "torch_forward") if hasattr(kind, name)]
    if any(name in vars(module) for name in methods if name != "forward"):
        return "its forward was replaced"
    return _form_of(_name(kind), *(getattr(kind, name) for name in methods))


@functools.cache
def _form_of(mixer: str, forward: Callable[..., Any], *called_by_it: Callable[..., Any]) -> Callable[..., Tensor] | str:
    if not all(map(_is_own, (forward, *called_by_it))):
        return "its forward was replaced"
    _, *names = inspect.signature(inspect.unwrap(forward)).parameters
    for form in _MIXERS[mixer]:
        if form.arguments.split() == names:
            return form.run
    versions = " and ".join(form.version for form in _MIXERS[mixer])
    return f"its forward takes other arguments than in transformers {versions}"


def _is_own(function: Any) -> bool:
    """Whether transformers defines this function and each of its decorators."""
    while function is not None:
        if function.__globals__["__name__"].partition(".")[0] != "transformers":
            return False
        function = getattr(function, "__wrapped__", None)
    return True
