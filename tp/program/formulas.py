"""Expressions of a program as text: ``v·relu(h[3])``, ``Σ_{k=-1..1} m1[p,k]``, ``1/sqrt(m2[l])``."""

from __future__ import annotations

from collections.abc import Container, Sequence

import sympy as sp
from sympy.printing.str import StrPrinter

from tp.program.ir import Domain, Outer, Range, Ref, Softmax

ADD, MUL, POW, ATOM = range(4)
"""How tightly a text binds."""


class Formulas:
    """Writes expressions. ``first`` names the families that lead a product and end a sum: ``v·h``, ``m1 + b``."""

    def __init__(self, first: Container[str] = ()) -> None:
        self.first = first

    def text(self, expr: sp.Expr, outer: int = ADD) -> str:
        """The expression, parenthesised where ``outer`` binds tighter."""
        written, binds = self._write(expr)
        return f"({written})" if binds < outer else written

    def _write(self, expr: sp.Expr) -> tuple[str, int]:
        match expr:
            case Ref():
                inner = ",".join(map(index, expr.index))
                return (f"{expr.name}[{inner}]" if inner else expr.name), ATOM
            case Softmax():
                at, _, bound, lo, hi = expr.args
                return f"softmax({self.text(at)} over {str(bound).rstrip('_')} = {index(lo)}..{index(hi)})", ATOM
            case Outer():
                return "⊗".join(self.text(v, ATOM) for v in expr.args), MUL
            case sp.Sum():
                limits = ", ".join(f"{v}={index(lo)}..{index(hi)}" for v, lo, hi in reversed(expr.limits))
                return f"Σ_{{{limits}}} {self.text(expr.function, MUL)}", MUL
            case sp.Add():
                return self._sum(expr), ADD
            case sp.Mul():
                return self._product(expr)
            case sp.Pow():
                return self._power(expr)
            case sp.Rational() if not expr.is_Integer or expr < 0:
                return str(expr), ADD if expr < 0 else MUL
            case sp.Function() | sp.Max() | sp.Min():
                name = {"Abs": "abs", "Max": "max", "Min": "min"}.get(type(expr).__name__, type(expr).__name__)
                return f"{name}({', '.join(map(self.text, expr.args))})", ATOM
            case _:
                return StrPrinter().doprint(expr), ATOM

    def _sum(self, expr: sp.Add) -> str:
        """Terms in SymPy's order, those of initial data and those with a minus moved back."""
        terms = [t.as_coeff_Mul() for t in expr.as_ordered_terms()]
        terms.sort(key=lambda term: (bool(term[0] < 0), self._initial(term[1])))
        text = ""
        for c, term in terms:
            sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
            text += sign + self.text(abs(c) * term, ADD if not sign.strip("+ ") else MUL)
        return text

    def _initial(self, term: sp.Expr) -> bool:
        refs = term.atoms(Ref)
        return bool(refs) and all(r.name in self.first for r in refs)

    def _product(self, expr: sp.Mul) -> tuple[str, int]:
        """A number, variables, functions, at last finite sums; negative powers below one bar."""
        c, rest = expr.as_coeff_Mul(rational=True)
        above, below = self._split(rest)
        last_is_sum = bool(above) and isinstance(above[-1], sp.Sum)
        if last_is_sum and not below:  # 1/32·Σ…: a bar would need a parenthesis
            numbers = [str(abs(c))] if abs(c) != 1 else []
        else:
            numbers = [str(abs(c.p))] if abs(c.p) != 1 else []
            below = ([sp.Integer(c.q)] if c.q != 1 else []) + below
        texts = [self.text(f, POW) for f in above[:-1]]
        texts += [self.text(f, MUL if last_is_sum and not below else POW) for f in above[-1:]]
        top = "·".join(numbers + texts) or "1"
        if below:
            bottom = "·".join(self.text(f, POW) for f in below)
            top += f"/({bottom})" if len(below) > 1 else f"/{bottom}"
        return ("-" + top, ADD) if c < 0 else (top, MUL)

    def _split(self, product: sp.Expr) -> tuple[list[sp.Expr], list[sp.Expr]]:
        """Factors above and below the bar, in order."""
        above, below = [], []
        for factor in sp.Mul.make_args(product) if product != 1 else ():
            base, power = factor.as_base_exp() if isinstance(factor, sp.Pow) else (factor, sp.S.One)
            if power.could_extract_minus_sign() and not isinstance(base, sp.Integer):
                below.append(base**-power)
            else:
                above.append(factor)
        return sorted(above, key=self._order), sorted(below, key=self._order)

    def _order(self, factor: sp.Expr) -> tuple[int, int, str]:
        """Constants, initial data, variables, powers and functions, sums."""
        if not factor.has(Ref):
            return 0, 0, self.text(factor)
        if isinstance(factor, Ref):
            return 1, int(factor.name not in self.first), self.text(factor)
        kinds = (sp.Pow, sp.Function, sp.Add, sp.Sum)
        return 2, next((k for k, kind in enumerate(kinds) if isinstance(factor, kind)), 1), self.text(factor)

    def _power(self, expr: sp.Pow) -> tuple[str, int]:
        base, power = expr.args
        if power == sp.Rational(1, 2):
            return f"sqrt({self.text(base)})", ATOM
        if power == sp.Rational(-1, 2):
            return f"1/sqrt({self.text(base)})", MUL
        if power == -1:
            return f"1/{self.text(base, POW)}", MUL
        return f"{self.text(base, ATOM)}^{self.text(power, ATOM)}", POW


def formula(expr: sp.Expr, outer: int = ADD) -> str:
    """An expression of which no family is special."""
    return Formulas().text(expr, outer)


def index(expr: sp.Expr) -> str:
    """An index expression, without blanks: ``2*p+k``."""
    if not isinstance(expr, sp.Add):
        return formula(expr).replace("·", "*").replace(" ", "")
    terms = sorted((t for t in expr.args if not t.is_number), key=lambda t: str(t.as_coeff_Mul()[1]), reverse=True)
    text = "".join(("+" if i and not t.could_extract_minus_sign() else "") + index(t) for i, t in enumerate(terms))
    number = expr - sp.Add(*terms)
    return f"{text}+{number}" if number > 0 else f"{text}{number}" if number else text


def ranges(domain: Sequence[Range] | Domain) -> str:
    """``p = 0..31, k = -1..1``."""
    return ", ".join(f"{r.index} = {index(r.lo)}..{index(r.hi)}" for r in domain)
