"""Which primitive gives E[φ(u) ψ(v)] for two known functions: the numeric side of the table of closed forms.

A factor is first written in *kinds*, combinations of basis functions that a primitive treats as one:

======= ============ =============================================
kind    args         function of x
======= ============ =============================================
power   (k,)         x^k
hermite (k,)         He_k(x), when all of a factor is a sum of them
level   (a, b)       a left of 0, b right of it
slope   (a, b)       a x left of 0, b x right of it
rect    (n,)         max(x, 0)^n, n ≥ 2
erf     (e,)         erf(x/√(2e))
cdf     (e,)         Φ_e(x) = Φ(x/√e)
gelu    (e,)         x Φ_e(x)
dgelu   (e,)         its derivative
sin     (a, b)       sin(a x + b)
exp     (a,)         exp(a x)
bell    (a,)         exp(−a x²)
dbell   (a,)         its derivative
elu     (alpha,)     x above 0, alpha (exp(x) − 1) below
delu    (alpha,)     its derivative
ramp    (s, t)       max(s x + t, 0), s = ±1
jump    (s, t)       1 for s x + t > 0, else 0
======= ============ =============================================

``law`` answers with ``Term``s: coefficient times a call of a primitive. In the arguments of a call strings are the
covariance (``q1``, ``c``, ``q2``), everything else is an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from tp.gaussian import elu, powers, primitives, ramps, waves
from tp.gaussian.decompose import Basis, decompose
from tp.gaussian.functions import hermite

HALF, ONE, ZERO = sp.S.Half, sp.S.One, sp.S.Zero
Args = tuple[sp.Expr, ...]
FORWARD, BACKWARD = ("q1", "c", "q2"), ("q2", "c", "q1")


@dataclass(frozen=True, slots=True)
class Kind:
    """``coef`` times the function ``name`` with ``args``, see the module's table."""

    coef: sp.Expr
    name: str
    args: tuple[sp.Expr, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """``coef`` · E[φ ψ] = coef · ``single(*args)``.

    Where ``pair`` is set, ``pair(*args)`` is the tuple of that and E[φ'ψ']; ``constant``: one factor is, and E[φ'ψ'] = 0.
    """

    coef: sp.Expr
    single: Callable[..., Any]
    args: tuple[Any, ...]  # str: of the covariance; int; or an expression
    pair: Callable[..., Any] | None = None
    constant: bool = False


def kinds(f: sp.Expr, x: sp.Expr) -> list[Kind] | None:
    """``f`` as a combination of kinds; None when some part has none."""
    if f.has(hermite) and (series := _hermites(f, x)) is not None:
        return series
    found = decompose(f, x)
    if found is None:
        return None
    rest: list[Kind] = []
    power = {0: ZERO, 1: ZERO}
    rect = {0: ZERO, 1: ZERO}
    for coef, basis in found:
        if len(found) > 1 and _is_on(basis):
            rest.append(_turned(coef, basis, power))
            continue
        if basis.name in ("power", "rectified") and basis.params[0] in (0, 1) and basis.shift == 0:
            group = power if basis.name == "power" else rect
            group[int(basis.params[0])] += coef
            continue
        kind = _kind(coef, basis)
        if kind is None:
            return None
        rest.append(kind)
    for degree, name in ((1, "slope"), (0, "level")):
        if rect[degree] != 0:
            rest.append(Kind(ONE, name, (power[degree], power[degree] + rect[degree])))
        elif power[degree] != 0:
            rest.append(Kind(power[degree], "power", (sp.Integer(degree),)))
    return rest


def _is_on(basis: Basis) -> bool:
    """Whether it is a ramp or jump with 0 on its upper side; in a sum, such ones cancel where variances are small."""
    return basis.name == "rectified" and basis.params[0] in (0, 1) and bool(basis.shift.is_positive)


def _turned(coef: sp.Expr, basis: Basis, power: dict[int, sp.Expr]) -> Kind:
    """max(x + t, 0) = x + t + max(−x − t, 0) and 1{x + t > 0} = 1 − 1{−x − t > 0}: x + t and 1 are added to ``power``."""
    t = basis.shift
    if basis.params[0] == 0:
        power[0] += coef
        return Kind(-coef, "jump", (-ONE, -t))
    power[0], power[1] = sp.expand(power[0] + coef * t), sp.expand(power[1] + coef)
    return Kind(coef, "ramp", (-ONE, -t))


def _hermites(f: sp.Expr, x: sp.Expr) -> list[Kind] | None:
    """``f`` as Σ coefficient · He_k; None when it is anything else."""
    out = []
    for term in sp.Add.make_args(f):
        coef, rest = term.as_independent(x)
        match rest:
            case hermite() if rest.args[1] == x and rest.args[0].is_Integer:
                k = rest.args[0]
                out.append(Kind(coef / sp.sqrt(sp.factorial(k)), "hermite", (k,)))
            case _ if rest in (ONE, x):
                out.append(Kind(coef, "hermite", (sp.Integer(rest == x),)))
            case _:
                return None
    return out


def bounded_by_ramps(f: sp.Expr, x: sp.Expr) -> bool:
    """Whether ``f`` is a sum of ramps away from 0 whose growth cancels, or a sum of such steps that vanishes at both ends."""
    found = kinds(f, x) or []
    ends = {0: [sp.S.Zero, sp.S.Zero], 1: [sp.S.Zero, sp.S.Zero]}  # level and slope, far left and far right
    for kind in found:
        degree = int(kind.name in ("slope", "ramp") or (kind.name == "power" and kind.args[0] == 1))
        match kind.name:
            case "slope" | "level":
                sides = kind.args
            case "ramp" | "jump":
                s = kind.args[0]
                grows = s if kind.name == "ramp" else sp.S.One
                sides = (sp.S.Zero, grows) if s == 1 else (grows, sp.S.Zero)
            case "power" if kind.args[0] in (0, 1):
                sides = (sp.S.One, sp.S.One)
            case _:
                return False
        ends[degree] = [end + kind.coef * side for end, side in zip(ends[degree], sides, strict=True)]
    names = {kind.name for kind in found}
    degree = 1 if "ramp" in names else 0
    return bool(names & {"ramp", "jump"}) and all(sp.expand(end) == 0 for end in ends[degree])


def _kind(coef: sp.Expr, basis: Basis) -> Kind | None:
    """One basis function as a kind; None for shifted ones without a primitive."""
    p, shift = basis.params, basis.shift
    if basis.name == "sin":
        return Kind(coef, "sin", (p[0], p[1] + p[0] * shift))
    if basis.name == "exp":
        return Kind(coef * sp.exp(p[0] * shift), "exp", p)
    if shift != 0 and basis.name == "rectified" and p[0] in (0, 1):
        return Kind(coef, "ramp" if p[0] == 1 else "jump", (ONE, shift))
    if shift != 0 or basis.scale != 1:
        return None
    match basis.name, basis.order:
        case "elu", 0 | 1:
            return Kind(coef, "elu" if basis.order == 0 else "delu", p)
        case "power", 0:
            return Kind(coef, "power", p)
        case "rectified", 0:
            return Kind(coef, "rect", p)
        case "gaussian", 0 | 1:
            return Kind(coef, "bell" if basis.order == 0 else "dbell", p)
        case (("erf" | "normal_cdf" | "gelu"), 0 | 1) if p[0].is_positive or p[0].is_negative:
            return _smooth_gate(coef, basis)
    return None


def _smooth_gate(coef: sp.Expr, basis: Basis) -> Kind | None:
    a = basis.params[0]
    if basis.name == "erf":
        return Kind(coef if a.is_positive else -coef, "erf", (1 / (2 * a**2),))
    if not a.is_positive:  # Φ(−x) = 1 − Φ(x) would be two kinds; the normal form turns gates around before
        return None
    return Kind(coef, {("gelu", 0): "gelu", ("gelu", 1): "dgelu", ("normal_cdf", 0): "cdf"}[basis.name, basis.order], (1 / a**2,))


def law(f: Kind, g: Kind) -> list[Term] | None:
    """E[f(u) g(v)] as terms; [] when it is 0 by symmetry; None when no primitive knows the pair."""
    for one, two, cov in ((f, g, FORWARD), (g, f, BACKWARD)):
        rule = RULES.get((one.name, two.name))
        found = None if rule is None else rule(one.args, two.args, cov)
        if found is not None:
            constant = any(k.name == "power" and k.args[0] == 0 for k in (f, g))
            return [Term(f.coef * g.coef * t.coef, t.single, t.args, t.pair, constant) for t in found]
    return None


Cov = tuple[str, str, str]
Rule = Callable[[Args, Args, Cov], list[Term] | None]


def _direct(single: Callable[..., Any], pair: Callable[..., Any] | None = None) -> Rule:
    """One primitive whose extra arguments are those of both kinds, one kind after the other."""
    return lambda a, b, cov: [Term(ONE, single, (*cov, *a, *b), pair)]


def _slope_slope(a: Args, b: Args, cov: Cov) -> list[Term]:
    if a[0] == 0 and b[0] == 0:
        return [Term(a[1] * b[1], primitives.relu_relu, cov, primitives.relu_pair)]
    return [Term(ONE, primitives.slopes, (*cov, *a, *b), primitives.slopes_pair)]


def _level_level(a: Args, b: Args, cov: Cov) -> list[Term]:
    if a[0] == 0 and b[0] == 0:
        return [Term(a[1] * b[1], primitives.step_step, cov)]
    return [Term(ONE, primitives.levels, (*cov, *a, *b))]


def _moment(m: int, n: int, e: sp.Expr, cov: Cov, coef: sp.Expr = ONE) -> list[Term]:
    """coef · E[u^m v^n Φ_e(v)] for (u, v) of ``cov``."""
    return [Term(coef, primitives.monomial_cdf, (*cov, m, n, e))] if coef != 0 else []


def _flip(cov: Cov) -> Cov:
    return cov[2], cov[1], cov[0]


def _power_power(a: Args, b: Args, cov: Cov) -> list[Term]:
    m, n = int(a[0]), int(b[0])
    return [Term(ONE, powers.monomials, (*cov, m, n), powers.monomials_pair)] if (m + n) % 2 == 0 else []


def _power_gate(n: int, weights: Callable[[Args], tuple[sp.Expr, sp.Expr, sp.Expr]]) -> Rule:
    """u^m times v^n (α + β Φ_e(v)), (α, β, e) from the second kind's args."""

    def rule(a: Args, b: Args, cov: Cov) -> list[Term]:
        m, (alpha, beta, e) = int(a[0]), weights(b)
        plain = [Term(alpha, powers.monomials, (*cov, m, n))] if alpha != 0 and (m + n) % 2 == 0 else []
        return plain + _moment(m, n, e, cov, beta)

    return rule


def _sides(b: Args) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    return b[0], b[1] - b[0], ZERO


def _power_erf(a: Args, b: Args, cov: Cov) -> list[Term]:
    m = int(a[0])
    return _moment(m, 0, b[0], cov, sp.Integer(2)) if m % 2 == 1 else []


def _slope_gate(n: int) -> Callable[[Args, Args, Cov], list[Term]]:
    """a u + (b − a) relu(u) times v^n Φ_e(v), n = 0 or 1; a step for e = 0."""
    ramp = primitives.gelu_cdf if n == 0 else primitives.gelu_gelu

    def rule(a: Args, b: Args, cov: Cov) -> list[Term]:
        return [*_moment(1, n, b[0], cov, a[0]), Term(a[1] - a[0], ramp, (*cov, ZERO, b[0]))]

    return rule


def _slope_level(a: Args, b: Args, cov: Cov) -> list[Term]:
    mean = Term((a[1] - a[0]) * b[0], primitives.cdf_moment, (cov[0], 1, ZERO))
    jump = [Term(t.coef * (b[1] - b[0]), t.single, t.args) for t in _slope_gate(0)(a, (ZERO,), cov)]
    return [mean, *jump] if b[0] != 0 else jump


def _level_gate(a: Args, b: Args, cov: Cov) -> list[Term]:
    """a left, b right of 0, times Φ_e(v)."""
    return [Term(a[0] * HALF, primitives.one, ()), Term(a[1] - a[0], primitives.cdf_cdf, (*cov, ZERO, b[0]))]


def _level_gelu(a: Args, b: Args, cov: Cov) -> list[Term]:
    mean = Term(a[0], primitives.cdf_moment, (cov[2], 1, b[0]))
    return [mean, Term(a[1] - a[0], primitives.gelu_cdf, (*_flip(cov), b[0], ZERO))]


def _erf_odd(shift: int, weight: Callable[[Args], sp.Expr]) -> Rule:
    """erf(u) sees only the odd part of the second function: weight · sign(v), or weight · v when ``shift`` is 1."""

    def rule(a: Args, b: Args, cov: Cov) -> list[Term]:
        if shift:
            return _moment(1, 0, a[0], _flip(cov), 2 * weight(b))
        return [Term(weight(b), primitives.erf_erf, (*cov, a[0], ZERO))]

    return rule


def _rect(n: Callable[[Args], int], part: Callable[[Args], tuple[sp.Expr, sp.Expr]]) -> Rule:
    """max(u, 0)^m times α v^n + β max(v, 0)^n."""

    def rule(a: Args, b: Args, cov: Cov) -> list[Term]:
        m, k, (alpha, beta) = int(a[0]), n(b), part(b)
        both = [Term(beta, powers.rectified, (*cov, m, k), powers.rectified_pair if k > 0 and alpha == 0 else None)]
        return _moment(k, m, ZERO, _flip(cov), alpha) + both

    return rule


def _ramp_ramp(a: Args, b: Args, cov: Cov) -> list[Term]:
    if a[0] == b[0]:
        return [Term(ONE, ramps.ramp_ramp, (*cov, a[1], b[1]), ramps.ramp_pair)]
    return [Term(ONE, ramps.opposite_ramps, (*cov, a[1], b[1]), ramps.opposite_ramp_pair)]


def _jump_jump(a: Args, b: Args, cov: Cov) -> list[Term]:
    return [Term(ONE, ramps.jump_jump if a[0] == b[0] else ramps.opposite_jumps, (*cov, a[1], b[1]))]


def _power_ramp(a: Args, b: Args, cov: Cov) -> list[Term] | None:
    k, (s, t) = int(a[0]), b
    if k == 0:
        return [Term(ONE, ramps.ramp_mean, (cov[2], t))]
    return [Term(s, ramps.linear_ramp, (*cov, t), ramps.linear_ramp_pair)] if k == 1 else None


def _power_jump(a: Args, b: Args, cov: Cov) -> list[Term] | None:
    k, (s, t) = int(a[0]), b
    if k == 0:
        return [Term(ONE, ramps.jump_mean, (cov[2], t))]
    return [Term(s, ramps.linear_jump, (*cov, t))] if k == 1 else None


def _power_elu(a: Args, b: Args, cov: Cov) -> list[Term] | None:
    k = int(a[0])
    if k == 0:
        return [Term(ONE, elu.elu_mean, (cov[2], b[0]))]
    return [Term(ONE, elu.linear_elu, (*cov, b[0]), elu.linear_elu_pair)] if k == 1 else None


def _power_delu(a: Args, b: Args, cov: Cov) -> list[Term] | None:
    return [Term(ONE, elu.elu_mean_slope, (cov[2], b[0]))] if a[0] == 0 else None


def _slope_ramp(a: Args, b: Args, cov: Cov) -> list[Term]:
    """a u + (b − a) max(u, 0) times a ramp."""
    plain = [Term(a[0] * b[0], ramps.linear_ramp, (*cov, b[1]), ramps.linear_ramp_pair)] if a[0] != 0 else []
    return [*plain, *(replace(t, coef=a[1] - a[0]) for t in _ramp_ramp((ONE, ZERO), b, cov))]


def _level_jump(a: Args, b: Args, cov: Cov) -> list[Term]:
    plain = [Term(a[0], ramps.jump_mean, (cov[2], b[1]))] if a[0] != 0 else []
    return [*plain, *(replace(t, coef=a[1] - a[0]) for t in _jump_jump((ONE, ZERO), b, cov))]


RULES: dict[tuple[str, str], Rule] = {
    ("slope", "slope"): _slope_slope,
    ("level", "level"): _level_level,
    ("slope", "level"): _slope_level,
    ("slope", "cdf"): _slope_gate(0),
    ("slope", "gelu"): _slope_gate(1),
    ("level", "cdf"): _level_gate,
    ("level", "gelu"): _level_gelu,
    ("erf", "erf"): _direct(primitives.erf_erf, primitives.erf_pair),
    ("erf", "level"): _erf_odd(0, lambda b: (b[1] - b[0]) / 2),
    ("erf", "slope"): _erf_odd(1, lambda b: (b[0] + b[1]) / 2),
    ("erf", "gelu"): _erf_odd(1, lambda b: HALF),
    ("erf", "cdf"): lambda a, b, cov: [Term(HALF, primitives.erf_erf, (*cov, *a, *b), primitives.erf_pair)],
    ("cdf", "cdf"): _direct(primitives.cdf_cdf, primitives.cdf_pair),
    ("gelu", "gelu"): _direct(primitives.gelu_gelu, primitives.gelu_pair),
    ("gelu", "cdf"): _direct(primitives.gelu_cdf),
    ("dgelu", "dgelu"): _direct(primitives.gelu_slope),
    ("power", "power"): _power_power,
    ("hermite", "hermite"): lambda a, b, cov: [Term(ONE, powers.hermites, (*cov, int(a[0]), int(b[0])), powers.hermites_pair)],
    ("power", "level"): _power_gate(0, _sides),
    ("power", "slope"): _power_gate(1, _sides),
    ("power", "cdf"): _power_gate(0, lambda b: (ZERO, ONE, b[0])),
    ("power", "gelu"): _power_gate(1, lambda b: (ZERO, ONE, b[0])),
    ("power", "erf"): _power_erf,
    ("power", "rect"): lambda a, b, cov: _moment(int(a[0]), int(b[0]), ZERO, cov),
    ("rect", "rect"): _rect(lambda b: int(b[0]), lambda b: (ZERO, ONE)),
    ("rect", "slope"): _rect(lambda b: 1, lambda b: (b[0], b[1] - b[0])),
    ("rect", "level"): _rect(lambda b: 0, lambda b: (b[0], b[1] - b[0])),
    ("ramp", "ramp"): _ramp_ramp,
    ("jump", "jump"): _jump_jump,
    ("slope", "ramp"): _slope_ramp,
    ("level", "jump"): _level_jump,
    ("power", "ramp"): _power_ramp,
    ("power", "jump"): _power_jump,
    ("elu", "elu"): _direct(elu.elu_elu, elu.elu_pair),
    ("delu", "delu"): _direct(elu.elu_slope),
    ("power", "elu"): _power_elu,
    ("power", "delu"): _power_delu,
    ("sin", "sin"): _direct(waves.sine_sine, waves.sine_pair),
    ("exp", "exp"): _direct(waves.exp_exp, waves.exp_pair),
    ("bell", "bell"): _direct(waves.gaussian_gaussian, waves.gaussian_pair),
    ("dbell", "dbell"): _direct(waves.gaussian_slope),
}


def mean(f: Kind, q: str = "q") -> list[Term] | None:
    """E[f(u)], u of variance ``q``, as terms; None when no primitive knows it."""
    match f.name, f.args:
        case "power", (k,):
            return [Term(f.coef, primitives.plain_moment, (q, int(k)))] if k % 2 == 0 else []
        case "hermite", (k,):
            return [Term(f.coef, powers.hermites, (q, "0.0", "1.0", int(k), 0))] if k % 2 == 0 else []
        case "level", (a, b):
            return [Term(f.coef, primitives.mean_level, (q, a, b))]
        case "slope", (a, b):
            return [Term(f.coef * (b - a), primitives.cdf_moment, (q, 1, ZERO))]
        case "rect", (n,) if int(n) == 2:
            return [Term(f.coef, primitives.half_variance, (q,))]
        case "rect", (n,):
            return [Term(f.coef, primitives.cdf_moment, (q, int(n), ZERO))]
        case (("erf" | "dbell"), _):
            return []
        case "cdf", _:
            return [Term(f.coef * HALF, primitives.one, ())]
        case "dgelu", _:
            return [Term(f.coef * HALF, primitives.one, ())]
        case "gelu", (e,):
            return [Term(f.coef, primitives.cdf_moment, (q, 1, e))]
        case "sin", (a, b):
            return [Term(f.coef, waves.sine_mean, (q, a, b))]
        case "exp", (a,):
            return [Term(f.coef, waves.exp_mean, (q, a))]
        case "elu", (alpha,):
            return [Term(f.coef, elu.elu_mean, (q, alpha))]
        case "delu", (alpha,):
            return [Term(f.coef, elu.elu_mean_slope, (q, alpha))]
        case "ramp", (_, t):
            return [Term(f.coef, ramps.ramp_mean, (q, t))]
        case "jump", (_, t):
            return [Term(f.coef, ramps.jump_mean, (q, t))]
        case "bell", (a,):
            return [Term(f.coef, waves.gaussian_mean, (q, a))]
    return None
