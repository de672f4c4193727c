"""``closed``: expectations replaced by their closed forms, where a rule knows one."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.gaussian.closed import closed_form
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Equation, Limit, Value
from tp.program.parts import within
from tp.program.replace import replaced


def close(limit: Limit) -> Limit:
    """Each ``Expectation`` with a closed form is replaced by it; the others stay, and can be integrated numerically.

    The equation's rule then names the law that was used.
    """
    equations = []
    for equation in limit.equations:
        swap, laws = {}, []
        for expectation in sorted(equation.rhs.atoms(Expectation), key=sp.default_sort_key):
            form = closed_form(expectation)
            if form is not None:
                swap[expectation] = form.expr
                laws.append((form.rule, form.source))
        if swap:
            laws = list(dict.fromkeys(laws))
            rule = "; ".join([equation.rule, *(r for r, _ in laws)])
            source = "; ".join([equation.source, *(s for _, s in laws)])
            equation = replace(equation, rhs=equation.rhs.xreplace(swap), rule=rule, source=source)
        equations.append(equation)
    return replace(limit, equations=tuple(without_zeros(equations, {f.name for f in limit.outputs})))


def without_zeros(equations: list[Equation], kept: set[str]) -> list[Equation]:
    """Means, scalars and tangents that are 0 everywhere, such as E[tanh u], left out of the others; those ``kept`` stay said.

    Families are 0 whose right sides are 0 once all of them are: every recursion ends in a first member.
    """
    families: dict[Family, list[Equation]] = {}
    for e in equations:
        families.setdefault(_family(e.lhs), []).append(e)
    zeros = {key for key in families if key[0] in ("theta", "m", "Theta")}
    while others := {key for key in zeros if any(_without(e.rhs, zeros) != 0 for e in families[key])}:
        zeros -= others
    left = [e for e in equations if _family(e.lhs) not in zeros or e.lhs.a.name in kept]
    found = [replace(e, rhs=_without(e.rhs, zeros)) for e in left] if zeros else equations
    return equations if any(e.rhs.has(sp.zoo, sp.nan) for e in found) else found  # a norm of what is 0


Family = tuple[str, ...]


def _family(lhs: Entry | Value) -> Family:
    """The kind and the names of what an equation is about."""
    return (lhs.kind_name, lhs.a.name, lhs.b.name) if isinstance(lhs, Entry) else (lhs.kind_name, lhs.a.name)


def _without(expr: sp.Expr, zeros: set[Family]) -> sp.Expr:
    return replaced(expr, {v: sp.S.Zero for v in within(expr, Entry) | within(expr, Value) if _family(v) in zeros})
