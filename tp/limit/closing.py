"""``closed``: expectations replaced by their closed forms, where a rule knows one."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from tp.gaussian.closed import closed_form
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Limit


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
    return replace(limit, equations=tuple(equations))
