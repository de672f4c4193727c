"""The lines of one generated function of a covariance: parameters by name, calls that are made once, sums of them."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from tp.gaussian.codegen import Printer, Source, sources_of
from tp.gaussian.expectation import Expectation
from tp.gaussian.laws import Term


class Lines:
    """What is written of a function that returns the means of ``integrands``: ``answers`` are its results."""

    def __init__(self, e: Expectation, integrands: Sequence[sp.Expr]) -> None:
        self.cov = e.cov
        self.variables = tuple(sp.Dummy(f"u{k}", real=True) for k in range(len(e.variables)))
        self.inner = dict(zip(e.variables, self.variables, strict=True))
        self.params: dict[sp.Expr, sp.Dummy] = {}
        self.integrands = [self._inside(g) for g in integrands]
        self.names: dict[sp.Basic, str] = {symbol: f"p{k}" for k, symbol in enumerate(self.params.values())}
        self.lines: list[str] = []
        self.answers: list[str] = [""] * len(integrands)
        self.sources: list[tuple[Source, ...]] = []
        self.printer = Printer(self.names)
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def _inside(self, e: sp.Expr) -> sp.Expr:
        """``e`` with inner variables, and with parameters for whatever else it depends on."""
        if e in self.inner:
            return self.inner[e]
        if e.is_number:
            return e
        if not e.has(*self.inner) or not e.args:
            if e not in self.params:
                sign = {"positive": True} if e.is_positive else {"negative": True} if e.is_negative else {"real": True}
                self.params[e] = sp.Dummy(f"p{len(self.params)}", **sign)
            return self.params[e]
        return e.func(*(self._inside(a) for a in e.args))

    def call(self, function: object, t: Term) -> str:
        """The name of a local variable that holds the value; equal calls are made once."""
        texts = tuple(a if isinstance(a, str) else str(a) if isinstance(a, int) else self.printer(a) for a in t.args)
        self.sources.append(sources_of(function))  # type: ignore[arg-type]
        return self.store(function.__name__, texts)  # type: ignore[attr-defined]

    def store(self, function: str, texts: tuple[str, ...]) -> str:
        if (function, texts) not in self.calls:
            self.lines.append(f"t{len(self.calls)} = {function}({', '.join(texts)})")
            self.calls.append((function, texts))
        return f"t{self.calls.index((function, texts))}"

    def sum(self, summands: list[tuple[sp.Expr, str]]) -> str:
        texts = [value if coef == 1 else f"{self.printer(coef)} * {value}" for coef, value in summands if coef != 0]
        return " + ".join(texts) if texts else "0.0"

    def text(self, e: sp.Expr) -> str:
        return str(e) if isinstance(e, sp.Symbol) and e.name in ("q1", "c", "q2") else self.printer(e)
