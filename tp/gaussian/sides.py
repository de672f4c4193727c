"""Expectations over three or four Gaussians, or over two of which a function takes both: two sides of at most two variables each.

``split`` finds the sides and writes integrands as sums of products of a function of the one and a function of the other;
``lower_sides`` makes code of them, by the templates of ``planes``. Sides are told by the names of variables, which but for digits
are one within a side, so that what is known of a sample can be computed once for each; or where that is no split, by the first
division that is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sympy as sp

from tp.errors import NOWHERE, Message, NoFormula
from tp.gaussian import planes
from tp.gaussian.breaks import JUMPS, KINKS
from tp.gaussian.codegen import Function, Source, digest, fill, merge, scalar_function, sources_of
from tp.gaussian.decompose import separate
from tp.gaussian.expectation import Expectation
from tp.gaussian.factor import named
from tp.gaussian.lines import Lines
from tp.gaussian.lowered import Lowered, Site

COVARIANCE = ("p11", "p12", "p22")
CROSS = ("c11", "c12", "c21", "c22")
OTHER = ("q11", "q12", "q22")

REMEDY = "give each factor matrices of its own: `U @ x` and `V @ x` are independent; net.simulate(X, width) has it as it is"

Places = tuple[int, ...]
Product = tuple[sp.Expr, sp.Expr, sp.Expr]  # coef · f(one side) · g(other side)


def split(integrands: Sequence[sp.Expr], variables: Sequence[sp.Expr]) -> tuple[Places, Places, list[list[Product]]]:
    """The variables of both sides, by place, and the integrands as sums of products; the second side may have none.

    Raises ``LimitError`` where there are no two sides of at most two variables, and where a function has a kink or a jump.
    """
    count = len(variables)
    for g in integrands:
        _check_smooth(g, variables)
    for one, two in _divisions(variables) if count <= 4 else ():
        groups = [tuple(variables[k] for k in side) for side in (one, two) if side]
        found = [separate(g, groups) for g in integrands]
        if None not in found:
            return one, two, [[(c, f[0], f[1] if two else sp.S.One) for c, f in products or ()] for products in found]
    how = "that is no product of functions of two of them each" if 2 < count <= 4 else "at once"
    reason = f"an expectation over {count} correlated Gaussians {how} has no numerical rule; four are the most, two of a sample"
    raise NoFormula(Message(NOWHERE, reason, REMEDY, "no numerical rule"))


def _check_smooth(g: sp.Expr, variables: Sequence[sp.Expr]) -> None:
    for part in sorted(g.atoms(*JUMPS, *KINKS, sp.Max, sp.Min), key=sp.default_sort_key):
        if part.has(*variables):
            name = type(part).__name__
            reason = (
                f"an expectation over {len(variables)} correlated Gaussians has a rule for smooth functions, and `{name}` is not"
            )
            remedy = f"take a smooth one (softplus, silu, gelu, tanh), or {REMEDY}"
            raise NoFormula(Message(NOWHERE, reason, remedy, "no numerical rule"))


def _divisions(variables: Sequence[sp.Expr]) -> Iterator[tuple[Places, Places]]:
    """Ways to take variables apart, at most two to a side: first by name."""
    every = tuple(range(len(variables)))
    if len(every) == 2:
        yield every, ()
        return
    first = tuple(k for k in every if one_side([variables[0], variables[k]]))
    ways = [first, *(w for size in (2, 1) for w in itertools.combinations(every, size) if w[0] == 0)]
    for one in dict.fromkeys(ways):
        two = tuple(k for k in every if k not in one)
        if len(one) <= 2 and 0 < len(two) <= 2:
            yield one, two


@dataclass(frozen=True, slots=True)
class _Side:
    """The functions of a side in code: ``plane(p11, p12, p22, found, *params)``, and how many there are."""

    functions: tuple[sp.Expr, ...]
    params: tuple[str, ...]
    names: dict[str, str]
    sources: tuple[Source, ...]


def one_side(variables: Sequence[sp.Basic]) -> bool:
    """Whether variables have one name but for digits."""
    return len({str(v).rstrip("0123456789") for v in variables}) == 1


def lower_sides(expectations: Sequence[Expectation]) -> Lowered:
    """One function for expectations over the same three or four variables, or two; see :class:`Lowered`."""
    return _Sides(expectations[0], [e.integrand for e in expectations]).run()


class _Sides(Lines):
    def run(self) -> Lowered:
        names = {z: sp.Symbol(str(e), real=True) for e, z in self.inner.items()}
        back = {s: z for z, s in names.items()}
        one, two, found = split([g.xreplace(names) for g in self.integrands], list(back))
        products = [[tuple(x.xreplace(back) for x in p) for p in some] for some in found]
        first, second = (self._side([p[1 + k] for some in products for p in some], w) for k, w in enumerate((one, two)))
        if not two:
            return self._alone(first, products)
        return self._pair(first, second, one, two, products)

    def _side(self, functions: Sequence[sp.Expr], which: Places) -> _Side:
        """The functions of the side of these variables, each once, in an order and with parameters that no other side decides."""
        x, y = sp.Dummy("x", real=True), sp.Dummy("y", real=True)
        mine = dict(zip((self.variables[k] for k in which), (x, y), strict=False))
        distinct = sorted(dict.fromkeys(functions), key=lambda f: sp.default_sort_key(f.xreplace(mine)))
        params = [n for s, n in self.names.items() if any(f.has(s) for f in distinct)]
        inside = [f"a{k}" for k in range(len(params))]
        table = [next(s for s, n in self.names.items() if n == name) for name in params]
        values = scalar_function("surface", [f.xreplace(mine) for f in distinct], [x, y, *table], ["x", "y", *inside])
        count = len(distinct)
        rows = ", ".join(f"row[{k}]" for k in range(count))
        made: list[Source] = [*values]
        names: dict[str, str] = {}
        for stand_in, head, body in (
            ("phi", ", ".join(["x", "y", "row", *inside]), f"{rows} = {values[-1][0]}({', '.join(['x', 'y', *inside])})"),
            ("phi_number", "", f"return {count}"),
        ):
            names[stand_in] = f"{stand_in}_{digest(head, body)}"
            made.append((names[stand_in], f"def {names[stand_in]}({head}):\n    {body}"))
        extra: dict[str, Sequence[str]] = {"phi": inside}
        made += sources_of(planes.triangle, planes.waves, planes.project_plane, planes.apart, planes.plane_pair)
        made += sources_of(planes.first_step)
        called = names["phi"].replace("phi_", "at_step_")  # so that it is known whose values these are
        made.append(fill(planes.at_step, called, names, inside, extra))
        names["at_step"], extra["at_step"] = called, inside
        for template in (planes.plane, planes.plane_count):
            made.append(named(template, names, inside, extra))
            names[template.__name__], extra[template.__name__] = made[-1][0], inside
        return _Side(tuple(distinct), tuple(params), names, tuple(made))

    def _made(self, template: Function, sides: Sequence[_Side]) -> Source:
        """A template with the functions of one side, or of two."""
        names, extra = {}, {}
        for side, prefix in zip(sides, ("", "psi_"), strict=False):
            names[f"{prefix or 'phi_'}number"] = side.names["phi_number"]
            for part in ("plane", "at_step"):
                names[prefix + part], extra[prefix + part] = side.names[part], side.params
        params = list(dict.fromkeys(p for side in sides for p in side.params))
        return named(template, names, params, extra)

    def _function(self, head: Sequence[str], lines: Sequence[str], kind: str) -> Source:
        body = "".join(f"\n    {line}" for line in lines)
        name = f"{kind}_{digest(*head, body)}"
        return name, f"def {name}({', '.join(head)}):{body}"

    def _answers(self, products: Sequence[Sequence[tuple[sp.Basic, ...]]], first: _Side, second: _Side | None) -> str:
        texts = []
        for some in products:
            summands = []
            for coef, f, g in some:
                at = [first.functions.index(f), *([second.functions.index(g)] if second else [])]
                summands.append((coef, f"out[{', '.join(map(str, at))}]"))
            texts.append(self.sum(summands))
        return "return " + ", ".join(texts)

    def _alone(self, side: _Side, products: Sequence[Sequence[tuple[sp.Basic, ...]]]) -> Lowered:
        """Means of functions of one side."""
        means = self._made(planes.plane_means, [side])
        given = ", ".join([*COVARIANCE, *side.params])
        lines = [f"out = {means[0]}({given})", self._answers(products, side, None)]
        function = self._function([*COVARIANCE, *self.names.values()], lines, "means")
        sources = merge(side.sources, (means,), sources_of(*self.printer.used.values()), (function,))
        args = (self.cov[0, 0], self.cov[0, 1], self.cov[1, 1], *self.params)
        return Lowered(function[0], args, len(products), sources, "quadrature", planes.MEAN, 1e-11, double=True)

    def _pair(
        self, first: _Side, second: _Side, one: Places, two: Places, products: Sequence[Sequence[tuple[sp.Basic, ...]]]
    ) -> Lowered:
        """Both sides: pair by pair, and with vectors that each has already."""
        direct = self._made(planes.plane_direct, [first, second])
        numbers = [*COVARIANCE, *CROSS, *OTHER]
        head = [*numbers, *self.names.values()]
        params = list(dict.fromkeys([*first.params, *second.params]))
        without = f"out = {direct[0]}({', '.join([*numbers, *params])})"
        answers = self._answers(products, first, second)
        function = self._function(head, [without, answers], "expectation")
        known = f"out = plane_pair(a, b, {', '.join(numbers)}, {len(first.functions)}, {len(second.functions)})"
        with_sites = self._function(["a", "b", *head], [known, answers], "with_sides")
        fills = [self._filling(side) for side in (first, second)]
        used = sources_of(*self.printer.used.values(), planes.plane_pair)
        sources = merge(first.sources, second.sources, used, (direct, function, with_sites), fills)
        back = {name: e for e, name in zip(self.params, self.names.values(), strict=True)}
        sites = tuple(
            Site(
                fill[0],
                side.names["plane_count"],
                "",
                (*self._own(which), *(back[p] for p in side.params)),
                len(side.functions),
            )
            for fill, side, which in zip(fills, (first, second), (one, two), strict=True)
        )
        cross = [self.cov[i, j] if i is not None and j is not None else sp.S.Zero for i in _two(one) for j in _two(two)]
        args = (*self._own(one), *cross, *self._own(two), *self.params)
        return Lowered(
            function[0], args, len(products), sources, "hermite", planes.EXPANSION, 1e-11, sites, with_sites[0], args, double=True
        )

    def _filling(self, side: _Side) -> Source:
        """``site_…(p11, p12, p22, parameters, out)``: the vectors of a side."""
        inside = [f"a{k}" for k in range(len(side.params))]
        line = f"{side.names['plane']}({', '.join([*COVARIANCE, 'out', *inside])})"
        return self._function([*COVARIANCE, *inside, "out"], [line], "site")

    def _own(self, which: Places) -> tuple[sp.Expr, ...]:
        """A side's own covariance; a second variable that is not there is 0."""
        i, j = _two(which)
        assert i is not None
        return (self.cov[i, i], *((self.cov[i, j], self.cov[j, j]) if j is not None else (sp.S.Zero, sp.S.Zero)))


def _two(which: Places) -> tuple[int | None, int | None]:
    return which[0] if which else None, which[1] if len(which) > 1 else None
