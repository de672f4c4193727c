"""Breaking long right sides into lines, for whatever printer and unit of width.

A sum is broken between its terms, a product inside its bracket, a finite sum and an expectation inside their body;
what cannot be broken stays whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import sympy as sp


class Printer(Protocol):
    """What breaking needs to know of a printer."""

    def doprint(self, expr: sp.Expr) -> str: ...

    def around(self, expr: sp.Expr) -> tuple[str, sp.Expr, str] | None:
        """``(head, body, tail)`` when the text of ``expr`` is its body's between two brackets."""

    def brackets(self, expr: sp.Expr, text: str) -> str: ...

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        """The terms of a sum in the order they are printed."""

    def pieces(self, expr: sp.Expr) -> tuple[str, list[sp.Expr], str]:
        """A product's coefficient, its factors, which may stand on lines of their own, and the text of its denominator."""

    def opened(self, expr: sp.Expr) -> tuple[str, sp.Expr, str]:
        """A bracketed factor as opening, body and closing."""

    minus: str
    thin: str
    times: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A printer, a measure of width, the join of two lines and the mark of a continued line."""

    printer: Printer
    width: Callable[[str], float]
    indent: str
    indent_width: float

    def lines(self, expr: sp.Expr, room: float, first: float | None = None) -> list[str]:
        """``expr`` in lines of width ``room``; the first may have a room of its own."""
        first = room if first is None else first
        whole = self.printer.doprint(expr)
        if self.width(whole) <= first:
            return [whole]
        if expr.is_Add:
            return self._sum(expr, room, first)
        parts = self.printer.around(expr)
        if parts is None:
            return self._product(expr, whole, room, first)
        head, body, tail = parts
        taken = self.width(head)
        if taken > 0.6 * room:
            return self._product(expr, whole, room, first)
        inner = self.lines(body, room - self.indent_width - self.width(tail), first - taken)
        if len(inner) == 1:
            return self._product(expr, whole, room, first)
        return [head + inner[0], *(self.indent + line for line in inner[1:-1]), self.indent + inner[-1] + tail]

    def _product(self, expr: sp.Expr, whole: str, room: float, first: float) -> list[str]:
        """A product that does not end in a bracket to break in: between its factors."""
        head, args, below = self.printer.pieces(expr)
        if len(args) + bool(below) < 2:
            return [whole]
        lines, left = [head], first
        for arg in args:
            text = self.printer.brackets(arg, self.printer.doprint(arg))
            joined = lines[-1] + (self.printer.thin if lines != [head] else "") + text
            if self.width(joined) <= left or (lines == [head] and self.width(text) <= room):
                lines[-1] = joined
                continue
            if lines == [head]:
                inner = self._factor(arg, text, room - self.indent_width, left - self.width(head))
                lines = [head + inner[0], *(self.indent + line for line in inner[1:])]
                continue
            left = room
            lead = self.indent + self.printer.times
            inner = self._factor(arg, text, room - self.indent_width - self.width(self.printer.times))
            lines += [lead + inner[0], *(self.indent + line for line in inner[1:])]
        if below and self.width(lines[-1] + below) > left:
            lines.append(self.indent)
        lines[-1] += below
        return lines

    def _factor(self, arg: sp.Expr, text: str, room: float, first: float | None = None) -> list[str]:
        """One factor in lines; the first may have a room of its own."""
        first = room if first is None else first
        if self.width(text) <= first:
            return [text]
        if not arg.is_Add:
            return self.lines(arg, room, first)
        head, body, tail = self.printer.opened(arg)
        inner = self.lines(body, room - self.indent_width, first - self.width(head))
        if len(inner) == 1:
            return [text]
        return [head + inner[0], *(self.indent + line for line in inner[1:-1]), self.indent + inner[-1] + tail]

    def _sum(self, expr: sp.Expr, room: float, first: float) -> list[str]:
        """Fill each line with as many terms as it holds."""
        lines: list[str] = []
        here, left = "", first
        for k, term in enumerate(self.printer.terms(expr)):
            sign, magnitude = (self.printer.minus, -term) if term.could_extract_minus_sign() else ("+", term)
            lead = f"{sign} " if k or sign != "+" else ""
            text = lead + self.printer.brackets(magnitude, self.printer.doprint(magnitude))
            if (here and self.width(f"{here} {text}") <= left) or (not here and not lines and self.width(text) <= left):
                here = f"{here} {text}" if here else text
                continue
            begun = self._begun(here, lead, magnitude, room, left)
            if begun:
                lines += begun[:-1]
                here, left = begun[-1], room
                continue
            if here:
                lines.append(here)
                left = room
            begins = not lines and not here  # the first line may have a room of its own
            own = left if begins else room - self.indent_width
            pieces = self.lines(magnitude, room - self.width(lead) - self.indent_width, own - self.width(lead))
            pieces[0] = lead + pieces[0]
            lines += pieces[:-1]
            here, left = pieces[-1], left if begins and len(pieces) == 1 else room
        return [*lines, here]

    def _begun(self, here: str, lead: str, term: sp.Expr, room: float, left: float) -> list[str]:
        """A term too long for any line, begun on this one; empty when it should begin a line of its own."""
        start = f"{here} {lead}"
        rest = left - self.width(start)
        if not here or rest < 0.3 * room or self.width(lead + self.printer.doprint(term)) <= room:
            return []
        pieces = self.lines(term, room - self.indent_width, rest)
        return [start + pieces[0], *pieces[1:]] if len(pieces) > 1 and self.width(pieces[0]) <= rest else []
