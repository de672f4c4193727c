"""Stable or not, trivial or not, lazy or learning features; and where a parametrization first goes wrong.

A parametrization is stable at initialization if everything is O(1), what a matrix makes of a Θ(1) vector is Θ(1), and so is
every sum that input weights enter, of Θ(1) arguments (of its terms only the largest has to be: a small bias does no harm); in
training if no update moves anything by a positive power of n. It is trivial if the output does not move. Of the stable and
nontrivial ones those that move features by n^0 learn them; the others are kernel methods.

Source: Yang & Hu 2021, *Tensor Programs IV*, Theorems 3.3 (stability), 3.4 (nontriviality) and 3.8 (the dichotomy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tp.readings.scale.concrete import Member
from tp.readings.scale.forms import Form
from tp.readings.scale.report import Exponent, Quantity, Reason, power
from tp.readings.scale.sizes import Role, Sized, Step
from tp.readings.scale.walk import Walk

WORDS = {"u_": "the learning rate of", "w_": "the initial scale of"}


@dataclass(frozen=True, slots=True)
class Violation:
    """Something of a positive exponent (or, ``vanishing``, an initial one that is negative)."""

    step: int
    member: Member
    sized: Sized
    role: Role | None = None
    vanishing: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of one run."""

    stable_at_init: bool
    stable: bool
    nontrivial: bool
    r: Exponent
    layers: Mapping[str, Exponent]


def violations(walk: Walk, steps: list[Step], every: bool = False) -> list[Violation]:
    """All constraints that fail, in order of steps and of the program; ``every``: each weight's own part has to be Θ(1)."""
    found = []
    for step in steps:
        units: dict[int, list[tuple[Role, tuple[int, Any]]]] = {}
        for role, s in step.roles.items():
            if role.kind == "unit" and s is not None:
                units.setdefault(role.slot, []).append((role, s))
        for m in walk.forward:
            base, pert = step.sizes[m.slot]
            sized = base if step.t == 0 else pert
            if sized is not None and sized[0] > 0:
                found.append(Violation(step.t, m, sized))
            elif step.t == 0 and m.slot in units:
                small = [(role, unit) for role, unit in units[m.slot] if unit[0] < 0]
                below = len(small) == len(units[m.slot]) and (m.kind == "matmul" or (base is not None and base[0] < 0))
                if small and (every or below):
                    role, unit = max(small, key=lambda item: item[1][0])
                    found.append(Violation(0, m, unit if every or m.kind == "matmul" or base is None else base, role, True))
    return found


def verdict(walk: Walk, steps: list[Step], point: Mapping[str, Fraction]) -> Verdict:
    """What the exponents of a run amount to."""
    wrong = violations(walk, steps)
    at_init = not any(v.step == 0 for v in wrong)
    stable = not wrong
    layers = layer_rates(walk, steps) if stable else {p: -x for p, x in walk.first_order(point).items()}
    if stable:
        moved = [x for s in steps[1:] for m in walk.forward if m.vector and (x := walk.exponent(s.sizes[m.slot][1])) is not None]
        r = -max(moved) if moved else None
    else:
        r = min((x for x in layers.values() if x is not None), default=None)
    outputs = [walk.exponent(s.sizes[o][1]) for s in steps[1:] for o in sorted(walk.program.outputs)]
    return Verdict(at_init, stable, stable and Fraction(0) in outputs, r, layers)


def layer_rates(walk: Walk, steps: list[Step]) -> dict[str, Exponent]:
    """Per weight that features depend on: n^(-r) is how much its update moves them."""
    found: dict[str, Exponent] = {}
    vectors = {m.slot for m in walk.forward if m.vector}
    for step in steps[1:]:
        for role, sized in step.roles.items():
            if role.kind == "update" and role.slot in vectors:
                size = walk.exponent(sized)
                before = found.get(role.parameter)
                if size is not None and (before is None or -size < before):
                    found[role.parameter] = -size
                else:
                    found.setdefault(role.parameter, None)
    return found


def label(m: Member, temps: frozenset[str]) -> str:
    """The variable, or the product that a temporary stands for."""
    return m.text if m.out[0] in temps and m.text else m.name


def quantities(
    walk: Walk, steps: list[Step], temps: frozenset[str]
) -> tuple[dict[str, Quantity], dict[str, Quantity], dict[int, str]]:
    """The table of exponents up to the first violation; what is behind it, with its changes in earlier steps; names by slot.

    A product without a name of its own has one line, ``W @ h[t-1]``, or one for each of its members where these differ.
    """
    wrong = violations(walk, steps)
    last = wrong[0].step if wrong else len(steps) - 1
    stop = wrong[0].member.slot if wrong else None
    known = last  # steps whose changes have a meaning
    lines: dict[str, list[tuple[Member, Quantity]]] = {}
    for m in walk.forward:
        if m.out[0] not in temps or m.text:
            changes = tuple(walk.exponent(s.sizes[m.slot][1]) for s in steps[1 : known + 1])
            quantity = Quantity(label(m, temps), walk.exponent(steps[0].sizes[m.slot][0]), changes, m.span)
            lines.setdefault(quantity.name, []).append((m, quantity))
        if m.slot == stop and last == 0:
            break
        known -= m.slot == stop
    found: dict[str, Quantity] = {}
    behind: dict[str, Quantity] = {}
    names: dict[int, str] = {}
    for name, members in lines.items():
        longest = max((q for _, q in members), key=lambda q: len(q.changes))
        alike = all(q.initial == longest.initial and q.changes == longest.changes[: len(q.changes)] for _, q in members)
        for m, q in members:
            names[m.slot] = name if alike else m.place or name
            into = found if len(q.changes) == last else behind
            into.setdefault(names[m.slot], replace(q, name=names[m.slot]))
    return found, {name: q for name, q in behind.items() if name not in found}, names


def reason(walk: Walk, v: Violation, name: str, point: Mapping[str, Fraction]) -> Reason:
    """A violated constraint of what is called ``name``, with its monomial and those single changes that were found to mend it."""
    size = walk.exponent(v.sized)
    assert size is not None
    form = walk.form(v.sized)
    ways, helping = _ways(walk, v, form, size, point)
    if v.step == 0:
        what = "vanishes like" if v.vanishing else "grows like"
        sign = "<" if v.vanishing else ">"
        text = f"at initialization `{name}` {what} {power(size)}: {form} = {size} {sign} 0"
        return Reason(name, 0, size, str(form), _blamed(form, "w_"), text + _advice(ways, v.vanishing), v.member.span)
    blame = _blamed(form, "u_")
    cause = " and ".join(f"`{p}`" for p in blame) or "the weights"
    through = [p for p in _blamed(form, "w_") if p not in blame and f"w_{p}" in helping]
    via = f", through the initial {' and '.join(f'`{p}`' for p in through)}," if through else ""
    text = f"step {v.step}: the update of {cause}{via} contributes {power(size)} to `{name}`: {form} = {size} > 0"
    return Reason(name, v.step, size, str(form), blame, text + _advice(ways, False), v.member.span)


def _size(walk: Walk, v: Violation, point: Mapping[str, Fraction]) -> tuple[Exponent, bool]:
    """What ``v`` would be at another point: its exponent, and whether it, and all before it, is as it should be."""
    unit = walk.unit
    steps = walk.run(point, v.step)
    sized = steps[v.step].sizes[v.member.slot][0 if v.step == 0 else 1]
    wrong = violations(walk, steps)
    order = {m.slot: k for k, m in enumerate(walk.forward)}
    mended = not wrong or (wrong[0].step, order[wrong[0].member.slot]) > (v.step, order[v.member.slot])
    size = walk.exponent(sized)
    walk.unit = unit  # that of the sizes at hand
    return size, mended


def _ways(
    walk: Walk, v: Violation, form: Form, size: Fraction, point: Mapping[str, Fraction]
) -> tuple[list[str], frozenset[str]]:
    """Single changes that remove a violation without making an earlier one; and the unknowns that have an effect on it."""
    ways, helping = [], set()
    for u, c in sorted(form.terms, key=lambda term: (term[0][:2] == "w_", term[0])):
        if c >= 0 or u[:2] not in WORDS or (v.step == 0 and u[:2] == "u_"):
            continue
        other, mended = _size(walk, v, {**point, u: point[u] + size / -c})
        if other is None or other != size:
            helping.add(u)
        if mended:
            ways.append(f"{WORDS[u[:2]]} `{u[2:]}` by {power(abs(size) / -c)}")
    return ways, frozenset(helping)


def idle(walk: Walk, steps: list[Step], temps: frozenset[str], point: Mapping[str, Fraction]) -> tuple[Reason, ...]:
    """What keeps the output from moving: of its last change, the largest part that the update of a weight has in it."""
    last = steps[-1]
    moved = [(m, sized) for m in walk.forward if m.slot in walk.program.outputs and (sized := last.sizes[m.slot][1]) is not None]
    if not moved or last.t == 0:
        return ()
    m, sized = max(moved, key=lambda item: item[1][0])
    own = [
        (role.parameter, s) for role, s in last.roles.items() if role.kind == "update" and role.slot == m.slot and s is not None
    ]
    parameter, part = max(own, key=lambda item: item[1][0], default=("", sized))
    size, form = walk.exponent(sized), walk.form(part)
    assert size is not None
    blame = (parameter,) if parameter else _blamed(form, "u_")
    cause = f"; the update of `{parameter}` contributes {power(walk.exponent(part))}: {form}" if parameter else f": {form}"
    text = f"step {last.t}: `{label(m, temps)}` has moved by {power(size)} only{cause}"
    ways = _raises(walk, m, last.t, form, size, point)
    return (Reason(label(m, temps), last.t, size, str(form), blame, text + _advice(ways, True), m.span),)


def _raises(walk: Walk, m: Member, t: int, form: Form, size: Fraction, point: Mapping[str, Fraction]) -> list[str]:
    """Raises of single rates that let an idle output move and leave everything stable."""
    ways, unit = [], walk.unit
    for u, c in form.terms:
        if u.startswith("u_") and c < 0:
            steps = walk.run({**point, u: point[u] - size / c}, t)
            if not violations(walk, steps) and walk.exponent(steps[t].sizes[m.slot][1]) == 0:
                ways.append(f"{WORDS['u_']} `{u[2:]}` by {power(-size / -c)}")
    walk.unit = unit
    return ways


def _blamed(form: Form, kind: str) -> tuple[str, ...]:
    return tuple(u[2:] for u, c in form.terms if u.startswith(kind) and c < 0)


def _advice(ways: list[str], vanishing: bool) -> str:
    return f"\n  {'raise' if vanishing else 'lower'} " + ", or ".join(ways) if ways else ""
