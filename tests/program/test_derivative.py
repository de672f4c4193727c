"""Derivatives of expressions of a program, against SymPy's by way of a symbol."""

import random

import pytest
import sympy as sp

from tp.gaussian.functions import elu, gelu, relu, sigmoid, silu, softplus
from tp.program.derivative import derivative
from tp.program.ir import Ref
from tp.program.replace import rebuilt, replaced

A, B = Ref("a"), Ref("b")
FUNCTIONS = (
    *(sp.tanh, sp.sin, sp.exp, sp.erf, sp.Abs, sp.sign, relu, sigmoid, gelu, silu, softplus),
    *(lambda x: sp.sqrt(1 + x**2), lambda x: 1 / (1 + x**2), lambda x: sp.Max(x, 1), lambda x: elu(x, sp.Integer(1))),
)


def some(rng: random.Random, depth: int) -> sp.Expr:
    if depth == 0:
        return rng.choice([A, B, sp.Integer(2), sp.Rational(1, 3)])
    kind = rng.randrange(4)
    if kind == 3:
        return rng.choice(FUNCTIONS)(some(rng, depth - 1))
    if kind == 2:
        return some(rng, depth - 1) ** rng.choice([2, 3])
    one, two = some(rng, depth - 1), some(rng, depth - 1)
    return one + two if kind == 0 else one * two


@pytest.mark.parametrize("seed", range(40))
def test_as_sympy_has_them(seed):
    expr = some(random.Random(seed), 3)
    u = sp.Symbol("u", real=True)
    assert derivative(expr, A) == sp.diff(expr.xreplace({A: u}), u).xreplace({u: A})


def test_what_is_replaced_is_what_sympy_replaces():
    expr = sp.tanh(A / sp.sqrt(B)) + sp.tanh(A / sp.sqrt(B)) ** 2 * relu(A)
    swap = {A: Ref("c") + 1, B: Ref("e")}
    assert replaced(expr, swap) == expr.xreplace(swap)
    assert replaced(relu(A), {A: sp.Integer(-1)}) == 0
    assert replaced(sp.tanh(A), {A: -B}) == -sp.tanh(B)
    assert rebuilt(expr, expr.args) is expr
