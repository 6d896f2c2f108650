"""What the CUDA kernels are compiled for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from xrnn.backends.cupy import choice, launch


@dataclass(frozen=True)
class Variant:
    """What a kernel is compiled for."""

    form: str
    dtype: str
    rows: int
    kept: int
    backward: bool

    def __str__(self) -> str:
        direction = "backward" if self.backward else "forward"
        return f"{self.form} {direction} {self.dtype} rows={self.rows} kept={self.kept}"

    @property
    def options(self) -> tuple[str, ...]:
        return launch.options(self.dtype, self.rows, self.kept, self.backward)


def variants() -> Iterator[Variant]:
    """Every variant that the selection can ask for."""
    for form, dtype in itertools.product(choice.KEPT, choice.ROWS):
        for rows, kept, backward in itertools.product(choice.ROWS[dtype], choice.KEPT[form], (False, True)):
            yield Variant(form, dtype, rows, kept, backward)
