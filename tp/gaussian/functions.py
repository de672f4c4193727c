"""Activation functions and the special functions of their closed forms, as SymPy functions.

Each class knows its derivative, its value to any precision and its LaTeX. SymPy's own ``erf``, ``tanh``, ``exp``,
``sin``, ``Abs``, ``sign``, ``Max`` … are used as they are. ``gelu`` is the exact x·Φ(x), not the tanh approximation;
``step(0)`` is 0, so that the derivative of relu at 0 is 0, as automatic differentiation has it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import ArgumentIndexError

HALF = sp.Rational(1, 2)


class Activation(sp.Function):
    """A real function of real arguments with a value to any precision (``_mp``) and, mostly, a ``definition``."""

    is_real = True
    is_commutative = True
    _tex = ""

    def definition(self) -> sp.Expr:
        """The same in elementary functions, ``erf`` and SymPy's piecewise ones; itself where there is no such form."""
        return self

    @staticmethod
    def _mp(*args: Any) -> Any:
        raise NotImplementedError

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(a.is_number for a in self.args):
            return None
        with mpmath.workprec(prec + 10):
            args = [a._to_mpmath(prec + 10) for a in self.args]
            return sp.Expr._from_mpmath(self._mp(*args), prec)

    def _eval_conjugate(self) -> sp.Expr:
        return self

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = ", ".join(printer._print(a) for a in self.args)
        power = f"^{{{exp}}}" if exp else ""
        return rf"{self._tex}{power}\left({inner}\right)"


def definition(e: sp.Expr) -> sp.Expr:
    """``e`` with every :class:`Activation` in it written out."""
    return e.replace(lambda part: isinstance(part, Activation), lambda part: part.definition())


def _argument(f: sp.Function, index: int, known: int = 1) -> sp.Expr:
    """The first argument of ``f``; refuses derivatives by arguments other than ``1..known``."""
    if not 1 <= index <= known:
        raise ArgumentIndexError(f, index)
    return f.args[0]


class relu(Activation):
    """max(x, 0)."""

    nargs = 1
    is_nonnegative = True
    _tex = r"\operatorname{relu}"
    _mp = staticmethod(lambda x: x if x > 0 else x * 0)

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return _on_number(x, x, sp.S.Zero)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return step(_argument(self, argindex))

    def definition(self) -> sp.Expr:
        return sp.Max(self.args[0], 0, evaluate=False)


def rectified(e: sp.Expr, atoms: Collection[sp.Expr]) -> sp.Expr:
    """``e`` with each Max and Min of ``atoms`` as ``max(u, v) = v + relu(u - v)``, ``min(u, v) = u - relu(u - v)``.

    SymPy compares the arguments of Max and takes a sum without free symbols for a number, which it refuses: put no such
    sum in the place of an atom before this.
    """
    if not atoms or not e.has(sp.Max, sp.Min):
        return e
    if not isinstance(e, sp.Max | sp.Min):
        return e.func(*(rectified(a, atoms) for a in e.args))
    if not e.has(*atoms):
        return e
    e = _clipped(e)
    first, *others = sorted((rectified(a, atoms) for a in e.args), key=lambda a: (not a.is_number, a.sort_key()))
    for other in others:
        first = first + relu(other - first) if isinstance(e, sp.Max) else other - relu(other - first)
    return first


def _clipped(e: sp.Expr) -> sp.Expr:
    """``max(a, min(b, u))`` as ``min(b, max(a, u))`` for numbers a <= b, so that a rectifier's argument is u but for a number."""
    low, inner = sorted(e.args, key=lambda a: not a.is_number) if isinstance(e, sp.Max) and len(e.args) == 2 else (e, e)
    if isinstance(inner, sp.Min) and len(inner.args) == 2 and low.is_number:
        high, u = sorted(inner.args, key=lambda a: not a.is_number)
        if high.is_number and (high - low).is_nonnegative:
            return sp.Min(high, sp.Max(low, u), evaluate=False)
    return e


class step(Activation):
    """1 for x > 0, else 0."""

    nargs = 1
    is_nonnegative = True
    _tex = r"\operatorname{step}"
    _mp = staticmethod(lambda x: mpmath.mpf(1 if x > 0 else 0))

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return _on_number(x, sp.S.One, sp.S.Zero)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.DiracDelta(_argument(self, argindex))

    def definition(self) -> sp.Expr:
        return sp.Heaviside(self.args[0], 0)


def _on_number(x: sp.Expr, above: sp.Expr, below: sp.Expr) -> sp.Expr | None:
    """``above`` for a positive number ``x``, ``below`` for another real number, None for a symbolic ``x``."""
    if x is sp.oo or (x.is_number and x.is_positive):
        return above
    if x is -sp.oo or (x.is_number and x.is_nonpositive):
        return below
    return None


class leaky_relu(Activation):
    """x for x > 0, α·x below; α = 1/100 when left out."""

    nargs = (1, 2)
    _tex = r"\operatorname{lrelu}"
    _mp = staticmethod(lambda x, alpha: x if x > 0 else alpha * x)

    @classmethod
    def eval(cls, x: sp.Expr, alpha: sp.Expr | None = None) -> sp.Expr | None:
        if alpha is None:
            return cls(x, sp.Rational(1, 100))
        return _on_number(x, x, alpha * x)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x = _argument(self, argindex, 2)
        alpha = self.args[1]
        return alpha + (1 - alpha) * step(x) if argindex == 1 else x - relu(x)

    def definition(self) -> sp.Expr:
        x, alpha = self.args
        return sp.Max(x, 0, evaluate=False) + alpha * sp.Min(x, 0, evaluate=False)


class elu(Activation):
    """x for x > 0, α·(eˣ − 1) below; α = 1 when left out."""

    nargs = (1, 2)
    _tex = r"\operatorname{elu}"
    _mp = staticmethod(lambda x, alpha: x if x > 0 else alpha * mpmath.expm1(x))

    @classmethod
    def eval(cls, x: sp.Expr, alpha: sp.Expr | None = None) -> sp.Expr | None:
        if alpha is None:
            return cls(x, sp.S.One)
        return _on_number(x, x, alpha * (sp.exp(x) - 1)) if x.is_number else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x = _argument(self, argindex, 2)
        return step(x) + self.args[1] * sp.exp(x) * step(-x) if argindex == 1 else (sp.exp(x) - 1) * step(-x)

    def definition(self) -> sp.Expr:
        x, alpha = self.args
        return sp.Piecewise((x, x > 0), (alpha * (sp.exp(x) - 1), True))


class normal_pdf(Activation):
    """φ(x) = exp(−x²/2)/√(2π)."""

    nargs = 1
    is_positive = True
    _tex = r"\varphi"
    _mp = staticmethod(lambda x: mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi))

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        if x.is_zero:
            return 1 / sp.sqrt(2 * sp.pi)
        return cls(-x) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -_argument(self, argindex) * self

    def definition(self) -> sp.Expr:
        return sp.exp(-(self.args[0] ** 2) / 2) / sp.sqrt(2 * sp.pi)


class normal_cdf(Activation):
    """Φ(x), the standard normal distribution function."""

    nargs = 1
    is_nonnegative = True
    _tex = r"\Phi"
    _mp = staticmethod(lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2)

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        if x.is_zero:
            return HALF
        return {sp.oo: sp.S.One, -sp.oo: sp.S.Zero}.get(x)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return normal_pdf(_argument(self, argindex))

    def definition(self) -> sp.Expr:
        return (1 + sp.erf(self.args[0] / sp.sqrt(2))) / 2


class gelu(Activation):
    """x·Φ(x), exact."""

    nargs = 1
    _tex = r"\operatorname{gelu}"
    _mp = staticmethod(lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2)

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x = _argument(self, argindex)
        return normal_cdf(x) + x * normal_pdf(x)

    def definition(self) -> sp.Expr:
        x = self.args[0]
        return x * (1 + sp.erf(x / sp.sqrt(2))) / 2


class sigmoid(Activation):
    """1/(1 + e⁻ˣ)."""

    nargs = 1
    is_positive = True
    _tex = r"\operatorname{sigmoid}"
    _mp = staticmethod(lambda x: 1 / (1 + mpmath.exp(-x)))

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return HALF if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        _argument(self, argindex)
        return self * (1 - self)

    def definition(self) -> sp.Expr:
        return 1 / (1 + sp.exp(-self.args[0]))


class softplus(Activation):
    """log(1 + eˣ)."""

    nargs = 1
    is_positive = True
    _tex = r"\operatorname{softplus}"
    _mp = staticmethod(lambda x: mpmath.log1p(mpmath.exp(-abs(x))) + (x if x > 0 else 0))

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.log(2) if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sigmoid(_argument(self, argindex))

    def definition(self) -> sp.Expr:
        return sp.log(1 + sp.exp(self.args[0]))


class silu(Activation):
    """x/(1 + e⁻ˣ), also called swish."""

    nargs = 1
    _tex = r"\operatorname{silu}"
    _mp = staticmethod(lambda x: x / (1 + mpmath.exp(-x)))

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x = _argument(self, argindex)
        return sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x))

    def definition(self) -> sp.Expr:
        x = self.args[0]
        return x / (1 + sp.exp(-x))


class hermite(Activation):
    """h_k(x) = He_k(x)/√k!, the Hermite polynomials orthonormal under the standard normal law."""

    nargs = 2

    @staticmethod
    def _mp(k: Any, x: Any) -> Any:
        before, now = mpmath.mpf(0), mpmath.mpf(1)
        for j in range(int(k)):
            before, now = now, (x * now - mpmath.sqrt(j) * before) / mpmath.sqrt(j + 1)
        return now

    @classmethod
    def eval(cls, k: sp.Expr, x: sp.Expr) -> sp.Expr | None:
        return {0: sp.S.One, 1: x}.get(k)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        if argindex != 2:
            raise ArgumentIndexError(self, argindex)
        k, x = self.args
        return sp.sqrt(k) * hermite(k - 1, x)

    def definition(self) -> sp.Expr:
        k, x = self.args
        if not (k.is_Integer and k >= 0):
            return self
        n = int(k)
        terms = [
            sp.Rational((-1) ** j * sp.factorial(n), sp.factorial(j) * sp.factorial(n - 2 * j) * 2**j) * x ** (n - 2 * j)
            for j in range(n // 2 + 1)
        ]
        return sp.Add(*terms) / sp.sqrt(sp.factorial(n))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        k, x = (printer._print(a) for a in self.args)
        power = f"^{{{exp}}}" if exp else ""
        return rf"h_{{{k}}}{power}\left({x}\right)"


class normal_cdf2(Activation):
    """Φ₂(h, k; ρ) = P(X ≤ h, Y ≤ k) for standard normal X, Y with correlation ρ.

    ∂Φ₂/∂h = φ(h) Φ((k − ρh)/√(1 − ρ²)) and ∂Φ₂/∂ρ = the density (Plackett 1954).
    """

    nargs = 3
    is_nonnegative = True

    @classmethod
    def eval(cls, h: sp.Expr, k: sp.Expr, rho: sp.Expr) -> sp.Expr | None:
        if rho.is_zero:
            return normal_cdf(h) * normal_cdf(k)
        if h.is_zero and k.is_zero:
            return sp.Rational(1, 4) + sp.asin(rho) / (2 * sp.pi)
        if rho is sp.S.One and h == k:
            return normal_cdf(h)
        return None

    @staticmethod
    def _mp(h: Any, k: Any, rho: Any) -> Any:
        """Φ(h)Φ(k) + (1/2π) ∫₀^{asin ρ} exp(−(h² + k² − 2hk sin t)/(2 cos² t)) dt, Plackett 1954."""
        if rho >= 1:
            return normal_cdf._mp(min(h, k))
        if rho <= -1:
            return max(mpmath.mpf(0), normal_cdf._mp(h) - normal_cdf._mp(-k))

        def density(t: Any) -> Any:
            return mpmath.exp(-(h * h + k * k - 2 * h * k * mpmath.sin(t)) / (2 * mpmath.cos(t) ** 2))

        with mpmath.workprec(mpmath.mp.prec + 20):
            end = mpmath.asin(rho)
            edge = mpmath.sign(rho) * mpmath.pi / 2
            panels = [mpmath.mpf(0)] + [p for j in range(1, 40) if abs(p := edge * (1 - mpmath.mpf(2) ** -j)) < abs(end)]
            integral = mpmath.quad(density, [*panels, end])
            return normal_cdf._mp(h) * normal_cdf._mp(k) + integral / (2 * mpmath.pi)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        h, k, rho = self.args
        s2 = 1 - rho**2
        if argindex == 1:
            return normal_pdf(h) * normal_cdf((k - rho * h) / sp.sqrt(s2))
        if argindex == 2:
            return normal_pdf(k) * normal_cdf((h - rho * k) / sp.sqrt(s2))
        return sp.exp(-(h**2 + k**2 - 2 * rho * h * k) / (2 * s2)) / (2 * sp.pi * sp.sqrt(s2))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        h, k, rho = (printer._print(a) for a in self.args)
        power = f"^{{{exp}}}" if exp else ""
        return rf"\Phi_{{2}}{power}\left({h}, {k}; {rho}\right)"


class owens_t(Activation):
    """T(h, a) = (1/2π) ∫₀^a exp(−h²(1 + x²)/2)/(1 + x²) dx, Owen 1956."""

    nargs = 2
    _tex = "T"

    @classmethod
    def eval(cls, h: sp.Expr, a: sp.Expr) -> sp.Expr | None:
        if a.is_zero:
            return sp.S.Zero
        if h.is_zero:
            return sp.atan(a) / (2 * sp.pi)
        return None

    @staticmethod
    def _mp(h: Any, a: Any) -> Any:
        value = mpmath.quad(lambda x: mpmath.exp(-h * h * (1 + x * x) / 2) / (1 + x * x), mpmath.linspace(0, a, 5))
        return value / (2 * mpmath.pi)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        h, a = self.args
        if argindex == 1:
            return -normal_pdf(h) * (normal_cdf(a * h) - HALF)
        return sp.exp(-(h**2) * (1 + a**2) / 2) / (2 * sp.pi * (1 + a**2))
