"""Generated code for one factor φ of an integrand and for a pair of them: templates of ``panels`` and ``hermite`` filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import sympy as sp

from tp.gaussian import hermite, panels, spread
from tp.gaussian.breaks import breaks, centres, has_jump, periodic, sharpness
from tp.gaussian.codegen import Function, Printer, Source, digest, fill, merge, scalar_function, sources_of
from tp.gaussian.powers import node
from tp.gaussian.primitives import radii
from tp.gaussian.stable import taylor

BASE = sources_of(radii, node, panels.doubt, panels.between)
SMOOTH_TERMS, KINKED_TERMS = 1024, 128
PLAIN = frozenset({"_size", "_most", "_blur"})
"""Parts without parameters."""


@dataclass(frozen=True, slots=True)
class Factor:
    """φ(x; params) in code. ``parts`` maps the stand-ins of the templates (without ``phi``/``psi``) to function names."""

    params: tuple[str, ...]
    parts: dict[str, str]
    sources: tuple[Source, ...]
    smooth: bool

    def names(self, stand_in: str) -> dict[str, str]:
        return {stand_in + part: name for part, name in self.parts.items()}

    def extra(self, stand_in: str) -> dict[str, Sequence[str]]:
        return {stand_in + part: self.params for part in self.parts if part not in PLAIN}


def factor(f: sp.Expr, slope: sp.Expr | None, x: sp.Expr, names: Mapping[sp.Basic, str]) -> Factor:
    """φ = ``f`` and, where V̇ is wanted, φ' = ``slope``, with its breaks, its panel mean and its reach."""
    both = f if slope is None else f + sp.Dummy() * slope
    params = tuple(sorted(name for symbol, name in names.items() if both.has(symbol)))
    symbols = [next(s for s, n in names.items() if n == name) for name in params]
    whole = [f, sp.S.Zero if slope is None else slope]
    code = scalar_function("phi", whole, [x, *symbols], ["x", *params], _near_zero(f, slope is not None, x))
    edges = breaks(f, x)
    made = _Maker(params, {"": code[-1][0]}, list(code))
    printer = Printer(names)
    size = 2.0 / sharpness(f, x)
    made.breaks([printer(e) for e in dict.fromkeys((*edges, *centres(f, x)))], size if periodic(f, x) else inf)
    made.sources[:0] = sources_of(*printer.used.values())
    made.constant("_size", [], f"return {size!r}")
    made.constant("_most", [], f"return {SMOOTH_TERMS if not edges else KINKED_TERMS}")
    made.constant("_blur", ["s"], "return s" if edges else f"return max(s, {size!r})")
    for template in (panels.phi_reach, panels.phi_panel, panels.phi_fits, panels.phi_mean):
        made.template(template)
    return Factor(params, made.parts, merge(BASE, made.sources), not edges and not has_jump(f, x))


def _near_zero(f: sp.Expr, with_slope: bool, x: sp.Expr) -> list[str]:
    """Lines that return Taylor polynomials near 0, where φ or φ' as they stand lose digits there."""
    found = taylor(f, x)
    if found is None:
        return []
    radius, coefficients = found
    slopes = [k * c for k, c in enumerate(coefficients)][1:] if with_slope else [0.0]
    both = []
    for some in (coefficients, slopes):
        text = repr(some[-1])
        for c in some[-2::-1]:
            text = f"({text} * x + {c!r})" if c != 0.0 else f"({text} * x)"
        both.append(text)
    return [f"    if -{radius!r} < x < {radius!r}:", f"        return {both[0]}, {both[1]}"]


@dataclass(slots=True)
class _Maker:
    params: tuple[str, ...]
    parts: dict[str, str]
    sources: list[Source]

    def add(self, part: str, source: Source) -> None:
        self.parts[part] = source[0]
        self.sources.append(source)

    def constant(self, part: str, arguments: Sequence[str], *lines: str) -> None:
        body = "".join(f"\n    {line}" for line in lines)
        name = f"phi{part}_{digest(*arguments, body)}"
        self.add(part, (name, f"def {name}({', '.join(arguments)}):{body}"))

    def breaks(self, edges: Sequence[str], widest: float) -> None:
        """``next``, ``last`` and ``gap`` of kinks, jumps and centres; 0 is always one of them, and no panel is wider."""
        points = ["0.0", *(e for e in edges if e not in ("0.0", "0"))]
        arguments = ["z", *self.params]
        up = [f"t = {p}\n    b = t if z < t < b else b" for p in points]
        down = [f"t = {p}\n    b = t if b < t < z else b" for p in points]
        near = [f"t = abs(z - {p})\n    b = t if t < b else b" for p in points]
        self.constant("_next", arguments, "b = math.inf", *up, "return b")
        self.constant("_last", arguments, "b = -math.inf", *down, "return b")
        self.constant("_gap", arguments, f"b = {widest / 0.6!r}" if widest < inf else "b = math.inf", *near, "return b")

    def template(self, function: Function) -> None:
        names = {f"phi{p}": n for p, n in self.parts.items()}
        extra = {f"phi{p}": self.params for p in self.parts if p not in PLAIN}
        self.add(function.__name__.removeprefix("phi"), named(function, names, self.params, extra))


def named(function: Function, names: Mapping[str, str], params: Sequence[str], extra: Mapping[str, Sequence[str]]) -> Source:
    """``fill`` with a name made of the template's and a digest of the text."""
    _, text = fill(function, "_", names, params, extra)
    name = f"{function.__name__}_{digest(text)}"
    return name, text.replace("def _(", f"def {name}(", 1)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two factors in code: ``pair(q1, c, q2, *params)``; and by sites, see ``hermite``."""

    params: tuple[str, ...]
    pair: str
    sources: tuple[Source, ...]
    sites: tuple[str, str]
    site_params: tuple[tuple[str, ...], tuple[str, ...]]
    counts: tuple[str, str]
    squares: str
    mehler: str
    site_sources: tuple[Source, ...]
    smooth: bool


def pair(f: Factor, g: Factor, with_slope: bool, wide: tuple[str, tuple[Source, ...]] = ("", ())) -> Pair:
    """Code for E[φψ] and E[φ'ψ'] (``with_slope``: the derivatives exist and are in the factors).

    ``wide`` is a function for variances above 1, with the same arguments, if there is a better one, after what it calls.
    """
    params = tuple(sorted({*f.params, *g.params}))
    names, extra = f.names("phi") | g.names("psi"), f.extra("phi") | g.extra("psi")
    inner = [named(template, names, g.params, extra) for template in (panels.mean_panel, panels.mean_table)]
    names |= {"mean_panel": inner[0][0], "mean_table": inner[1][0]}
    direct = named(panels.pair, names, params, extra | dict.fromkeys(("mean_panel", "mean_table"), g.params))
    above: tuple[Source, ...] = ()
    if wide[0]:
        head = ", ".join(("q1", "c", "q2", *params))
        text = f"({head}):\n    return {wide[0]}({head}) if min(q1, q2) > 1.0 else {direct[0]}({head})"
        above = (*wide[1], direct)
        direct = (f"pair_{digest(text)}", f"def pair_{digest(text)}{text}")
    site_template, count_template, sum_template, squares = (
        (hermite.site, hermite.count, hermite.mehler, hermite.squares)
        if with_slope
        else (hermite.site_of_jump, hermite.count_of_jump, hermite.mehler_of_jump, hermite.squares_of_jump)
    )
    made: list[Source] = []
    sites, counts = [], []
    for factor_ in (f, g):
        sources = _site(factor_, site_template, count_template)
        made += sources
        sites.append(sources[-2][0])
        counts.append(sources[-1][0])
    total = named(sum_template, {"pair": direct[0]}, params, {"pair": params})
    base = merge(f.sources, g.sources, inner, above, (direct,))
    everything = merge(base, made, (total,), sources_of(squares))
    both = (sites[0], sites[1]), (f.params, g.params), (counts[0], counts[1])
    return Pair(params, direct[0], base, *both, squares.__name__, total[0], everything, with_slope)


def _site(f: Factor, site: Function, count: Function) -> list[Source]:
    names, extra = f.names("phi"), f.extra("phi")
    made: list[Source] = list(sources_of(hermite.project, hermite.series))
    for template in (hermite.samples, site, count):
        source = named(template, names, f.params, extra)
        called = "site" if template is site else template.__name__
        names, extra = names | {called: source[0]}, extra | {called: f.params}
        made.append(source)
    return made


def spreading(function: str, count: int, params: Sequence[str]) -> tuple[Source, ...]:
    """``spread`` for a function of a variance that has ``count`` results, after what it calls."""
    head, out = ", ".join(("q", "out", *params)), ", ".join(f"out[{k}]" for k in range(count))
    text = f"({head}):\n    {out} = {function}({', '.join(('q', *params))})"
    each, results = f"each_{digest(text)}", f"results_{count}"
    made: list[Source] = [(each, f"def {each}{text}"), (results, f"def {results}():\n    return {count}")]
    names, extra = {"each": each, "results": results}, {"each": params}
    for template in (spread.agrees, spread.fit, spread.panel, spread.spread):
        made.append(named(template, names, params, extra))
        names, extra = names | {template.__name__: made[-1][0]}, extra | {template.__name__: params}
    return tuple(made)
