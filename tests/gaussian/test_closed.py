"""Closed forms against quadrature, at generic covariances and at correlations 0 and ±1; and how they read."""

from __future__ import annotations

import time
from fractions import Fraction
from random import Random

import pytest
import sympy as sp

from tp.gaussian.closed import closed_form, simplify
from tp.gaussian.closed.form import LAWS
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, gelu, hermite, leaky_relu, normal_cdf, normal_pdf, relu, sigmoid, softplus, step
from tp.gaussian.quadrature import integrate
from tp.limit.equations import I, J, Z
from tp.program.ir import Ref

u, v, w = sp.symbols("u v w", real=True)
q, q1, q2, q3, c, c13, c23 = sp.symbols("q q1 q2 q3 c c13 c23")
a, b = sp.symbols("a b", positive=True)
m, m1, m2 = sp.symbols("m m1 m2", real=True)
half = sp.Rational(1, 2)

GENERIC = [(0.7, -0.9, 2.3), (1.0, 0.99, 1.0), (3.0, 0.7, 0.2), (1.25, 0.0, 0.5)]
SINGULAR = [(1.0, 1.5, 2.25), (1.0, -1.5, 2.25), (2.0, 2.0, 2.0)]
NUMBERS = {a: 0.75, b: 1.25, m: -0.4, m1: 0.3, m2: -0.55}

PAIRS = {
    "relus": relu(u) * relu(v),
    "steps": step(u) * step(v),
    "leaky relus": leaky_relu(u, a) * leaky_relu(v, a),
    "leaky relu with abs": (3 * u + abs(u)) * (3 * v + abs(v)) / 16,
    "max": sp.Max(u, 0) * sp.Max(0, v),
    "abs": abs(u) * abs(v),
    "abs and its slope": abs(u) * sp.sign(v),
    "signs": sp.sign(u) * sp.sign(v),
    "squared relus": relu(u) ** 2 * relu(v) ** 2,
    "cubed relus": relu(u) ** 3 * relu(v) ** 3,
    "relu to the fifth": relu(u) ** 5 * relu(v) ** 5,
    "relu powers": relu(u) ** 3 * relu(v) ** 2,
    "relu and step": relu(u) * step(v),
    "step and squared relu": step(u) * relu(v) ** 2,
    "abs and relu": abs(u) * relu(v),
    "sign and relu": sp.sign(u) * relu(v),
    "erfs": sp.erf(a * u) * sp.erf(b * v),
    "erf slopes": sp.erf(a * u).diff(u) * sp.erf(a * v).diff(v),
    "erf and relu": sp.erf(a * u) * relu(v),
    "erf and step": sp.erf(a * u) * step(v),
    "sign and erf": sp.sign(u) * sp.erf(b * v),
    "cdfs": normal_cdf(a * u) * normal_cdf(b * v),
    "cdf written with erf": (1 + sp.erf(u / sp.sqrt(2))) / 2 * (1 + sp.erf(v / sp.sqrt(2))) / 2,
    "relu and cdf": relu(u) * normal_cdf(a * v),
    "gelus": gelu(u) * gelu(v),
    "gelus scaled": gelu(a * u) * gelu(b * v),
    "gelu written with erf": (sp.erf(u / sp.sqrt(2)) * u / 2 + u / 2) * gelu(v),
    "gelu slopes": gelu(u).diff(u) * gelu(v).diff(v),
    "gelu and relu": gelu(u) * relu(v),
    "sines": sp.sin(a * u + m) * sp.sin(b * v + m1),
    "cosines": sp.cos(a * u) * sp.cos(a * v),
    "sine slopes": sp.sin(a * u + m).diff(u) * sp.sin(a * v + m).diff(v),
    "squared sines": sp.sin(u) ** 2 * sp.sin(v) ** 2,
    "snakes": (u + sp.sin(u) ** 2) * (v + sp.sin(v) ** 2),
    "sine and relu": sp.sin(a * u) * relu(v),
    "sine and step": sp.sin(a * u + m) * step(v),
    "exponentials": sp.exp(a * u) * sp.exp(b * v),
    "exponential and gelu": sp.exp(a * u) * gelu(v),
    "cosh": sp.cosh(u) * sp.cosh(v),
    "Gaussians": sp.exp(-a * u**2) * sp.exp(-b * v**2),
    "Gaussian slopes": sp.exp(-a * u**2).diff(u) * sp.exp(-a * v**2).diff(v),
    "Gaussian and relu": sp.exp(-a * u**2) * relu(v),
    "elus": elu(u, a) * elu(v, a),
    "elu slopes": elu(u, a).diff(u) * elu(v, a).diff(v),
    "elus scaled": elu(a * u) * elu(b * v),
    "elu and relu": elu(u) * relu(v),
    "monomials": u**3 * v**5,
    "Hermites": hermite(4, u) * hermite(4, v),
    "polynomial before relus": u**2 * v * relu(u) * relu(v),
    "linear and relu": (u + relu(u)) * (v + relu(v)),
    "relus with means": relu(u + m1) * relu(v + m2),
    "cdfs with means": normal_cdf(u + m1) * normal_cdf(v + m2),
    "hard tanh": sp.Max(-1, sp.Min(1, u)) * sp.Max(-1, sp.Min(1, v)),
    "relu of a sum": relu(u + 2 * v) * relu(u),
    "sign of a relu": u * sp.exp(u / 2) * sp.sign(relu(v)),
    "Laplace": sp.exp(-abs(u)) * sp.exp(-abs(v)),
}


def numerical(form: sp.Expr, values: dict[sp.Symbol, float]) -> float:
    return float(sp.N(form.xreplace({k: sp.Rational(Fraction(x)) for k, x in values.items()}), 25))


def assert_equal(found: float, e: Expectation, values: dict[sp.Symbol, float], rtol: float = 2e-13) -> None:
    wanted, error = integrate(e, values)
    size = integrate(Expectation(abs(e.integrand), e.variables, e.cov), values)[0] if abs(wanted) < 1e-3 else abs(wanted)
    assert abs(found - wanted) <= rtol * size + 2 * error, (found, wanted, error)


@pytest.mark.parametrize("name", PAIRS)
def test_pair(name: str) -> None:
    e = Expectation(PAIRS[name], (u, v), [[q1, c], [c, q2]])
    form = closed_form(e)
    assert form is not None and not form.expr.has(Expectation, u, v)
    for point in GENERIC:
        values = {**NUMBERS, **dict(zip((q1, c, q2), point, strict=True))}
        assert_equal(numerical(form.expr, values), e, values)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_of_parallel_variables(name: str) -> None:
    for point in SINGULAR:
        x, y, z = (sp.Rational(Fraction(p)) for p in point)
        means = {m1: sp.Rational(3, 10), m2: sp.Rational(-11, 20)}  # which of two symbols is less is not known
        e = Expectation(PAIRS[name].xreplace(means), (u, v), [[x, y], [y, z]])
        form = closed_form(e)
        assert form is not None
        assert_equal(numerical(form.expr, NUMBERS), e, NUMBERS)


@pytest.mark.parametrize("name", [n for n, e in PAIRS.items() if e == e.xreplace({u: v, v: u})])
def test_same_site(name: str) -> None:
    e = Expectation(PAIRS[name].xreplace({v: u}), (u,), [[q]])
    form = closed_form(e)
    copy = closed_form(Expectation(PAIRS[name], (u, v), [[q, q], [q, q]]))
    assert form is not None and copy is not None
    for variance in (0.3, 2.5):
        values = {**NUMBERS, q: variance}
        assert_equal(numerical(form.expr, values), e, values)
        assert_equal(numerical(copy.expr, values), e, values)


ONE = {
    "relu": relu(u + m),
    "squared relu": relu(u + m) ** 2,
    "step": step(u + m),
    "abs": abs(u + m),
    "gelu": gelu(u + m),
    "squared gelu": gelu(u) ** 2,
    "cdf": normal_cdf(a * (u + m)),
    "squared cdf": normal_cdf(a * (u + m)) ** 2,
    "erf": sp.erf(a * (u + m)),
    "squared erf": sp.erf(a * (u + m)) ** 2,
    "sine": sp.sin(a * (u + m) + b),
    "Gaussian": sp.exp(-a * (u + m) ** 2),
    "elu": elu(u + m, a),
    "squared elu": elu(u, a) ** 2,
    "selu slope": (elu(b * u, a).diff(u)) ** 2,
    "Hermite": hermite(6, u),
    "relu6": sp.Min(sp.Max(u, 0), 6),
    "hat": relu(1 - abs(u)),
    "piecewise": sp.Piecewise((u, u > 1), (a * u**2, True)),
    "relu of gelu": relu(u) * gelu(u),
    "density": normal_pdf(u + m) * relu(u + m),
}


@pytest.mark.parametrize("name", ONE)
def test_one_variable(name: str) -> None:
    e = Expectation(ONE[name], (u,), [[q]])
    form = closed_form(e)
    assert form is not None and not form.expr.has(Expectation, u)
    for variance in (0.25, 1.0, 3.5):
        values = {**NUMBERS, q: variance}
        assert_equal(numerical(form.expr, values), e, values)


def test_every_law_is_exercised() -> None:
    """Each law of the table gives what tilting and Stein give."""
    from tp.gaussian.closed.engine import _by_moments, _function
    from tp.gaussian.decompose import Basis

    params = {"power": (3,), "rectified": (1,), "sin": (0.75, 0.3), "abs": (), "sign": ()}
    point = {q1: 0.7, c: -0.45, q2: 1.3}
    x, y, z = sp.Dummy("q1", positive=True), sp.Dummy("c", real=True), sp.Dummy("q2", positive=True)
    for (first, second), law in LAWS.items():
        sides = [
            Basis(name, tuple(sp.Rational(str(p)) for p in params.get(name, (0.75,))), order) for name, order in (first, second)
        ]
        value = law.formula(x, y, z, sides[0].params, sides[1].params)
        assert value is not None and law.formula.__doc__
        moments = _by_moments(_function(sides[0], u) * _function(sides[1], v), (u, v), ((x, y), (y, z))).value()
        at = {x: point[q1], y: point[c], z: point[q2]}
        assert abs(numerical(value, at) - numerical(moments, at)) < 1e-15, (first, second)


def test_polynomials_of_many_variables() -> None:
    cov = [[q1, c, c13], [c, q2, c23], [c13, c23, q3]]
    assert closed_form(Expectation(u**2 * v * w, (u, v, w), cov)).expr == sp.expand(q1 * c23 + 2 * c * c13)
    six = closed_form(Expectation(u**2 * v**2 * w**2, (u, v, w), cov)).expr
    wick = q1 * q2 * q3 + 2 * (q1 * c23**2 + q2 * c13**2 + q3 * c**2) + 8 * c * c13 * c23
    assert sp.expand(six - wick) == 0


def test_three_steps() -> None:
    cov = [[1, half, sp.Rational(1, 5)], [half, 2, -half], [sp.Rational(1, 5), -half, 1]]
    e = Expectation(step(u) * step(v) * step(w), (u, v, w), cov)
    value, error = integrate(e)
    assert abs(float(closed_form(e).expr) - value) < 10 * error + 1e-9


def test_independent_blocks_factor() -> None:
    cov = [[q1, c, 0], [c, q2, 0], [0, 0, q3]]
    whole = closed_form(Expectation(relu(u) * relu(v) * gelu(w), (u, v, w), cov))
    pair = closed_form(Expectation(relu(u) * relu(v), (u, v), [[q1, c], [c, q2]]))
    alone = closed_form(Expectation(gelu(w), (w,), [[q3]]))
    assert sp.expand(whole.expr - pair.expr * alone.expr) == 0
    assert "independence" in whole.rule and "arc-cosine" in whole.rule


def test_degenerate_variables() -> None:
    assert closed_form(Expectation((relu(u) + 2) * (v + 3), (u, v), [[0, 0], [0, q2]])).expr == 6
    assert closed_form(Expectation(relu(u) * relu(v), (u, v), [[q, -q], [-q, q]])).expr == 0
    assert closed_form(Expectation(sp.Integer(3), (), sp.zeros(0, 0))).expr == 3


def test_jumps_have_no_tangent_kernel_on_the_diagonal() -> None:
    delta = sp.DiracDelta
    apart = closed_form(Expectation(step(u).diff(u) * step(v).diff(v), (u, v), [[q1, c], [c, q2]]))
    assert sp.simplify(apart.expr - 1 / (2 * sp.pi * sp.sqrt(q1 * q2 - c**2))) == 0
    for e in (
        Expectation(delta(u) ** 2, (u,), [[q]]),
        Expectation(delta(u) * delta(v), (u, v), [[q, q], [q, q]]),
        Expectation(sp.sign(u).diff(u) ** 2, (u,), [[q]]),
    ):
        form = closed_form(e)
        assert form.expr is sp.oo and "jump" in form.rule


def test_symmetry() -> None:
    assert closed_form(Expectation(sp.tanh(u), (u,), [[q]])).expr == 0
    assert closed_form(Expectation(sigmoid(u), (u,), [[q]])).expr == half
    assert closed_form(Expectation(sp.tanh(u) * v**2, (u, v), [[q1, c], [c, q2]])).expr == 0


def test_no_closed_form_is_none() -> None:
    for integrand in (sp.tanh(u) * sp.tanh(v), softplus(u) * v**0, sp.exp(u**2) * v, relu(c13 * u), 1 / u):
        assert closed_form(Expectation(integrand, (u, v), [[q1, c], [c, q2]])) is None


def test_cosine_beside_a_shifted_gate_is_refused() -> None:
    """Its mean is an error function of a complex number."""
    for integrand in (sp.sin(u) * step(v + 1), sp.cos(u) * abs(u - 1), sp.sin(u + 2) * gelu(v - 1)):
        assert closed_form(Expectation(integrand, (u, v), [[q1, c], [c, q2]])) is None


@pytest.mark.parametrize(
    "integrand",
    [
        relu(u) ** 60 * relu(v) ** 2,
        gelu(u) ** 6 * gelu(v) ** 6,
        u ** (10**9) * v,
        (u + sp.tanh(v)) ** (10**6),
        hermite(40, u) * hermite(40, v),
        sp.Add(*(sp.sin(k * u) for k in range(1, 60))) * sp.Add(*(sp.sin(k * v) for k in range(1, 60))),
        sp.Add(*(relu(u - k) for k in range(40))) * sp.Add(*(relu(v - k) for k in range(40))),
    ],
    ids=lambda e: str(e)[:30],
)
def test_what_is_too_large_is_refused_in_time(integrand: sp.Expr) -> None:
    start = time.process_time()
    closed_form(Expectation(integrand, (u, v), [[q1, c], [c, q2]]))
    assert time.process_time() - start < 20


def test_simplify_keeps_what_it_cannot_do() -> None:
    cov = [[q1, c, 0], [c, q2, 0], [0, 0, q3]]
    squared = Expectation(sp.tanh(v) ** 2, (v,), [[q2]])
    slope = Expectation(1 - sp.tanh(v) ** 2, (v,), [[q2]])
    form = simplify(Expectation((u + sp.tanh(v)) ** 2, (u, v, w), cov))
    assert sp.expand(form.expr - (q1 + 2 * c * slope + squared)) == 0
    assert "Stein" in form.rule
    form = simplify(Expectation(sp.tanh(u) * sp.tanh(v) * w**2, (u, v, w), cov))
    assert form.expr == q3 * Expectation(sp.tanh(u) * sp.tanh(v), (u, v), [[q1, c], [c, q2]])


def test_atoms_of_a_caller() -> None:
    """Variables and covariances may be any atoms that one can differentiate by."""
    h = Ref("h", sp.Symbol("l", integer=True))
    x, y = Z(h, I), Z(h, J)
    kii, kij, kjj = (sp.Function("K")(s, t) for s, t in ((I, I), (I, J), (J, J)))
    form = closed_form(Expectation(relu(x) * relu(y), (x, y), [[kii, kij], [kij, kjj]]))
    theta = sp.acos(kij / sp.sqrt(kii * kjj))
    assert sp.expand(form.expr - (sp.sqrt(kii * kjj - kij**2) + kij * (sp.pi - theta)) / (2 * sp.pi)) == 0
    norm = sp.sqrt(sp.Function("s")(I))
    assert closed_form(Expectation(relu(x / norm) * relu(y / norm), (x, y), [[kii, kij], [kij, kjj]])) is not None


SOUP = [
    relu, step, sp.Abs, sp.sign, sp.erf, normal_cdf, gelu, elu, leaky_relu, sp.sin, sp.cos,
    lambda z: sp.exp(z / 2), lambda z: sp.exp(-(z**2) / 2), lambda z: z**2, lambda z: sp.Min(sp.Max(z, -1), 2),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_random_integrand(seed: int) -> None:
    """Whatever is answered is right: sums and products of random functions of random arguments."""
    random = Random(seed)

    def some(x: sp.Symbol) -> sp.Expr:
        slope, shift = (sp.Rational(random.randint(-8, 8) or 3, 4) for _ in range(2))
        return random.choice(SOUP)(random.choice([x, slope * x, x + shift, slope * x + shift]))

    def factor(x: sp.Symbol) -> sp.Expr:
        return random.choice([lambda: some(x), lambda: some(x) + some(x) / 2, lambda: some(x) * some(x), lambda: x * some(x)])()

    e = Expectation(factor(u) * factor(v), (u, v), [[q1, c], [c, q2]])
    form = closed_form(e)
    if form is not None:
        values = {q1: random.choice([0.5, 1.0, 1.75]), c: random.choice([-0.3, 0.25]), q2: random.choice([0.25, 1.0, 2.5])}
        assert_equal(numerical(form.expr, values), e, values, 1e-11)


READS = {
    relu(u) * relu(v): "(c*(pi - theta) + sqrt(-c**2 + q1*q2))/(2*pi)",
    step(u) * step(v): "(pi - theta)/(2*pi)",
    leaky_relu(u, a) * leaky_relu(v, a): "a*c + (a - 1)**2*(c*(pi - theta) + sqrt(-c**2 + q1*q2))/(2*pi)",
    abs(u) * abs(v): "2*(c*asin(c/sqrt(q1*q2)) + sqrt(-c**2 + q1*q2))/pi",
    sp.sign(u) * sp.sign(v): "2*asin(c/sqrt(q1*q2))/pi",
    relu(u) ** 2 * relu(v) ** 2: "(3*c*sqrt(-c**2 + q1*q2) + (pi - theta)*(2*c**2 + q1*q2))/(2*pi)",
    sp.erf(u) * sp.erf(v): "2*asin(2*c/sqrt((2*q1 + 1)*(2*q2 + 1)))/pi",
    u * relu(v): "c/2",
    relu(u) * gelu(v): "c*(pi - theta)/(2*pi) + q2*sqrt(-c**2 + q1*q2 + q1)/(2*pi*(q2 + 1))",
    u**3 * v**3: "3*c*(2*c**2 + 3*q1*q2)",
    sp.cos(u) * sp.cos(v): "exp(-c - q1/2 - q2/2)/2 + exp(c - q1/2 - q2/2)/2",
}


@pytest.mark.parametrize("integrand", READS, ids=str)
def test_reads_like_the_paper(integrand: sp.Expr) -> None:
    form = closed_form(Expectation(integrand, (u, v), [[q1, c], [c, q2]]))
    assert str(form.short) == READS[integrand]
    assert form.short.xreplace(dict(form.where)) == form.expr


def test_derivation_is_fast() -> None:
    e = Expectation(relu(u) * relu(v), (u, v), [[q1, c], [c, q2]])
    closed_form(e)
    times = []
    for _ in range(5):
        start = time.process_time()
        closed_form(e)
        times.append(time.process_time() - start)
    assert min(times) < 0.05
