"""Numbers for a Z-limit: its lines in order, every expectation integrated, with an error for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.atoms import Cov, Image, Slope
from tp.limit.zcalculus.integrals import Integrals
from tp.limit.zcalculus.limit import ZLimit
from tp.limit.zcalculus.measured import measured
from tp.program.ir import Ref
from tp.readings.inputs import checked_array

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Numbers(Mapping[sp.Expr, float]):
    """``numbers[Cov(…)]``, ``numbers[Value(…)]``; ``errors`` by the same names."""

    values_by_name: dict[sp.Expr, float]
    errors: dict[sp.Expr, float]
    method: str

    def __getitem__(self, name: sp.Expr) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[sp.Expr]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def numbers(
    limit: ZLimit,
    X: Any,
    constants: Mapping[str, Any],
    method: str = "auto",
    tol: float | None = None,
    seed: int = 0,
) -> Numbers:
    """A number for every named value of ``limit`` at one sample; see :func:`tp.limit.zcalculus.integrals.measured`."""
    if any(line.domain for line in limit.lines):
        reason = "this limit's families are not written out"
        raise LimitError(Message(NOWHERE, reason, "net.kernel() has the numbers of networks without transposes", "families"))
    given = _data(limit, X)
    given |= {c: float(constants[c.name]) for c in _symbols(limit) if c.name in constants}
    lines = [line for line in limit.lines if isinstance(line.lhs, (Cov, Slope, Value, Image))]
    names = [line.lhs for line in lines if not isinstance(line.lhs, Image)]

    def run(integrals: Integrals) -> Array:
        known: dict[sp.Basic, Any] = dict(given)
        for line in lines:
            if isinstance(line.lhs, Image):
                known[line.lhs.function] = integrals.image(line.lhs, line.rhs, dict(known))
            else:
                known[line.lhs] = float(integrals.value(line.rhs, known, 1)[0])
        return np.array([known[name] for name in names])

    found = measured(run, method, tol, seed)
    values, errors = (dict(zip(names, of.tolist(), strict=True)) for of in (found.values, found.errors))
    return Numbers(values, errors, found.method)


def number(expr: sp.Expr, known: Mapping[sp.Basic, float]) -> float:
    """``expr`` with its atoms and expectations as numbers."""
    return float(Integrals().value(expr, known, 1)[0])


def _symbols(limit: ZLimit) -> set[sp.Symbol]:
    return {s for line in limit.lines for s in line.rhs.free_symbols if isinstance(s, sp.Symbol)}


def _data(limit: ZLimit, X: Any) -> dict[sp.Basic, float]:
    """Coordinates and inner products of one sample: an array of the input's shape, or one by name."""
    inputs = limit.program.data
    if X is None:
        return {}
    given = X if isinstance(X, Mapping) else {inputs[0].ref.name: X}
    arrays: dict[str, Any] = {}
    for d in inputs:
        extents = [r.hi - r.lo + 1 for r in d.domain]
        if d.ref.name not in given or np.ndim(given[d.ref.name]) != len(extents):
            reason = f"one sample of the input `{d.ref.name}` has {len(extents)} axes"
            raise DataError(Message(d.span, reason, "pass an array of its indices and features", "wrong shape"))
        wanted = [int(e) if e.is_Integer else n for e, n in zip(extents, np.shape(given[d.ref.name]), strict=True)]
        arrays[d.ref.name] = checked_array(d.ref.name, given[d.ref.name], tuple(wanted), d.span, samples=False)
    known: dict[sp.Basic, float] = {}
    firsts = {d.ref.name: [int(r.lo) for r in d.domain] for d in inputs if d.ref.name in arrays}
    for atom in sorted({a for line in limit.lines for a in line.rhs.atoms(Value, Entry)}, key=str):
        if isinstance(atom, Value) and atom.kind_name == "data" and all(e.is_Integer for e in atom.a.index):
            known[atom] = float(arrays[atom.a.name][_place(atom.a, firsts)])
        elif isinstance(atom, Entry) and atom.kind_name == "Gram":
            known[atom] = float(arrays[atom.a.name][_place(atom.a, firsts)] @ arrays[atom.b.name][_place(atom.b, firsts)])
    return known


def _place(ref: Ref, firsts: dict[str, list[int]]) -> tuple[int, ...]:
    return tuple(int(e) - lo for e, lo in zip(ref.index, firsts[ref.name], strict=False))
