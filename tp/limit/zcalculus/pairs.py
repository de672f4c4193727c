"""Kernels whose expectations hold more than two Gaussians: every pair of samples by quadrature, one after the other.

Slow, a fraction of a second a pair; for few samples, and for checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, I, J, Limit, Value
from tp.limit.zcalculus.mean import gaussians
from tp.limit.zcalculus.numbers import number
from tp.program.ir import Ref

Array = NDArray[np.float64]
Place = tuple[int, int]


def needs_pairs(limit: Limit) -> bool:
    """Whether some expectation has more than two variables and is no polynomial: no compiled rule integrates it."""
    found = {e for equation in limit.equations for e in equation.rhs.atoms(Expectation)}
    return any(len(e.variables) > 2 and not e.integrand.is_polynomial(*e.variables) and _meeting(e) for e in found)


def _meeting(e: Expectation) -> bool:
    """Whether one factor holds more than two variables, or its variables are all correlated."""
    return any(len(gaussians(f)) > 1 for f in sp.Mul.make_args(e.integrand)) or all(c != 0 for c in e.cov)


@dataclass(frozen=True)
class PairKernel:
    """``kernel(X1, X2)``: [N1, N2] per kind, as compiled kernels return it. ``constants`` are numbers by name."""

    limit: Limit
    kinds: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, X1: Any, X2: Any = None) -> Array | tuple[Array, ...]:
        one = self._named(X1)
        two = one if X2 is None else self._named(X2)
        n1, n2 = (len(next(iter(x.values()))) for x in (one, two))
        run = _Run(self.limit, {k: np.concatenate([one[k], two[k]]) if X2 is not None else one[k] for k in one}, self.constants)
        shift = 0 if X2 is None else n1
        found = []
        for kind in self.kinds:
            outputs = [e.lhs for e in self.limit.equations if isinstance(e.lhs, Entry) and e.lhs.kind_name == kind
                       and e.lhs.a.name == self.limit.outputs[0].name]  # fmt: skip
            value = np.empty((n1, n2, len(outputs)))
            for i in range(n1):
                for j in range(n2):
                    if X2 is None and j < i:
                        value[i, j] = value[j, i]
                        continue
                    value[i, j] = [run.value(out, (i, j + shift)) for out in outputs]
            found.append(value[..., 0] if not self.limit.outputs[0].index else value)
        return found[0] if len(found) == 1 else tuple(found)

    def _named(self, X: Any) -> dict[str, Array]:
        data = self.limit.program.data
        arrays = dict(X) if isinstance(X, Mapping) else {data[0].ref.name: X}
        out = {k: np.asarray(v, float) for k, v in arrays.items()}
        for d in data:
            if d.ref.name not in out or out[d.ref.name].ndim != 1 + len(d.domain):
                reason = f"the input `{d.ref.name}` needs an array of {1 + len(d.domain)} axes"
                raise DataError(Message(NOWHERE, reason, "the samples first, then its indices and features", "wrong shape"))
        return out


@dataclass
class _Run:
    limit: Limit
    data: dict[str, Array]
    constants: Mapping[str, Any]
    memo: dict[tuple[sp.Expr, Place], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.equations: dict[sp.Expr, Equation] = {e.lhs: e for e in self.limit.equations}
        self.firsts = {d.ref.name: [int(r.lo) for r in d.domain] for d in self.limit.program.data}

    def value(self, atom: Entry | Value, place: Place) -> float:
        """An entry or value whose samples (i, j) are ``place``."""
        first = place[0] if atom.s == I else place[1]
        at = (first, (place[0] if atom.t == I else place[1]) if isinstance(atom, Entry) else first)
        if isinstance(atom, Entry):
            if atom.kind_name == "Gram":
                return float(self._read(atom.a, at[0]) @ self._read(atom.b, at[1]))
            key: sp.Expr = Entry(atom.args[0], atom.a, atom.b, I, J)
            if key not in self.equations:
                key, at = Entry(atom.args[0], atom.b, atom.a, I, J), (at[1], at[0])
        else:
            if atom.kind_name == "data":
                return float(self._read(atom.a, at[0]))
            key = Value(atom.args[0], atom.a, I)
        if (key, at) not in self.memo:
            if key not in self.equations:
                raise LimitError(Message(NOWHERE, f"no equation gives `{key}`", "", "incomplete limit"))
            self.memo[key, at] = self._number(self.equations[key].rhs, at)
        return self.memo[key, at]

    def _number(self, rhs: sp.Expr, place: Place) -> float:
        if place[0] == place[1]:
            rhs = _together(rhs)
        known: dict[sp.Basic, float] = {a: self.value(a, place) for a in rhs.atoms(Entry, Value)}
        symbols = (s for s in rhs.free_symbols if isinstance(s, sp.Symbol) and s.name in self.constants)
        known |= {s: float(self.constants[s.name]) for s in symbols}
        return number(rhs, known)

    def _read(self, ref: Ref, sample: int) -> Any:
        place = (int(e) - lo for e, lo in zip(ref.index, self.firsts[ref.name], strict=False))
        return self.data[ref.name][(sample, *place)]


def _together(expr: sp.Expr) -> sp.Expr:
    """The equation of a sample with itself: variables that coincide are one."""
    swap: dict[sp.Basic, sp.Basic] = {}
    for e in expr.atoms(Expectation):
        variables = [v.xreplace({J: I}) for v in e.variables]
        keep = [k for k, v in enumerate(variables) if v not in variables[:k]]
        cov = [[e.cov[a, b].xreplace({J: I}) for b in keep] for a in keep]
        swap[e] = Expectation(e.integrand.xreplace({J: I}), [variables[k] for k in keep], cov)
    return expr.xreplace(swap).xreplace({J: I})


def pair_kernel(limit: Limit, kinds: Sequence[str], constants: Mapping[str, Any]) -> PairKernel:
    """The kernel of a limit that no compiled rule integrates."""
    return PairKernel(limit, tuple(kinds), constants)
