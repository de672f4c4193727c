"""The Z-calculus of families: one line per clause, for programs in which no matrix meets its transpose.

Without transposes every dot part is 0 and Z^{Wx} = Ẑ^{Wx}, so that a loop or a family needs no writing out: the line
holds for all of its indices, symbolic ranges included.

Source: Yang 2020, *Tensor Programs III*, Definition E.3; Yang 2019, *Tensor Programs I* (Netsor, no transposes).
"""

from __future__ import annotations

import sympy as sp

from tp.gaussian.expectation import Expectation
from tp.limit.clauses import Clause, flatten
from tp.limit.equations import I, Value, Z
from tp.limit.zcalculus.atoms import Cov, Hat, Output
from tp.limit.zcalculus.lines import Line
from tp.limit.zcalculus.members import Members
from tp.limit.zcalculus.rules import RULES
from tp.program.ir import Domain, MatMul, Nonlin, Ref, Weight


def family_lines(members: Members, random: frozenset[str]) -> tuple[Line, ...]:
    """The lines of a program without transposes; ``random`` are the outputs that stay random."""
    lines = [_initial(w) for w in members.program.weights if w.cols is None and w.rows is not None]
    for clause in flatten(members.program.body):
        lines += _clause(members, clause, random)
    return tuple(lines)


def _line(lhs: sp.Expr, rhs: sp.Expr, rule: str, clause: Clause | Weight) -> Line:
    name, source = RULES[rule]
    domain: Domain = clause.domain
    return Line(lhs, rhs, name, source, clause.span if isinstance(clause, Weight) else clause.ins.span, domain)


def _initial(w: Weight) -> Line:
    z = Z(w.ref, I)
    if w.variance == 0:
        return _line(z, w.multiplier * w.mean, "init", w)
    letter = z if w.mean == 0 else z - w.multiplier * w.mean
    return _line(Cov(letter, letter), w.multiplier**2 * w.variance, "init", w)


def _clause(members: Members, clause: Clause, random: frozenset[str]) -> list[Line]:
    ins, out = clause.ins, clause.out
    if isinstance(ins, MatMul):
        hat, x = Hat(out, I), Z(ins.x, I)
        weight = members.families.weight(ins.W, matrix=True)
        v = weight.multiplier**2 * weight.variance
        if ins.transpose:
            assert weight.rows is not None and weight.cols is not None
            v = sp.cancel(v * weight.rows.size / weight.cols.size)
        variance = v.xreplace(dict(members.families.binding(weight, ins.W))) * _mean(x**2)
        return [_line(Z(out, I), hat, "hat", clause), _line(Cov(hat, hat), variance, "hat covariance", clause)]
    expr = _random_variables(members, ins.expr)
    if isinstance(ins, Nonlin):
        if out.name in random:
            return []
        return [_line(Z(out, I) if ins.space is not None else Value("theta", out, I), expr, "nonlin", clause)]
    coeff = _random_variables(members, ins.coeff)
    if out.name in random:
        size = next(p.size for p in members.program.spaces if p.name == ins.space.name)
        f = Output(out, I)
        return [_line(Cov(f, f), _mean((coeff * expr) ** 2) / size, "readout", clause)]
    return [_line(Value("theta", out, I), coeff * _mean(expr), "moment", clause)]


def _random_variables(members: Members, expr: sp.Expr) -> sp.Expr:
    """``expr`` with Z's for vectors, names for scalars and data."""
    swap: dict[sp.Basic, sp.Basic] = {}
    for ref in expr.atoms(Ref):
        if ref.name in members.program.tables:
            continue
        kind = "data" if ref.name in members.families.data else "theta"
        swap[ref] = Z(ref, I) if members.families.is_vector(ref) else Value(kind, ref, I)
    return expr.xreplace(swap)


def _mean(expr: sp.Expr) -> sp.Expr:
    variables = sorted(expr.atoms(Z), key=str)
    cov = [[Cov(a, b) for b in variables] for a in variables]
    return Expectation(expr, variables, cov) if variables else expr
