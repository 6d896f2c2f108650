"""Settings that hold in the process or in a `with` block: the backend, the fused forms, the precision.

A ContextVar holds the setting in effect. A token of the ContextVar is not enough to end a block: in a generator, blocks
may end in any order and in any context, for example where the garbage collector closes the generator. `reset` would
then raise ValueError, or restore a setting whose block has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar


class _Ended:
    """The values of the setting around it.

    No setting in effect has a `__getattr__`, because Python then reads each of its attributes more slowly: each call of
    a layer reads two, and took 30 ns longer.
    """

    __slots__ = ()

    def __getattr__(self: Any, name: str) -> Any:
        return getattr(self._open(), name)


class Setting:
    """The values of a setting, as attributes. When a block has ended, they are those of the setting around it.

    A context may keep the setting of an ended block. It then reads the enclosing setting, including later
    changes.
    """

    __slots__ = ("_outer",)
    _ended: ClassVar[Any]  # the class after the end of the block

    def __init_subclass__(cls) -> None:
        if not issubclass(cls, _Ended):
            cls._ended = type(cls.__name__, (_Ended, cls), {"__slots__": ()})

    def __init__(self) -> None:
        self._outer = self

    def _end(self) -> None:
        names = type(self).__slots__
        self.__class__ = self._ended  # first: another thread may read the values
        for name in names:
            delattr(self, name)

    def _open(self) -> Setting:
        """This setting, or the one around it whose block has not ended."""
        found = self
        while isinstance(found, _Ended):
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
