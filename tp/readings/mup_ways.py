"""What helps where no parametrization is maximal: each way out is tried, and offered if it leads somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from tp.errors import LimitError, Message
from tp.program.ir import Instruction, Loop, Nonlin, Program, Ref, Space
from tp.readings.mup import Blocked, solved
from tp.readings.scale.infer import Engine
from tp.readings.scale.optimizers import optimizer

LONGEST = 4  # steps that are tried


@dataclass(frozen=True, slots=True)
class Way:
    """A way out, as written in Python and on the command line."""

    python: str
    command: str


def with_ways(error: Blocked, engine: Engine, name: str, steps: int | None, constants: Mapping[str, Any] | None) -> LimitError:
    """The refusal with the ways out that were found; with its general advice if none was."""
    (found,) = error.diagnostics
    assert isinstance(found, Message)
    ways = [*_optimizers(engine, name, steps, constants), *_times(engine, name, steps, constants)]
    ways += _activations(engine, name, steps, constants)
    if not ways:
        return LimitError(found)
    python, command = ("; or ".join(texts) for texts in ([w.python for w in ways], [w.command for w in ways]))
    return LimitError(replace(found, remedy=f"what was found to help: {python}", command=f"what was found to help: {command}"))


def _helps(engine: Engine, name: str, steps: int | None, constants: Mapping[str, Any] | None) -> bool:
    try:
        solved(engine, name, None, steps, constants)
    except LimitError:
        return False
    return True


def _optimizers(engine: Engine, name: str, steps: int | None, constants: Mapping[str, Any] | None) -> Iterator[Way]:
    """The other kind of optimizer."""
    other = "adam" if optimizer(name).normalised == "none" else "sgd"
    if _helps(engine, other, steps, constants):
        yield Way(f'another optimizer, "{other}"', f"--optimizer {other}")


def _times(engine: Engine, name: str, steps: int | None, constants: Mapping[str, Any] | None) -> Iterator[Way]:
    """Rates for a number of updates, which may not be good for more."""
    for count in range(1, LONGEST + 1):
        if count != steps and _helps(engine, name, count, constants):
            rates = f"rates for {count} update{'s' * (count > 1)} only"
            yield Way(f"{rates}, steps={count}", f"{rates}, --steps {count}")
            return


def _activations(engine: Engine, name: str, steps: int | None, constants: Mapping[str, Any] | None) -> Iterator[Way]:
    """An activation of a narrow layer that does not vanish at 0."""
    for ins in _nonlinear(engine.program.body):
        assert ins.space is not None
        if _grows(ins.space, engine.growth) < max(engine.growth.values(), default=Fraction(1)):
            raised = replace(ins, expr=_raised(ins.expr))
            changed = replace(engine.program, body=_with(engine.program.body, ins, raised))
            if raised != ins and _lifted(changed, engine.growth, name, steps, constants):
                where = f"in line {ins.span.line}" if ins.span.line else f"of `{ins.out}`"
                text = f"an activation {where} that does not vanish at 0, as the sigmoid does not"
                yield Way(text, text)
                return


def _lifted(
    program: Program, growth: dict[str, Fraction], name: str, steps: int | None, constants: Mapping[str, Any] | None
) -> bool:
    return _helps(Engine(program, growth), name, steps, constants)


def _grows(space: Space, growth: Mapping[str, Fraction]) -> Fraction:
    return max((growth.get(s.name, Fraction(1)) for s in space.size.free_symbols), default=Fraction(0))


def _nonlinear(body: tuple[Instruction, ...]) -> Iterator[Nonlin]:
    for ins in body:
        if isinstance(ins, Loop):
            yield from _nonlinear(ins.body)
        elif isinstance(ins, Nonlin) and ins.space is not None:
            yield ins


def _raised(expr: sp.Expr) -> sp.Expr:
    """1 more than each function of a vector."""
    found = [e for e in sp.preorder_traversal(expr) if isinstance(e, sp.Function) and e.has(Ref)]
    outer = [e for e in found if not any(e in other.args or other.has(e) for other in found if other != e)]
    return expr.xreplace({e: 1 + e for e in outer})


def _with(body: tuple[Instruction, ...], old: Nonlin, new: Nonlin) -> tuple[Instruction, ...]:
    made: list[Instruction] = []
    for ins in body:
        made.append(new if ins is old else replace(ins, body=_with(ins.body, old, new)) if isinstance(ins, Loop) else ins)
    return tuple(made)
