"""A Z-limit as text, LaTeX and data: the printers of limit equations with the atoms Ẑ, Ż, Cov and E[∂Z/∂Ẑ]."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import sympy as sp
from sympy.printing.printer import Printer

from tp.faces.decimals import DIGITS, Written, shorter, swapped, written
from tp.faces.definitions import Times, definitions
from tp.faces.display import ranges
from tp.faces.families import of_lines
from tp.faces.latex import _spec, _steps
from tp.faces.layout import Layout
from tp.faces.measure import width
from tp.faces.network_tex import network
from tp.faces.notation import Notation, notation
from tp.faces.order import outside
from tp.faces.plain import TextPrinter, greek
from tp.faces.plain import ranges as text_ranges
from tp.faces.tex import LimitPrinter, decorated, escape, paren
from tp.faces.text import _cited, _origin, check_columns
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Limit, Value, Z
from tp.limit.zcalculus.atoms import Cov, Dot, Drive, Hat, Image, Output, Slope
from tp.limit.zcalculus.limit import ZLimit
from tp.limit.zcalculus.lines import Line
from tp.program.ir import Domain, Ref

COLUMN = 24
LINE, LEFT = 31.0, 10.0
"""Em of a line of LaTeX, and of a left side beside its right side."""


def style_of(limit: ZLimit) -> Notation:
    """Names and indices as the other faces write them."""
    return notation(Limit(limit.program, (), limit.outputs, ()))


def named(limit: ZLimit) -> set[str]:
    """Temporaries of the program that the lines are about."""
    atoms = (a for line in limit.lines for side in (line.lhs, line.rhs) for a in side.atoms(Ref))
    return {a.name for a in atoms} & limit.program.temps


def ranged(limit: ZLimit, line: Line) -> Domain:
    """The domain of a line, with those of the finite axes of weights that it is about."""
    own = {r.index for r in line.domain}
    axes = {r.index: r for w in limit.program.weights for r in w.domain if r.index in line.lhs.free_symbols - own}
    return (*line.domain, *axes.values())


def without_aliases(limit: ZLimit) -> ZLimit:
    """The limit of a run as it is printed: without the lines that only give one vector's Z a second name.

    A vector keeps its name where at other steps or samples it is more; the weights of the first step are the initial ones.
    """
    if not limit.decimals:
        return limit
    weights = {w.ref.name for w in limit.program.weights}
    own = {line.lhs.a.name for line in limit.lines if type(line.lhs) is Z and not isinstance(line.rhs, (Z, Hat))}
    names: dict[sp.Expr, sp.Expr] = {}
    kept = []
    for line in limit.lines:
        line = replace(line, lhs=line.lhs.xreplace(names), rhs=line.rhs.xreplace(names))
        if type(line.lhs) is Z and isinstance(line.rhs, (Z, Hat)):
            same = line.rhs.a == line.lhs.a or line.rhs.a.name in weights
            if line.lhs not in names and (same or line.lhs.a.name not in own):
                names[line.lhs] = line.rhs
                continue
        kept.append(line)
    return replace(limit, lines=tuple(kept))


def decimals(limit: ZLimit, expr: sp.Expr, digits: int = DIGITS) -> sp.Expr:
    """``expr`` with the decimal fractions that a run's data and rates bring as decimals; for print alone."""
    if not limit.decimals:
        return expr
    return swapped(expr, lambda value: _decimal(value, digits) if value.q % 5 == 0 else value)


def _decimal(value: sp.Rational, most: int) -> sp.Expr:
    """The decimal where it is no longer than the fraction; to so many digits where both are long."""
    fraction = f"{abs(value.p)}/{value.q}"
    powers = sp.multiplicity(2, value.q), sp.multiplicity(5, value.q)
    if value.q != 2 ** powers[0] * 5 ** powers[1]:
        return value
    places = max(powers)
    digits = str(abs(value.p) * 10**places // value.q)
    text = _placed(digits, places)
    if len(text) > len(fraction) or len(digits) > most:
        if len(fraction) <= most + 2:
            return value
        return shorter(value, most)
    return written(value, text)


def _placed(digits: str, places: int) -> str:
    """Digits with their point, or a power of ten where that is shorter."""
    padded = digits.rjust(places + 1, "0")
    plain = f"{padded[:-places]}.{padded[-places:]}"
    first = f".{digits[1:]}" if len(digits) > 1 else ""
    power = f"{digits[0]}{first}e{len(digits) - 1 - places}"
    return power if len(power) < len(plain) - 2 else plain


# ---------------------------------------------------------------- text


class Atoms(Printer):
    """Z, Ẑ, Ż and what they are of, in any notation; what does not depend on an input has no sample."""

    letters_of: ClassVar[dict[type, str]]

    def __init__(self, style: Notation, sampled: frozenset[str]) -> None:
        super().__init__(style)
        self.sampled = sampled

    def at(self, ref: Ref, s: sp.Expr) -> str:
        return f"({self.sample(s)})" if ref.name in self.sampled else ""

    def _print_Z(self, expr: Z | Hat | Dot) -> str:
        return f"{self.letters_of[type(expr)]}{self.over(self._print_Ref(expr.a))}{self.at(expr.a, expr.s)}"

    _print_Hat = _print_Dot = _print_Z

    def over(self, name: str) -> str:
        """The vector that a Z is of, beside its letter."""
        raise NotImplementedError

    def _print_Output(self, expr: Output) -> str:
        return f"{self._print_Ref(expr.a)}{self.at(expr.a, expr.s)}"

    def _print_Drive(self, expr: Drive) -> str:
        return str(self._print(expr.total))


class ZText(Atoms, TextPrinter):
    """One-line formulas."""

    letters_of: ClassVar[dict[type, str]] = {Z: "Z", Hat: "Ẑ", Dot: "Ż"}

    def over(self, name: str) -> str:
        return f"_{name}"

    def _print_Slope(self, expr: Slope) -> str:
        return f"E[∂{self._print(expr.a)}/∂{self._print(expr.b)}]"

    def _print_Cov(self, expr: Cov) -> str:
        if expr.a == expr.b:
            return f"Var {self._print(expr.a)}"
        return f"Cov({self._print(expr.a)}, {self._print(expr.b)})"

    def _print_Image(self, expr: Image) -> str:
        primes = "′" * int(expr.orders[0]) if len(expr.orders) == 1 else ""
        signs = "".join(f"∂{k + 1}" * int(o) for k, o in enumerate(expr.orders)) if len(expr.orders) > 1 else ""
        return f"{signs}Ψ{primes}_{self._print_Ref(expr.a)}({', '.join(map(self._print, expr.values))})"

    def _print_Value(self, expr: Value) -> str:
        if expr.kind_name == "theta":
            return greek(expr.a.name) + self.bracket(expr.a.index) + self.at(expr.a, expr.s)
        return super()._print_Value(expr)


def text(limit: ZLimit, columns: int = 100) -> str:
    """The derivation, ``columns`` wide where a formula can be broken."""
    check_columns(columns)
    limit = of_lines(without_aliases(limit))
    printer = ZText(style_of(limit), limit.sampled)
    widths = ", ".join(greek(s.name) for s in limit.program.spaces if s.size.is_Symbol) or "n"
    title = f"{greek(limit.program.name)}: the Z of every vector in the limit of infinite width {widths}"
    lines, sources = [title, *textwrap.wrap(limit.dependence, columns), ""], []  # type: list[str], list[str]
    shown = named(limit)
    if matrices := [
        f"{printer.doprint(d.lhs)} := {printer.doprint(d.rhs)}"
        + (f"    for {where}" if (where := text_ranges(d.domain, printer)) else "")
        for d in definitions(limit.program, shown)
        if d.lhs.name in shown and d.rhs.has(Times)
    ]:
        lines += [*matrices, ""]
    lefts = [printer.doprint(line.lhs) for line in limit.lines]
    column = min(max(map(len, lefts), default=0), COLUMN)
    pad = " " * (column + 3)
    for left, line in zip(lefts, limit.lines, strict=True):
        room = max(columns - column - 3, 30)
        body = Layout(printer, len, "  ", 2.0).lines(
            decimals(limit, outside(line.rhs)), room - 2, room - max(len(left) - column, 0)
        )
        lines += [f"{left:>{column}} = {body[0]}", *(pad + "  " + b for b in body[1:])]
        domain = ranged(limit, line)
        lines += [pad + f"for {text_ranges(domain, printer)}"] if domain else []
        lines += [pad + told for told in _origin(line, sources)]  # type: ignore[arg-type]
    return "\n".join([*lines, "", *_legend(limit, columns), *_cited(sources, columns)]) + "\n"


_MEANINGS: dict[type, str] = {
    Z: "Z_y         the limit of the coordinates of y",
    Hat: "Ẑ_y         the Gaussian part of W x: jointly Gaussian over the calls of one matrix in one direction",
    Dot: "Ż_y         what W x owes to earlier calls Wᵀ y: v Σ_j Z_{y_j} E[∂Z_x/∂Ẑ_{Wᵀ y_j}]",
    Image: "Ψ_y(a)      a matrix of entrywise updates times a vector, where the vectors of the gradients are a",
}


def _legend(limit: ZLimit, columns: int) -> Iterator[str]:
    if any(len(str(n.name)) > DIGITS for line in limit.lines for n in decimals(limit, line.rhs).atoms(Written)):
        yield from textwrap.wrap(f"Decimals are rounded to {DIGITS} digits; `.lines` has them as exact fractions.", columns)
    for kind, meaning in _MEANINGS.items():
        if any(side.has(kind) for line in limit.lines for side in (line.lhs, line.rhs)):
            yield from textwrap.wrap(meaning, columns, subsequent_indent=" " * 12)


# ---------------------------------------------------------------- LaTeX


class ZTex(Atoms, LimitPrinter):
    """LaTeX of the same atoms."""

    letters_of: ClassVar[dict[type, str]] = {Z: "Z", Hat: r"\hat{Z}", Dot: r"\dot{Z}"}

    def over(self, name: str) -> str:
        return f"^{{{name}}}"

    def _print_Slope(self, expr: Slope) -> str:
        return rf"\mathbb{{E}}\bigl[\partial {self._print(expr.a)}/\partial {self._print(expr.b)}\bigr]"

    def _print_Cov(self, expr: Cov) -> str:
        if expr.a == expr.b:
            return rf"\operatorname{{Var}}\bigl({self._print(expr.a)}\bigr)"
        return rf"\operatorname{{Cov}}\bigl({self._print(expr.a)},\, {self._print(expr.b)}\bigr)"

    def _print_Image(self, expr: Image) -> str:
        primes = "'" * int(expr.orders[0]) if len(expr.orders) == 1 else ""
        signs = "".join(rf"\partial_{{{k + 1}}}" * int(o) for k, o in enumerate(expr.orders)) if len(expr.orders) > 1 else ""
        name = rf"\Psi_{{{self._print_Ref(expr.a)}}}{primes}"
        return signs + name + paren(r",\, ".join(map(self._print, expr.values)))

    def _print_Value(self, expr: Value) -> str:
        if expr.kind_name == "theta":
            above, below = self.indices(expr.a)
            return decorated(self.style.parts(expr.a.name), below, above, wrap=r"\mathring") + self.at(expr.a, expr.s)
        return super()._print_Value(expr)

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, power = expr.as_base_exp()
        if isinstance(base, (Z, Hat, Dot)) and power.is_Integer and power > 0:
            return rf"\bigl({self._print(base)}\bigr)^{{{power}}}"
        return super()._print_Pow(expr)


def rows(limit: ZLimit, line: Line, printer: ZTex, column: float = 0.0) -> list[str]:
    """The rows of one line in an ``align`` whose left sides are ``column`` wide; a wider one has a row of its own.

    Without a column, as in notebooks, whose TeX knows no ``\\rlap``, all stand beside their right sides.
    """
    left = printer.doprint(line.lhs)
    room = LINE - max(min(width(left), LEFT), column)
    first, *rest = Layout(printer, width, r"\quad ", 1.0).lines(decimals(limit, outside(line.rhs)), room - 1.0, room - 1.5)
    domain = ranged(limit, line)
    where = [rf"&\quad \text{{for }} {ranges(domain, printer)}"] if domain else []
    beside = width(left) <= LEFT or not column
    begun = [f"{left} &= {first}"] if beside else [rf"\rlap{{${left}$}}&", f"&= {first}"]
    return [*begun, *(rf"&\quad {r}" for r in rest), *where]


def left_column(limit: ZLimit, printer: ZTex) -> float:
    """The width of the left sides that stand beside their right sides."""
    return max((w for line in limit.lines if (w := width(printer.doprint(line.lhs))) <= LEFT), default=0.0)


def latex(limit: ZLimit, document: bool = False) -> str:
    """A fragment for any document class, or an article with the sources and the spec."""
    limit = of_lines(without_aliases(limit))
    printer = ZTex(style_of(limit), limit.sampled)
    blocks = []
    column = left_column(limit, printer)
    for k, line in enumerate(limit.lines, 1):
        first, *rest = rows(limit, line, printer, column)
        blocks.append(" \\\\\n".join([rf"{first} \tag{{{k}}}", *rest]))
    body = "\\begin{align*}\n" + " \\\\[2pt]\n".join(blocks) + "\n\\end{align*}"
    numbers = {id(line): str(k) for k, line in enumerate(limit.lines, 1)}
    shown = _Page(limit)
    about = "" if limit.decimals else "\n\n".join(network(limit.program, named(limit), style_of(limit)))
    words = _words(limit)
    steps = "\n\n".join(_steps(shown, numbers))  # type: ignore[arg-type]
    if not document:
        before = f"\\paragraph{{Network.}} {about}\n\n" if about else ""
        return f"{before}\\paragraph{{Z-variables.}} {words}\n{body}\n\n\\paragraph{{Derivation.}}\n{steps}\n"
    name = escape(limit.program.name)
    parts = [
        r"\documentclass[10pt]{article}",
        r"\usepackage{amsmath,amssymb,booktabs}",
        r"\addtolength{\textheight}{3cm}\addtolength{\topmargin}{-1.5cm}\allowdisplaybreaks",
        r"\begin{document}",
        rf"\begin{{center}}\Large The $Z$-variables of \texttt{{{name}}}\end{{center}}",
        rf"\section{{Network}} {about}" if about else "",
        rf"\section{{$Z$-variables}} {words}",
        body,
        r"\section{Derivation}",
        steps,
        _spec(shown),  # type: ignore[arg-type]
        r"\end{document}",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _words(limit: ZLimit) -> str:
    """What the signs of the lines mean."""
    x = decorated(style_of(limit).sample)
    said = [
        rf"$Z^{{y}}({x})$ is the limit of the coordinates of a vector $y$ on an input ${x}$, $Z = \hat{{Z}} + \dot{{Z}}$: "
        "the hats of one matrix in one direction are jointly Gaussian, those of a matrix and of its transpose independent."
    ]
    atoms = {a for line in limit.lines for side in (line.lhs, line.rhs) for a in side.atoms(Value, Image)}
    if any(isinstance(a, Value) and a.kind_name == "theta" for a in atoms):
        said.append("A ring marks the limit of a scalar.")
    if any(isinstance(a, Image) for a in atoms):
        said.append(r"$\Psi_{y}$ is a matrix of entrywise updates times a vector, a function of the vectors of the gradients.")
    return " ".join(said)


class _Page:
    """What the page-making of the other faces asks of a limit."""

    def __init__(self, limit: ZLimit) -> None:
        self.program, self.equations = limit.program, limit.lines


def display(limit: ZLimit) -> str:
    """All lines in one display, for a notebook."""
    limit = of_lines(without_aliases(limit))
    printer = ZTex(style_of(limit), limit.sampled)
    lines = [row for line in limit.lines for row in rows(limit, line, printer)]
    return "$$\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}$$"


# ---------------------------------------------------------------- data

EXACT = 17
"""Digits of a decimal as data, which tell every double-precision number apart."""

KINDS: dict[type, str] = {
    Z: "Z", Hat: "Gaussian part", Dot: "dot", Cov: "covariance", Slope: "expected derivative", Value: "scalar", Image: "image",
}  # fmt: skip


def to_json(limit: ZLimit) -> str:
    """The lines as a JSON document; the same text for equal limits."""
    printer = ZTex(style_of(limit), limit.sampled)
    plain = ZText(style_of(limit), limit.sampled)
    content = {
        "network": limit.program.name,
        "dependence": limit.dependence or None,
        "outputs": [str(ref) for ref in limit.outputs],
        "lines": [
            {
                "kind": KINDS[type(line.lhs)],
                "left": plain.doprint(line.lhs),
                "right": plain.doprint(decimals(limit, line.rhs, EXACT)),
                "latex": r"\begin{aligned} " + r" \\ ".join(rows(limit, line, printer)) + r" \end{aligned}",
                "for": [{"index": str(r.index), "from": str(r.lo), "to": str(r.hi)} for r in line.domain],
                "closed": not line.rhs.has(Expectation),
                "rule": line.rule,
                "source": line.source,
                "line": line.span.line or None,
            }
            for line in limit.lines
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)
