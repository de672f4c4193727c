"""What a derivation by the Z-calculus is made of: lines, and the products whose hats they are about."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from tp.errors import NOWHERE, Span
from tp.program.ir import Domain, Ref


@dataclass(frozen=True, slots=True)
class Line:
    """``lhs = rhs`` by a rule. lhs: a Z, Ż, covariance, expected derivative or scalar limit."""

    lhs: sp.Expr
    rhs: sp.Expr
    rule: str
    source: str
    span: Span = field(default=NOWHERE, compare=False)
    domain: Domain = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A product ``W x`` (``Wᵀ x``): Ẑ has covariances v E[Z^x Z^x']."""

    W: Ref
    transpose: bool
    x: Ref
    s: sp.Expr
    v: sp.Expr
    span: Span
