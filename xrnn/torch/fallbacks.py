"""Calls and gradients that ran in PyTorch: counted by module and reason, and logged once for each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from xrnn.torch.unsupported import Recorded, Slower, Unsupported, in_dynamo

Reasons: TypeAlias = Counter[str]

_log: Final = logging.getLogger("xrnn.torch")
_MOST_REASONS: Final = 8  # of a module; a reason may name a shape, and a program may use any number of shapes
_OTHER: Final = "other reasons"
_reasons: Final[WeakKeyDictionary[Any, Reasons]] = WeakKeyDictionary()


def reasons_of(module: Any) -> Reasons:
    """The counts of this module."""
    reasons = _reasons.get(module)
    return _reasons.setdefault(module, Counter()) if reasons is None else reasons


def share(module: Any, replica: Any) -> None:
    """Count the calls of `replica`, such as one of nn.DataParallel, as those of `module`."""
    _reasons[replica] = reasons_of(module)


def forget(module: Any) -> None:
    """Count from zero again: the module now runs in another way."""
    reasons_of(module).clear()  # the same object, which the directions and the replicas of the module hold


def count(reasons: Reasons, what: str, why: Unsupported) -> None:
    """Count a call or a gradient, and log it: at level WARNING the first time for this reason, then at DEBUG.

    what   ran in PyTorch, for the message: "LSTM", or "LSTM: the gradient"
    """
    level = logging.DEBUG
    if not isinstance(why, Recorded):
        reason = f"the gradient: {why}" if what.endswith("the gradient") else str(why)
        is_new = reason not in reasons and len(reasons) < _MOST_REASONS
        reasons[reason if reason in reasons or is_new else _OTHER] += 1
        if is_new and not isinstance(why, Slower):
            level = logging.WARNING
    _log.log(level, "%s runs in PyTorch: %s", what, why)


def run_original(original: Callable[..., Any], why: Unsupported, module: Any, *arguments: Any, **options: Any) -> Any:
    """The result of the `forward` that the module had before, and a count of the call."""
    if in_dynamo():  # a logging call would break the graph of torch.compile
        return original(module, *arguments, **options)
    try:
        result = original(module, *arguments, **options)
    except BaseException:
        _log.debug("%s runs in PyTorch: %s", type(module).__name__, why)
        raise
    count(reasons_of(module), type(module).__name__, why)
    return result


def counted(module: Any) -> str:
    """What ran in PyTorch so far, for `explain`: "" if nothing did."""
    reasons = _reasons.get(module)
    if not reasons:
        return ""
    return "; ran in PyTorch: " + "; ".join(f"{reason} ({n:,} times)" for reason, n in reasons.most_common())
