r"""A LaTeX printer for the atoms of limit equations: kernels, scalars, inputs, expectations, indices.

What it writes compiles with amsmath and amssymb, is plain ASCII, and holds no name a user chose unescaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from tp.faces.decimals import Written, in_tex
from tp.faces.layout import Layout
from tp.faces.measure import width
from tp.faces.notation import GREEK, NameParts, Notation, ascii_name, name_parts
from tp.faces.order import (
    argument,
    called,
    factors,
    index_terms,
    is_call,
    is_indicator,
    is_letter,
    is_power_of_sum,
    terms,
    value_of,
)
from tp.gaussian.expectation import Expectation
from tp.gaussian.functions import Activation
from tp.limit.equations import Entry, I, J, Value, Z
from tp.program.ir import Ref, Softmax, Sum

BRANCH = 14.0
"""Room for a value in a case distinction."""

# ---------------------------------------------------------------- names

RING = r"\mathring"
KERNELS = {"Theta": r"\Theta", "Sigma": r"\Sigma"}
_WORDS = {"relu": "relu", "leaky_relu": "lrelu", "sign": "sgn"}
_SPECIALS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def escape(text: str) -> str:
    """Anything a user wrote, as plain ASCII LaTeX text."""
    return "".join(_SPECIALS.get(c, c) for c in ascii_name(text))


def _word(word: str) -> str:
    """One part of a name: a letter, a Greek letter, a number, or a word set upright."""
    if word in GREEK:
        return rf"\{word}"
    return word if (len(word) == 1 and word.isalnum()) or word.isdigit() else rf"\mathrm{{{escape(word)}}}"


def decorated(name: str | NameParts, below: Sequence[str] = (), above: Sequence[str] = (), wrap: str = "") -> str:
    r"""A name with indices: ``h``, ``l-1`` above, ``p`` below gives ``h_{p}^{l - 1}``; primes keep clear of superscripts."""
    parts = name_parts(name) if isinstance(name, str) else name
    base = rf"\mathrm{{{escape(parts.base)}}}" if parts.literal else _word(parts.base)
    base = rf"{wrap}{{{base}}}" if wrap and not base.startswith(r"\mathrm") else base
    subs = ([_word(parts.sub)] if parts.sub else []) + list(below) + (list(above) if parts.power else [])
    sups = [] if parts.power else list(above)
    sub = f"_{{{','.join(subs)}}}" if subs else ""
    return f"{base}{_superscript(parts, sups)}{sub}" if parts.primes and not sups else f"{base}{sub}{_superscript(parts, sups)}"


def _superscript(parts: NameParts, above: list[str]) -> str:
    if not above and not parts.power:
        return "'" * parts.primes
    prime = r"\prime" * parts.primes
    gap = r"\," if prime and above else ""
    return f"^{{{prime}{gap}{','.join(above)}{parts.power}}}"


# ---------------------------------------------------------------- the printer


class LimitPrinter(LatexPrinter):
    """SymPy's LaTeX printer with the atoms of limit equations; ``letters`` holds what is written as a letter here."""

    def __init__(self, style: Notation, letters: dict[sp.Expr, str] | None = None, first: tuple[sp.Symbol, ...] = ()) -> None:
        super().__init__({"fold_frac_powers": True, "inv_trig_style": "full", "ln_notation": False})
        self.style = style
        self.letters = letters or {}
        self.first = first
        self.slash = False

    def _print(self, expr: sp.Basic, **kwargs: Any) -> str:
        if self.letters and isinstance(expr, sp.Basic) and expr in self.letters:
            return self.letters[expr]
        if isinstance(expr, Activation):
            return self._print_Function(expr, **kwargs)
        return super()._print(expr, **kwargs)

    # -- names and atoms

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        return decorated(self.style.parts(str(expr)))

    def index(self, expr: sp.Expr) -> str:
        """An index expression: the equation's own indices first, then the summation's, then numbers."""
        text = ""
        for term in index_terms(expr, self.first):
            minus = term.could_extract_minus_sign()
            text += ("-" if minus else "+" if text else "") + super()._print(-term if minus else term)
        return text

    def _print_Written(self, expr: Written) -> str:
        return in_tex(expr)

    def indices(self, ref: Ref) -> tuple[list[str], list[str]]:
        above, below = self.style.split(ref)
        return [self.index(e) for e in above], [self.index(e) for e in below]

    def _print_Ref(self, expr: Ref) -> str:
        above, below = self.indices(expr)
        return decorated(self.style.parts(expr.name), below, above)

    def sample(self, s: sp.Expr, below: Sequence[str] = ()) -> str:
        """The sample ``x`` (or ``x'``) at a position."""
        if s in (I, J):
            return decorated(self.style.sample + ("'" if s == J else ""), below)
        return decorated(self.style.sample, below, [f"({self._print(s)})"])

    def _print_Entry(self, expr: Entry) -> str:
        (up_a, low_a), (up_b, low_b) = self.indices(expr.a), self.indices(expr.b)
        kind = expr.kind_name
        if kind == "Gram":
            return rf"\langle {self._datum(expr.a, expr.s)}, {self._datum(expr.b, expr.t)}\rangle"
        letter = KERNELS.get(kind) or decorated(kind)
        args = f"({self.sample(expr.s, low_a)}, {self.sample(expr.t, low_b)})"
        if expr.a.name == expr.b.name and up_a == up_b:
            above = f"^{{{','.join(up_a)}}}" if up_a else ""
            return f"{letter}_{{{decorated(self.style.parts(expr.a.name))}}}{above}{args}"
        left, right = decorated(self.style.parts(expr.a.name), (), up_a), decorated(self.style.parts(expr.b.name), (), up_b)
        return f"{letter}_{{{left},\\,{right}}}{args}"

    def _datum(self, ref: Ref, s: sp.Expr) -> str:
        """An input at a sample: its own name, primed for the second sample."""
        above, below = self.indices(ref)
        return decorated(self.style.parts(ref.name + ("'" if s == J else "")), below, above)

    def _print_Value(self, expr: Value) -> str:
        above, below = self.indices(expr.a)
        kind = expr.kind_name
        if kind == "data":
            return self._datum(expr.a, expr.s)
        if kind == "theta":
            return f"{decorated(self.style.parts(expr.a.name), below, above, wrap=RING)}({self.sample(expr.s)})"
        up = f"^{{{','.join(above)}}}" if above else ""
        return f"{decorated(kind)}_{{{decorated(self.style.parts(expr.a.name))}}}{up}({self.sample(expr.s, below)})"

    def _print_Z(self, expr: Z) -> str:
        return f"Z^{{{self._print_Ref(expr.a)}}}({self.sample(expr.s)})"

    # -- sums, products, powers

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        return terms(expr)

    def _print_Add(self, expr: sp.Add, order: str | None = None) -> str:
        text = ""
        for term in self.terms(expr):
            minus = term.could_extract_minus_sign()
            magnitude = -term if minus else term
            text += (" - " if text else "-") if minus else (" + " if text else "")
            text += self.brackets(magnitude, self._print(magnitude))
        return text

    def brackets(self, expr: sp.Expr, text: str) -> str:
        """Parentheses where ``expr`` would otherwise fall apart as a term or factor."""
        return paren(text) if expr.is_Add or (isinstance(expr, sp.Piecewise) and not is_indicator(expr)) else text

    def _print_Mul(self, expr: sp.Mul) -> str:
        f = factors(expr)
        if not f.rest and not f.rest_below and len(f.scalar) + len(f.scalar_below) == 0:
            return "-1" if f.negative else "1"
        coefficient = self.coefficient(f.scalar, f.scalar_below, bare=not f.rest and not f.rest_below)
        rest = self._rest(f.rest, f.rest_below)
        if self.slash and f.rest and not f.rest_below and f.scalar_below and not f.scalar:
            return ("-" if f.negative else "") + f"{rest}/{self._product(f.scalar_below)}"
        if f.scalar_below and not f.scalar and not f.rest_below and is_letter(f.rest):
            return ("-" if f.negative else "") + rf"\frac{{{rest}}}{{{self._product(f.scalar_below, alone=True)}}}"
        glue = r"\," if coefficient and rest and not rest.startswith(r"\left") else ""
        return ("-" if f.negative else "") + coefficient + glue + rest

    def coefficient(self, above: tuple[sp.Expr, ...], below: tuple[sp.Expr, ...], bare: bool = True) -> str:
        """The scalar in front of a product, over its denominator."""
        if below and self.slash:
            bottom = self._product(below)
            return f"{self._product(above, alone=bare) or '1'}/{paren(bottom) if len(below) > 1 else bottom}"
        if below:
            return rf"\frac{{{self._product(above, alone=True) or '1'}}}{{{self._product(below, alone=True)}}}"
        return self._product(above, alone=bare)

    def _rest(self, above: tuple[sp.Expr, ...], below: tuple[sp.Expr, ...]) -> str:
        if below:
            return rf"\frac{{{self._product(above, alone=True) or '1'}}}{{{self._product(below, alone=True)}}}"
        return self._product(above)

    def _product(self, args: Sequence[sp.Expr], alone: bool = False) -> str:
        if alone and len(args) == 1:
            return self._print(args[0])
        texts = []
        for k, arg in enumerate(args):
            text = self._print(arg)
            swallows = isinstance(arg, (sp.Sum, sp.Piecewise)) and k + 1 < len(args) and not is_indicator(arg)
            texts.append(paren(text) if arg.is_Add or swallows else text)
        return self._juxtapose(texts)

    @staticmethod
    def _juxtapose(texts: Sequence[str]) -> str:
        """Factors side by side, a dot between two numbers."""
        text = ""
        for piece in texts:
            if text and text[-1].isdigit() and piece[:1].isdigit():
                text += r" \cdot "
            elif text and not piece.startswith(r"\left"):
                text += r"\," if len(text) > 12 or len(piece) > 12 else " "
            text += piece
        return text

    def _print_Rational(self, expr: sp.Rational) -> str:
        return f"{expr.p}/{expr.q}" if self.slash and expr.q != 1 else str(super()._print_Rational(expr))

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, power = expr.as_base_exp()
        if power.is_Rational and power < 0 and base != sp.E:
            return self._print_Mul(expr)
        if power == sp.S.Half:
            return rf"\sqrt{{{self._print(base)}}}"
        if isinstance(base, sp.Function) and not isinstance(base, sp.exp) and not (power.is_Rational and power.q != 1):
            return self._print_Function(base, exp=self._print(power))
        if base == sp.E:
            return self._print_exp(sp.exp(power, evaluate=False))
        text = self._print(base)
        simple = base.is_Symbol or (base.is_Integer and base >= 0) or isinstance(base, Entry) or base in self.letters
        if isinstance(base, sp.Symbol) or base in self.letters:
            text = f"({text})" if "^" in text else f"{{{text}}}" if "'" in text else text
        exponent = f"{power.p}/{power.q}" if power.is_Rational and power.q != 1 else self._print(power)
        return f"{text if simple else paren(text)}^{{{exponent}}}"

    def _print_exp(self, expr: sp.exp, exp: str | None = None) -> str:
        before, self.slash = self.slash, True
        inner = self._print(expr.args[0])
        self.slash = before
        short = width(inner) < 5 and r"\frac" not in inner
        text = f"e^{{{inner}}}" if short else rf"\exp{paren(inner)}"
        return f"{paren(text)}^{{{exp}}}" if exp else text

    _print_ExpBase = _print_exp

    # -- operators

    def _print_Sum(self, expr: sp.Sum) -> str:
        return self.sigma(expr) + self.brackets(expr.function, self._print(expr.function))

    def sigma(self, expr: sp.Sum) -> str:
        """The summation signs of a finite sum; indices of equal range share one."""
        signs = ""
        domain = [(s, lo, hi) for s, lo, hi in reversed(expr.limits)]
        while domain:
            symbol, lo, hi = domain.pop(0)
            same = [symbol]
            while domain and domain[0][1:] == (lo, hi):
                same.append(domain.pop(0)[0])
            signs += rf"\sum_{{{','.join(map(self._print, same))}={self.index(lo)}}}^{{{self.index(hi)}}} "
        return signs

    def _print_Expectation(self, expr: Expectation) -> str:
        return rf"\mathbb{{E}}{paren(self._print(expr.integrand), '[', ']')}"

    def _print_Softmax(self, expr: Softmax) -> str:
        at, body, bound, lo, hi = expr.args
        own = value_of(bound, body, at)
        if isinstance(own, sp.Symbol):
            over = rf"{self.index(lo)}\le {self._print(own)}\le {self.index(hi)}"
            return rf"\operatorname*{{softmax}}_{{{over}}}{paren(self._print(at))}"
        fresh = bound if bound not in at.free_symbols else sp.Symbol(f"{bound}'", integer=True)
        below = self.sigma(Sum(body, (bound, lo, hi)).xreplace({bound: fresh}))
        return rf"\frac{{\exp{paren(self._print(at))}}}{{{below}\exp{paren(self._print(body.xreplace({bound: fresh})))}}}"

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        name = type(expr).__name__
        args = ", ".join(self._print(a) for a in expr.args)
        power = f"^{{{exp}}}" if exp else ""
        if name in ("step", "Heaviside"):
            return rf"\mathbf{{1}}{power}_{{{self._print(expr.args[0])} > 0}}"
        if name == "hermite":
            return rf"h_{{{self._print(expr.args[0])}}}{power}{paren(self._print(expr.args[1]))}"
        if name in _FUNCTIONS:
            return rf"{_FUNCTIONS[name]}{power}{paren(args)}"
        method = getattr(LatexPrinter, f"_print_{name}", None)
        if method is not None:
            return str(method(self, expr, exp=exp) if exp else method(self, expr))
        return rf"\operatorname{{{escape(_WORDS.get(name, name))}}}{power}{paren(args)}"

    def _print_Max(self, expr: sp.Max, exp: str | None = None) -> str:
        args = sorted(expr.args, key=lambda a: (a.is_number, str(a)))
        power = f"^{{{exp}}}" if exp else ""
        return rf"\{type(expr).__name__.lower()}{power}{paren(', '.join(map(self._print, args)))}"

    _print_Min = _print_Max

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        if is_indicator(expr):
            return rf"\mathbf{{1}}{paren(self.condition(expr.args[0][1]), '[', ']')}"
        rows = []
        for value, condition in expr.args:
            text = r"\text{otherwise}" if condition is sp.true else rf"\text{{if }} {self.condition(condition)}"
            rows.append(f"{self._branch(value)} & {text}")
        return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"

    def _branch(self, value: sp.Expr) -> str:
        """A value of a case distinction; a long one in lines."""
        lines = Layout(self, width, r"\quad ", 1.0).lines(value, BRANCH)
        if len(lines) == 1:
            return lines[0]
        return r"\begin{aligned}[t] &" + r" \\ &\quad ".join(lines) + r" \end{aligned}"

    def condition(self, condition: sp.Basic) -> str:
        r"""A condition; ``lo <= e`` and ``e <= hi`` together are written as one chain."""
        if isinstance(condition, sp.And):
            lower = [c for c in condition.args if isinstance(c, sp.Ge)]
            upper = [c for c in condition.args if isinstance(c, sp.Le)]
            if len(lower) == len(upper) == 1 == len(condition.args) - 1 and lower[0].lhs == upper[0].lhs:
                return rf"{self.index(lower[0].rhs)} \le {self.index(lower[0].lhs)} \le {self.index(upper[0].rhs)}"
            return r",\, ".join(sorted(self.condition(c) for c in condition.args))
        if isinstance(condition, sp.core.relational.Relational):
            sign = {"==": "=", "!=": r"\ne", "<=": r"\le", ">=": r"\ge"}.get(condition.rel_op, condition.rel_op)
            return f"{self.index(condition.lhs)} {sign} {self.index(condition.rhs)}"
        return self._print(condition)

    # -- what the line breaker asks

    def around(self, expr: sp.Expr) -> tuple[str, sp.Expr, str] | None:
        if isinstance(expr, sp.Sum) and not expr.function.is_Atom:
            opening, closing = (r"\Bigl(", r"\Bigr)") if expr.function.is_Add else ("", "")
            return self.sigma(expr) + opening, expr.function, closing
        if isinstance(expr, Expectation):
            return r"\mathbb{E}\Bigl[", expr.integrand, r"\Bigr]"
        if is_power_of_sum(expr):
            return r"\Bigl(", expr.base, rf"\Bigr)^{{{self._print(expr.exp)}}}"
        if is_call(expr):
            return self._call(expr)
        f = factors(expr)
        if not expr.is_Mul or f.rest_below or not f.rest:
            return None
        last = f.rest[-1]
        if not (last.is_Add or is_power_of_sum(last) or isinstance(last, (sp.Sum, Expectation))):
            return None
        head = ("-" if f.negative else "") + self.coefficient(f.scalar, f.scalar_below, bare=False)
        before = self._product(f.rest[:-1])
        head += (r"\," if head and before else "") + before
        head += r"\," if head else ""
        if is_power_of_sum(last):
            return head + r"\Bigl(", last.base, rf"\Bigr)^{{{self._print(last.exp)}}}"
        return (head + r"\Bigl(", last, r"\Bigr)") if last.is_Add else (head, last, "")

    def _call(self, expr: sp.Expr) -> tuple[str, sp.Expr, str]:
        """A function around its argument, in brackets of one size on all lines."""
        mark, before = sp.Dummy(), self.letters
        self.letters = {**before, mark: "@"}
        head, tail = self._print(called(expr, mark)).split("@")
        self.letters = before
        return head.removesuffix("(").removesuffix(r"\left") + r"\Bigl(", argument(expr), r"\Bigr" + tail.removeprefix(r"\right")

    minus = "-"
    thin = r"\,"
    times = r"{}\cdot "

    def pieces(self, expr: sp.Expr) -> tuple[str, list[sp.Expr], str]:
        f = factors(expr)
        if not expr.is_Mul:
            return "", [], ""
        head = ("-" if f.negative else "") + self.coefficient(f.scalar, f.scalar_below, bare=False)
        below = self._product(f.rest_below, alone=True)
        one = len(f.rest_below) == 1 and not f.rest_below[0].is_Add
        return head + (r"\," if head else ""), list(f.rest), rf"\,\big/\,{below if one else paren(below)}" if below else ""

    def opened(self, expr: sp.Expr) -> tuple[str, sp.Expr, str]:
        return r"\Bigl(", expr, r"\Bigr)"


def paren(text: str, opening: str = "(", closing: str = ")") -> str:
    r"""Parentheses, growing only where the content is tall."""
    tall = any(mark in text for mark in (r"\frac", r"\sum", r"\begin", r"\left", r"\sqrt", r"\Bigl"))
    return rf"\left{opening}{text}\right{closing}" if tall else f"{opening}{text}{closing}"


_FUNCTIONS = {
    "acos": r"\arccos", "asin": r"\arcsin", "atan": r"\arctan", "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "tanh": r"\tanh",
    "sinh": r"\sinh", "cosh": r"\cosh", "log": r"\log", "normal_cdf": r"\Phi", "normal_pdf": r"\varphi", "owens_t": "T",
    "normal_cdf2": r"\Phi_{2}",
}  # fmt: skip
