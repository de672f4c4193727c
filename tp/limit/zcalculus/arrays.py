"""Integrands of the Z-calculus as straight lists of array operations, by NumPy or compiled with the sum over nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.quadrature import evaluate
from tp.limit.equations import Entry, Value
from tp.limit.zcalculus.atoms import Cov, Image, Slope
from tp.readings.elementwise import TABLE
from tp.readings.ops import power
from tp.readings.tape import added, extreme, multiplied, raised

Known = Mapping[sp.Basic, Any]
NAMED = (Expectation, Entry, Value, Cov, Slope, sp.Symbol)


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression as a straight list of array operations, each subexpression once."""

    template: tuple[Any, ...]
    names: tuple[tuple[int, sp.Basic], ...]
    code: tuple[tuple[int, Callable[..., Any] | sp.Tuple, tuple[int, ...]], ...]

    @classmethod
    def of(cls, expr: sp.Expr, variables: tuple[sp.Expr, ...]) -> Compiled:
        """``variables`` are names, whatever they are made of."""
        places: dict[sp.Basic, int] = {}
        template: list[Any] = []
        names: list[tuple[int, sp.Basic]] = []
        code: list[tuple[int, Callable[..., Any] | sp.Tuple, tuple[int, ...]]] = []

        def visit(e: sp.Basic) -> int:
            if e not in places:
                name = isinstance(e, NAMED) or e in variables
                arguments = () if name or not e.args or e.is_number else tuple(visit(a) for a in _arguments(e))
                places[e] = len(template)
                template.append(float(e) if e.is_number and not name else None)
                if arguments:
                    code.append((places[e], _function(e), arguments))
                elif template[-1] is None:
                    names.append((places[e], e))
            return places[e]

        visit(expr)
        return cls(tuple(template), tuple(names), tuple(code))

    @property
    def out(self) -> int:
        """The place of the value."""
        return self.code[-1][0] if self.code else len(self.template) - 1

    def __call__(self, env: Known) -> Any:
        values = list(self.template)
        for place, name in self.names:
            if name not in env:
                raise DataError(
                    Message(NOWHERE, f"`{name}` has no number", "pass inputs as X, constants by name", "missing number")
                )
            values[place] = env[name]
        with np.errstate(all="ignore"):
            for place, function, arguments in self.code:
                act = env[function] if isinstance(function, sp.Tuple) else function
                values[place] = act(*[values[k] for k in arguments])
        return values[self.out]


@lru_cache(maxsize=2048)
def compiled(expr: sp.Expr, variables: tuple[sp.Expr, ...] = ()) -> Compiled:
    return Compiled.of(expr, variables)


@lru_cache(maxsize=2048)
def fused(expr: sp.Expr, variables: tuple[sp.Expr, ...], dimensions: int) -> Any:
    """A compiled sum over nodes, and the numbers in it: values, or names of values. None where NumPy has to do it."""
    from tp.readings.fused import form_of

    code = compiled(expr, variables)
    places = {name: place for place, name in code.names}
    wide = [places.get(v, -1 - k) for k, v in enumerate(variables)]  # a variable that is not read has no place
    found = form_of(code.code, wide, code.out)
    if found is None:
        return None
    form, at = found
    named = {place: name for name, place in places.items()}
    values = [code.template[k] for k in at]
    if any(value is None and k not in named for k, value in zip(at, values, strict=True)):
        return None  # a function of numbers alone
    return form.integrated(dimensions), tuple(values), tuple(named.get(k) for k in at)


def _arguments(e: sp.Basic) -> tuple[sp.Basic, ...]:
    if isinstance(e, Image):
        return tuple(e.values)
    return e.args[:1] if isinstance(e, sp.Pow) and e.exp.is_number else tuple(a for a in e.args if isinstance(a, sp.Expr))


def _function(e: sp.Basic) -> Callable[..., Any] | sp.Tuple:
    if isinstance(e, Image):
        return e.function
    if isinstance(e, sp.Add):
        return added
    if isinstance(e, sp.Mul):
        return multiplied
    if isinstance(e, sp.Pow):
        return partial(raised, float(e.exp)) if e.exp.is_number else power
    if isinstance(e, (sp.Max, sp.Min)):
        return partial(extreme, np.maximum if isinstance(e, sp.Max) else np.minimum)
    found = TABLE.get(type(e).__name__)
    if found is not None:
        return found.value
    stand_in = [sp.Dummy(f"a{k}", real=True) for k in range(len(e.args))]
    if not all(isinstance(a, sp.Expr) for a in e.args):
        raise LimitError(Message(NOWHERE, f"`{e}` has no numerical value here", "use net.moments()", "no number"))
    return lambda *xs: evaluate(e.func(*stand_in), dict(zip(stand_in, xs, strict=True)))
