"""Programs print as the papers list them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sympy as sp
from program import built

from tp.program.formulas import formula
from tp.program.ir import Ref
from tp.program.listing import listing
from tp.program.wellformed import check_program

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", built.ALL)
def test_programs_built_by_hand(name, golden):
    program = built.ALL[name]()
    check_program(program)
    golden(GOLDEN / f"built_{name}.txt", listing(program))


h, g, k = Ref("h", sp.Symbol("l") - 1), Ref("g"), sp.Symbol("k", integer=True)
total = sp.Sum(Ref("m", k), (k, -1, 1))


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (h - g, "h[l-1] - g"),
        (-h - g, "-g - h[l-1]"),
        (2 * (h - g) / 3, "2·h[l-1]/3 - 2·g/3"),
        (sp.Rational(2, 3) * h, "2·h[l-1]/3"),
        (h / sp.sqrt(g), "h[l-1]/sqrt(g)"),
        (1 / g, "1/g"),
        (h**2 / (g + 1) ** 2, "h[l-1]^2/(g + 1)^2"),
        (1 / (g * h), "1/(g·h[l-1])"),
        (-h / 2, "-h[l-1]/2"),
        (g * (h + 1), "g·(h[l-1] + 1)"),
        (g + total, "g + Σ_{k=-1..1} m[k]"),
        (total * g, "g·Σ_{k=-1..1} m[k]"),
        (total / 3, "1/3·Σ_{k=-1..1} m[k]"),
        (total**2, "(Σ_{k=-1..1} m[k])^2"),
        (sp.Sum(Ref("m", k) + g, (k, -1, 1)), "Σ_{k=-1..1} (g + m[k])"),
        (sp.Abs(h) + sp.Max(g, 0), "abs(h[l-1]) + max(0, g)"),
        (sp.exp(-h), "exp(-h[l-1])"),
        (sp.sqrt(2) * h, "sqrt(2)·h[l-1]"),
        (h / sp.sqrt(2), "sqrt(2)·h[l-1]/2"),
        (total / g, "(Σ_{k=-1..1} m[k])/g"),
        (Ref("x", 2 * sp.Symbol("p") + k - 1), "x[2*p+k-1]"),
        (Ref("x", 1 - k), "x[-k+1]"),
        (-sp.Integer(3), "-3"),
        (h ** sp.Rational(1, 3), "h[l-1]^(1/3)"),
    ],
)
def test_formulas(expr, text):
    assert formula(expr) == text
