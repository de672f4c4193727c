r"""The network of a limit, as a paper introduces it: inputs, parameters, definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sympy as sp

from tp.faces.decimals import rounded
from tp.faces.definitions import Coordinates, Definition, Entries, Inner, Times, definitions, vector_names
from tp.faces.display import LINE, ranges
from tp.faces.layout import Layout
from tp.faces.measure import width
from tp.faces.notation import Notation
from tp.faces.order import index_order
from tp.faces.tex import LimitPrinter, decorated, escape, paren
from tp.program.ir import Data, Domain, Outer, Program, Ref, Weight


class DefinitionPrinter(LimitPrinter):
    """Adds products of matrices and vectors; products of vectors are coordinatewise, with a dot in a circle."""

    def __init__(self, style: Notation, program: Program, first: tuple[sp.Symbol, ...] = ()) -> None:
        super().__init__(style, None, first)
        self.vectors = vector_names(program)
        self.weights = {w.ref.name for w in program.weights}

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        """Bare names of weights, the biases, last."""
        return sorted(super().terms(expr), key=lambda t: isinstance(t, Ref) and t.name in self.weights)

    def _print_Times(self, expr: Times) -> str:
        W, x, transposed = expr.args
        if isinstance(W, Entries):
            top = r"^{\top}" if transposed else ""
            return rf"\bigl[{self._print(W.args[0])}\bigr]{top}\," + self._operand(x)
        above, below = self.indices(W)
        matrix = decorated(self.style.parts(W.name), below, [*above, r"\top"] if transposed else above)
        return matrix + (r"\," if len(matrix) > 1 else " ") + self._operand(x)

    def _print_Outer(self, expr: Outer) -> str:
        return r" \otimes ".join(map(self._print, expr.args))

    def _operand(self, x: sp.Expr) -> str:
        text = self._print(x)
        return paren(text) if x.is_Add or x.is_Mul else text

    def _print_Inner(self, expr: Inner) -> str:
        first, second = expr.args
        left = self._print(first)
        if isinstance(first, Ref):
            above, below = self.indices(first)
            left = decorated(self.style.parts(first.name), below, [*above, r"\top"])
        else:
            left = paren(left) + r"^{\top}"
        return left + r"\," + self._operand(second)

    def _print_Coordinates(self, expr: Coordinates) -> str:
        inner, n = expr.args
        return rf"\sum_{{\alpha=1}}^{{{self._print(n)}}} {paren(self._print(inner))}_{{\alpha}}"

    def is_vector(self, expr: sp.Basic) -> bool:
        if isinstance(expr, Ref):
            return expr.name in self.vectors
        return isinstance(expr, Times) or (not isinstance(expr, (Inner, Coordinates)) and any(map(self.is_vector, expr.args)))

    def _product(self, args: Sequence[sp.Expr], alone: bool = False) -> str:
        wide = [a for a in args if self.is_vector(a)]
        if len(wide) < 2:
            return super()._product(args, alone)
        scalar = super()._product([a for a in args if a not in wide])
        return scalar + (r"\," if scalar else "") + r" \odot ".join(super(DefinitionPrinter, self)._product([a]) for a in wide)


def network(program: Program, named: Iterable[str], style: Notation) -> Iterator[str]:
    """Paragraphs and displays that say what the network is; of its temporaries those that are ``named``."""
    rows = [row for d in definitions(program, named) for row in _definition(d, style, program)]
    inputs = [rf"${_member(d, style)}$" for d in program.data]
    sizes = ", ".join(f"${decorated(style.parts(s.name))}$" for s in program.spaces if s.size == _symbol(s.name))
    text = f"The network {_a(program.name)} takes {_list(inputs) or 'no input'}"
    text += f" and grows with its width{'s' if sizes.count('$') > 2 else ''} {sizes}." if sizes else "."
    yield text + _ratios(program)
    if rows:
        yield "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"
    if program.weights:
        yield _parameters(program, style)
    for name, (domain, rows_) in program.tables.items():
        yield _table(name, domain, rows_, style)
    if note := _beyond(program, style):
        yield note


LARGEST = 8
"""Rows and columns of a table of constants that is printed."""


def _table(name: str, domain: Domain, values: Any, style: Notation) -> str:
    """A table of constants, entry by entry where it is small."""
    printer = LimitPrinter(style)
    left = f"{printer.doprint(Ref(name, *(r.index for r in domain)))},\\ {ranges(domain, printer)}"
    rows = [row if isinstance(row, tuple) else (row,) for row in values or ()]
    small = 0 < len(rows) <= LARGEST and all(len(row) <= LARGEST and not any(isinstance(e, tuple) for e in row) for row in rows)
    if not small:
        return f"The constants ${left}$, are given{' with the network' if values is not None else ' with numbers'}."
    printer.slash = True
    body = r" \\ ".join(" & ".join(map(printer.doprint, row)) for row in rows)
    return f"The constants ${left}$, are\n\\[\n\\begin{{pmatrix}} {body} \\end{{pmatrix}}.\n\\]"


def _a(name: str) -> str:
    return rf"\texttt{{{escape(name)}}}"


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def _symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name, positive=True, integer=True)


def _ratios(program: Program) -> str:
    printer = LimitPrinter(Notation())
    fixed = [f"${decorated(s.name)} = {printer.doprint(s.size)}$" for s in program.spaces if s.size != _symbol(s.name)]
    return f" Other widths keep their ratio: {_list(fixed)}." if fixed else ""


def _definition(d: Definition, style: Notation, program: Program) -> list[str]:
    printer = DefinitionPrinter(style, program, index_order(d.lhs))
    left = printer.doprint(d.lhs)
    room = LINE - width(left) - 2
    lines = Layout(printer, width, r"\quad ", 1.0).lines(rounded(d.rhs), room)
    domain = ranges(d.domain, printer)
    out = [f"{left} &= {lines[0]}", *(rf"&\quad {line}" for line in lines[1:])]
    if domain and width(out[-1]) + width(domain) + 3 <= LINE:
        out[-1] += rf"\qquad {domain}"
    elif domain:
        out.append(rf"&\quad \text{{for }} {domain}")
    return out


def _finite(ref: Ref, domain: Domain, count: int) -> tuple[Ref, list[sp.Expr], Domain]:
    """The family without its finite axes, the sizes of those axes, and the ranges of the rest."""
    axes = ref.index[len(ref.index) - count :]
    sizes = [r.hi for e in axes for r in domain if r.index == e]
    return Ref(ref.name, *ref.index[: len(ref.index) - count]), sizes, tuple(r for r in domain if r.index not in axes)


def _member(data: Data, style: Notation) -> str:
    ref, sizes, domain = _finite(data.ref, data.domain, data.finite_axes)
    printer = LimitPrinter(style)
    space = r" \times ".join(map(printer.doprint, sizes))
    where = ranges(domain, printer)
    target = rf"\mathbb{{R}}^{{{space}}}" if sizes else r"\mathbb{R}"
    return rf"{printer.doprint(ref)} \in {target}" + (f"\\ ({where})" if where else "")


def _parameters(program: Program, style: Notation) -> str:
    """A table: every parameter, its shape, its initial law, its rate."""
    plain = all(w.rate == 1 and not w.frozen for w in program.weights)
    head = r"parameter & shape & initialization" + ("" if plain else " & learning rate")
    lines = [" & ".join(_parameter(w, style)[: 3 if plain else 4]) + r" \\" for w in program.weights]
    columns = "lll" if plain else "llll"
    body = "\n".join([rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", head + r" \\", r"\midrule", *lines])
    return "\\begin{center}\\small\n" + body + "\n\\bottomrule\n\\end{tabular}\n\\end{center}"


def _parameter(w: Weight, style: Notation) -> list[str]:
    count = sum(str(e).startswith("j_") for e in w.ref.index)
    ref, sizes, domain = _finite(w.ref, w.domain, count)
    printer = LimitPrinter(style)
    widths = [decorated(style.parts(s.name)) for s in (w.rows, w.cols) if s is not None]
    finite = [printer.doprint(e) for e in sizes]
    shape = finite + widths if w.finite_first else widths + finite
    where = ranges(domain, printer)
    name = f"${printer.doprint(ref)}$" + (f", ${where}$" if where else "")
    factor = "" if w.multiplier == 1 else rf"{printer.doprint(w.multiplier)} \cdot "
    normal = rf"\mathcal{{N}}({printer.doprint(w.mean)}, {_slash(w.variance, style)})"
    law = printer.doprint(w.mean) if w.variance == 0 else normal
    rate = "frozen" if w.frozen else f"${_slash(w.rate, style)}$"
    size = r" \times ".join(shape) or "1"
    return [name, f"${size}$", f"${factor}{law}$", rate]


def _slash(expr: sp.Expr, style: Notation) -> str:
    printer = LimitPrinter(style)
    printer.slash = True
    return printer.doprint(expr)


_MEANING = {
    "zero": "{names} {are} $0$ where an index is outside ${lo}, \\dots, {hi}$.",
    "circular": "Indices of {names} are taken modulo the range ${lo}, \\dots, {hi}$.",
    "reflect": "Indices of {names} are reflected at the ends of ${lo}, \\dots, {hi}$.",
}


def _beyond(program: Program, style: Notation) -> str:
    """What an index beyond its range means."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, slots in program.boundary.items():
        for mode, lo, hi in slots:
            if mode in ("zero", "circular", "reflect"):
                printer = LimitPrinter(style)
                key = (mode, printer.index(lo), printer.index(hi))
                found.setdefault(key, []).append(f"${decorated(style.parts(name))}$")
    sentences = []
    for (mode, lo, hi), names in found.items():
        distinct = list(dict.fromkeys(names))
        are = "is" if len(distinct) == 1 else "are"
        sentences.append(_MEANING[mode].format(names=_list(distinct), are=are, lo=lo, hi=hi))
    return " ".join(sentences)
