"""Closed forms against reference values computed elsewhere: every entry of parts A and B, to 1e-12."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sympy as sp
from gaussian.activations import activation, exact

from tp.gaussian.closed import closed_form
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import gelu, normal_cdf, relu, step
from tp.gaussian.quadrature import integrate

ENTRIES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "duals.json").read_text("utf-8"))["entries"]
u, v = sp.symbols("u v", real=True)
q1, c, q2 = sp.symbols("q1 c q2", real=True)


def of_kind(kind: str, section: str = "A") -> list[Any]:
    return [pytest.param(e, id=e["id"]) for e in ENTRIES if e["kind"] == kind and e["section"] == section]


def value(form: sp.Expr, entry: dict[str, Any]) -> sp.Float:
    return sp.N(form.xreplace({q1: exact(entry["q1"]), q2: exact(entry["q2"]), c: exact(entry["c"])}), 30)


def assert_close(found: sp.Expr, wanted: str, rtol: float = 1e-12) -> None:
    assert abs(found - sp.Float(wanted, 20)) <= rtol * abs(sp.Float(wanted, 20)), (found, wanted)


def pair(phi: sp.Expr, psi: sp.Expr, entry: dict[str, Any]) -> Expectation:
    """E[φ(u) ψ(v)], of one variable where the entry has correlation 1."""
    if entry["q1"] == entry["c"] == entry["q2"]:
        return Expectation(phi * psi.subs(v, u), (u,), [[q1]])
    return Expectation(phi * psi, (u, v), [[q1, c], [c, q2]])


@pytest.mark.parametrize("entry", of_kind("dual"))
def test_dual(entry: dict[str, Any]) -> None:
    phi = activation(entry["activation"], entry["params"], u)
    for key, f in (("V", phi), ("Vdot", phi.diff(u))):
        form = closed_form(pair(f, f.subs(u, v), entry))
        assert form is not None and form.rule
        assert_close(value(form.expr, entry), entry[key])


@pytest.mark.parametrize("entry", of_kind("one_variable"))
def test_one_variable(entry: dict[str, Any]) -> None:
    m = sp.Symbol("m", real=True)
    phi = activation(entry["activation"], entry["params"], u + m)
    at = {m: exact(entry["mean"]), q1: exact(entry["q"])}
    for key, f in (("E_phi", phi), ("E_phi_squared", phi**2)):
        if key in entry:
            form = closed_form(Expectation(f, (u,), [[q1]]))
            assert form is not None
            assert_close(sp.N(form.expr.xreplace(at), 30), entry[key])


@pytest.mark.parametrize("entry", of_kind("dual_with_means"))
def test_dual_with_means(entry: dict[str, Any]) -> None:
    m1, m2 = sp.symbols("m1 m2", real=True)
    phi, psi = (activation(entry["activation"], entry["params"], x) for x in (u + m1, v + m2))
    form = closed_form(pair(phi, psi, entry))
    assert form is not None
    assert_close(value(form.expr.xreplace({m1: exact(entry["m1"]), m2: exact(entry["m2"])}), entry), entry["V"])


MIXED = {
    "relu*step": lambda a, b: relu(u) * step(v),
    "sign*relu": lambda a, b: sp.sign(u) * relu(v),
    "erf(a)*erf(b)": lambda a, b: sp.erf(a * u) * sp.erf(b * v),
    "erf(a)*relu": lambda a, b: sp.erf(a * u) * relu(v),
    "sign*erf(b)": lambda a, b: sp.sign(u) * sp.erf(b * v),
    "exp(a)*gelu": lambda a, b: sp.exp(a * u) * gelu(v),
    "relu*normal_cdf(1)": lambda a, b: relu(u) * normal_cdf(v),
    "sin(a)*sin(b)": lambda a, b: sp.sin(a * u) * sp.sin(b * v),
    "abs*relu": lambda a, b: sp.Abs(u) * relu(v),
}


@pytest.mark.parametrize("entry", of_kind("mixed"))
def test_mixed(entry: dict[str, Any]) -> None:
    integrand = MIXED[entry["pair"]](exact(entry["a"]), exact(entry["b"]))
    form = closed_form(Expectation(integrand, (u, v), [[q1, c], [c, q2]]))
    assert form is not None
    assert_close(value(form.expr, entry), entry["value"])


@pytest.mark.parametrize("entry", of_kind("dual") + of_kind("dual", "B"))
def test_quadrature_of_duals(entry: dict[str, Any]) -> None:
    """The oracle itself: what is no distribution, to 1e-13 and within its own estimate."""
    phi = activation(entry["activation"], entry["params"], u)
    at = {q1: entry["q1"], q2: entry["q2"], c: entry["c"]}
    for key, f in (("V", phi), ("Vdot", phi.diff(u))):
        if not f.has(sp.DiracDelta):
            found, error = integrate(pair(f, f.subs(u, v), entry), at)
            assert error < 1e-13 * max(1, abs(found))
            assert_close(sp.Float(found), entry[key], 1e-13)


@pytest.mark.parametrize("entry", of_kind("dual", "B"))
def test_no_closed_form(entry: dict[str, Any]) -> None:
    phi = activation(entry["activation"], entry["params"], u)
    assert closed_form(pair(phi, phi.subs(u, v), entry)) is None
