"""``closed_form``: an expectation as an expression, by the table of laws or by the moments of the normal form.

The integrand is separated into products of one function per variable. Independent blocks of variables factor; a pair
of known functions goes through the table (:mod:`tp.gaussian.closed.form`), everything else through tilting and Stein
(:mod:`tp.gaussian.closed.moments`). Inside, variables and covariance entries are plain real symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import count

import sympy as sp

from tp.gaussian.closed import arccosine, entire, errorfunction, exponential_linear  # noqa: F401  they enter their laws
from tp.gaussian.closed.form import ClosedForm, find
from tp.gaussian.closed.moments import Combination, Infinite, mean_of
from tp.gaussian.closed.present import collect, join_roots, name_angle
from tp.gaussian.decompose import Basis, decompose, expanded_size, expression, separate
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import gelu, normal_cdf, relu, sigmoid, step
from tp.gaussian.normalform import normal_form
from tp.gaussian.terms import ONE, ZERO, Shape, Unknown

Rows = tuple[tuple[sp.Expr, ...], ...]
Why = tuple[str, str]
"""A rule and its source."""

MODEST = (sp.tanh, sp.sin, sp.cos, sp.erf, sp.atan, sp.asinh, sp.Abs, sp.sign, sigmoid, relu, step, gelu, normal_cdf)
"""Functions which grow no faster than a power."""
MAX_PAIRS = 150
SINGULAR = ("a jump has no square-integrable derivative", "E[δ(u)²] = ∞")
LINEARITY = ("linearity", "")
SYMMETRY = ("symmetry u → −u", "")
STEIN = ("Stein's lemma", "Stein 1981")
INDEPENDENCE = ("independence", "")


@dataclass(slots=True)
class Found:
    """A sum: ``plain`` by the normal form's moments, ``units`` whole laws with coefficients; and the rules used."""

    plain: Combination = field(default_factory=dict)
    units: Combination = field(default_factory=dict)
    rules: tuple[Why, ...] = ()

    def add(self, coef: sp.Expr, value: sp.Expr) -> None:
        """Add coef·value: to the rest where ``value`` is a polynomial, else as a unit."""
        if value.is_polynomial():
            self.plain[ONE] = self.plain.get(ONE, ZERO) + coef * value
        else:
            self.units[value] = self.units.get(value, ZERO) + coef

    def include(self, coef: sp.Expr, other: Found) -> None:
        """Add coef·other."""
        for mine, theirs in ((self.plain, other.plain), (self.units, other.units)):
            for atom, value in theirs.items():
                mine[atom] = mine.get(atom, ZERO) + coef * value
        self.rules += other.rules

    def value(self) -> sp.Expr:
        return sp.Add(collect(self.plain), *(sp.factor(coef) * unit for unit, coef in self.units.items()))


def closed_form(e: Expectation) -> ClosedForm | None:
    """``e`` without any expectation in it; None where no rule here gives that.

    >>> import sympy as sp
    >>> from tp.gaussian.functions import relu
    >>> u, v, c = sp.symbols("u v c", real=True)
    >>> closed_form(Expectation(relu(u) * relu(v), (u, v), [[1, c], [c, 1]])).short
    (c*(pi - theta) + sqrt(1 - c**2))/(2*pi)
    """
    try:
        return _Problem.of(e).solve(partial=False)
    except Unknown:
        return None


def simplify(e: Expectation) -> ClosedForm:
    """``e`` by linearity, independence, Stein's lemma and closed forms, with simpler expectations where none applies."""
    try:
        return _Problem.of(e).solve(partial=True)
    except Unknown:
        return ClosedForm(e, "", "", e)


@cache
def _letter(name: str, k: int) -> sp.Dummy:
    """The letters of all problems, so that those which differ in nothing else are one."""
    return sp.Dummy(name, positive=True) if name.startswith("q") else sp.Dummy(name, real=True)


def _letters(name: str, taken: set[sp.Basic]) -> Iterator[sp.Dummy]:
    return (letter for k in count() if (letter := _letter(name if name == "c" else f"{name}{k + 1}", k)) not in taken)


@dataclass(frozen=True, slots=True)
class _Problem:
    """An expectation in inner symbols; ``outside`` takes inner symbols back to what they stand for."""

    integrand: sp.Expr
    variables: tuple[sp.Expr, ...]
    cov: Rows
    outside: dict[sp.Expr, sp.Expr]

    @classmethod
    def of(cls, e: Expectation) -> _Problem:
        inner: dict[sp.Expr, sp.Expr] = {}
        n = len(e.variables)
        taken = e.free_symbols
        variances, covariances, variables = (_letters(name, taken) for name in "qcu")
        cov: list[list[sp.Expr]] = [[ZERO] * n for _ in range(n)]
        for i in range(n):  # the diagonal first: variances are positive wherever they stand
            cov[i][i] = _stand_in(e.cov[i, i], inner, variances)
        for i in range(n):
            for j in range(n):
                if i != j:
                    cov[i][j] = _stand_in(e.cov[i, j], inner, covariances)
        plain: dict[sp.Expr, sp.Expr] = dict(zip(e.variables, variables, strict=False))
        outside = {symbol: value for value, symbol in (*inner.items(), *plain.items())}
        problem = cls(e.integrand.xreplace(plain), tuple(plain.values()), tuple(map(tuple, cov)), outside)
        return problem._without_constants()._without_copies()

    def _without_constants(self) -> _Problem:
        """Variables of variance 0 are 0; variables which the integrand does not use are left out."""
        n = len(self.variables)
        zero = {self.variables[i]: ZERO for i in range(n) if self.cov[i][i] == 0}
        integrand = self.integrand.xreplace(zero) if zero else self.integrand
        keep = [i for i in range(n) if self.variables[i] not in zero and integrand.has(self.variables[i])]
        return self._restricted(integrand, keep)

    def _restricted(self, integrand: sp.Expr, keep: Sequence[int]) -> _Problem:
        cov = tuple(tuple(self.cov[i][j] for j in keep) for i in keep)
        return _Problem(integrand, tuple(self.variables[i] for i in keep), cov, self.outside)

    def _without_copies(self) -> _Problem:
        """Perfectly correlated variables are multiples of one another: v = (c/q1) u where c² = q1 q2."""
        for j in range(len(self.variables)):
            for i in range(j):
                c, q1, q2 = self.cov[i][j], self.cov[i][i], self.cov[j][j]
                if c != 0 and (c == q1 == q2 or sp.expand(c**2 - q1 * q2) == 0):
                    copy = {self.variables[j]: self.variables[i] * c / q1}
                    keep = [k for k in range(len(self.variables)) if k != j]
                    return self._restricted(self.integrand.xreplace(copy), keep)._without_copies()
        return self

    def solve(self, partial: bool) -> ClosedForm:
        found = _solved(self.integrand, self.variables, self.cov, partial)
        if found is None:
            raise Unknown("no rule gives a closed form")
        value, rules = found
        if value == sp.oo:
            return ClosedForm(sp.oo, *SINGULAR, sp.oo)
        expr = join_roots(value.xreplace(self.outside))
        short, where = name_angle(expr)
        return ClosedForm(
            expr, "; ".join(dict.fromkeys(r for r, _ in rules)), "; ".join(dict.fromkeys(s for _, s in rules if s)), short, where
        )


@lru_cache(maxsize=512)
def _solved(
    integrand: sp.Expr, variables: tuple[sp.Expr, ...], cov: Rows, partial: bool
) -> tuple[sp.Expr, tuple[Why, ...]] | None:
    """The mean and the rules that gave it; None where no rule does. Layers that are alike ask the same in the same letters."""
    try:
        found = _mean(integrand, variables, cov, partial)
    except Infinite:
        return sp.oo, ()
    except Unknown:
        return None
    return found.value(), tuple(dict.fromkeys(found.rules)) or (LINEARITY,)


def _stand_in(value: sp.Expr, inner: dict[sp.Expr, sp.Expr], letters: Iterator[sp.Expr]) -> sp.Expr:
    """A letter for a covariance entry; numbers stay, equal entries share their letter, opposite ones up to the sign."""
    if value.is_Number or value in inner:
        return inner.get(value, value)
    if -value in inner:
        return -inner[-value]
    inner[value] = next(letters)
    return inner[value]


def _mean(integrand: sp.Expr, variables: Sequence[sp.Expr], cov: Rows, partial: bool) -> Found:
    products = separate(integrand, variables)
    if products is None:
        return _by_moments(integrand, variables, cov)
    if len(variables) == 1:
        products = [(coef, (part,)) for coef, (f,) in products for part in (sp.Add.make_args(f) if partial else (f,))]
    out = Found()
    for coef, factors in products:
        out.include(coef, _product_mean(factors, variables, cov, partial))
    return out


def _product_mean(factors: Sequence[sp.Expr], variables: Sequence[sp.Expr], cov: Rows, partial: bool) -> Found:
    """E[Π φ_i(u_i)], block by independent block."""
    blocks = _blocks([i for i, f in enumerate(factors) if f != 1], cov)
    means = [
        _block_mean([factors[i] for i in b], [variables[i] for i in b], tuple(tuple(cov[i][j] for j in b) for i in b), partial)
        for b in blocks
    ]
    if len(means) == 1:
        return means[0]
    out = Found(rules=sum((m.rules for m in means), ()) + ((INDEPENDENCE,) if means else ()))
    out.add(ONE, sp.Mul(*(m.value() for m in means)))
    return out


def _blocks(indices: Sequence[int], cov: Rows) -> list[list[int]]:
    """The connected components of ``indices`` under nonzero covariance."""
    left, out = list(indices), []
    while left:
        block = queue = [left.pop(0)]
        while queue:
            near = [j for j in left if any(cov[i][j] != 0 for i in queue)]
            left = [j for j in left if j not in near]
            block, queue = block + near, near
        out.append(sorted(block))
    return out


def _block_mean(factors: list[sp.Expr], variables: list[sp.Expr], cov: Rows, partial: bool) -> Found:
    attempts: list[Callable[[list[sp.Expr], list[sp.Expr], Rows], Found]] = [_by_law] if len(factors) == 2 else []
    attempts += [lambda f, v, k: _by_moments(sp.Mul(*f), v, k), _by_symmetry]
    if partial:
        attempts.append(_by_stein)
    for attempt in attempts:
        try:
            return attempt(factors, variables, cov)
        except Unknown:
            continue
    if not partial:
        raise Unknown("no closed form")
    out = Found()
    out.add(ONE, Expectation(sp.Mul(*factors), variables, cov))
    return out


def _by_law(factors: list[sp.Expr], variables: list[sp.Expr], cov: Rows) -> Found:
    """Two known functions by the table; a power beside another function by its moments (Stein)."""
    sides = [decompose(f, v) for f, v in zip(factors, variables, strict=True)]
    if sides[0] is None or sides[1] is None:
        raise Unknown("not a combination of known functions")
    if len(sides[0]) * len(sides[1]) > MAX_PAIRS:
        raise Unknown("too many pairs")
    for first, second in ((_abs_and_sign(sides[0]), _abs_and_sign(sides[1])), (sides[0], sides[1])):
        pairs = [(a * b, f, g, _pair(f, g, cov)) for a, f in first for b, g in second]
        if all(law is not None or "power" in (f.name, g.name) for _, f, g, law in pairs):
            return _sum_of_pairs(pairs, variables, cov)
    raise Unknown("a pair without a law")


def _sum_of_pairs(
    pairs: list[tuple[sp.Expr, Basis, Basis, tuple[sp.Expr, Why] | None]], variables: list[sp.Expr], cov: Rows
) -> Found:
    out = Found()
    polynomial = all(f.name == g.name == "power" for _, f, g, _ in pairs)
    for coef, f, g, law in pairs:
        if law is not None:
            value, why = law
            out.add(coef, value)
            out.rules += (why,) if f.name != "power" or polynomial else ()
        else:
            moments = _by_moments(_function(f, variables[0]) * _function(g, variables[1]), variables, cov)
            out.include(coef, Found(moments.plain))
    out.rules = out.rules or (STEIN,)
    return out


def _pair(f: Basis, g: Basis, cov: Rows) -> tuple[sp.Expr, Why] | None:
    """The table's value for two known functions, centred ones."""
    found = find((f.name, f.order), (g.name, g.order))
    if found is None or f.shift != 0 or g.shift != 0:
        return None
    law, swapped = found
    q1, c, q2 = cov[0][0] * f.scale**2, cov[0][1] * f.scale * g.scale, cov[1][1] * g.scale**2
    value = law.formula(q2, c, q1, g.params, f.params) if swapped else law.formula(q1, c, q2, f.params, g.params)
    return None if value is None else (value, (law.rule, law.source))


def _abs_and_sign(side: list[tuple[sp.Expr, Basis]]) -> list[tuple[sp.Expr, Basis]]:
    """2 relu(x) − x and 2 step(x) − 1 as the even and odd functions they are."""
    if len(side) != 2 or sorted(b.name for _, b in side) != ["power", "rectified"]:
        return side
    (k, rectified), (p, power) = sorted(side, key=lambda part: part[1].name, reverse=True)
    if rectified.params != power.params or rectified.shift != 0 or rectified.params[0] > 1 or sp.expand(k + 2 * p) != 0:
        return side
    return [(k / 2, Basis("abs" if rectified.params[0] == 1 else "sign", ()))]


def _function(basis: Basis, x: sp.Expr) -> sp.Expr:
    if basis.name in ("abs", "sign"):
        return sp.Abs(x) if basis.name == "abs" else sp.sign(x)
    return expression(basis, x)


def _by_moments(integrand: sp.Expr, variables: Sequence[sp.Expr], cov: Rows) -> Found:
    terms = normal_form(integrand, variables)
    out = Found(rules=_rules(list(terms)))
    for shape in sorted(terms, key=lambda shape: -len(shape.gates)):  # where no rule applies, that is soon known
        out.include(terms[shape], Found(mean_of(shape, cov)))
    return out


def _rules(shapes: list[Shape]) -> tuple[Why, ...]:
    gates = [g for s in shapes for g in s.gates + s.deltas]
    if any(g.noise != 0 for g in gates):
        return (("Gaussian orthants (Stein, Owen)", "Owen 1956; Williams 1997"),)
    if gates:
        return (("truncated Gaussian moments (Stein)", "Rosenbaum 1961; Tallis 1961"),)
    if all(s.is_polynomial for s in shapes):
        return (("Gaussian moments (Wick)", "Isserlis 1918"),)
    return (("Gaussian tilting", entire.TABLE),)


def _by_symmetry(factors: list[sp.Expr], variables: list[sp.Expr], cov: Rows) -> Found:
    """Odd parts have mean 0: E[g(u)] = E[g(u) + g(−u)]/2, where that is a number and g grows no faster than a power."""
    powers = {p for f in factors for p in f.atoms(sp.Pow) if p.has(*variables)}
    if any(not isinstance(f, MODEST) for g in factors for f in g.atoms(sp.Function)) or any(
        not (p.exp.is_Integer and p.exp > 0) for p in powers
    ):
        raise Unknown("not known to be integrable")
    product = sp.Mul(*factors)
    if expanded_size(product) > MAX_PAIRS:
        raise Unknown("too many terms")
    g = product.replace(sigmoid, lambda x: (1 + sp.tanh(x / 2)) / 2)
    even = sp.expand(g + g.xreplace({v: -v for v in variables})) / 2
    if even.has(*variables):
        raise Unknown("not odd about its mean")
    out = Found(rules=(SYMMETRY,))
    out.add(ONE, even)
    return out


def _by_stein(factors: list[sp.Expr], variables: list[sp.Expr], cov: Rows) -> Found:
    """E[u^k g(v, …)] = Σ_j cov(u, v_j) E[u^{k−1} ∂_j g] + (k − 1) q E[u^{k−2} g]: the powers go."""
    i = next((i for i, (f, v) in enumerate(zip(factors, variables, strict=True)) if _is_power(f, v)), None)
    if i is None or len(factors) == 1:
        raise Unknown("no power beside another function")
    rest = sp.Mul(*factors) / variables[i]
    out = Found(rules=(STEIN,))
    for j, v in enumerate(variables):
        slope = rest.diff(v)
        if slope.has(sp.DiracDelta, sp.Derivative, sp.Subs):
            raise Unknown("the derivative is no function")
        if slope != 0 and cov[i][j] != 0:
            out.include(cov[i][j], _mean(slope, variables, cov, partial=True))
    return out


def _is_power(f: sp.Expr, v: sp.Expr) -> bool:
    return f == v or (isinstance(f, sp.Pow) and f.base == v and f.exp.is_Integer and f.exp > 0)
