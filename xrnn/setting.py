"""Settings that hold in the process or in a `with` block: the backend, the fused forms, the precision.

A ContextVar holds the setting in effect. A token of the ContextVar is not enough to end a block: in a generator, blocks
may end in any order and in any context, for example where the garbage collector closes the generator. `reset` would
then raise ValueError, or restore a setting whose block has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar


class Setting:
    """The values of a setting, as attributes. When a block has ended, they are those of the setting around it.

    A context may keep the setting of an ended block. It then reads the enclosing setting, including later
    changes.
    """

    __slots__ = ("_ended", "_outer")

    def __init__(self) -> None:
        self._ended, self._outer = False, self

    if not TYPE_CHECKING:  # so that a type checker refuses unknown attributes

        def __getattr__(self, name: str) -> Any:
            """For the attributes that `_end` deleted."""
            if name in Setting.__slots__ or name not in type(self).__slots__:
                raise AttributeError(name)
            return getattr(self._open(), name)

    def _end(self) -> None:
        self._ended = True
        for name in type(self).__slots__:
            delattr(self, name)

    def _open(self) -> Setting:
        """This setting, or the one around it whose block has not ended."""
        found = self
        while found._ended:
            found = found._outer
        return found


_Any = TypeVar("_Any", bound=Setting)


@contextlib.contextmanager
def within(variable: ContextVar[_Any], setting: _Any) -> Iterator[None]:
    """Within the block, `setting` is in effect."""
    setting._outer = variable.get()._open()
    variable.set(setting)
    try:
        yield
    finally:
        setting._end()
        if variable.get() is setting:
            variable.set(setting._open())  # type: ignore[arg-type]  # of the same class
