"""The theory's worked examples: exact where the reference is exact, to its tolerance elsewhere; and wrong without dots."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sympy as sp
from limit.zcalculus.z_specs import GIA, REFERENCE, SQUARE, gram, through

import tp
from tp.limit.equations import I, Value
from tp.limit.zcalculus import ZLimit, z_limit
from tp.program.ir import Ref

DATA = Path(__file__).parent / "data"
VALUES = {v["name"]: v for v in json.loads((DATA / "tensor_programs.json").read_text())["values"]}
TIED = {case["id"]: case for case in json.loads((DATA / "tied.json").read_text())}


@cache
def derived(spec: str) -> ZLimit:
    return tp.parse(spec).z().closed()


@cache
def values(spec: str, naive: bool = False) -> dict[sp.Expr, float]:
    net = tp.parse(spec)
    return (z_limit(net.program, naive=naive) if naive else net.z()).numbers()


def scalar(name: str) -> Value:
    bare, _, index = name.rstrip("]").partition("[")
    return Value("theta", Ref(bare, *([int(index)] if index else [])), I)


def value(spec: str, name: str, naive: bool = False) -> float:
    return values(spec, naive)[scalar(name)]


def closed(spec: str, name: str) -> sp.Expr:
    return next(line.rhs for line in derived(spec).lines if line.lhs == scalar(name))


@pytest.mark.parametrize("name", REFERENCE)
def test_values(name: str) -> None:
    spec, output = REFERENCE[name]
    reference = VALUES[name]
    if "exact" in reference:
        assert closed(spec, output) == sp.Rational(reference["exact"])
    assert value(spec, output) == pytest.approx(reference["value"], abs=max(reference["tolerance"], 1e-10))


def test_all_reference_values_are_here() -> None:
    assert set(VALUES) == set(REFERENCE)


def test_closed_forms_of_the_worked_examples() -> None:
    assert closed(gram("3/2", "1/2"), "e") == sp.Rational(27, 16)
    assert closed(through("relu", "2"), "e") == 3 and closed(through("relu", "2"), "f") == 27
    erf = closed(through("erf", "1"), "e")
    assert sp.simplify(erf - 4 / (3 * sp.pi) - 2 * sp.asin(sp.Rational(2, 3)) / sp.pi) == 0
    assert sp.simplify(closed(through("erf", "1"), "c") - 2 / sp.sqrt(3 * sp.pi)) == 0


def test_symbols_stay_symbols() -> None:
    net = tp.parse("network s\n  width n, m\n  let s2\n  weight W : [m, n] ~ N(0, s2/n)\n  weight x : [n] ~ N(0, 1)\n"
                   "  z = W.T @ (W @ x)\n  output e = avg(z^2)\n")  # fmt: skip
    rhs = next(line.rhs for line in net.z().closed().lines if line.lhs == scalar("e"))
    s2, rho = sp.Symbol("s2", positive=True), sp.Symbol("rho_m", positive=True)
    assert sp.expand(rhs - (rho * s2**2 + rho**2 * s2**2)) == 0


@pytest.mark.parametrize(("spec", "output", "wrong"), [
    (gram("1", "1"), "e", 1.0), (gram("1", "1"), "c", 0.0), (GIA, "m", 0.0), (GIA, "q", 4.0),
])  # fmt: skip
def test_dropping_the_dots_is_wrong_by_what_the_theory_says(spec: str, output: str, wrong: float) -> None:
    assert value(spec, output, naive=True) == pytest.approx(wrong, abs=1e-12)
    assert abs(value(spec, output) - wrong) > 0.9


# ---------------------------------------------------------------- one matrix and its transpose


def test_erf_through_a_matrix_and_back() -> None:
    case = json.loads((DATA / "transpose.json").read_text())
    spec = through("erf", "25/16")
    assert value(spec, "e") == pytest.approx(float(case["E_y2"]), rel=1e-12)
    assert value(spec, "c") == pytest.approx(float(case["E_xy"]), rel=1e-12)
    naive = value(spec, "e", naive=True)
    assert naive == pytest.approx(float(case["E_y2_if_independence_wrongly_assumed"]), rel=1e-12)


def test_linear_chain_is_catalan() -> None:
    case = TIED["linear_chain-lin-s1.0"]
    spec = SQUARE.format(s2="1") + (
        "  y[0] = x\n  y[k] = W.T @ (W @ y[k-1]) for k in 1..3\n"
        "  output q[k] = avg(y[k]^2) for k in 1..3\n  output o[k] = avg(y[k]*x) for k in 1..3\n"
    )
    for k in (1, 2, 3):
        assert closed(spec, f"q[{k}]") == int(case["expected"][f"q{k}"])
        assert closed(spec, f"o[{k}]") == int(case["expected"][f"overlap{k}"])
        assert value(spec, f"q[{k}]", naive=True) == pytest.approx(case["naive"][f"q{k}"])


STEPS = {
    "hopfield-tanh-s2.0": ("2", "tanh", "W.T @ {phi}(W @ {x})"),
    "hopfield-erf-s1.5": ("3/2", "erf", "W.T @ {phi}(W @ {x})"),
    "symmetric-tanh-s1.8": ("9/5", "tanh", "(W @ {x} + W.T @ {x})/sqrt(2)"),
}


@pytest.mark.parametrize("name", STEPS)
def test_recurrences_through_a_matrix_and_back(name: str) -> None:
    s2, phi, step = STEPS[name]
    case = TIED[name]
    T = case["steps"]
    spec = SQUARE.format(s2=s2) + (
        f"  u[0] = x\n  y[t] = {step.format(phi=phi, x='u[t-1]')} for t in 1..{T}\n  u[t] = {phi}(y[t]) for t in 1..{T}\n"
        f"  output q[t] = avg(u[t]^2) for t in 1..{T}\n  output overlap[t] = avg(u[t]*x) for t in 1..{T}\n"
        f"  output preact_q[t] = avg(y[t]^2) for t in 1..{T}\n  output preact_overlap[t] = avg(y[t]*x) for t in 1..{T}\n"
    )
    for key, expected in case["expected"].items():
        output = f"{key[:-1]}[{key[-1]}]"
        assert value(spec, output) == pytest.approx(expected, abs=1e-5 + 6 * case["stat_error"][key])
        assert value(spec, output, naive=True) == pytest.approx(case["naive"][key], abs=1e-4)


@pytest.mark.parametrize("name", ["gia_fail-relu-s1.0", "gia_fail-softplus-s1.4"])
def test_a_readout_that_is_not_centred(name: str) -> None:
    case = TIED[name]
    slope = {"relu": "step(h)", "softplus": "sigmoid(h)"}[case["act"]]
    spec = SQUARE.format(s2=case["sigma_w2"])
    spec += f"  h = W @ x\n  g = W.T @ {slope}\n  output q = avg(g^2)\n  output c = avg(g*x)\n"
    for output, key in (("q", "grad_q"), ("c", "grad_dot_x")):
        assert value(spec, output) == pytest.approx(case["expected"][key], abs=1e-5 + 6 * case["stat_error"][key])
        assert value(spec, output, naive=True) == pytest.approx(case["naive"][key], abs=1e-4)


@pytest.mark.parametrize("name", ["tied-autoencoder-erf", "tied-autoencoder-relu", "tied-autoencoder-tanh"])
def test_a_tied_autoencoder_reconstructs_by_its_dot_part(name: str) -> None:
    case: dict[str, Any] = TIED[name]
    net = tp.parse(
        f"network a\n  width n\n  dim d = {len(case['x'])}\n  input x : [d]\n  weight U : [n, d] ~ N(0, {case['sigma_u2']})\n"
        f"  weight W : [n, n] ~ N(0, {case['sigma_w2']}/n)\n"
        f"  output y = U.T @ (W.T @ {case['act']}(W @ (U @ x))) / n\n"
    )
    found = net.z().numbers(case["x"])
    naive = z_limit(net.program, naive=True).numbers(case["x"])
    for j, expected in enumerate(case["expected_y"], 1):
        assert found[scalar(f"y[{j}]")] == pytest.approx(expected, abs=1e-9)
        assert naive[scalar(f"y[{j}]")] == 0
