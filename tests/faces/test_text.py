"""Limits for the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import sympy as sp
from faces import built

from tp.faces.notation import Notation
from tp.faces.text import TextPrinter, greek, text

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", built.ALL)
def test_derivations(name, golden):
    golden(GOLDEN / f"{name}.txt", text(built.ALL[name]()))


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
@pytest.mark.parametrize("name", ["mlp", "mlp_closed", "conv", "rnn", "attention", "layernorm"])
def test_lines_fit_the_terminal(name, columns):
    page = text(built.ALL[name](), columns)
    assert max(map(len, page.splitlines())) <= max(columns, 72)


x, y = sp.symbols("x y")


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (x / 2, "x/2"),
        (-x - y, "−x − y"),
        (1 - x, "1 − x"),
        (sp.sqrt(x), "√x"),
        (sp.sqrt(x + y), "√(x + y)"),
        (x**3 / (2 * sp.pi), "x³/(2π)"),
        (x ** sp.Rational(3, 2), "x^(3/2)"),
        (sp.acos(x / sp.sqrt(x * y)), "arccos(x/√(x y))"),
        (sp.exp(-x), "exp(−x)"),
        (sp.Max(x, 0), "max(x, 0)"),
        ((x + 1) * (y + 1) / (x + y), "(x + 1) (y + 1)/(x + y)"),
    ],
)
def test_formulas(expr, shown):
    assert TextPrinter(Notation()).doprint(expr) == shown


def test_greek_names_are_greek_letters():
    assert [greek(n) for n in ("alpha", "Theta", "lambda", "alphabet", "mu'")] == ["α", "Θ", "λ", "alphabet", "μ′"]
