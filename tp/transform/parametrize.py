"""abc-parametrizations: ``W = n^(-a) w``, ``w ~ N(0, σ² n^(-2b))``, trained at rate ``η n^(-c)``; for any program.

The named ones say a, b, c by what a weight does: *input* weights act coordinatewise on vectors of the width (first layers,
embeddings, biases, gains), *hidden* ones map width to width, *output* ones read a vector out.

Source: Yang & Hu 2021, *Tensor Programs IV*, Definition 3.1 and Table 1; for adaptive optimizers Yang et al. 2022, *Tensor
Programs V*, Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Any

import sympy as sp

from tp.errors import NOWHERE, DataError, Message
from tp.program.ir import Moment, Nonlin, Program, Ref, Weight
from tp.program.reads import flat

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class ABC:
    """One tensor's exponents: multiplier n^(-a), initial standard deviation n^(-b), learning rate n^(-c)."""

    a: Fraction
    b: Fraction
    c: Fraction

    def __iter__(self) -> Any:
        return iter((self.a, self.b, self.c))


NAMED: dict[str, dict[str, tuple[Fraction | int, Fraction | int, Fraction | int]]] = {
    "sp": {"input": (0, 0, 0), "hidden": (0, HALF, 0), "output": (0, HALF, 0)},
    "ntp": {"input": (0, 0, 0), "hidden": (HALF, 0, 0), "output": (HALF, 0, 0)},
    "mfp": {"input": (0, 0, -1), "hidden": (HALF, 0, -1), "output": (1, 0, -1)},
    "mup": {"input": (-HALF, HALF, 0), "hidden": (0, HALF, 0), "output": (HALF, HALF, 0)},
    "mup normalised": {"input": (0, 0, 0), "hidden": (0, HALF, 1), "output": (0, 1, 1)},
    "mup spectral": {"input": (0, 0, 0), "hidden": (0, HALF, 0), "output": (0, 1, 1)},
}


def parameter(weight: Weight) -> str:
    """``W[1]`` or ``W[l]``: the weight as declared, without the coordinates of finite axes."""
    index = [str(e) for e in weight.ref.index if not str(e).startswith("j_")]
    return f"{weight.ref.name}[{','.join(index)}]" if index else weight.ref.name


def parameters(program: Program) -> dict[str, Weight]:
    """The weights by name, in the order of the spec; those that are frozen included."""
    found: dict[str, Weight] = {}
    for w in program.weights:
        name = parameter(w)
        while name in found:
            name += "'"
        found[name] = w
    return found


def roles(program: Program, growth: Mapping[str, Fraction] | None = None) -> dict[str, str]:
    """``input``, ``hidden`` or ``output`` for every weight; a width of ``growth`` 0 counts as finite.

    A read-out is a factor of all that an average is taken of, ``v`` in avg(v (g φ(h + b)) + …): it is contracted with a width. A
    gain or bias inside acts entry by entry, as in a statement of its own.
    """
    weights = {(w.ref.name, len(w.ref.index)): w for w in program.weights if w.cols is None}
    coordinatewise: set[tuple[str, int]] = set()
    contracted: set[tuple[str, int]] = set()
    for ins in flat(program.body):
        if isinstance(ins, Nonlin) and ins.space is not None:
            coordinatewise |= {(r.name, len(r.index)) for r in ins.expr.atoms(Ref)}
        elif isinstance(ins, Moment):
            contracted |= _contracted(ins.expr, weights)
    kinds = {}
    for name, w in parameters(program).items():
        key = (w.ref.name, len(w.ref.index))
        vector = "output" if key in contracted - coordinatewise else "input"
        kinds[name] = vector if w.cols is None else _matrix(w, growth or {})
    return kinds


def _matrix(w: Weight, growth: Mapping[str, Fraction]) -> str:
    """The role of a matrix, by which of its sides grow."""
    rows, cols = (any(growth.get(s.name, 1) for s in space.size.free_symbols) for space in (w.rows, w.cols) if space is not None)
    return "hidden" if rows == cols else "input" if rows else "output"


def _contracted(expr: sp.Expr, weights: Mapping[tuple[str, int], Weight]) -> set[tuple[str, int]]:
    """The weights that an average of ``expr`` contracts: one factor of each of its terms."""
    if isinstance(expr, sp.Sum):
        return _contracted(expr.function, weights)
    if isinstance(expr, sp.Add):
        return set().union(*(_contracted(term, weights) for term in expr.args))
    factors = sp.Mul.make_args(expr)
    own = {key for r in factors if isinstance(r, Ref) and (key := (r.name, len(r.index))) in weights}
    if own:
        return {min(own, key=lambda key: (_constant(weights[key]), _growth(weights[key]), -list(weights).index(key)))}
    return set().union(*(_contracted(f, weights) for f in factors if isinstance(f, sp.Add | sp.Sum)))


def _constant(w: Weight) -> bool:
    """Whether a weight begins as a constant that is not 0, as gains do."""
    return bool(w.variance == 0 and w.mean != 0)


def _growth(w: Weight) -> float:
    """How declared variances grow with the width: of two random factors the read-out is the smaller one."""
    widths = set().union(*(s.size.free_symbols for s in (w.rows, w.cols) if s is not None))
    size = w.multiplier**2 * w.variance
    if size == 0:
        return 1.0
    ratio = sp.cancel(size.subs(dict.fromkeys(widths, 4)) / size.subs(dict.fromkeys(widths, 1)))
    return float(ratio) if ratio.is_number else 1.0


def named(program: Program, name: str, normalised: str = "none", growth: Mapping[str, Fraction] | None = None) -> dict[str, ABC]:
    """``sp``, ``ntp``, ``mup`` or ``mfp``, for every weight of ``program``."""
    table = NAMED.get(name)
    if name == "mup" and normalised != "none":
        table = NAMED["mup normalised" if normalised == "entries" else "mup spectral"]
    if table is None or " " in name:
        reason = f"there is no parametrization {name!r}"
        remedy = 'choose "sp", "ntp", "mup" or "mfp", or give (a, b, c) per weight'
        command = "choose sp, ntp, mup or mfp, or leave it out for what the spec declares"
        raise DataError(Message(NOWHERE, reason, remedy, "unknown parametrization", command))
    found = {}
    for parameter_, role in roles(program, growth).items():
        a, b, c = (Fraction(x) for x in table[role])
        found[parameter_] = ABC(a, b, c)
    return found


def given(table: Mapping[str, Any], declared: Mapping[str, ABC]) -> dict[str, ABC]:
    """(a, b, c) per weight name; ``W`` means all that is declared as ``W[…]``; what is not named stays as declared."""
    found = dict(declared)
    for name, value in table.items():
        matching = [p for p in found if p == name] or [p for p in found if p.split("[")[0].rstrip("'") == name]
        if not matching:
            reason = f"the network has no weight `{name}`"
            raise DataError(Message(NOWHERE, reason, f"it has {', '.join(found)}", "unknown weight"))
        for p in matching:
            found[p] = ABC(*_triple(name, value))
    return found


def _triple(name: str, value: Any) -> tuple[Fraction, Fraction, Fraction]:
    try:
        a, b, c = (_exact(x) for x in value)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        reason = f"the exponents of `{name}` are {value!r}"
        remedy = 'give three exact numbers (a, b, c), such as ("1/2", 0, 0)'
        raise DataError(Message(NOWHERE, reason, remedy, "no exponents")) from error
    return a, b, c


def _exact(x: Any) -> Fraction:
    if isinstance(x, str | int | Rational) and not isinstance(x, bool):
        return Fraction(x)
    if isinstance(x, float) and Fraction(x).denominator <= 1024:
        return Fraction(x)
    if isinstance(x, sp.Rational):
        return Fraction(int(x.p), int(x.q))
    raise ValueError(x)


def parametrize(program: Program, rules: Mapping[str, ABC], growth: Mapping[str, Fraction] | None = None) -> Program:
    """``program`` with its weights' multipliers, initial variances and rates at n^(-a), n^(-2b) and n^(-c).

    Constants stay as declared (``N(0, 2/n)`` keeps the 2); powers of widths elsewhere are left alone.
    """
    widths = sorted(set().union(*(s.size.free_symbols for s in program.spaces)), key=str)
    n = next((w for w in widths if not growth or growth.get(w.name, 1) == 1), widths[0])
    one = dict.fromkeys(widths, sp.S.One)
    made = []
    for name, w in parameters(program).items():
        rule = rules.get(name)
        if rule is None:
            made.append(w)
            continue
        a, b, c = (sp.Rational(x.numerator, x.denominator) for x in rule)
        made.append(
            replace(
                w,
                multiplier=w.multiplier.subs(one) * n ** (-a),
                mean=w.mean.subs(one) * n ** (-b),
                variance=w.variance.subs(one) * n ** (-2 * b),
                rate=w.rate.subs(one) * n ** (-c),
                short=False,
            )
        )
    return replace(program, weights=tuple(made))
