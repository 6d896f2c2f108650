"""The kernels of xLSTM in transformers: the recurrence of mLSTM on xrnn's matrix memory.

Each layer of the model calls an `xLSTMBackend`, a module without weights. transformers computes it by matrix products
of chunks of 64 steps, and step by step for the remaining steps. This `forward` computes all steps at once.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from xrnn.torch.memory import memory_of
from xrnn.torch.operation import apply
from xrnn.torch.selective_scan import MatrixMemory
from xrnn.torch.unsupported import Unsupported, casts, check_mode, check_tensor

# exp(-m) overflows if no step stores anything for long. It is a bound of the normaliser, which is then the maximum.
_LARGEST_EXPONENT: Final = 80.0


def check_backend(module: Any) -> None:
    """Raises Unsupported if the backend can't run on the kernels in its present state."""
    check_mode()
    if casts():
        raise Unsupported("autocast is on")
    own = sys.modules[type(module).__module__]
    kernels = {
        "chunkwise_kernel_fn": "mlstm_chunkwise_native_autograd",
        "sequence_kernel_fn": "mlstm_recurrent_sequence_native",
        "step_kernel_fn": "mlstm_recurrent_step_native",
    }
    for attribute, name in kernels.items():
        if getattr(module, attribute) is not getattr(own, name):
            raise Unsupported(f"its {attribute} was replaced")
    if module.config.inference_state_dtype != "float32":
        raise Unsupported(f"its inference_state_dtype is {module.config.inference_state_dtype}, not float32")


def of_5(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    igate: Tensor,
    fgate: Tensor,
    c_initial: Tensor | None = None,
    n_initial: Tensor | None = None,
    m_initial: Tensor | None = None,
    return_last_states: bool | None = None,
    mode: str | None = None,
) -> Any:
    """`forward` of xLSTMBackend of transformers 5.24 → h (N, H, T, V), or (h, (c, n, m)).

    query, key     (N, H, T, K)
    value          (N, H, T, V)
    igate, fgate   (N, H, T), pre-activations
    c_initial      (N, H, K, V), c_initial · exp(m_initial) is the state before the first step; zeros by default
    n_initial      (N, H, K), in the same way
    m_initial      (N, H, 1)
    """
    given = {"key": key, "value": value, "igate": igate, "fgate": fgate}
    given |= {"c_initial": c_initial, "n_initial": n_initial, "m_initial": m_initial}
    check_backend(module)
    check_tensor("query", query)
    for name, tensor in given.items():
        if tensor is not None:
            check_tensor(name, tensor, query)
    if query.device.type != "cpu":
        raise Unsupported(f"it is on the device {query.device}, where transformers has its own kernels")
    memory_of(query.device)
    if query.dtype is not torch.float32:
        raise Unsupported(f"query is {query.dtype}: the kernels take a model in float32, as of model.float()")
    if len({state is None for state in (c_initial, n_initial, m_initial)}) > 1:
        raise Unsupported("only some of the initial states are given")
    mode = mode or module.config.mode
    trains = "train" in mode
    if not trains and "inference" not in mode:
        raise Unsupported(f"its mode is {mode}")
    N, H, T, _ = query.shape
    chunk = module.config.chunk_size
    if trains and "with_padding" not in module.config.mode and T % chunk:
        raise Unsupported(f"it was called in the mode train with {T} steps, which chunk_size={chunk} does not divide")
    if trains and return_last_states is None:
        return_last_states = module.config.return_last_states
    if trains and return_last_states and "with_padding" in module.config.mode:
        raise Unsupported("transformers returns no last states in the mode train_with_padding")
    if not T or value.shape[:3] != (N, H, T):
        raise Unsupported(f"query is {tuple(query.shape)}, value {tuple(value.shape)}")
    h, states = _recurrence(query, key, value, igate, fgate, c_initial, n_initial, m_initial, module.config.eps)
    return (h, states) if return_last_states or not trains else h


def _recurrence(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    igate: Tensor,
    fgate: Tensor,
    c: Tensor | None,
    n: Tensor | None,
    m: Tensor | None,
    eps: float,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """mLSTM (Beck et al., 2024), with the normaliser n as one more column of the matrix c.

    c' = f' c + i' k vᵀ,  n' = f' n + i' k,  h = c'ᵀ q / (max(|n' · q|, exp(-m')) + eps),  q = query / √K
    m' = max(log f + m, igate),  i' = exp(igate - m'),  f' = exp(log f + m - m'),  f = σ(fgate)

    With any numbers m', c'ᵀ q and the maximum are multiplied by the same factor, so m' is a constant in the gradients,
    except in `eps` and in the returned states.
    """
    log_f = F.logsigmoid(fgate)
    before = igate.new_zeros((*igate.shape[:2], 1)) if m is None else m
    total = log_f.cumsum(dim=2)
    after = total + torch.maximum(before, (igate - total).cummax(dim=2).values)  # m', (N, H, T)
    fixed = after.detach()
    log_decay = log_f + (torch.cat([before, fixed[:, :, :-1]], dim=2) - fixed)
    stored = torch.exp(igate - fixed)[..., None]
    columns = torch.cat([value * stored, stored], dim=3)
    initial = None if c is None or n is None else torch.cat([c, n[..., None]], dim=3)
    time_first = [each.permute(2, 0, 1, 3) for each in (query * query.shape[3] ** -0.5, key, columns)]
    y, last = apply(MatrixMemory("xLSTMBackend"), [*time_first, log_decay.permute(2, 0, 1), initial])
    y = y.permute(1, 2, 0, 3)
    bound = torch.exp((-fixed).clamp(max=_LARGEST_EXPONENT))
    size = torch.maximum(y[..., -1].abs(), bound) + eps * torch.exp(after - fixed)
    h = y[..., :-1] / size[..., None]
    last = last * torch.exp(fixed[:, :, -1] - after[:, :, -1])[..., None, None]
    return h, (last[..., :-1], last[..., -1], after[:, :, -1:])
