r"""Equations as rows of an ``align``: lines that fit the page, ranges, and where-clauses for the letters used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from tp.faces.layout import Layout
from tp.faces.letters import Gaussians, Law, Variable, gaussians, shortened
from tp.faces.measure import width
from tp.faces.notation import Notation
from tp.faces.order import factored, in_factors, index_ranges, lhs_order, outside
from tp.faces.tex import KERNELS, LimitPrinter, decorated, paren
from tp.limit.equations import Entry, Equation, J
from tp.program.ir import Domain

LINE = 33.0
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


def rows(equation: Equation, style: Notation, column: float = 0.0, line: float = LINE) -> list[str]:
    r"""An equation as the rows of an ``align``: right side in lines, range, where-clauses.

    ``column`` is the width left of the ``&`` where other equations of the display need more than this one.
    """
    equation, short = shortened(equation, style)
    equation = replace(equation, rhs=factored(outside(in_factors(equation.rhs))))
    printer, found = printer_for(equation, style)
    where = [[clause] for clause in dict.fromkeys(clause for item in found.laws for clause in law(item, printer))]
    left = printer.doprint(equation.lhs)
    room = line - max(width(left), column)
    layout = Layout(printer, width, r"\quad ", 1.0)
    for item in short:
        below = ([str(item.number)] if item.number else []) + [decorated(style.parts(str(s))) for s in item.bound]
        letter = decorated(item.letter, below)
        first, *rest = layout.lines(item.meaning, room - 4.5 - width(letter), room - 6.0 - width(letter))
        where.append([f"{letter} = {first}", *rest])
        printer.letters[item.symbol] = letter
    first, *rest = layout.lines(equation.rhs, room - 1.0, room - 1.5)
    body = [f"= {first}", *(rf"\quad {text}" for text in rest)]
    first, *rest = _with_clauses(body, ranges(equation.domain, printer), where, room)
    return [f"{left} &{first}", *(f"&{text}" for text in rest)]


def _with_clauses(body: list[str], domain: str, where: list[list[str]], room: float) -> list[str]:
    """Range and where-clauses behind the last line where they fit, else on rows of their own."""
    if domain and width(rf"{body[-1]}\qquad {domain}") <= room:
        body = [*body[:-1], rf"{body[-1]}\qquad {domain}"]
        domain = ""
    together = r",\quad ".join([body[-1], *(clause for clause, *_ in where)])
    if not domain and where and all(len(lines) == 1 for lines in where) and width(together) <= room:
        return [*body[:-1], together]
    return body + _where(domain, where, room)


def _where(domain: str, where: list[list[str]], room: float) -> list[str]:
    """The range and the where-clauses, as many to a row as there is room for."""
    lines = [rf"\quad \text{{for }} {domain}"] if domain else []
    alone = lines and width(r",\quad ".join([*lines, r"\text{where }", *(c for c, *_ in where)])) > room
    for k, (clause, *rest) in enumerate(where):
        text = clause if k else rf"\text{{where }} {clause}"
        joined = rf"{lines[-1]},\quad {text}" if lines else ""
        if lines and width(joined) <= room and not rest and (k or not alone):
            lines[-1] = joined
        else:
            lines[-1:] = [lines[-1] + ("," if k else "")] if lines else []
            lines.append(rf"\quad {text}" if not k else rf"\quad \phantom{{\text{{where }}}} {text}")
        lines += [rf"\quad \phantom{{\text{{where }}}}\quad {line}" for line in rest]
    return lines


def law(item: Law, printer: LimitPrinter) -> list[str]:
    r"""``(u, u') \sim N(0, \Lambda)``; a matrix that is too wide gives way to what each letter means."""
    names = [printer.doprint(v) for v in item.variables]
    plain = LimitPrinter(printer.style, None, printer.first)
    if item.pair is not None:
        return [rf"({', '.join(names)}) \sim \mathcal{{N}}\bigl(0, {big_lambda(item.pair, printer)}\bigr)"]
    if len(names) == 1:
        return [rf"{names[0]} \sim \mathcal{{N}}{paren('0, ' + plain.doprint(item.cov[0, 0]))}"]
    matrix = r" \\ ".join(" & ".join(plain.doprint(e) for e in item.cov.row(k)) for k in range(len(names)))
    law = rf"({', '.join(names)}) \sim \mathcal{{N}}\left(0, \begin{{pmatrix}} {{}} \end{{pmatrix}}\right)"
    if width(matrix) <= LINE - 16 and r"\frac" not in matrix:
        return [law.replace("{}", matrix, 1)]
    named = [f"{name} = {plain.doprint(v)}" for name, v in zip(names, item.variables, strict=True)]
    told = []
    for (i, j), c in item.moments.items():
        sign, of = (r"\operatorname{Var}", names[i]) if i == j else (r"\operatorname{Cov}", f"{names[i]}, {names[j]}")
        told.append(f"{sign}({of}) = {plain.doprint(c)}")
    return [*(named if len(names) > 2 and item.is_by_name else []), *told]


def big_lambda(pair: Entry, printer: LimitPrinter) -> str:
    r"""``\Lambda_h^{l-1}(x, x')``: the covariance matrix of two sites of a family."""
    text = LimitPrinter(printer.style, None, printer.first).doprint(pair)
    kind = KERNELS.get(pair.kind_name) or decorated(pair.kind_name)
    return r"\Lambda" + text[len(kind) :] if pair.kind_name == "K" else rf"\Lambda[{text}]"


TAG = 3.0
"""Room for an equation's number, in em."""

WIDE = 13.0
"""A left side wider than this stands in a display of its own."""


def align(equations: Iterable[Equation], style: Notation, numbers: dict[int, str] | None = None) -> str:
    """Equations in ``align*`` displays, numbered where ``numbers`` has a number for their identity."""
    numbers, equations = numbers or {}, list(equations)
    line = LINE - (TAG if numbers else 0.0)
    widths = {id(e): width(printer_for(e, style)[0].doprint(e.lhs)) for e in equations}
    column = max((w for w in widths.values() if w <= WIDE), default=0.0)
    displays = []
    for wide, group in groupby(equations, key=lambda e: widths[id(e)] if widths[id(e)] > WIDE else 0.0):
        blocks = []
        for equation in group:
            lines = rows(equation, style, wide or column, line)
            if id(equation) in numbers:
                lines[0] += rf" \tag{{{numbers[id(equation)]}}}"
            blocks.append(" \\\\\n".join(lines))
        displays.append("\\begin{align*}\n" + " \\\\[4pt]\n".join(blocks) + "\n\\end{align*}")
    return "\n".join(displays)
