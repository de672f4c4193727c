"""Known functions inside an expression: ``decompose(φ, u)`` writes φ as a combination of :class:`Basis` functions.

So ``relu(2*u)``, ``(u + Abs(u))/2``, ``Max(u, 0)`` and ``leaky_relu(u, 1/5)`` are all seen as rectified powers, and
``u*erf(u/sqrt(2))/2 + u/2`` as gelu. ``separate`` writes an integrand as a sum of products, one factor per variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, prod

import sympy as sp

from tp.gaussian.functions import elu, normal_cdf, relu, step
from tp.gaussian.normalform import normal_form
from tp.gaussian.terms import ONE, ZERO, Gate, Shape, Terms, Unknown, unit

MAX_PRODUCTS = 200
COUNTLESS = 10_000
Combination = list[tuple[sp.Expr, "Basis"]]


@dataclass(frozen=True, slots=True)
class Basis:
    """The ``order``-th derivative of a named function, at ``scale·x + shift``.

    ========== =========== =====================================================
    name       params      function of x
    ========== =========== =====================================================
    power      (k,)        x^k
    rectified  (n,)        max(x, 0)^n; n = 0 is the step
    erf        (a,)        erf(a x)
    normal_cdf (a,)        Φ(a x)
    gelu       (a,)        x Φ(a x); order 1: Φ(a x) + a x φ(a x)
    sin        (a, b)      sin(a x + b)
    exp        (a,)        exp(a x)
    gaussian   (a,)        exp(−a x²); order 1: −2 a x exp(−a x²)
    elu        (alpha,)    x above 0, alpha (exp(x) − 1) below; order 1: 1 and alpha exp(x)
    ========== =========== =====================================================

    ``order`` is 0 where no order 1 is listed; ``scale`` is 1 except for elu.
    """

    name: str
    params: tuple[sp.Expr, ...]
    order: int = 0
    shift: sp.Expr = ZERO
    scale: sp.Expr = ONE


def decompose(phi: sp.Expr, u: sp.Expr) -> Combination | None:
    """``phi`` as Σ coefficient · Basis(u); None where it is no such combination."""
    try:
        return _Matcher(normal_form(phi, (u,))).run()
    except Unknown:
        return None


class _Matcher:
    """Takes known functions out of ``terms`` until nothing is left."""

    def __init__(self, terms: Terms) -> None:
        self.left = dict(terms)
        self.found: Combination = []

    def run(self) -> Combination:
        for shape in list(self.left):
            if shape.gates and any(shape.lin):
                self._elu(shape)
        for shape in sorted(self.left, key=lambda s: -s.powers[0]):  # x Φ(ax) before Φ(ax)
            if shape in self.left and shape.gates and shape.gates[0].noise != 0 and not any(shape.lin) and not any(shape.quad):
                self._cdf(shape)
        for shape in list(self.left):
            if shape in self.left:
                self._single(shape)
        return self.found

    def coef(self, shape: Shape) -> sp.Expr:
        return self.left.get(shape, ZERO)

    def take(self, shape: Shape, amount: sp.Expr) -> None:
        rest = sp.expand(self.coef(shape) - amount)
        if rest == 0:
            self.left.pop(shape, None)
        else:
            self.left[shape] = rest

    def put(self, coef: sp.Expr, name: str, *params: sp.Expr | int, **where: sp.Expr | int) -> None:
        self.found.append((coef, Basis(name, tuple(map(sp.sympify, params)), **where)))

    def _elu(self, shape: Shape) -> None:
        """κ elu(s x + t; α): κ(s x + t) and κα above 0, κα exp(s x + t) below, less κα everywhere."""
        ((s,), gate) = shape.lin, shape.gates[0]
        if len(shape.gates) > 1 or gate.noise != 0 or not gate.slope[0].is_negative or shape.powers != (0,) or any(shape.quad):
            raise Unknown("an exponential beside a gate which is not elu")
        above = gate.complement()
        tail = self.left[shape] * sp.exp(shape.const - s * above.shift)  # of exp(s (x + t)) below
        slope, jump = self.coef(_shape(1, above)), self.coef(_shape(0, above))
        where = {"shift": s * above.shift, "scale": s}
        if not s.is_positive:
            raise Unknown("an exponential which grows below")
        self.take(shape, self.left[shape])
        if slope != 0:
            kappa = slope / s
            self.put(kappa, "elu", tail / kappa, **where)
            self.take(_shape(1, above), slope)
            self.take(_shape(0, above), slope * above.shift + tail)
            self.take(unit(1), -tail)
        elif jump != 0:
            self.put(jump, "elu", tail / jump, order=1, **where)
            self.take(_shape(0, above), jump)
        else:
            raise Unknown("an exponential below 0 alone")

    def _cdf(self, shape: Shape) -> None:
        """Φ(a x + t) as gelu, its derivative, erf or Φ."""
        gate = shape.gates[0]
        if len(shape.gates) > 1 or shape.freq or shape.powers[0] > 1:
            raise Unknown("a product of error functions")
        (a,), coef = gate.slope, self.left[shape]
        shift = gate.shift / a
        if shape.powers == (1,):
            self._take_gelu(gate, coef, shift)
            return
        bell = Shape((1,), (-(a**2) / 2,), (ZERO,))
        if shift == 0 and self.coef(bell) != 0 and sp.expand(self.coef(bell) - coef * a / sp.sqrt(2 * sp.pi)) == 0:
            self.put(coef, "gelu", a, order=1)
            self.take(bell, self.coef(bell))
        elif sp.expand(self.coef(unit(1)) + coef / 2) == 0:
            self.put(coef / 2, "erf", a / sp.sqrt(2), shift=shift)
            self.take(unit(1), -coef / 2)
        else:
            self.put(coef, "normal_cdf", a, shift=shift)
        self.take(shape, coef)

    def _take_gelu(self, gate: Gate, coef: sp.Expr, shift: sp.Expr) -> None:
        self.put(coef, "gelu", gate.slope[0], shift=shift)  # (x + t/a) Φ(a x + t)
        self.take(_shape(1, gate), coef)
        self.take(_shape(0, gate), coef * shift)

    def _single(self, shape: Shape) -> None:
        coef = self.left[shape]
        (k,), (quad,), (lin,) = shape.powers, shape.quad, shape.lin
        if shape.deltas:
            raise Unknown("a Dirac delta")
        if shape.gates:
            self._rectified(shape, coef)
            return
        if shape.is_polynomial:
            self.put(coef, "power", k)
        elif shape.freq and not (k or quad or lin):
            self.put(coef, "sin", shape.freq[0], shape.phase + sp.pi / 2)
        elif shape.freq:
            raise Unknown("a cosine times another function")
        elif quad != 0 and k <= 1:
            self._gaussian(shape, coef)
            return
        elif k == 0:
            self.put(coef * sp.exp(shape.const), "exp", lin)
        else:
            raise Unknown("a polynomial times an exponential")
        self.take(shape, coef)

    def _gaussian(self, shape: Shape, coef: sp.Expr) -> None:
        (k,), (quad,), (lin,) = shape.powers, shape.quad, shape.lin
        t = lin / (2 * quad)
        factor = sp.exp(sp.expand(shape.const - quad * t**2))
        if k == 1:  # x e^{-a(x+t)²} = −(1/2a) derivative − t e^{…}
            self.put(coef * factor / (2 * quad), "gaussian", -quad, order=1, shift=t)
            if t != 0:
                self.put(-coef * factor * t, "gaussian", -quad, shift=t)
        else:
            self.put(coef * factor, "gaussian", -quad, shift=t)
        self.take(shape, coef)

    def _rectified(self, shape: Shape, coef: sp.Expr) -> None:
        """x^k 1{x + t > 0} = Σ_n C(k, n) (−t)^(k−n) max(x + t, 0)^n; all powers at one gate together."""
        gate = shape.gates[0]
        if len(shape.gates) > 1 or shape.freq or any(shape.quad) or any(shape.lin) or not gate.slope[0].is_positive:
            raise Unknown("a step times another function")
        here = [s for s in self.left if s.gates == shape.gates]
        if any(s.freq or any(s.quad) or any(s.lin) for s in here):
            raise Unknown("a step times another function")
        t, top = gate.shift, max(s.powers[0] for s in here)
        for n in range(top + 1):
            total = sum(sp.binomial(s.powers[0], n) * (-t) ** (s.powers[0] - n) * self.left[s] for s in here if s.powers[0] >= n)
            if (total := sp.expand(total)) != 0:
                self.put(total, "rectified", n, shift=t)
        for s in here:
            del self.left[s]


def _shape(power: int, gate: Gate) -> Shape:
    return Shape((power,), (ZERO,), (ZERO,), gates=(gate,))


def expression(basis: Basis, x: sp.Expr) -> sp.Expr:
    """The function of ``x`` that ``basis`` names."""
    y = sp.Dummy("y", real=True)
    p = basis.params
    match basis.name:
        case "power":
            value = y ** p[0]
        case "rectified":
            value = relu(y) ** p[0] if p[0] != 0 else step(y)
        case "erf":
            value = sp.erf(p[0] * y)
        case "normal_cdf":
            value = normal_cdf(p[0] * y)
        case "gelu":
            value = y * normal_cdf(p[0] * y)
        case "sin":
            value = sp.sin(p[0] * y + p[1])
        case "exp":
            value = sp.exp(p[0] * y)
        case "gaussian":
            value = sp.exp(-p[0] * y**2)
        case "elu":
            value = elu(y, p[0])
        case _:
            raise ValueError(f"no function is called {basis.name}")
    return value.diff(y, basis.order).subs(y, basis.scale * x + basis.shift)


def separate(
    integrand: sp.Expr, variables: Sequence[sp.Expr | tuple[sp.Expr, ...]]
) -> list[tuple[sp.Expr, tuple[sp.Expr, ...]]] | None:
    """``integrand`` as Σ coefficient · Π_i φ_i(variable_i), multiplied out no more than needed; None if it is not one.

    Several variables in the place of one are taken by one function.
    """
    out: list[tuple[sp.Expr, tuple[sp.Expr, ...]]] = []
    pending = [integrand]
    while pending:
        term = pending.pop()
        if isinstance(term, sp.Add) and len(_touched(term, variables)) > 1:
            pending.extend(reversed(term.args))
            continue
        coefs: list[sp.Expr] = []
        alone: list[list[sp.Expr]] = [[] for _ in variables]
        mixed: list[sp.Expr] = []
        for factor in sp.Mul.make_args(term):
            touched = _touched(factor, variables)
            if not touched:
                coefs.append(factor)
            elif len(touched) == 1:
                alone[touched[0]].append(factor)
            else:
                mixed.append(factor)
        coef, factors = sp.Mul(*coefs), [sp.Mul(*group) for group in alone]  # at once: SymPy sorts factors at every product
        if mixed:
            product = sp.Mul(*mixed)
            if expanded_size(product) > 5 * MAX_PRODUCTS:
                return None
            opened = sp.expand_mul(sp.expand_multinomial(sp.expand_power_exp(product)), deep=False)
            if opened == product and not isinstance(product, sp.Add):
                return None
            rest = coef * sp.Mul(*factors)
            pending.extend(rest * part for part in reversed(sp.Add.make_args(opened)))
        else:
            out.append((coef, tuple(factors)))
        if len(out) + len(pending) > MAX_PRODUCTS:
            return None
    return out


def expanded_size(expr: sp.Expr) -> int:
    """How many terms an expression has when multiplied out, at most; beyond ``COUNTLESS`` that many."""
    if isinstance(expr, sp.Add):
        return min(sum(map(expanded_size, expr.args)), COUNTLESS)
    if isinstance(expr, sp.Mul):
        return min(prod(map(expanded_size, expr.args)), COUNTLESS)
    if isinstance(expr, sp.Pow) and expr.exp.is_Integer and expr.exp > 0 and (terms := expanded_size(expr.base)) > 1:
        return COUNTLESS if expr.exp > COUNTLESS else min(comb(int(expr.exp) + terms - 1, int(expr.exp)), COUNTLESS)
    return 1


def _touched(e: sp.Expr, variables: Sequence[sp.Expr | tuple[sp.Expr, ...]]) -> list[int]:
    return [i for i, v in enumerate(variables) if (e.has(*v) if isinstance(v, tuple) else e.has(v))]
