"""``Evaluated``: kernels that are not compiled, as matrices on disk and regressions see them; what the program tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.errors import NOWHERE
from tp.kernel import inputs
from tp.kernel.tiled import Matrices
from tp.program.ir import Program
from tp.readings.inputs import numbers_of


class Evaluated(Matrices):
    """Of a ``program`` with ``constants``, numbers by name."""

    program: Program
    constants: Mapping[str, Any]

    @property
    def network(self) -> str:
        return self.program.name

    @cached_property
    def shapes(self) -> inputs.Shapes:
        """The shape of one sample, by input."""
        numbers = numbers_of(self.program, self.constants)
        symbols = {s: numbers[s.name] for s in self.program.constants if s.name in numbers}
        return {d.ref.name: inputs.shape(d, symbols) for d in self.program.data}

    @property
    def sizes(self) -> inputs.Names:
        """What the extents of an input are called in the spec."""
        return {d.ref.name: d.sizes for d in self.program.data}

    @property
    def spec(self) -> dict[str, Any]:
        """The program and its numbers, as JSON."""
        weights = [repr(replace(w, span=NOWHERE)) for w in self.program.weights]
        lines = [str(self.program), *weights, repr(self.program.tables), repr(self.program.boundary)]
        return {"spec": lines, "constants": {name: str(value) for name, value in self.constants.items()}}

    def transposed(self, block: NDArray[Any]) -> NDArray[Any]:
        """Entries (j, i) of a symmetric kernel from entries (i, j)."""
        return np.moveaxis(block, 0, 1)

    def load(self) -> None:
        """Nothing is compiled."""
