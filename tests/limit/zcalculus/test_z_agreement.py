"""One program, four readings: symbolic, Sobol nodes, closed forms and finite width agree; rewriting changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from limit.zcalculus.z_specs import SQUARE

import tp
from tp.limit.zcalculus import z_limit

OUTPUTS = "  output c = avg(k*x)\n  output e = avg(k^2)\n  output g = avg(k*z)\n"
PROGRAMS = {
    "tanh": SQUARE.format(s2="1") + "  z = W.T @ tanh(W @ x)\n  k = tanh(z) + W.T @ tanh(W @ tanh(z))\n" + OUTPUTS,
    "relu": SQUARE.format(s2="2") + "  z = W.T @ relu(W @ x)\n  k = W.T @ relu(W @ z)\n" + OUTPUTS,
    "sign": SQUARE.format(s2="1") + "  z = W.T @ sign(W @ x)\n  k = W.T @ sign(W @ z)\n" + OUTPUTS,
    "abs": SQUARE.format(s2="1") + "  z = W.T @ abs(W @ x)\n  k = W.T @ abs(W @ z)\n" + OUTPUTS,
    "mean": "network m\n  width n\n  weight W : [n, n] ~ N(0, 1/n)\n  weight x : [n] ~ N(1, 1)\n"
    "  z = W.T @ erf(W @ x)\n  k = z*x\n" + OUTPUTS,
    "square": SQUARE.format(s2="1") + "  z = W.T @ ((W @ x)^2 + W @ x)\n  k = z^2*tanh(x)\n" + OUTPUTS,
    "half": "network r\n  width n, m = n/2\n  weight W : [m, n] ~ N(0, 2/n)\n  weight x : [n] ~ N(0, 1)\n"
    "  z = W.T @ tanh(W @ x)\n  k = W.T @ tanh(W @ tanh(z))\n" + OUTPUTS,
    "scalar": SQUARE.format(s2="1") + "  z = W.T @ tanh(W @ x)\n  a = avg(z^2)\n  k = tanh(z/sqrt(a)) + a*x\n" + OUTPUTS,
    "symmetric": SQUARE.format(s2="1/2") + "  z = W @ tanh(x) + W.T @ tanh(x)\n  k = W @ tanh(z) + W.T @ tanh(z)\n" + OUTPUTS,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nodes_agree_with_symbols(name: str) -> None:
    net = tp.parse(PROGRAMS[name])
    limit, found = net.z(), net.moments(method="sobol")
    for output in "ceg":
        exact = limit.value(output)
        assert found[output][0] == pytest.approx(exact, abs=6 * float(found.errors[output][0]) + 3e-4 * max(1, abs(exact)))
        assert limit.closed().value(output) == pytest.approx(exact, abs=1e-7)


@pytest.mark.parametrize("name", ["tanh", "sign", "half", "symmetric"])
def test_finite_width_agrees_and_dots_matter(name: str) -> None:
    net = tp.parse(PROGRAMS[name])
    exact = net.z().numbers()
    naive = z_limit(net.program, naive=True)
    runs = [net.simulate({}, width=1500, seed=s) for s in range(6)]
    for output in "ce":
        seen = np.array([float(np.ravel(run.outputs[output])[0]) for run in runs])
        error = seen.std(ddof=1) / np.sqrt(len(seen)) + 2e-3
        value = next(v for k, v in exact.items() if str(k) == f"theta[{output}](i)")
        assert abs(seen.mean() - value) < 5 * error
        assert abs(seen.mean() - naive.value(output)) > 10 * error


def test_dependent_hats_count_once() -> None:
    """W x and W 2x: Stein's identity with a singular covariance."""
    net = tp.parse(SQUARE.format(s2="1") + "  u = 2*x\n  h1 = W @ x\n  h2 = W @ u\n  k = W.T @ sign(h1 + h2)\n"
                   "  j = W.T @ tanh(h1 + h2)\n  output c = avg(k*x)\n  output d = avg(j*x)\n")  # fmt: skip
    assert net.z().value("c") == pytest.approx(np.sqrt(2 / np.pi), abs=1e-9)
    g = np.linspace(-12, 12, 24001)
    slope = 3 * np.sum(np.exp(-(g**2) / 2) / np.cosh(3 * g) ** 2) / np.sum(np.exp(-(g**2) / 2))
    assert net.z().value("d") == pytest.approx(slope, abs=1e-9)


def test_the_order_of_sums_and_products_does_not_matter() -> None:
    head = SQUARE.format(s2="1") + "  y = tanh(W @ x)\n  u = erf(x)\n"
    tail = "  output e = avg(k^2)\n  output c = avg(k*x)\n"
    one = tp.parse(head + "  z = W.T @ y\n  k = W.T @ tanh(W @ (z + u))\n" + tail).z()
    two = tp.parse(head + "  z = W.T @ y\n  k = W.T @ tanh(W @ z + W @ u)\n" + tail).z()
    for output in "ec":
        assert one.value(output) == pytest.approx(two.value(output), abs=1e-6)


def test_matrix_and_transpose_are_adjoint() -> None:
    """E[Z^x Z^{Wy}] = ρ⁻¹ E[Z^{Wᵀx} Z^y], here with ρ = 1/2."""
    net = tp.parse(
        "network a\n  width n, m = n/2\n  weight W : [m, n] ~ N(0, 1/n)\n  weight u : [n] ~ N(0, 1)\n"
        "  x = tanh(W @ u)\n  y = tanh(W.T @ x)\n  output a = avg(x*(W @ y))\n  output b = avg((W.T @ x)*y)\n"
    ).z()
    assert net.value("a") == pytest.approx(2 * net.value("b"), rel=1e-6)


def test_stein_and_differentiation_agree() -> None:
    """For a smooth function both rules give the coefficient."""
    from tp.limit.equations import I
    from tp.limit.zcalculus.atoms import Slope
    from tp.limit.zcalculus.calculus import Calculus
    from tp.limit.zcalculus.members import Members
    from tp.limit.zcalculus.numbers import number
    from tp.limit.zcalculus.ratios import leading

    net = tp.parse(PROGRAMS["tanh"])
    calculus = Calculus(Members(leading(net.program)))
    for ref in calculus.members:
        if calculus.members.families.is_vector(ref):
            calculus.vector(ref, I)
    values = dict(net.z().numbers())
    slopes = [line.lhs for line in calculus.lines.values() if isinstance(line.lhs, Slope)]
    assert slopes
    for slope in slopes:
        stein = calculus._stein(calculus.vector(slope.a.a, slope.a.s), slope.b)
        for atom in stein.atoms(*(type(k) for k in values)):
            values.setdefault(atom, number(calculus.lines[atom].rhs, values) if atom in calculus.lines else 0.0)
        assert number(stein, values) == pytest.approx(values[slope], rel=1e-6)
