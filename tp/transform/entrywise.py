"""Entrywise optimizers: an update Q of every entry of a weight by itself, from the gradients of that entry so far.

All of them are one function of three numbers, ``Q = rule(g, m, v)``: the gradient g_t, a mean of gradients
m_t = Σ_{s≤t} first[t][s] g_s and a mean of squares v_t = Σ_{s≤t} second[t][s] g_s². An optimizer is a rule and its two tables.

Gradients are measured in units in which those of coordinates are Θ(1): Q sees n^d ∂L/∂w, with d = a + (a + b of the
read-out) for hidden and input weights n^(-a) w and d = a for the read-out, so that an ε inside Q scales like n^(-d).

Source: Yang & Littwin 2023, *Tensor Programs IVb*, Definition 2.1.1 and section 2.8 (entrywise updates, faithfulness).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, DataError, Message, Span, SpecError, under
from tp.program.ir import Nonlin, Ref

GRADIENT, FIRST, SECOND = (sp.Symbol(name, real=True) for name in ("g", "m", "v"))
TINY = sp.Float("1e-200", 17)
"""Stands for ε = 0, so that an entry without gradient stays where it is."""
NAMES = ("sign", "adam", "adamw", "rmsprop", "adagrad", "lion")
BETAS = {"adam": (0.9, 0.999), "adamw": (0.9, 0.999), "lion": (0.9, 0.99), "rmsprop": (0.0, 0.99)}
READS = dict.fromkeys(("adam", "adamw", "rmsprop"), ("betas", "eps")) | {"adagrad": ("eps",), "lion": ("betas",)}
Table = tuple[tuple[sp.Expr, ...], ...]


@dataclass(frozen=True, slots=True)
class Entrywise:
    """Q = ``rule`` of g, m and v; ``first[t][s]`` and ``second[t][s]`` weigh gradient s at step t (0 for s > t)."""

    rule: sp.Expr
    first: Table
    second: Table

    @property
    def jumps(self) -> bool:
        """Whether a gradient a thousandth of the usual makes an update of about full size, as signs and Adam do."""
        small, usual = (abs(float(self.rule.subs({GRADIENT: g, FIRST: g, SECOND: g * g}))) for g in (1e-3, 1.0))
        return small > 0.1 * usual


def entrywise(optimizer: Any, steps: int, betas: Sequence[float] | None = None, eps: float = 1e-8) -> Entrywise | None:
    """The optimizer of that name, or that an expression in g, m and v describes; None for a name of none of these.

    Its tables have a row for each of the steps 0…``steps``. Expressions see the bias-corrected means of Adam. Raises
    ``DataError`` for an expression that cannot be read.
    """
    steps += 1
    one, two = (sp.Float(b, 17) if b else sp.S.Zero for b in (betas or BETAS.get(str(optimizer), (0.9, 0.999))))
    root = sp.sqrt(SECOND) + (sp.Float(eps, 17) if eps else TINY)
    corrected = (_means(one, steps, True), _means(two, steps, True))
    match optimizer:
        case "sign":
            return Entrywise(sp.sign(GRADIENT), (), ())
        case "adam" | "adamw":
            return Entrywise(FIRST / root, *corrected)
        case "rmsprop":
            return Entrywise(GRADIENT / root, (), _means(two, steps, False))
        case "adagrad":
            return Entrywise(GRADIENT / root, (), _table(steps, lambda age: sp.S.One))
        case "lion":  # sign(β₁ m + (1 − β₁) g), m a mean with β₂
            means = _table(steps, lambda age: one * (1 - two) * two ** (age - 1) if age else 1 - one)
            return Entrywise(sp.sign(FIRST), means, ())
    rule = _expression(optimizer)
    return None if rule is None else Entrywise(rule, *corrected)


def reads(optimizer: Any) -> tuple[str, ...]:
    """Which of ``betas`` and ``eps`` decide anything: of an expression the decay of its means. Errors as :func:`entrywise`."""
    rule = _expression(optimizer)
    if rule is not None:
        return ("betas",) if rule.has(FIRST, SECOND) else ()
    return READS.get(optimizer, ()) if isinstance(optimizer, str) else ()


def _means(beta: sp.Expr, steps: int, corrected: bool) -> Table:
    """Exponential means; ``corrected`` so that the weights of the gradients so far sum to 1."""
    total = [1 - beta ** (t + 1) if corrected else sp.S.One for t in range(steps)]
    return tuple(
        tuple((1 - beta) * beta ** (t - s) / total[t] if s <= t else sp.S.Zero for s in range(steps)) for t in range(steps)
    )


def _table(steps: int, weight: Any) -> Table:
    """A table of the gradients' ages."""
    return tuple(tuple(weight(t - s) if s <= t else sp.S.Zero for s in range(steps)) for t in range(steps))


def _expression(optimizer: Any) -> sp.Expr | None:
    """An expression in g, m, v: SymPy's, or a text in the language of specs, of which nothing is ever executed."""
    if isinstance(optimizer, sp.Expr):
        names = {s: {"g": GRADIENT, "m": FIRST, "v": SECOND}.get(str(s)) for s in optimizer.free_symbols}
        if None in names.values() or not names:
            raise _unknown(f"the optimizer `{optimizer}` is no function of g, m and v")
        return optimizer.xreplace(names)
    if not isinstance(optimizer, str) or (optimizer.isidentifier() and optimizer not in ("g", "m", "v")):
        return None  # a name
    return _parsed(optimizer)


def _parsed(text: str) -> sp.Expr:
    from tp.network.check import check
    from tp.network.parse import parse
    from tp.program.lower import lower

    if "\n" in text or "#" in text or len(text) > 1000:
        raise _unknown("the text of an optimizer is one short line")
    inputs = "".join(f"  input {s} : []\n" for s in ("g", "m", "v"))
    try:
        program = lower(check(parse(f"network update\n  width n\n{inputs}  output value = {text}\n", "<optimizer>")))
    except SpecError as error:
        raise _unknown(*under(text, "optimizer", len("  output value = "), error)[::-1]) from None
    (ins,) = program.body[-1:]
    if not isinstance(ins, Nonlin) or len(program.body) != 1 or not ins.expr.has(Ref):
        raise _unknown(f"the optimizer `{text}` is no function of g, m and v")
    return ins.expr.xreplace({Ref(str(s)): s for s in (GRADIENT, FIRST, SECOND)})


def _unknown(reason: str, span: Span = NOWHERE) -> DataError:
    remedy = f'give "sgd", "momentum", "nesterov", {", ".join(map(repr, NAMES))}, or Q(g, m, v) such as "g/sqrt(g^2 + 1/4)"'
    command = f'give --optimizer sgd, momentum, nesterov, {", ".join(NAMES)}, or Q(g, m, v) such as "g/sqrt(g^2 + 1/4)"'
    return DataError(Message(span, reason, remedy.replace("'", '"'), "unknown optimizer", command))
