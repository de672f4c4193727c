"""A limit as data: every equation with its LaTeX, ranges, rule, source and place in the spec."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tp.faces.display import ranges, rows
from tp.faces.notation import notation
from tp.faces.tex import LimitPrinter

if TYPE_CHECKING:
    from tp.faces.notation import Notation
    from tp.limit.equations import Equation, Limit
    from tp.program.ir import Domain


def to_json(limit: Limit) -> str:
    """The equations of ``limit`` as a JSON document; the same text for equal limits."""
    style = notation(limit)
    content = {
        "network": limit.program.name,
        "kinds": list(limit.kinds),
        "outputs": [str(ref) for ref in limit.outputs],
        "power": {kind: str(power) for kind, power in limit.power.items()},
        "named": [{"name": str(ref), "is": str(expr), "for": _domain(domain)} for ref, expr, domain in limit.named],
        "words": dict(limit.words),
        "equations": [_equation(equation, style) for equation in limit.equations],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _equation(equation: Equation, style: Notation) -> dict[str, Any]:
    return {
        "left": str(equation.lhs),
        "right": str(equation.rhs),
        "for": _domain(equation.domain),
        "latex": r"\begin{aligned} " + r" \\ ".join(rows(equation, style)) + r" \end{aligned}",
        "range": ranges(equation.domain, LimitPrinter(style)),
        "rule": equation.rule,
        "source": equation.source,
        "line": equation.span.line or None,
    }


def _domain(domain: Domain) -> list[dict[str, str]]:
    return [{"index": str(r.index), "from": str(r.lo), "to": str(r.hi)} for r in domain]
