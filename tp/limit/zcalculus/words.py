"""What the names mean that kernels get from the full calculus: Gaussian parts, expected derivatives, gradients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tp.limit.equations import Equation
from tp.program.ir import Ref

Words = tuple[tuple[str, str], ...]
"""A name, and what it stands for; other names in that text are between backticks."""


def words(equations: Iterable[Equation], names: Mapping[object, str], gradients: Iterable[str], known: Iterable[str]) -> Words:
    """Those names of the equations, and of the texts about them, that no program has.

    ``names`` as a translation gave them; ``gradients`` the names of a backward pass; ``known`` what the network itself names.
    """
    told = {name: text for key, name in names.items() if isinstance(key, tuple) and (text := _of_key(key))}
    known = sorted(known, key=len, reverse=True)
    told |= {name: _of_gradient(name, known) for name in gradients}
    found: dict[str, str] = {}
    stack = sorted({r.name for e in equations for r in e.lhs.atoms(Ref) | e.rhs.atoms(Ref)}, reverse=True)
    while stack:
        name = stack.pop()
        if name in told and name not in found:
            found[name] = told[name]
            stack += re.findall(r"`(\w+)`", told[name])
    return tuple(sorted(found.items(), key=lambda item: (len(re.findall("_", item[0])), item[0])))


def _of_key(key: tuple[object, ...]) -> str:
    match key:
        case ("hat", name):
            return f"the Gaussian part of `{name}`"
        case ("slope", x, u):
            return f"the mean derivative of `{x}` by the Gaussian part of `{u}`"
        case ("sum", name, *_):
            return f"`{name}` times the input"
        case _:
            return ""


def _of_gradient(name: str, known: list[str]) -> str:
    kind, _, rest = name.partition("_")
    of = next((k for k in known if rest == k or re.fullmatch(rf"{re.escape(k)}_*(_\d+)?", rest)), rest)
    if kind == "d":
        return f"the gradient of the output by `{of}`, in units in which it is Θ(1)"
    return f"the gradient of the output by the vector that a matrix turns into `{of}`"
