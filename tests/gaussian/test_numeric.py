"""``lower``: which primitive, which arguments, and the value of what it writes."""

from __future__ import annotations

import ast
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
from gaussian.activations import activation, exact
from gaussian.run import COV, call, couple, plain, q1, q2, same_site, u, v
from gaussian.run import c as cov

from tp.errors import LimitError
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import elu, gelu, hermite, leaky_relu, normal_cdf, relu, silu, softplus, step
from tp.gaussian.numeric import lower
from tp.gaussian.quadrature import integrate

ENTRIES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "duals.json").read_text("utf-8"))["entries"]
R = sp.Rational


def two(integrand: sp.Expr) -> Expectation:
    return Expectation(integrand, (u, v), COV)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["id"]) for e in ENTRIES if e["kind"] == "dual" and e["section"] == "A"])
def test_reference_duals(entry: dict[str, Any]) -> None:
    """V and V̇ of the whole table, from one function without quadrature."""
    f = lambda x: activation(entry["activation"], entry["params"], x)  # noqa: E731
    only_v = entry["activation"] in ("step", "sign")
    low = lower(*couple(f)[: 1 if only_v else 2])
    assert low.method == "closed"
    found = call(low, plain(low.sources), entry["q1"], entry["c"], entry["q2"])
    assert found[0] == pytest.approx(float(entry["V"]), rel=2e-15)
    if not only_v:
        assert found[1] == pytest.approx(float(entry["Vdot"]), rel=2e-15)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["id"]) for e in ENTRIES if e["kind"] == "one_variable"])
def test_reference_means(entry: dict[str, Any]) -> None:
    phi = activation(entry["activation"], entry["params"], u + exact(entry["mean"]))
    for key, f in (("E_phi", phi), ("E_phi_squared", phi**2)):
        if key in entry:
            low = lower(Expectation(f, (u,), [[q1]]))
            assert call(low, plain(low.sources), entry["q"]) == pytest.approx((float(entry[key]),), rel=1e-12)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["id"]) for e in ENTRIES if e["kind"] == "dual_with_means"])
def test_reference_duals_with_means(entry: dict[str, Any]) -> None:
    m1, m2 = sp.symbols("m1 m2", real=True)
    f = lambda x: activation(entry["activation"], entry["params"], x)  # noqa: E731
    low = lower(two(f(u + m1) * f(v + m2)))
    at = {m1: entry["m1"], m2: entry["m2"], q1: entry["q1"], cov: entry["c"], q2: entry["q2"]}
    value = plain(low.sources)[low.function](*(float(a.subs(at)) for a in low.args))
    assert value == pytest.approx(float(entry["V"]), rel=1e-12)


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


@pytest.mark.parametrize("entry", [pytest.param(e, id=e["pair"]) for e in ENTRIES if e["kind"] == "mixed"])
def test_reference_mixed_pairs(entry: dict[str, Any]) -> None:
    low = lower(two(MIXED[entry["pair"]](exact(entry["a"]), exact(entry["b"]))))
    found = call(low, plain(low.sources), entry["q1"], entry["c"], entry["q2"])
    assert found == pytest.approx((float(entry["value"]),), rel=1e-12)


KNOWN = {
    "x": lambda x: x,
    "x³": lambda x: x**3,
    "1+x²": lambda x: 1 + x**2,
    "h₃": lambda x: hermite(3, x),
    "relu": relu,
    "leaky": lambda x: leaky_relu(x, R(1, 5)),
    "sign": sp.sign,
    "relu²": lambda x: relu(x) ** 2,
    "erf": lambda x: sp.erf(R(7, 10) * x),
    "cdf": lambda x: normal_cdf(R(13, 10) * x),
    "gelu": gelu,
    "elu": lambda x: elu(x, R(1, 2)),
    "hardtanh": lambda x: sp.Max(-1, sp.Min(1, x)),
    "jump": lambda x: step(x - R(1, 3)),
    "tanh": sp.tanh,
}


@pytest.mark.parametrize("pair", list(itertools.combinations(KNOWN, 2))[::2], ids="·".join)
def test_every_pair_of_functions(pair: tuple[str, str]) -> None:
    """Closed where a law knows the pair, numeric elsewhere; the independent integrator decides."""
    f, g = (KNOWN[name] for name in pair)
    e = two(f(u) * g(v))
    low = lower(e)
    wanted, error = integrate(e, {q1: 1.3, cov: -0.45, q2: 0.6})
    (found,) = call(low, plain(low.sources), 1.3, -0.45, 0.6)
    assert abs(found - float(wanted)) <= 1e-13 + 2 * float(error)


def test_relu_is_one_primitive() -> None:
    low = lower(*couple(relu))
    assert (low.function, low.args, low.results, low.sites) == ("relu_pair", (q1, cov, q2), 2, ())


def test_hard_tanh_of_large_variance_is_a_sign() -> None:
    """The ramps grow like the deviation and their sum does not: integrated beyond a variance, and continuous there."""
    low = lower(*couple(KNOWN["hardtanh"]))
    names = plain(low.sources)
    value, slope = call(low, names, 1e8, 0.3e8, 1e8)
    assert value == pytest.approx(2 / math.pi * math.asin(0.3), rel=1e-7)
    assert slope == pytest.approx(2 / math.pi / math.sqrt(1 - 0.09) / 1e8, rel=1e-7)
    below, above = (call(low, names, q, -0.7 * q, q) for q in (1e3 * (1 - 1e-12), 1e3))
    assert below == pytest.approx(above, rel=1e-10)
    assert lower(two(step(u - 1) * step(v - 1))).function.startswith("expectation") and low.method == "closed"


def test_clipped_lines_of_small_variance_are_lines() -> None:
    """Ramps that are open at 0 would cancel there."""
    value, slope = couple(lambda x: sp.Max(-R(1, 2), sp.Min(2, x)))
    low, alone = lower(value, slope), lower(same_site(value))
    for q in (1e-14, 1e-6):
        assert call(low, plain(low.sources), q, -0.3 * q, 2 * q) == pytest.approx((-0.3 * q, 1.0), rel=1e-14)
        assert call(alone, plain(alone.sources), q) == pytest.approx((q,), rel=1e-13)


def test_soft_threshold_of_small_variance() -> None:
    """max(x − 1, 0) + min(x + 1, 0): far out in the tails, twice what one side is."""
    both = Expectation((sp.Max(u - 1, 0) + sp.Min(u + 1, 0)) ** 2, (u,), [[q1]])
    one = Expectation(relu(u - 1) ** 2, (u,), [[q1]])
    twice, once = (call(low, plain(low.sources), 0.03)[0] for low in map(lower, (both, one)))
    assert twice == pytest.approx(2 * once, rel=1e-12)


def test_hard_tanh_of_one_large_variance() -> None:
    """E[min(1, u²)] = 1 − 2 ∫₀¹ (1 − x²) p(x) dx, p the density of u."""
    low, q = lower(Expectation(KNOWN["hardtanh"](u) ** 2, (u,), [[q1]])), 1e8
    wanted = 1 - 2 / math.sqrt(2 * math.pi * q) * (2 / 3 - (1 / 3 - 1 / 5) / (2 * q))
    assert call(low, plain(low.sources), q) == pytest.approx((wanted,), rel=1e-13)


NARROW = {
    "tanh(20 (x − 3))": (lambda x: sp.tanh(20 * (x - 3)), lambda x: np.tanh(20 * (x - 3))),
    "exp(−50 (x − 2)²)": (lambda x: sp.exp(-50 * (x - 2) ** 2), lambda x: np.exp(-50 * (x - 2) ** 2)),
    "1/(1 + 100 (x − 1)²)": (lambda x: 1 / (1 + 100 * (x - 1) ** 2), lambda x: 1 / (1 + 100 * (x - 1) ** 2)),
    "tanh(10 x³ − 10)": (lambda x: sp.tanh(10 * x**3 - 10), lambda x: np.tanh(10 * x**3 - 10)),
    "nested": (lambda x: sp.exp(-1e5 * (sp.tanh(x) - 0.5) ** 2), lambda x: np.exp(-1e5 * (np.tanh(x) - 0.5) ** 2)),
    "waves": (lambda x: sp.exp(-50 * sp.sin(3 * x) ** 2), lambda x: np.exp(-50 * np.sin(3 * x) ** 2)),
}


@pytest.mark.parametrize("name", NARROW)
def test_narrow_features_away_from_0(name: str) -> None:
    """Against the trapezoidal rule, which needs to know nothing of where they are. At the small variance they lie in the tail."""
    f, values = NARROW[name]
    low = lower(Expectation(f(u) ** 2, (u,), [[q1]]))
    names, x = plain(low.sources), np.arange(-14, 14, 1 / 1024)
    for q in (0.1, 4.0):
        wanted = np.sum(values(math.sqrt(q) * x) ** 2 * np.exp(-x * x / 2)) / 1024 / math.sqrt(2 * math.pi)
        assert call(low, names, q) == pytest.approx((wanted,), rel=1e-12)


@pytest.mark.parametrize("k", [3, 20, 40])
def test_hermite_polynomials_of_high_degree(k: int) -> None:
    """ρ^k and k ρ^{k−1} at unit variance, without the cancellation of powers; and one for a site with itself."""
    value, slope = couple(lambda x: hermite(k, x))
    low = lower(value, slope)
    assert low.method == "closed"
    found = call(low, plain(low.sources), 1.0, 0.9, 1.0)
    assert found == pytest.approx((0.9**k, k * 0.9 ** (k - 1)), rel=1e-13)
    one = lower(same_site(value))
    assert call(one, plain(one.sources), 1.0) == pytest.approx((1.0,), rel=1e-13)
    mean = lower(Expectation(hermite(4, u), (u,), [[q1]]))
    assert call(mean, plain(mean.sources), 1.0) == (0.0,)


def test_order_of_results_is_the_order_of_questions() -> None:
    value, slope = couple(gelu)
    forward, backward = lower(value, slope), lower(slope, value)
    first = call(forward, plain(forward.sources), 0.7, -0.9, 2.3)
    assert call(backward, plain(backward.sources), 0.7, -0.9, 2.3) == first[::-1]
    value, slope = couple(silu)
    backward = lower(slope, value)
    assert backward.method == "mehler"
    assert call(backward, plain(backward.sources), 0.7, -0.9, 2.3) == pytest.approx(
        call(lower(value, slope), plain(lower(value, slope).sources), 0.7, -0.9, 2.3)[::-1], rel=1e-14
    )


def test_arguments_are_the_callers_expressions() -> None:
    """Whatever is not a variable becomes a parameter, in the order of ``args``."""
    alpha, m = sp.Symbol("alpha", positive=True), sp.Symbol("m", real=True)
    low = lower(two(leaky_relu(u + m, alpha) * leaky_relu(v + m, alpha)))
    assert low.args[:3] == (q1, cov, q2) and set(low.args[3:]) == {alpha, m}
    names, at = plain(low.sources), {alpha: 0.2, m: 0.3, q1: 1.0, cov: 0.5, q2: 2.0}
    wanted, error = integrate(two(leaky_relu(u + m, alpha) * leaky_relu(v + m, alpha)), at)
    assert names[low.function](*(float(a.subs(at)) for a in low.args)) == pytest.approx(
        float(wanted), abs=1e-13 + 2 * float(error)
    )


def test_sites_take_parameters() -> None:
    import numpy as np

    s = sp.Symbol("s", positive=True)
    low = lower(two(sp.tanh(s * u) * sp.tanh(s * v)))
    assert all(site.args[1:] == (s,) for site in low.sites)
    names, out = plain(low.sources), np.zeros(80)
    tail = names[low.sites[0].function](1.0, 0.5, out)
    assert 0 <= tail < 1e-6
    assert names[low.with_sites](out, out, 1.0, 0.4, 1.0, 0.5) == pytest.approx(
        names[low.function](1.0, 0.4, 1.0, 0.5), rel=1e-12
    )


@pytest.mark.parametrize("name", ["relu", "gelu", "erf", "leaky", "elu", "hardtanh", "x³", "tanh"])
def test_same_site(name: str) -> None:
    """One variable, exactly: what the two-variable function gives as ρ → 1."""
    f = KNOWN[name]
    value, slope = couple(f)
    low = lower(same_site(value), same_site(slope))
    apart = lower(value, slope)
    assert low.args == (q1,)
    found = call(low, plain(low.sources), 1.7)
    assert found == pytest.approx(call(apart, plain(apart.sources), 1.7, 1.7, 1.7), rel=1e-12)


def test_same_site_of_relu_is_exact() -> None:
    value, slope = couple(relu)
    low = lower(same_site(value), same_site(slope))
    names = plain(low.sources)
    assert call(low, names, 0.3) == (0.15, 0.5)
    assert call(low, names, 0.0) == (0.0, 0.0)


def test_sources_are_self_contained() -> None:
    """Every name is math, np, an argument, a local or an earlier source; no annotation, no docstring, one text per name."""
    seen: dict[str, str] = {}
    for f in (relu, gelu, sp.tanh, lambda x: softplus(x) * sp.sin(x), KNOWN["hardtanh"], KNOWN["elu"]):
        for name, text in lower(*couple(f)).sources:
            assert seen.setdefault(name, text) == text
            (tree,) = ast.parse(text).body
            assert isinstance(tree, ast.FunctionDef) and tree.name == name and ast.get_docstring(tree) is None
            local = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            local |= {a.arg for a in tree.args.args}
            used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            assert used - local <= seen.keys() | {"math", "np", "abs", "min", "max", "range", "int"}, (name, used - local)


def test_refusals() -> None:
    clip = sp.Function("clip")
    w = sp.Symbol("w", real=True)
    with pytest.raises(LimitError, match="3 correlated Gaussians has a rule for smooth functions, and `relu` is not"):
        lower(Expectation(relu(u) * relu(v) * relu(w), (u, v, w), sp.eye(3)))
    with pytest.raises(LimitError, match="`relu` is not"):
        lower(two(relu(u * v)))
    with pytest.raises(LimitError, match="5 correlated"):
        lower(Expectation(sp.tanh(sp.Add(*(zs := sp.symbols("z:5", real=True)))), zs, sp.eye(5)))
    with pytest.raises(LimitError, match="clip"):
        lower(two(clip(u) * clip(v)))
    with pytest.raises(LimitError, match="kinks"):
        lower(two(sp.Abs(sp.sin(u)) * sp.tanh(v)))
