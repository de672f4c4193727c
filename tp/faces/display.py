r"""Equations as rows of an ``align``: lines that fit the page, ranges, and where-clauses for the letters used."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp

from tp.faces.layout import Layout
from tp.faces.measure import width
from tp.faces.notation import Gaussians, Law, Notation, Variable, gaussians, index_ranges, lhs_order, shortened
from tp.faces.tex import KERNELS, LimitPrinter, decorated, paren
from tp.limit.equations import Entry, Equation, J
from tp.program.ir import Domain

LINE = 33.5
"""Room for a display, in em: a little under the text width of a 10pt article."""


def printer_for(equation: Equation, style: Notation) -> tuple[LimitPrinter, Gaussians]:
    """The printer of one equation: its random variables are letters."""
    found = gaussians(equation, J)
    letters = {v: _letter(style, how) for v, how in found.variables.items()}
    return LimitPrinter(style, letters, lhs_order(equation)), found


def _letter(style: Notation, how: Variable) -> str:
    below = ([str(how.number)] if how.number else []) + [decorated(style.parts(str(s))) for s in how.bound]
    return decorated(style.letter + ("'" if how.primed else ""), below)


def ranges(domain: Domain, printer: LimitPrinter) -> str:
    """``l = 2, \\dots, L``."""
    texts = []
    for symbols, lo, hi in index_ranges(domain):
        names = ", ".join(printer._print(s) for s in symbols)
        low, high = printer.index(lo), printer.index(hi)
        if lo == hi:
            texts.append(f"{names} = {low}")
        elif (hi - lo) == 1:
            texts.append(rf"{names} = {low}, {high}")
        else:
            texts.append(rf"{names} = {low}, \dots, {high}")
    return r",\; ".join(texts)


def rows(equation: Equation, style: Notation) -> list[str]:
    """An equation as the rows of an ``align``: right side in lines, range, where-clauses."""
    equation, short = shortened(equation)
    printer, found = printer_for(equation, style)
    where = [clause for item in found.laws for clause in law(item, printer)]
    for item in short:
        below = ([str(item.number)] if item.number else []) + [decorated(style.parts(str(s))) for s in item.bound]
        printer.letters[item.symbol] = decorated(item.letter, below)
        where.append(f"{printer.letters[item.symbol]} = {printer.doprint(item.entry)}")
    left = printer.doprint(equation.lhs)
    body = _broken(left, equation.rhs, printer)
    domain = ranges(equation.domain, printer)
    used = width(body[-1]) + 1.0
    if domain and used + width(rf"\qquad {domain}") <= LINE:
        body[-1] += rf"\qquad {domain}"
        used += width(rf"\qquad {domain}")
        domain = ""
    if not domain and where and used + width(r",\quad ".join(["", *where])) <= LINE:
        return [*body[:-1], body[-1] + r",\quad " + r",\quad ".join(where)]
    return body + _where(domain, where, width(left) + 2.5)


def _broken(left: str, rhs: sp.Expr, printer: LimitPrinter) -> list[str]:
    """``left &= line``, ``&\\quad line``, …; a very long left side gets a row of its own."""
    layout = Layout(printer, width, r"\quad ", 1.0)
    start = width(left) + 1.5
    room = LINE - start - 1.5
    lines = layout.lines(rhs, room, room + 1.5)
    return [f"{left} &= {lines[0]}", *(rf"&\quad {line}" for line in lines[1:])]


def _where(domain: str, clauses: list[str], start: float) -> list[str]:
    """The range and the where-clauses, as many to a row as there is room for."""
    lead = rf"\text{{for }} {domain}" if domain else ""
    lines = [lead] if lead else []
    together = width(lead) + sum(width(c) + 1.5 for c in clauses) + 4 + start <= LINE
    for k, clause in enumerate(clauses):
        text = clause if k else rf"\text{{where }} {clause}"
        joined = rf"{lines[-1]},\quad {text}" if lines else text
        if lines and width(joined) + start <= LINE and (k or together):
            lines[-1] = joined
        elif k:
            lines[-1] += ","
            lines.append(rf"\phantom{{\text{{where }}}} {text}")
        else:
            lines.append(text)
    return [rf"&\quad {line}" for line in lines]


def law(item: Law, printer: LimitPrinter) -> list[str]:
    r"""``(u, u') \sim N(0, \Lambda)``; a matrix that is too wide gives way to what each letter means."""
    names = [printer.doprint(v) for v in item.variables]
    plain = LimitPrinter(printer.style, None, printer.first)
    if item.pair is not None:
        return [rf"({', '.join(names)}) \sim \mathcal{{N}}\bigl(0, {big_lambda(item.pair, printer)}\bigr)"]
    if len(names) == 1:
        return [rf"{names[0]} \sim \mathcal{{N}}{paren('0, ' + plain.doprint(item.cov[0, 0]))}"]
    matrix = r" \\ ".join(" & ".join(plain.doprint(e) for e in item.cov.row(k)) for k in range(len(names)))
    text = rf"({', '.join(names)}) \sim \mathcal{{N}}\left(0, \begin{{pmatrix}} {matrix} \end{{pmatrix}}\right)"
    if width(text) <= LINE - 8:
        return [text]
    return [f"{name} = {plain.doprint(v)}" for name, v in zip(names, item.variables, strict=True)]


def big_lambda(pair: Entry, printer: LimitPrinter) -> str:
    r"""``\Lambda_h^{l-1}(x, x')``: the covariance matrix of two sites of a family."""
    text = LimitPrinter(printer.style, None, printer.first).doprint(pair)
    kind = KERNELS.get(pair.kind_name) or decorated(pair.kind_name)
    return r"\Lambda" + text[len(kind) :] if pair.kind_name == "K" else rf"\Lambda[{text}]"


def align(equations: Iterable[Equation], style: Notation, numbers: dict[int, str] | None = None) -> str:
    """Equations in one ``align*``, numbered where ``numbers`` has a number for their identity."""
    out = []
    for equation in equations:
        lines = rows(equation, style)
        if numbers and id(equation) in numbers:
            lines[0] += rf" \tag{{{numbers[id(equation)]}}}"
        out += lines
    return "\\begin{align*}\n" + " \\\\\n".join(out) + "\n\\end{align*}"
