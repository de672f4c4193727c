"""Formulas in one line of plain text: SymPy's printer with the atoms of limit equations.

Indices stand in brackets, as in a spec: ``K_h[l](x[p], x′[q])``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

import sympy as sp
from sympy.printing.str import StrPrinter

from tp.faces.decimals import Written
from tp.faces.definitions import Coordinates, Inner, Times
from tp.faces.notation import GREEK, Notation
from tp.faces.order import (
    argument,
    called,
    factors,
    index_ranges,
    index_terms,
    is_call,
    is_indicator,
    is_letter,
    is_power_of_sum,
    terms,
    value_of,
)
from tp.gaussian.expectation import Expectation
from tp.limit.equations import Entry, I, J, Value, Z
from tp.program.ir import Domain, Ref, Softmax

SUPERSCRIPT = str.maketrans("0123456789-/", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ")
_KERNELS = {"Theta": "Θ", "Sigma": "Σ"}


def greek(name: str) -> str:
    """A name as its user wrote it; a Greek letter's name is that letter."""
    name = re.sub(r"(?<=[A-Za-z])_$", "'", name)
    bare = name.rstrip("'")
    if bare in GREEK:
        size = "CAPITAL" if bare[0].isupper() else "SMALL"
        bare = unicodedata.lookup(f"GREEK {size} LETTER {'LAMDA' if bare.lower() == 'lambda' else bare.upper()}")
    return bare + "′" * (len(name) - len(name.rstrip("'")))


class TextPrinter(StrPrinter):
    """SymPy's one-line printer with the atoms of limit equations and a mathematician's spacing."""

    printmethod = "_tp_text"  # no class has one: everything is printed here
    minus = "−"
    thin = " "
    times = "· "

    def __init__(self, style: Notation, letters: dict[sp.Expr, str] | None = None, first: tuple[sp.Symbol, ...] = ()) -> None:
        super().__init__()
        self.style = style
        self.letters = letters or {}
        self.first = first

    def _print(self, expr: object, **kwargs: object) -> str:
        if isinstance(expr, sp.Basic) and expr in self.letters:
            return self.letters[expr]
        return str(super()._print(expr, **kwargs))

    # -- names and atoms

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return greek(str(expr))

    def _print_Written(self, expr: Written) -> str:
        return str(expr.name)

    def index(self, expr: sp.Expr) -> str:
        text = ""
        for term in index_terms(expr, self.first):
            minus = term.could_extract_minus_sign()
            text += ("-" if minus else "+" if text else "") + self._print(-term if minus else term)
        return re.sub(r"(?<=[0-9]) (?=\w)", "", text)

    def bracket(self, indices: Sequence[sp.Expr]) -> str:
        return f"[{','.join(map(self.index, indices))}]" if indices else ""

    def _print_Ref(self, expr: Ref) -> str:
        return greek(expr.name) + self.bracket(expr.index)

    def sample(self, s: sp.Expr, below: Sequence[sp.Expr] = ()) -> str:
        name = greek(self.style.sample)
        return (name if s == I else name + "′" if s == J else f"{name}_{self._print(s)}") + self.bracket(below)

    def _datum(self, ref: Ref, s: sp.Expr) -> str:
        return greek(ref.name) + ("′" if s == J else "") + self.bracket(ref.index)

    def _print_Entry(self, expr: Entry) -> str:
        kind = expr.kind_name
        if kind == "Gram":
            return f"⟨{self._datum(expr.a, expr.s)}, {self._datum(expr.b, expr.t)}⟩"
        (up_a, low_a), (up_b, low_b) = self.style.split(expr.a), self.style.split(expr.b)
        left = _KERNELS.get(kind, kind) + "_" + greek(expr.a.name) + self.bracket(up_a)
        if (expr.a.name, up_a) != (expr.b.name, up_b):
            left += "," + greek(expr.b.name) + self.bracket(up_b)
        return f"{left}({self.sample(expr.s, low_a)}, {self.sample(expr.t, low_b)})"

    def _print_Value(self, expr: Value) -> str:
        if expr.kind_name == "data":
            return self._datum(expr.a, expr.s)
        if expr.kind_name == "theta":
            return f"{self._print_Ref(expr.a)}({self.sample(expr.s)})"
        above, below = self.style.split(expr.a)
        return f"{expr.kind_name}_{greek(expr.a.name)}{self.bracket(above)}({self.sample(expr.s, below)})"

    def _print_Z(self, expr: Z) -> str:
        return f"Z_{self._print_Ref(expr.a)}({self.sample(expr.s)})"

    # -- products with a matrix

    def _print_Times(self, expr: Times) -> str:
        W, x, transposed = expr.args
        inner = self._print(x)
        return f"{self._print(W)}{'ᵀ' if transposed else ''} " + (f"({inner})" if x.is_Add or x.is_Mul else inner)

    def _print_Inner(self, expr: Inner) -> str:
        return f"⟨{', '.join(map(self._print, expr.args))}⟩"

    def _print_Coordinates(self, expr: Coordinates) -> str:
        body = self._print(expr.args[0])
        return f"Σ_α {body}_α" if isinstance(expr.args[0], Ref) else f"Σ_α ({body})_α"

    # -- sums, products, powers

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        return terms(expr)

    def brackets(self, expr: sp.Expr, text: str) -> str:
        return f"({text})" if expr.is_Add else text

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        text = ""
        for term in self.terms(expr):
            minus = term.could_extract_minus_sign()
            magnitude = -term if minus else term
            text += (" − " if text else "−") if minus else (" + " if text else "")
            text += self.brackets(magnitude, self._print(magnitude))
        return text

    def _print_Mul(self, expr: sp.Mul) -> str:
        f = factors(expr)
        head, rest = self._fraction(f.scalar, f.scalar_below), self._fraction(f.rest, f.rest_below)
        if f.scalar_below and not f.scalar and not f.rest_below and is_letter(f.rest):
            return ("−" if f.negative else "") + self._fraction(f.rest, f.scalar_below)
        if head and rest and f.scalar_below and (len(f.scalar) > 1 or len(f.scalar_below) > 1):
            head = f"({head})"
        sign = "−" if f.negative else ""
        return sign + (f"{head} {rest}" if head and rest else head or rest or "1")

    def _fraction(self, above: Sequence[sp.Expr], below: Sequence[sp.Expr]) -> str:
        top = self._product(above)
        if not below:
            return top
        return f"{top or '1'}/{self._below(below)}"

    def _below(self, below: Sequence[sp.Expr]) -> str:
        """A denominator."""
        text = self._product(below)
        return f"({text})" if len(below) > 1 or (below[0].is_Mul and not below[0].is_number) else text

    def _product(self, args: Sequence[sp.Expr]) -> str:
        texts = []
        for k, arg in enumerate(args):
            text = self._print(arg)
            swallows = isinstance(arg, sp.Sum) and k + 1 < len(args)
            texts.append(f"({text})" if arg.is_Add or swallows else text)
        return re.sub(r"(?<=[0-9]) (?=π)", "", " ".join(texts))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        base, power = expr.as_base_exp()
        if base == sp.E:
            return f"exp({self._print(power)})"
        if power.is_Rational and power < 0:
            return self._print_Mul(expr)
        inner = self._print(base)
        simple = base.is_Atom or isinstance(base, (Entry, Value, Ref, Z, sp.Function, Expectation)) or base in self.letters
        if power == sp.S.Half:
            return f"√{inner}" if simple else f"√({inner})"
        if not simple or (base.is_number and (base < 0 or not base.is_Integer)):
            inner = f"({inner})"
        if power.is_Integer:
            return inner + str(power).translate(SUPERSCRIPT)
        exponent = self._print(power)
        return f"{inner}^{exponent}" if power.is_Symbol else f"{inner}^({exponent})"

    # -- operators

    def _print_Sum(self, expr: sp.Sum) -> str:
        body = self._print(expr.function)
        return self.sigma(expr) + (f"({body})" if expr.function.is_Add else body)

    def sigma(self, expr: sp.Sum) -> str:
        signs = ""
        for (lo, hi), group in groupby(reversed(expr.limits), key=lambda limit: limit[1:]):
            names = ",".join(self._print(limit[0]) for limit in group)
            signs += f"Σ_{{{names}={self.index(lo)}..{self.index(hi)}}} "
        return signs

    def _print_Expectation(self, expr: Expectation) -> str:
        return f"E[{self._print(expr.integrand)}]"

    def _print_Softmax(self, expr: Softmax) -> str:
        at, body, bound, lo, hi = expr.args
        own = value_of(bound, body, at)
        over = f"{self._print(own if isinstance(own, sp.Symbol) else bound)}={self.index(lo)}..{self.index(hi)}"
        if isinstance(own, sp.Symbol):
            return f"softmax_{{{over}}}({self._print(at)})"
        return f"exp({self._print(at)})/Σ_{{{over}}} exp({self._print(body)})"

    def _print_Function(self, expr: sp.Function) -> str:
        name = type(expr).__name__
        args = ", ".join(self._print(a) for a in expr.args)
        if name in ("step", "Heaviside"):
            return f"1[{self._print(expr.args[0])} > 0]"
        return f"{_FUNCTIONS.get(name, name)}({args})"

    _print_Heaviside = _print_Function

    def _print_exp(self, expr: sp.exp) -> str:
        return f"exp({self._print(expr.args[0])})"

    def _print_Max(self, expr: sp.Max) -> str:
        args = sorted(expr.args, key=lambda a: (a.is_number, str(a)))
        return f"{type(expr).__name__.lower()}({', '.join(map(self._print, args))})"

    _print_Min = _print_Max

    def _print_Pi(self, expr: sp.Expr) -> str:
        return "π"

    def _print_Exp1(self, expr: sp.Expr) -> str:
        return "e"

    def _print_KroneckerDelta(self, expr: sp.KroneckerDelta) -> str:
        left, right = (self.index(a) for a in expr.args)
        return f"1[{left} = {right}]"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        if is_indicator(expr):
            return f"1[{self.condition(expr.args[0][1])}]"
        rows = [f"{self._print(v)} if {self.condition(c)}" if c is not sp.true else self._print(v) for v, c in expr.args]
        return "{" + "; ".join(rows) + "}"

    def condition(self, condition: sp.Basic) -> str:
        if isinstance(condition, sp.And):
            return ", ".join(sorted(map(self.condition, condition.args)))
        if isinstance(condition, sp.core.relational.Relational):
            sign = {"==": "=", "!=": "≠", "<=": "≤", ">=": "≥"}.get(condition.rel_op, condition.rel_op)
            return f"{self.index(condition.lhs)} {sign} {self.index(condition.rhs)}"
        return self._print(condition)

    # -- what the line breaker asks

    def around(self, expr: sp.Expr) -> tuple[str, sp.Expr, str] | None:
        if isinstance(expr, sp.Sum) and not expr.function.is_Atom:
            return (self.sigma(expr) + "(", expr.function, ")") if expr.function.is_Add else (self.sigma(expr), expr.function, "")
        if isinstance(expr, Expectation):
            return "E[", expr.integrand, "]"
        if is_power_of_sum(expr):
            return "(", expr.base, self._tail(expr)
        if is_call(expr):
            head, tail = self._print(called(expr, sp.Symbol("@"))).split("@")
            return head, argument(expr), tail
        f = factors(expr)
        if not expr.is_Mul or f.rest_below or not f.rest:
            return None
        last = f.rest[-1]
        if not (last.is_Add or is_power_of_sum(last) or isinstance(last, (sp.Sum, Expectation))):
            return None
        head = self._head(expr)
        before = self._product(f.rest[:-1])
        head += f"{before} " if before else ""
        if is_power_of_sum(last):
            return f"{head}(", last.base, self._tail(last)
        return (f"{head}(", last, ")") if last.is_Add else (head, last, "")

    def _tail(self, expr: sp.Pow) -> str:
        """What closes the bracket of a power."""
        return self._print(sp.Pow(sp.Symbol("_"), expr.exp)).replace("_", ")")

    def _head(self, expr: sp.Expr) -> str:
        f = factors(expr)
        head = self._fraction(f.scalar, f.scalar_below)
        if f.scalar_below and (len(f.scalar) > 1 or len(f.scalar_below) > 1):
            head = f"({head})"
        return ("−" if f.negative else "") + (f"{head} " if head else "")

    def pieces(self, expr: sp.Expr) -> tuple[str, list[sp.Expr], str]:
        f = factors(expr)
        if not expr.is_Mul or not f.rest:
            return "", [], ""
        return self._head(expr), list(f.rest), f"/{self._below(f.rest_below)}" if f.rest_below else ""

    def opened(self, expr: sp.Expr) -> tuple[str, sp.Expr, str]:
        return "(", expr, ")"


_FUNCTIONS = {"acos": "arccos", "asin": "arcsin", "atan": "arctan", "normal_cdf": "Φ", "normal_pdf": "φ", "normal_cdf2": "Φ₂",
              "Max": "max", "Min": "min", "Abs": "abs", "owens_t": "T"}  # fmt: skip


def ranges(domain: Domain, printer: TextPrinter) -> str:
    """``p, q = 0…31, l = 2…L``."""
    texts = []
    for symbols, lo, hi in index_ranges(domain):
        low, high = printer.index(lo), printer.index(hi)
        texts.append(f"{', '.join(map(printer._print, symbols))} = {low}" + ("" if lo == hi else f"…{high}"))
    return ", ".join(texts)
