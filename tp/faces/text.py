"""A limit for the terminal: the same equations, in one line each where they fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import sympy as sp

from tp.errors import NOWHERE, DataError, Message
from tp.faces.decimals import DIGITS, rounded
from tp.faces.definitions import definitions, matrices, vector_names
from tp.faces.families import of_equations
from tp.faces.layout import Layout
from tp.faces.letters import Gaussians, Law, explained, gaussians, shortened, signs
from tp.faces.notation import Notation, notation
from tp.faces.order import (
    factored,
    in_factors,
    lhs_order,
    outside,
)
from tp.faces.plain import TextPrinter, greek, ranges
from tp.limit.equations import Entry, Equation, J, Limit, Value
from tp.program.ir import Domain, Ref

_TITLES = {False: "Gaussian process kernel (NNGP)", True: "Tangent kernel (NTK)"}


def text(limit: Limit, width: int = 100) -> str:
    """The derivation, ``width`` columns wide where a formula can be broken."""
    check_columns(width)
    limit = of_equations(limit)
    style = notation(limit)
    widths = ", ".join(greek(s.name) for s in limit.program.spaces if s.size.is_Symbol) or "n"
    lines = [f"{greek(limit.program.name)}: the limit of infinite width {widths}"]
    if named := [*_named(limit, style)]:
        lines += ["", *named]
    sources: list[str] = []
    for tangent, group in groupby(sorted(limit.equations, key=_is_tangent), key=_is_tangent):
        lines += ["", _TITLES[tangent], "─" * len(_TITLES[tangent])]
        lines += _section(list(group), style, width, sources)
        if power := limit.power.get("Theta" if tangent else "K", 0):
            lines.append(f"The kernel is {limit.program.spaces[0].name}^{power} times this.")
    return "\n".join([*lines, "", *_legend(limit, style, width), *_cited(sources, width)]) + "\n"


NARROWEST = 20
"""Columns of a page, at least."""


def check_columns(width: object) -> None:
    """Refuses what is no number of columns."""
    if not isinstance(width, int) or width < NARROWEST:
        remedy = f"give a whole number of at least {NARROWEST}"
        raise DataError(Message(NOWHERE, f"a page of {width!r} columns", remedy, "page width"))


def _is_tangent(equation: Equation) -> bool:
    return isinstance(equation.lhs, Entry) and equation.lhs.kind_name == "Theta"


COLUMN = 26
"""A left side longer than this does not push the equality signs of the others to the right."""


def _section(equations: list[Equation], style: Notation, width: int, sources: list[str]) -> Iterator[str]:
    """Equations below each other, their equality signs aligned."""
    lefts = [printer_for(e, style)[0].doprint(e.lhs) for e in equations]
    column = min(max(map(len, lefts), default=0), COLUMN)
    pad = " " * (column + 3)
    for left, equation in zip(lefts, equations, strict=True):
        body, notes = _equation(equation, style, max(width - column - 3, 30), max(len(left) - column, 0))
        yield f"{left:>{column}} = {body[0]}"
        yield from (pad + line for line in [*body[1:], *notes, *_origin(equation, sources)])


def _equation(equation: Equation, style: Notation, room: int, beyond: int) -> tuple[list[str], list[str]]:
    """The right side in lines, and the lines of the range and of the where-clauses."""
    equation, short = shortened(equation, style)
    equation = replace(equation, rhs=factored(outside(in_factors(equation.rhs))))
    printer, found = printer_for(equation, style)
    where = list(dict.fromkeys(clause for item in found.laws for clause in law(item, printer)))
    for item in short:
        below = (str(item.number) if item.number else "") + printer.bracket(item.bound)
        printer.letters[item.symbol] = item.letter[0] + below + item.letter[1:].replace("'", "′")
        left = f"{printer.letters[item.symbol]} = "
        meaning = Layout(printer, len, "  ", 2.0).lines(item.meaning, room - 10, room - 8 - len(left))
        where.append(left + ("\n" + " " * 10).join(meaning))
    lines = Layout(printer, len, "  ", 2.0).lines(equation.rhs, room - 2, room - beyond)
    lines = [lines[0], *("  " + line for line in lines[1:])]
    domain = ranges(equation.domain, printer)
    if domain and len(lines[-1]) + len(domain) + 8 <= room - (beyond if len(lines) == 1 else 0):
        lines[-1] += f"    for {domain}"
        domain = ""
    return lines, [*([f"for {domain}"] if domain else []), *_clauses(where, room)]


def _clauses(clauses: list[str], room: int) -> list[str]:
    """``where a, b,`` as many to a line as there is room for."""
    lines: list[str] = []
    for k, clause in enumerate(clauses):
        if k and len(lines[-1]) + len(clause) + 2 <= room:
            lines[-1] += f", {clause}"
        else:
            if k:
                lines[-1] += ","
            lines.append(f"      {clause}" if k else f"where {clause}")
    return [part for line in lines for part in line.split("\n")]


def _origin(equation: Equation, sources: list[str]) -> list[str]:
    """``‹ rule [1], line 12``: where an equation comes from."""
    source = equation.source.replace("*", "")
    if source and source not in sources:
        sources.append(source)
    told = equation.rule + (f" [{sources.index(source) + 1}]" if source else "")
    line = f"line {equation.span.line}" if equation.span.line else ""
    return [f"‹ {', '.join(filter(None, (told.strip(), line)))}"] if told or line else []


def _cited(sources: list[str], width: int) -> Iterator[str]:
    for k, source in enumerate(sources, 1):
        yield from textwrap.wrap(f"[{k}] {source}", width, subsequent_indent="    ")


def printer_for(equation: Equation, style: Notation) -> tuple[TextPrinter, Gaussians]:
    """The printer of one equation: its random variables are letters."""
    found = gaussians(equation, J)
    plain = TextPrinter(style)
    letters = {}
    for v, how in found.variables.items():
        number = str(how.number) if how.number else ""
        letters[v] = greek(style.letter) + number + ("′" if how.primed else "") + plain.bracket(how.bound)
    return TextPrinter(style, letters, lhs_order(equation)), found


def law(item: Law, printer: TextPrinter) -> list[str]:
    """``(u, u′) ~ N(0, Λ_h(x, x′))``."""
    names = [printer.doprint(v) for v in item.variables]
    plain = TextPrinter(printer.style, None, printer.first)
    if item.pair is not None:
        return [f"({', '.join(names)}) ~ N(0, {re.sub('^K', 'Λ', plain.doprint(item.pair))})"]
    if len(names) == 1:
        return [f"{names[0]} ~ N(0, {plain.doprint(item.cov[0, 0])})"]
    if len(names) == 2:
        rows = "; ".join(", ".join(plain.doprint(e) for e in item.cov.row(k)) for k in range(2))
        if len(rows) <= 48:
            return [f"({', '.join(names)}) ~ N(0, [{rows}])"]
    named = [f"{name} = {plain.doprint(v)}" for name, v in zip(names, item.variables, strict=True)]
    told = [
        f"{f'Var {names[i]}' if i == j else f'Cov({names[i]}, {names[j]})'} = {plain.doprint(c)}"
        for (i, j), c in item.moments.items()
    ]
    return [*(named if len(names) > 2 and item.is_by_name else []), *told]


def _named(limit: Limit, style: Notation) -> Iterator[str]:
    printer = TextPrinter(style)
    named = ((ref, matrices(expr), domain) for ref, expr, domain in limit.named)
    for ref, expr, domain in (*products(limit), *named):
        where = ranges(domain, printer)
        yield f"{printer.doprint(ref)} := {printer.doprint(rounded(expr))}" + (f"    for {where}" if where else "")
    column = max((len(greek(name)) for name, _ in limit.words), default=0)
    for name, meaning in limit.words:
        yield f"{greek(name):<{column}}  {re.sub('`(.*?)`', lambda m: greek(m[1]), meaning)}"


def products(limit: Limit) -> Iterator[tuple[Ref, sp.Expr, Domain]]:
    """Products and averages without a name in the spec that equations, or named vectors, are about."""
    told = explained(limit)
    scalars = {v.a.name for e in limit.equations for v in e.lhs.atoms(Value) if v.kind_name == "theta"}
    used = limit.program.temps & ((told & vector_names(limit.program)) | scalars)
    found = definitions(limit.program, used)
    averages = {d.lhs.name for d in found} & limit.program.temps - vector_names(limit.program)
    while more := {r.name for d in found if d.lhs.name in used for r in d.rhs.atoms(Ref)} & averages - used:
        used |= more
    yield from ((d.lhs, d.rhs, d.domain) for d in found if d.lhs.name in used)


def _legend(limit: Limit, style: Notation, width: int) -> Iterator[str]:
    """What the letters mean; only those that occur."""
    found, x = signs(limit), greek(style.sample)
    inputs = [greek(d.ref.name) for d in limit.program.data]
    if x not in inputs and inputs:
        yield f"{f'{x}, {x}′':<10}  two samples of {', '.join(dict.fromkeys(inputs))}"
    for kind, meaning in _MEANINGS.items():
        if kind in found:
            yield from textwrap.wrap(meaning.format(x=x), width, subsequent_indent=" " * 12)


_MEANINGS = {
    "K": "K_h({x}, {x}′)  lim (1/n) Σ_α h_α({x}) h_α({x}′); for an output the covariance over initializations",
    "K of two": "K_g,h({x}, {x}′)  lim (1/n) Σ_α g_α({x}) h_α({x}′), of two vectors",
    "S": "S_h({x}, {x}′)  the same average for a vector that is not Gaussian",
    "Theta": "Θ_h({x}, {x}′)  lim Σ_θ rate ⟨∂h_α({x})/∂θ, ∂h_α({x}′)/∂θ⟩ over the trained parameters",
    "Theta of two": "Θ_g,h({x}, {x}′)  the same of ∂g_α({x})/∂θ and ∂h_α({x}′)/∂θ, of two vectors",
    "Lambda": "Λ_h({x}, {x}′)  the covariance matrix [K_h({x}, {x}), K_h({x}, {x}′); K_h({x}, {x}′), K_h({x}′, {x}′)]",
    "Z": "Z_h({x})      the limit of the coordinates h_α({x}); of several, jointly Gaussian with the covariances K",
    "m": "m_h({x})      lim (1/n) Σ_α h_α({x})",
    "Gram": "⟨{x}, {x}′⟩     the inner product of two inputs",
    "normal_cdf": "Φ           the standard normal distribution function",
    "normal_pdf": "φ           the standard normal density",
    "normal_cdf2": "Φ₂(h, k, ρ) P(X ≤ h, Y ≤ k) for standard normal X, Y of correlation ρ",
    "decimal": f"Decimals    are rounded to {DIGITS} digits; `.equations` has them as exact fractions",
    "owens_t": "T(h, a)     Owen's function, ∫₀ᵃ exp(−h² (1 + t²)/2)/(1 + t²) dt/(2π)",
}
