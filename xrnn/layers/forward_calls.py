"""The count of forward calls of a layer that draws random numbers."""

from __future__ import annotations

import warnings
from typing import Any


class CountsForwardCalls:
    """A layer with `forward_calls`, the number of its forward calls. `step` is the old name."""

    forward_calls: int

    @property
    def step(self) -> int:
        """The old name of `forward_calls`."""
        self._warn_of_step()
        return self.forward_calls

    @step.setter
    def step(self, count: int) -> None:
        self._warn_of_step()
        self.forward_calls = count

    def _warn_of_step(self) -> None:
        name = type(self).__name__
        warnings.warn(f"{name}.step is now forward_calls: use the new name", DeprecationWarning, stacklevel=3)

    @staticmethod
    def _with_new_name(state: dict[str, Any]) -> dict[str, Any]:
        """The state of a pickle, which may be older than the new name."""
        return {"forward_calls" if name == "step" else name: value for name, value in state.items()}
