"""``Expectation``: E[g(u, v, …)], (u, v, …) centred Gaussian with a given covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp


class Expectation(sp.Expr):
    """E[integrand] over centred jointly Gaussian ``variables`` with covariance ``cov``.

    ``variables`` are atoms of the integrand one may differentiate by (symbols, or atoms of a caller's own);
    the entries of ``cov`` are any expressions. Means appear as shifts inside the integrand. It stays as it is until
    a rule of this package, or a numerical method, is asked for by name.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, integrand: Any, variables: Sequence[sp.Expr], cov: Any) -> Expectation:
        matrix = sp.ImmutableDenseMatrix(cov)
        return sp.Expr.__new__(cls, _expr(integrand), sp.Tuple(*variables), matrix)

    @property
    def integrand(self) -> sp.Expr:
        return self.args[0]

    @property
    def variables(self) -> tuple[sp.Expr, ...]:
        return tuple(self.args[1])

    @property
    def cov(self) -> sp.ImmutableDenseMatrix:
        return self.args[2]


def _expr(value: Any) -> sp.Expr:
    return value if isinstance(value, sp.Basic) else sp.Number(value)
