"""``closed``: expectations by closed forms where a rule knows one, and numbers put in where they are used."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.errors import LimitError, Message
from tp.gaussian.closed import closed_form
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.atoms import Cov, Dot, Slope
from tp.limit.zcalculus.limit import ZLimit
from tp.limit.zcalculus.lines import Line
from tp.limit.zcalculus.mean import mean, nested

SHORT = 24
"""Operations of a formula in constants alone that is put in where its name is used."""
NAMES = (Cov, Slope, Value, Entry)
MOST = 3
"""Variables of an expectation for which a closed form is looked for, unless it is a polynomial."""


def close(limit: ZLimit) -> ZLimit:
    """The same lines; each says by which laws its expectations were closed. ``LimitError`` where one is no number."""
    known: dict[sp.Basic, sp.Expr] = {}
    lines = []
    for line in limit.lines:
        line = _closed(replace(line, rhs=line.rhs.xreplace(known)))
        if line.rhs.has(sp.zoo, sp.nan):
            reason = "a dot part is a combination of products that depend on each other, by a matrix without an inverse"
            remedy = "take samples that are no multiples of others; the numbers of all are those of `run.limit()`"
            raise LimitError(Message(line.span, reason, remedy, "singular covariances"))
        lines.append(line)
        if isinstance(line.lhs, NAMES) and _plain(line.rhs):
            known[line.lhs] = line.rhs
    return replace(limit, lines=tuple(lines))


def _plain(expr: sp.Expr) -> bool:
    return not expr.has(Expectation, *NAMES, Dot) and expr.count_ops() <= SHORT


def _closed(line: Line) -> Line:
    swap, laws = {}, []
    for e in sorted(line.rhs.atoms(Expectation), key=sp.default_sort_key):
        e2 = _split(e)
        for part in sorted(e2.atoms(Expectation), key=sp.default_sort_key):
            if nested(part.integrand) or (len(part.variables) > MOST and not part.integrand.is_polynomial(*part.variables)):
                continue
            form = closed_form(part)
            if form is not None:
                e2 = e2.xreplace({part: form.expr})
                laws.append((form.rule, form.source))
        swap[e] = e2
    if not laws:
        return replace(line, rhs=_tidy(line.rhs))
    laws = list(dict.fromkeys(laws))
    rule = "; ".join([line.rule, *(r for r, _ in laws)])
    source = "; ".join([line.source, *(s for _, s in laws if s)])
    return replace(line, rhs=_tidy(line.rhs.xreplace(swap)), rule=rule, source=source)


def _split(e: Expectation) -> sp.Expr:
    """The expectation with what independence gives, now that covariances may be 0."""
    cov = {(a, b): e.cov[i, j] for i, a in enumerate(e.variables) for j, b in enumerate(e.variables)}
    if not any(v == 0 for v in cov.values()):
        return e
    return mean(e.integrand, lambda a, b: cov[a, b])


def _tidy(expr: sp.Expr) -> sp.Expr:
    """A number multiplied out."""
    if expr.is_number and not expr.is_Rational:
        return sp.expand(expr)
    return expr
