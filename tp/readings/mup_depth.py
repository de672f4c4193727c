"""The maximal-update rules of a residual network's depth: exponents of L, where those of the width are solved.

The same search as for the width, one level down: of equal exponents of n those of L decide. What is maximal here: all blocks'
initial terms add Θ(1) to the stream, so that they stay different; every weight's updates alone, summed over the blocks, change
something by Θ(1); and weights outside of blocks are Θ(1) on what they act on.

Source: Yang, Yu, Zhu & Hayou 2023, *Tensor Programs VI*, section 5 (Depth-μP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tp.errors import LimitError
from tp.readings.mup import HALF, Solver, Target, _Search
from tp.readings.scale import classify
from tp.readings.scale.deep import Deep, Reading, followed, report
from tp.readings.scale.forms import Form
from tp.readings.scale.report import DepthReport
from tp.readings.scale.sizes import Sized, Step
from tp.transform.parametrize import ABC

ZERO = Fraction(0)
Gauged = Callable[[Mapping[str, Fraction]], dict[str, ABC]]


@dataclass
class DepthSolver(Solver):
    """The search for a maximal stable point in the exponents of the depth."""

    reading: Reading = field(kw_only=True)
    diverse: bool = field(default=True, kw_only=True)
    alone: dict[int, dict[str, Sized]] = field(default_factory=dict, kw_only=True)
    kept: list[list[Step]] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        deep = self.reading.deep
        weights = deep.concrete.parameters
        for p, w in weights.items():
            if self.walk.w.get(p) is not None:
                if w.variance == 0:
                    declared = deep.declared(w)
                    self.fixed[f"w_{p}"] = declared.a + declared.b
                else:
                    self.unknowns.append(f"w_{p}")
        self.unknowns += [f"u_{p}" for p in self.walk.u]
        self.unknowns += [c for c in deep.constants if c not in self.fixed]
        self.index = {u: k for k, u in enumerate(self.unknowns)}
        self.temps = self.engine.program.temps
        self.ends = deep.concrete.ends()
        self.inside = deep.concrete.inside

    def _candidate(self, search: _Search) -> tuple[dict[str, Fraction], _Search, list[Step]] | None:
        """Depth-μP, its L^(-1/2) in the branches' multiplier or else in their last weights, if evaluation certifies it here.

        What falls short is raised by as much as it does; if that ends at a stable point with nothing short, it is maximal.
        """
        for last, constant in ((ZERO, HALF), (ZERO, 2 * HALF), (HALF, HALF)):
            point = self._guess(last, constant)
            for _ in range(6):
                steps = self._run(point)
                if self._violations(steps):
                    break
                short = [(t, s) for t, s in self.targets(steps).items() if s is not None and s[0] < 0]
                if not short:
                    self._units(search, steps)
                    return point, search, steps
                for (kind, p), sized in short:
                    name = {"update": f"u_{p}", "branch": f"w_{p}"}.get(kind)
                    if name in self.index:
                        point[name] += self._form(sized).at(point)
        return None

    def _guess(self, last: Fraction, constant: Fraction) -> dict[str, Fraction]:
        """Weights that end a branch begin with L^(-last), and what blocks' updates add is as TP6 has it."""
        plain = self.walk.optimizer.normalised == "none"
        point = dict.fromkeys(self.unknowns, ZERO) | dict.fromkeys(self.reading.deep.constants, constant)
        for p in self.inside & set(self.walk.u):
            point[f"u_{p}"] = ZERO if plain else HALF
            if p in self.ends:
                point[f"u_{p}"] += 2 * last if plain else last
        return point | {f"w_{p}": last for p in self.ends if f"w_{p}" in self.index} | self.fixed

    def _units(self, search: _Search, steps: list[Step]) -> None:
        """The equalities of initialization, for the certificate of uniqueness."""
        for role, sized in steps[0].roles.items():
            if role.kind == "unit" and role.parameter not in self.ends and sized is not None:
                self._require(search, self._form(sized), f"`{role.parameter}` is Θ(1) at initialization", True)

    def _run(self, point: Mapping[str, Fraction], steps: int | None = None) -> list[Step]:
        self.reading.steps = self.steps if steps is None else steps
        found = self.reading.run(point)
        if steps is None:
            self.kept.append(found)
            self.alone[id(found)] = {} if self._violations(found) else self.reading.updates()
        return found

    def _form(self, sized: Sized) -> Form:
        return self.reading.form(sized)

    def _violations(self, steps: list[Step]) -> list[classify.Violation]:
        found = classify.violations(self.walk, steps, every=True)
        return [v for v in found if not (v.vanishing and v.role is not None and v.role.parameter in self.ends)]

    def _first_wrong(self, step: Step) -> tuple[Sized, str, bool] | None:
        wrong = next(iter(self._violations([step])), None)
        if wrong is None:
            return None
        name = classify.label(wrong.member, self.temps)
        return wrong.sized, f"`{name}` is {'Θ(1)' if wrong.vanishing else 'O(1)'} at initialization", wrong.vanishing

    def targets(self, steps: list[Step]) -> dict[Target, Sized]:
        """What should be Θ(1) in L."""
        found: dict[Target, Sized] = {}
        if self.diverse:
            found |= {("branch", p): s for p, s in self.reading.branches(steps).items()}
        readouts = [(p, s) for (kind, p), s in super().targets(steps).items() if kind == "init" and p not in self.inside]
        found |= {("init", p): s for p, s in readouts}
        return found | {("update", p): s for p, s in self.alone[id(steps)].items()}

    def words(self, target: Target) -> str:
        """A target in words."""
        kind, whose = target
        if kind == "branch":
            return f"all initial blocks add Θ(1) by `{whose}`"
        return super().words(target) if kind == "init" else f"all updates of `{whose}` together act at Θ(1)"


def depth_rules(
    deep: Deep, name: str, wide: Mapping[str, Fraction], steps: int, gauged: Gauged, known: Mapping[str, Fraction]
) -> DepthReport | LimitError | str:
    """The rules in L under an optimizer, ``wide`` being those of the width; or why there are none."""
    refused = followed(deep)
    if refused:
        return refused
    walk = deep.walk(name)
    reading = Reading(deep, walk, wide, steps)
    given = {c: x for c, x in known.items() if c in deep.constants}
    reasons = []
    for diverse in (True, False):  # where blocks cannot stay different, the rest may still be had
        solver = DepthSolver(deep.engine, walk, steps, dict(given), reading=reading, diverse=diverse)
        try:
            point, search, found = solver.solve()
            break
        except LimitError as error:
            reasons.append(error)
    else:
        return reasons[0]
    free, facets = solver.free(search, found)
    reading.steps = steps
    try:
        return report(reading, point, gauged(point), facets=tuple(facets), unique=not free, free=tuple(free))
    except LimitError as error:
        return error
