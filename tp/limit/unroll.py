"""``unroll``: a limit's recursions written out, for numbers where no order of loops computes them.

A weight shared by layers that a skip connection joins couples all pairs of layers: the covariance of layers (l, l')
needs both (l, l' − 1) and (l − 1, l'), and the variance at l'. Written out for the numbers l = 1…L, the equations have
an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message, with_values
from tp.limit.clauses import at
from tp.limit.equations import Entry, Equation, Limit, Value
from tp.program.ir import Range, Ref

LARGEST = 5000


def unroll(limit: Limit, constants: Mapping[str, Any] | None = None) -> Limit:
    """The same limit with an equation for every value of an index that some equation reads at a shifted value.

    ``constants`` are numbers for symbolic constants, which ranges may use.

    Raises ``LimitError`` when such a range is symbolic or the equations would be more than ``LARGEST``.
    """
    numbers = {
        c: sp.Integer(int((constants or {})[c.name]))
        for c in limit.program.constants
        if c.is_integer and c.name in (constants or {})
    }
    slots = _recursive_slots(limit)
    equations: list[Equation] = []
    for equation in limit.equations:
        equations += _instances(_numbered(equation, numbers), slots)
        if len(equations) > LARGEST:
            raise LimitError(
                Message(
                    equation.span,
                    f"more than {LARGEST} equations couple all pairs of `{equation.lhs}`",
                    "use fewer layers",
                    "too large",
                )
            )
    return replace(limit, equations=tuple(equations))


def _numbered(equation: Equation, numbers: dict[sp.Symbol, sp.Expr]) -> Equation:
    if not numbers:
        return equation
    domain = tuple(Range(r.index, r.lo.subs(numbers), r.hi.subs(numbers)) for r in equation.domain)
    left = equation.lhs.subs(numbers)
    assert isinstance(left, (Entry, Value))
    return replace(equation, lhs=left, rhs=equation.rhs.subs(numbers), domain=domain)


def _recursive_slots(limit: Limit) -> set[tuple[str, int]]:
    """Slots of variables that are read at another value than they are defined at."""
    found = set()
    for equation in limit.equations:
        left = {r.name: r for r in equation.lhs.atoms(Ref)}
        for ref in equation.rhs.atoms(Ref):
            home = left.get(ref.name)
            if home is None:
                continue
            for k, (e, f) in enumerate(zip(home.index, ref.index, strict=True)):
                shift = sp.expand(f - e)
                others = {g for h in equation.lhs.atoms(Ref) for g in h.index}
                if shift.is_number and shift != 0 and not f.free_symbols - {s for g in others for s in g.free_symbols}:
                    found.add((ref.name, k))
    return found


def _instances(equation: Equation, slots: set[tuple[str, int]]) -> list[Equation]:
    """One equation for each value of the recursive indices."""
    symbols = {ref.index[k] for ref in equation.lhs.atoms(Ref) for name, k in slots if ref.name == name and k < len(ref.index)}
    ranges = [r for r in equation.domain if r.index in symbols]
    for r in ranges:
        if not (r.lo.is_Integer and r.hi.is_Integer):
            names = sorted({s.name for e in (r.lo, r.hi) for s in e.free_symbols})
            remedy, command = with_values("load with", names)
            reason = f"the range of `{r}` is not a number"
            raise LimitError(Message(equation.span, reason, remedy, "symbolic range", command))
    written = []
    for values in product(*(range(int(r.lo), int(r.hi) + 1) for r in ranges)):
        binding = {r.index: sp.Integer(v) for r, v in zip(ranges, values, strict=True)}
        rest = tuple(Range(r.index, at(r.lo, binding), at(r.hi, binding)) for r in equation.domain if r.index not in binding)
        left = at(equation.lhs, binding)
        assert isinstance(left, (Entry, Value))
        written.append(replace(equation, lhs=left, rhs=at(equation.rhs, binding), domain=rest))
    return written
