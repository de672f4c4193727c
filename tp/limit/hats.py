"""``hats_apart``: in a family that is not Gaussian, a member that is a MatMul gets its hat under a name of its own.

Limits ask of a family whether its members are Gaussian. ``z[0] = Q @ x`` is, whatever is done to the members after it; written
``z[0] = m, m = Q @ x`` the family is one of nonlinear functions of Gaussians, the identity among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from tp.limit.clauses import Families
from tp.limit.forms import Forms
from tp.program.ir import Instruction, Loop, MatMul, Nonlin, Program, Ref


def hats_apart(program: Program) -> Program:
    """The program, with a temporary for every MatMul that defines a member of a family that is not Gaussian."""
    mixed = _mixed(program)
    if not mixed:
        return program
    families = Families(program)
    taken = families.clauses.keys() | families.weights.keys() | families.data
    names = {name: _unused(f"{name}_hat", taken) for name in mixed}
    return replace(program, body=tuple(_apart(program.body, names)), temps=program.temps | set(names.values()))


def _mixed(program: Program) -> list[str]:
    families = Families(program)
    found = [name for name, clauses in families.clauses.items() if len({isinstance(c.ins, MatMul) for c in clauses}) == 2]
    gaussian = Forms(families, program.temps).gaussian if found else set()
    return [name for name in found if name not in gaussian]


def _apart(body: tuple[Instruction, ...], names: dict[str, str]) -> Iterator[Instruction]:
    for ins in body:
        match ins:
            case Loop():
                yield replace(ins, body=tuple(_apart(ins.body, names)))
            case MatMul() if ins.out.name in names:
                hat = Ref(names[ins.out.name], *ins.out.index)
                yield replace(ins, out=hat)
                yield Nonlin(ins.out, hat, ins.space, ins.domain, ins.span)
            case _:
                yield ins


def _unused(stem: str, taken: Collection[str]) -> str:
    name = stem
    while name in taken:
        name += "_"
    return name


__all__ = ["hats_apart"]
