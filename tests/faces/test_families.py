"""Equations of an output's coordinates are written once where they are alike, and only there."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sympy as sp

import tp
from tp.faces.families import of_equations, of_lines
from tp.limit.equations import Entry, Limit, Value
from tp.program.ir import Ref


@pytest.fixture(scope="module")
def limit() -> Limit:
    return tp.zoo("autoencoder", d=3).ntk()


def written_out(expr: sp.Basic, k: int, own: dict[str, str]) -> sp.Basic:
    """An equation for all coordinates at one of them: its number in the names, inner products as sums."""

    def numbered(ref: Ref) -> Ref:
        if ref.name in own:
            return Ref(own[ref.name].replace("#", str(k)), *ref.index[:-1])
        return Ref(ref.name, *(sp.Integer(k) if str(e).startswith("j_") else e for e in ref.index))

    def product(e: Entry) -> sp.Expr:
        return sum((Value("data", Ref("x", j), e.s) * Value("data", Ref("x", j), e.t) for j in (1, 2, 3)), sp.S.Zero)

    expr = expr.xreplace({r: numbered(r) for r in expr.atoms(Ref)})
    return expr.xreplace({e: product(e) for e in expr.atoms(Entry) if e.kind_name == "Gram"})


def test_the_coordinates_of_an_output_are_one_family(limit: Limit) -> None:
    found = of_equations(limit)
    assert len(found.equations) == 15 and len(limit.equations) == 37
    own = {re.sub("_1(?=_|$)", "", n): re.sub("_1(?=_|$)", "_#", n) for n, _ in limit.words if re.search("_1(?=_|$)", n)}
    assert {n for n, _ in found.words} >= own.keys() and not any(re.search("_2(?=_|$)", n) for n, _ in found.words)
    every = {
        (written_out(e.lhs, k, own), sp.expand(written_out(e.rhs, k, own)))
        for e in found.equations
        for k in ((1, 2, 3) if e.domain else (1,))
    }
    assert every == {(e.lhs, sp.expand(e.rhs)) for e in limit.equations}


def test_equations_that_differ_stay_apart(limit: Limit) -> None:
    third = Entry("Theta", Ref("y", 3), Ref("y", 3))
    assert any(e.lhs == third for e in limit.equations)
    doubled = (replace(e, rhs=2 * e.rhs) if e.lhs == third else e for e in limit.equations)
    other = replace(limit, equations=tuple(doubled))
    assert len(of_equations(other).equations) == len(limit.equations)
    rnn = tp.zoo("rnn").ntk()
    assert of_equations(rnn) is rnn


def test_lines_of_the_calculus() -> None:
    limit = tp.zoo("autoencoder").z()
    assert len(of_lines(limit).lines) == len(limit.lines) - 9
    page = limit.text()
    assert "Var Z_x1(x) = ⟨x, x⟩" in page and "Z_x1(x) = Σ_{j_d=1..4} x[j_d] Z_U[j_d]" in page and "y[2]" not in page
