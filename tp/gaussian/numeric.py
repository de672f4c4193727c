"""Numbers for expectations: ``lower`` turns ``Expectation`` nodes into self-contained scalar Python functions.

What the kernel compiler needs to know is all here::

    V    = Expectation(relu(u) * relu(v), (u, v), [[q1, c], [c, q2]])
    Vdot = Expectation(step(u) * step(v), (u, v), [[q1, c], [c, q2]])
    low  = lower(V, Vdot)          # one variable or two; all expectations given share variables and covariance
    low.function                   # 'relu_pair': the name of the function to call
    low.args                       # (q1, c, q2): SymPy expressions to print and pass, in this order
    low.results                    # 2: the function returns a tuple of two floats (one result: a float, no tuple)
    low.sources                    # (('determinant', 'def determinant(…)…'), …, ('relu_pair', 'def relu_pair(…)…'))
    low.method, low.rule           # 'closed' | 'mehler' | 'quadrature', and in words with the source
    low.bound                      # error, relative to sqrt(E[φ(u)²] E[ψ(v)²]); never None

``sources`` are function definitions in dependency order. They use nothing but ``math``, ``numpy as np`` (only functions
that fill an array) and each other; equal names have equal text, so the sources of many ``Lowered`` are merged by
name. Put ``@njit(error_model="numpy", forceinline=True)`` before each (without ``forceinline`` where the text has a loop;
never ``fastmath``, it destroys the two-product), or nothing at all: the same text runs in plain Python. The closed forms
of relu, erf, gelu and their kin are free of branches: in a loop over a contiguous row, ``for j in range(n): v, vdot =
relu_pair(q1, c[j], q2[j])`` with the layers outside, they become vector instructions (5 ns a pair and layer; ten times
slower with the layer loop inside). Arguments and arithmetic are float64; a float32 kernel stores float32 and calls with
float64. Compiled functions do not raise; an input outside the domain gives nan.

``args`` holds the covariance first (``q`` for one variable, ``q1, c, q2`` for two), then means, shifts, slopes and
coefficients, whatever the integrand contains: symbols of the caller or numbers. A scaled argument is already absorbed.

The same site (u and v one variable) must not go through the two-variable function: ask for expectations of u alone, which have
the single covariance argument ``q`` and are exact there.

**Without closed form** (tanh, a user's function) ``low.function`` always works pair by pair (adaptive quadrature,
0.1–1 ms a pair). When ``low.sites`` is not empty there is the fast way, with coefficients computed once per sample and layer::

    site = low.sites[0]            # for variable 0; low.sites[1] for variable 1 (same function when φ = ψ)
    site.function                  # 'site_tanh_1f2e': site_tanh_1f2e(q, *params, out) fills the float64 vector out
    site.args                      # (q1, *params): what to pass before out
    site.count                     # 'count_tanh_1f2e': count_tanh_1f2e(q, *params, eps) -> length of out for an error ≤ eps
    site.squares                   # 'squares': squares(q, out) -> E[φ²] and E[φ'²] but for what is left out, see ``tabulate``
    low.with_sites                 # name of the pair function: (a, b, q1, c, q2) -> results, where a, b are the filled vectors
    low.pair_args                  # (q1, c, q2) to pass after a and b

**In inner loops** ``low.easy.name``, where ``low.easy`` is not None, is a faster function with arguments ``low.easy.args`` (roots
of single variances among them, to be computed once per sample). It is exact where its last result is positive; elsewhere only
``low.function`` is. ``low.easy.near`` is faster still where correlations are near one that is known. By sites, ``mehler_rows``
does one sample with many others at a time, and ``low.sums(a[0], b[0], c, t, d, *params)`` makes the results. Of one variable,
``low.spread(rows, first, m, *params)`` integrates for some variances and interpolates for the others: from rows[first, :m] to the
rows that follow it, one a result.

``K`` grows with the variance: call ``count`` with the largest one and use that K for all. ``site`` returns the tail
``t`` which the choice leaves (so that sqrt(t_a t_b) bounds the error of the pair, theory: Mehler), to be reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.breaks import has_jump, has_pole
from tp.gaussian.codegen import Source, digest, merge, sources_of
from tp.gaussian.decompose import separate
from tp.gaussian.easy import easy_form
from tp.gaussian.expectation import Expectation
from tp.gaussian.factor import Factor, Pair, factor, pair, spreading
from tp.gaussian.functions import hermite
from tp.gaussian.hermite import mehler_rows
from tp.gaussian.laws import Term, bounded_by_ramps, kinds, law, mean
from tp.gaussian.lines import Lines
from tp.gaussian.lowered import Lowered, Site
from tp.gaussian.ramps import density_path
from tp.gaussian.sides import lower_sides, one_side
from tp.gaussian.stable import cancels


def lower(*expectations: Expectation) -> Lowered:
    """One scalar function for the expectations, which share variables and covariance (one variable or two).

    >>> from tp.gaussian.functions import relu, step
    >>> u, v, q1, c, q2 = sp.symbols("u v q1 c q2", real=True)
    >>> cov = [[q1, c], [c, q2]]
    >>> lower(Expectation(relu(u) * relu(v), (u, v), cov), Expectation(step(u) * step(v), (u, v), cov)).function
    'relu_pair'
    """
    first = expectations[0]
    assert all(e.variables == first.variables and e.cov == first.cov for e in expectations)
    count, couple = len(first.variables), first.variables
    if count > 2 or (count == 2 and (one_side(couple) or any(separate(e.integrand, couple) is None for e in expectations))):
        return lower_sides(expectations)
    return _Lowering(first, [e.integrand for e in expectations]).run()


WIDE = 1e3
"""Variance beyond which a bounded function of ramps is integrated: the ramps grow with it and their sum does not."""


def _refusal(e: sp.Basic, what: str) -> LimitError:
    remedy = "rewrite it as products of functions of one pre-activation each"
    return LimitError(Message(NOWHERE, f"{what} is not evaluated numerically: `{e}`", remedy, "no numbers"))


class Prefer(Enum):
    """Closed forms where there are any and they are accurate; closed forms; quadrature."""

    BEST, CLOSED, QUADRATURE = range(3)


Product = tuple[sp.Expr, sp.Expr, sp.Expr]  # coef · f(u) · g(v)


class _Lowering(Lines):
    """Turns integrands over inner symbols into the lines of one function."""

    def __init__(self, e: Expectation, integrands: Sequence[sp.Expr], prefer: Prefer = Prefer.BEST) -> None:
        super().__init__(e, integrands)
        self.prefer = prefer
        self.numeric: list[tuple[Pair, sp.Expr, tuple[int, ...]]] = []
        self.ratio: dict[int, sp.Expr] = {}  # of an integrand to the mixed derivative that it is computed as

    # ------------------------------------------------------------ the whole function

    def run(self) -> Lowered:
        if len(self.variables) == 1:
            for k, g in enumerate(self.integrands):
                self._alone(k, g)
        else:
            self._couples()
        return self._finish()

    def _finish(self) -> Lowered:
        first = ("q",) if len(self.variables) == 1 else ("q1", "c", "q2")
        entries = [self.cov[0, 0]] if len(first) == 1 else [self.cov[0, 0], self.cov[0, 1], self.cov[1, 1]]
        head, returned = (*first, *self.names.values()), ", ".join(self.answers)
        body = "".join(f"\n    {line}" for line in [*self.lines, f"return {returned}"])
        sources = merge(sources_of(*self.printer.used.values()), *self.sources)
        low = self._closed_or_not(head, returned, entries, body, sources)
        low = replace(low, double=any(name == density_path.__name__ for name, _ in sources))  # an angle
        if low.method != "closed" or len(entries) == 1:
            return low
        back: dict[str, sp.Expr] = {name: e for e, name in zip(self.params, self.names.values(), strict=True)}
        found = easy_form(self.calls, back, entries, returned)
        return replace(low, easy=found, sources=merge(low.sources, found.sources)) if found else low

    def _closed_or_not(
        self, head: tuple[str, ...], returned: str, entries: list[sp.Expr], body: str, sources: tuple[Source, ...]
    ) -> Lowered:
        args: tuple[sp.Expr, ...] = (*entries, *self.params)
        if len(self.calls) == 1 and returned == ", ".join(f"t0[{k}]" for k in range(len(self.answers))) and len(self.answers) > 1:
            function, texts = self.calls[0]
            if texts == head:
                return self._lowered(function, args, sources)
        name = f"expectation_{digest(*head, body)}"
        return self._lowered(name, args, (*sources, (name, f"def {name}({', '.join(head)}):{body}")))

    def _lowered(self, function: str, args: tuple[sp.Expr, ...], sources: tuple[Source, ...]) -> Lowered:
        n = len(self.answers)
        if not self.numeric and "phi_mean_" not in "".join([*self.lines, *self.answers]):
            return Lowered(function, args, n, sources, "closed", "closed forms", 1e-13)
        if len(self.numeric) == 1 and len(self.numeric[0][2]) == n and len(self.calls) == 1:
            return self._by_sites(function, args, sources)
        low = Lowered(function, args, n, sources, "quadrature", "Gauss–Legendre panels between kinks", 1e-11)
        if len(self.variables) > 1:
            return low
        more = spreading(function, n, tuple(self.names.values()))
        return replace(low, spread=more[-1][0], sources=merge(sources, more))

    def _by_sites(self, function: str, args: tuple[sp.Expr, ...], sources: tuple[Source, ...]) -> Lowered:
        numbers, coef, where = self.numeric[0]
        head = ("a", "b", "q1", "c", "q2", *self.names.values())
        lines = [f"t0 = {numbers.mehler}({', '.join(('a', 'b', 'q1', 'c', 'q2', *numbers.params))})"]
        factors = [self.printer(coef * (self.ratio.get(k, sp.S.One) if where.index(k) else sp.S.One)) for k in range(len(where))]
        lines.append("return " + ", ".join(f"{text} * t0[{where.index(k)}]" for k, text in enumerate(factors)))
        body = "".join(f"\n    {line}" for line in lines)
        name = f"with_sites_{digest(*head, body)}"
        back = {name: e for e, name in zip(self.params, self.names.values(), strict=True)}
        sites = tuple(
            Site(
                numbers.sites[k], numbers.counts[k], numbers.squares, (self.cov[k, k], *(back[p] for p in numbers.site_params[k]))
            )
            for k in (0, 1)
        )
        text = f"def {name}({', '.join(head)}):{body}"
        sums, parts = "", [sources, numbers.site_sources, ((name, text),)]
        if numbers.smooth:
            inner = ", ".join(("a0", "b0", "c", "t", "d", *self.names.values()))
            lines[0] = "t0 = (a0 * b0 + c * t, d)"
            sums = f"sums_{digest(inner, *lines)}"
            own = (sums, f"def {sums}({inner}):" + "".join(f"\n    {line}" for line in lines))
            parts.append((*sources_of(mehler_rows), own))
        everything = merge(*parts)
        rule = "Mehler's expansion (O'Donnell 2014, ch. 11), quadrature near |ρ| = 1 where its tail is too long"
        return Lowered(function, args, len(self.answers), everything, "mehler", rule, 1e-11, sites, name, args, sums=sums)

    # ------------------------------------------------------------ two variables

    def _couples(self) -> None:
        """V and V̇ together where one integrand is the mixed derivative of another; the others one by one."""
        products = [self._products(g) for g in self.integrands]
        terms = [None if self.prefer is Prefer.QUADRATURE or self._cancels(p) else self._terms(p) for p in products]
        left = list(range(len(products)))
        while left:
            k = left.pop(0)
            above = next((m for m in left if self._is_derivative(products[m], k)), None)
            below = next((m for m in left if self._is_derivative(products[k], m)), None)
            if above is not None and above != below:  # V first, its V̇ with it
                left.remove(above)
                left[:0] = [above, k]
            elif below is not None and self._bounded(products[k]) and terms[k] is not None:
                left.remove(below)
                self._narrow_or_wide(products[k], (k, below))
            elif self._bounded(products[k]) and terms[k] is not None:
                self._narrow_or_wide(products[k], (k,))
            elif below is not None and self._closed_couple(k, below, terms[k]):
                left.remove(below)
            elif below is not None and (terms[k] is None or terms[below] is None):
                left.remove(below)
                self._numeric(products[k], (k, below))
            elif not self._closed_terms(k, terms[k]):
                self._numeric(self._regrouped(products[k], self.integrands[k]), (k,))

    def _products(self, g: sp.Expr) -> list[Product]:
        found = separate(g, self.variables)
        if found is None:
            raise _refusal(g.xreplace({z: e for e, z in self.inner.items()}), "an integrand which is no sum of products")
        return [(coef, f, h) for coef, (f, h) in found]

    def _cancels(self, products: list[Product]) -> bool:
        """Whether a factor is a sum of known functions that cancel at small variance."""
        return self.prefer is Prefer.BEST and any(
            cancels(g, x) for p in products for g, x in zip(p[1:], self.variables, strict=True)
        )

    def _regrouped(self, products: list[Product], g: sp.Expr) -> list[Product]:
        """One product instead of a multiplied-out sum, where factoring finds it."""
        if len(products) > 1:
            found = separate(sp.factor(g), self.variables)
            if found is not None and len(found) < len(products):
                return [(coef, f, h) for coef, (f, h) in found]
        return products

    def _is_derivative(self, products: list[Product], k: int) -> bool:
        """Whether integrand ``k`` is ∂²/∂u∂v of the products but for a number, which is noted."""
        u, v = self.variables
        mixed = sp.Add(*(coef * sp.diff(f, u) * sp.diff(h, v) for coef, f, h in products))
        g = self.integrands[k]
        if mixed == 0 or mixed.has(sp.DiracDelta):
            return bool(mixed == g)
        ratio = sp.factor_terms(g) / sp.factor_terms(mixed)
        if not ratio.is_number and sp.expand(mixed - g) != 0:
            return False
        self.ratio[k] = ratio if ratio.is_number else sp.S.One
        return True

    def _terms(self, products: list[Product]) -> list[Term] | None:
        """The law of every pair of kinds; None when one is missing."""
        terms: list[Term] = []
        for coef, f, h in products:
            one, two = kinds(f, self.variables[0]), kinds(h, self.variables[-1])
            if one is None or two is None:
                return None
            for a, b in itertools.product(one, two):
                found = law(a, b)
                if found is None:
                    return None
                terms += [replace(t, coef=coef * t.coef) for t in found]
        return terms

    def _bounded(self, products: list[Product]) -> bool:
        """Whether a factor is a bounded sum of ramps (hard tanh, relu6), which cancels at large variance."""
        found = (bounded_by_ramps(g, x) for p in products for g, x in zip(p[1:], self.variables, strict=True))
        return self.prefer is Prefer.BEST and any(found)

    def _narrow_or_wide(self, products: list[Product], where: tuple[int, ...]) -> None:
        """Closed forms up to ``WIDE``, quadrature beyond."""
        q1, c, q2 = covariance = sp.symbols("q1 c q2")
        e = Expectation(sp.S.Zero, self.variables, [[q1, c], [c, q2]])
        ask = [self.integrands[k] for k in where]
        texts = []
        for low in (_Lowering(e, ask, Prefer.CLOSED).run(), _Lowering(e, ask, Prefer.QUADRATURE).run()):
            self.sources.append(low.sources)
            texts.append(f"{low.function}({', '.join(str(a) if a in covariance else self.printer(a) for a in low.args)})")
        self.lines.append(f"t{len(self.calls)} = {texts[0]} if max(q1, q2) < {WIDE!r} else {texts[1]}")
        self.calls.append(("narrow or wide", tuple(texts)))
        for place, k in enumerate(where):
            self.answers[k] = f"t{len(self.calls) - 1}" + (f"[{place}]" if len(where) > 1 else "")

    def _closed_couple(self, k: int, m: int, terms: list[Term] | None) -> bool:
        if not terms or any(t.pair is None and not t.constant for t in terms):
            return False
        found: list[list[tuple[sp.Expr, str]]] = [[], []]
        for t in terms:
            if t.pair is None:
                found[0].append((t.coef, self.call(t.single, t)))
                continue
            name = self.call(t.pair, t)
            found[0].append((t.coef, f"{name}[0]"))
            if not t.constant:
                found[1].append((t.coef * self.ratio.get(m, sp.S.One), f"{name}[1]"))
        self.answers[k], self.answers[m] = self.sum(found[0]), self.sum(found[1])
        return True

    def _closed_terms(self, k: int, terms: list[Term] | None) -> bool:
        if terms is None:
            return False
        self.answers[k] = self._sum_of(terms)
        return True

    def _sum_of(self, terms: list[Term]) -> str:
        return self.sum([(t.coef, self.call(t.single, t)) for t in terms])

    def _wide(self, f: sp.Expr, h: sp.Expr, params: Sequence[str]) -> tuple[str, tuple[Source, ...]]:
        """E[f(u) h(v)] and its derivative in closed form, as a function of (q1, c, q2, *params); "" where there is none."""
        u, v = self.variables
        e = Expectation(sp.S.Zero, self.variables, [list(sp.symbols("q1 c")), list(sp.symbols("c q2"))])
        low = _Lowering(e, [f * h, sp.diff(f, u) * sp.diff(h, v)], Prefer.CLOSED).run()
        if low.method != "closed":
            return "", ()
        text = f"({', '.join(('q1', 'c', 'q2', *params))}):\n    return {low.function}({', '.join(map(self.text, low.args))})"
        name = f"wide_{digest(text)}"
        return name, (*low.sources, (name, f"def {name}{text}"))

    def _numeric(self, products: list[Product], where: tuple[int, ...]) -> None:
        """Quadrature for V (``where`` has one place) or V and V̇ (two)."""
        u, v = self.variables
        sums: list[list[tuple[sp.Expr, str]]] = [[] for _ in where]
        for coef, f, h in products:
            slopes = [sp.diff(f, u), sp.diff(h, v)]
            smooth = not any(s.has(sp.DiracDelta) for s in slopes) and not has_jump(f, u) and not has_jump(h, v)
            if len(where) == 1:  # of slopes that may have no square mean, nothing is asked
                smooth = smooth and not any(has_pole(s, x) for s, x in zip(slopes, (u, v), strict=True))
            one, two = (factor(a, s if smooth else None, x, self.names) for a, s, x in ((f, slopes[0], u), (h, slopes[1], v)))
            wide = self._wide(f, h, sorted({*one.params, *two.params})) if smooth and self._cancels([(coef, f, h)]) else ("", ())
            numbers = pair(one, two, smooth, wide)
            value = self.store(numbers.pair, ("q1", "c", "q2", *numbers.params))
            self.sources.append(numbers.sources)
            self.numeric.append((numbers, coef, where))
            for place, total in enumerate(sums):
                ratio = self.ratio.get(where[place], sp.S.One) if place else sp.S.One
                total.append((coef * ratio, f"{value}[{place}]"))
        for at, total in zip(where, sums, strict=True):
            self.answers[at] = self.sum(total)

    # ------------------------------------------------------------ one variable

    def _alone(self, k: int, g: sp.Expr) -> None:
        """E[g(u)]: means of known functions, else a pair law at c = q, else quadrature."""
        u = self.variables[0]
        closed = self._closed_alone(g, u)
        if closed and not any(cancels(f, u) for f in (g, *itertools.chain(*_splits(g)[:1]))):
            self.answers[k] = closed
            return
        code: Factor = factor(g, None, u, self.names)
        self.sources.append(code.sources)
        function, texts = code.parts["_mean"], ("0.0", "math.sqrt(q)", "0.0", "0.0", "100000", *code.params)
        if closed:
            self.answers[k] = f"({closed} if q > 1.0 else {function}({', '.join(texts)})[0])"
        else:
            self.answers[k] = f"{self.store(function, texts)}[0]"

    def _closed_alone(self, g: sp.Expr, u: sp.Expr) -> str:
        """E[g(u)] in closed form, or ""."""
        found = kinds(g, u)
        terms = None if found is None else [t for kind in found for t in mean(kind) or []]
        ramps, known = bounded_by_ramps(g, u), found is not None and all(mean(kind) is not None for kind in found)
        if known and terms is not None and not ramps and not g.has(hermite):
            return self._sum_of(terms)
        for f, h in () if ramps else _splits(g):
            pairs = None if bounded_by_ramps(f, u) or bounded_by_ramps(h, u) else self._terms([(sp.S.One, f, h)])
            if pairs is not None:
                swap = {"q1": "q", "c": "q", "q2": "q"}
                return self._sum_of([replace(t, args=tuple(swap[a] if isinstance(a, str) else a for a in t.args)) for t in pairs])
        return self._sum_of(terms) if known and terms is not None and not ramps else ""


def _splits(g: sp.Expr) -> list[tuple[sp.Expr, sp.Expr]]:
    """Ways to see g as a product of two functions: a square root first, then a factor and the rest."""
    factors = sp.Mul.make_args(g)
    root = sp.Mul(*(f.base ** (f.exp / 2) if isinstance(f, sp.Pow) else sp.sqrt(f) for f in factors))
    squares = all(f.is_nonnegative if f.is_number else isinstance(f, sp.Pow) and f.exp.is_even for f in factors)
    ways = [(root, root)] if squares else []
    for size in range(1, len(factors)):
        for some in itertools.combinations(range(len(factors)), size):
            rest = [f for k, f in enumerate(factors) if k not in some]
            ways.append((sp.Mul(*(factors[k] for k in some)), sp.Mul(*rest)))
    return ways[:16]
