"""``mup``: the maximal-update parametrization of any program, for any optimizer with a rule, solved exactly.

Sizes are maxima of linear forms in the unknown exponents, so that what is stable is a polyhedron, and evaluating the program at a
point is a separation oracle: it names a violated form or says there is none. A linear program over the forms found so far
proposes a point, the oracle cuts, until a stable point is left at which every update is as large as can be: what
each weight's update makes of its argument is Θ(1), and so is what a read-out's initial value makes of the features' change.
The last point is certified by evaluating the program there, over one update more than the search looked at.

Source: Yang & Hu 2021, *Tensor Programs IV*, Definition 5.1 and Theorem 5.6 (μP is the unique maximal stable parametrization
of an MLP); Yang et al. 2022, *Tensor Programs V*, Tables 3, 8 and 9 (gauges).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tp.errors import NOWHERE, DataError, LimitError, Message
from tp.readings.scale import classify
from tp.readings.scale.forms import Form
from tp.readings.scale.infer import Engine, known_constants, report
from tp.readings.scale.report import DepthReport, ScalingReport
from tp.readings.scale.sizes import Sized, Step
from tp.readings.scale.walk import Walk
from tp.readings.simplex import Infeasible, Polyhedron
from tp.transform.parametrize import ABC, named

BOX = Fraction(4)
ROUNDS = 400
ONE, HALF = Fraction(1), Fraction(1, 2)

Target = tuple[str, str]  # "update" | "init" | "constant", and whose


@dataclass
class _Search:
    """One polyhedron of the search: what is required so far, and the point it proposes."""

    polyhedron: Polyhedron
    texts: list[str] = field(default_factory=list)

    def copy(self) -> _Search:
        return _Search(self.polyhedron.copy(), list(self.texts))


@dataclass
class Solver:
    """The search for a maximal stable point of one program and optimizer."""

    engine: Engine
    walk: Walk
    steps: int
    fixed: dict[str, Fraction]
    unknowns: list[str] = field(default_factory=list)
    conflicts: list[tuple[Target, list[str]]] = field(default_factory=list)  # what stood in the way of targets

    def __post_init__(self) -> None:
        weights = self.engine.concrete.parameters
        for p, w in weights.items():
            if self.walk.w.get(p) is not None:
                if w.variance == 0:  # a constant initialization, such as a gain's 1, is what it is
                    self.fixed[f"w_{p}"] = sum(self.engine.declared[p], Fraction(0)) - self.engine.declared[p].c
                else:
                    self.unknowns.append(f"w_{p}")
        self.unknowns += [f"u_{p}" for p in self.walk.u]
        self.unknowns += [c for c in self.engine.concrete.constants if c not in self.fixed]
        self.index = {u: k for k, u in enumerate(self.unknowns)}
        self.temps = self.engine.program.temps

    def solve(self) -> tuple[dict[str, Fraction], _Search, list[Step]]:
        """A maximal point; raises ``LimitError`` where the constraints conflict or targets cannot be met together."""
        search = _Search(Polyhedron([(-BOX, BOX)] * len(self.unknowns), [ONE] * len(self.unknowns)))
        known = self._candidate(search)
        if known is not None:
            return known
        try:
            self._initialize(search)
            found = self._settle(search)
        except Infeasible as error:
            raise self._refused(search, error) from None
        answer = self._maximal(search, found, 0)
        if answer is None:
            raise self._blocked(found)
        return answer

    def _candidate(self, search: _Search) -> tuple[dict[str, Fraction], _Search, list[Step]] | None:
        """TP5's table by the roles of the weights, if evaluation certifies that it is stable and maximal here."""
        opt = self.walk.optimizer
        rules = named(self.engine.program, "mup", opt.normalised, self.engine.growth)
        point = dict.fromkeys(self.engine.concrete.constants, ONE)
        for p, (a, b, c) in rules.items():
            matrix = self.engine.concrete.parameters[p].cols is not None
            point |= {f"w_{p}": a + b, f"u_{p}": opt.degree * a + c if matrix or opt.normalised != "spectral" else a + b}
        point |= self.fixed
        steps = self._run(point)
        wrong = self._violations(steps)
        units = [s for role, s in steps[0].roles.items() if role.kind == "unit"]
        if wrong or any(s is not None and s[0] != 0 for s in units):
            return None
        if any(s is not None and s[0] < 0 for s in self.targets(steps).values()):
            return None
        for role, sized in steps[0].roles.items():
            if role.kind == "unit" and sized is not None:
                self._require(search, self._form(sized), f"`{role.parameter}` is Θ(1) at initialization", True)
        return point, search, steps

    # ------------------------------------------------------------ the oracle

    def _run(self, point: Mapping[str, Fraction], steps: int | None = None) -> list[Step]:
        return self.walk.run(point, self.steps if steps is None else steps)

    def _form(self, sized: Sized) -> Form:
        return self.walk.form(sized)

    def _violations(self, steps: list[Step]) -> list[classify.Violation]:
        return classify.violations(self.walk, steps, every=True)

    # ------------------------------------------------------------ constraints

    def _require(self, search: _Search, form: Form, text: str, equal: bool = False) -> None:
        const = form.const + sum((c * self.fixed[u] for u, c in form.terms if u in self.fixed), Fraction(0))
        terms = {self.index[u]: c for u, c in form.terms if u in self.index}
        if equal:
            search.polyhedron.equate(const, terms)
            search.texts += [f"{text}: {form} = 0"] * 2
        else:
            search.polyhedron.require(const, terms)
            search.texts.append(f"{text}: {form} ≤ 0")

    def _point(self, search: _Search) -> dict[str, Fraction]:
        return dict(zip(self.unknowns, search.polyhedron.point(), strict=True)) | self.fixed

    def _initialize(self, search: _Search) -> None:
        """Everything is O(1) at initialization; hidden and input weights make Θ(1) of Θ(1)."""
        for _ in range(ROUNDS):
            search.polyhedron.settle()
            (step,) = self._run(self._point(search), 0)
            wrong = self._first_wrong(step)
            if wrong is None:
                return
            sized, text, equal = wrong
            self._require(search, self._form(sized), text, equal)
        raise AssertionError("initialization did not settle")

    def _first_wrong(self, step: Step) -> tuple[Sized, str, bool] | None:
        units = {role.slot: sized for role, sized in step.roles.items() if role.kind == "unit"}
        for m in self.walk.forward:
            name = classify.label(m, self.temps)
            unit = units.get(m.slot)
            if unit is not None and unit[0] != 0:
                return unit, f"`{name}` is Θ(1) at initialization", True
            base = step.sizes[m.slot][0]
            if base is not None and base[0] > 0:
                return base, f"`{name}` is O(1) at initialization", False
        return None

    def _settle(self, search: _Search) -> list[Step]:
        """Cut until the proposed point is stable."""
        for _ in range(ROUNDS):
            search.polyhedron.settle()
            steps = self._run(self._point(search))
            wrong = self._violations(steps)
            if not wrong:
                return steps
            seen = set()
            for v in wrong:
                form = self._form(v.sized)
                if v.step == wrong[0].step and form not in seen:
                    seen.add(form)
                    name = classify.label(v.member, self.temps)
                    what = "is O(1) at initialization" if v.step == 0 else f"does not grow in step {v.step}"
                    self._require(search, form, f"`{name}` {what}", v.vanishing)
        raise AssertionError("training did not settle")

    # ------------------------------------------------------------ targets

    def targets(self, steps: list[Step]) -> dict[Target, Sized]:
        """What should be Θ(1), at its largest over steps and places."""
        found: dict[Target, Sized] = {}

        def note(target: Target, sized: Sized) -> None:
            before = found.get(target)
            if before is None or (sized is not None and sized[0] > before[0]):
                found[target] = sized

        for step in steps[1:]:
            for role, sized in step.roles.items():
                if role.kind == "init" or (role.kind == "update" and role.parameter in self.walk.u):
                    note((role.kind, role.parameter), sized)
            for m in self.walk.forward:
                for c in self._constants(m.op):
                    note(("constant", c), step.sizes[m.slot][1])
        return found

    def _constants(self, op: Any) -> set[str]:
        """Unknown constants in the exponents of an expression."""
        if op.kind == "const":
            return {u for u, _ in self.engine.concrete.leaves.forms[op.args[0]].terms if u in self.index}
        return set().union(*(self._constants(a) for a in op.args if hasattr(a, "kind"))) if op.args else set()

    def _maximal(self, search: _Search, steps: list[Step], depth: int) -> tuple[dict[str, Fraction], _Search, list[Step]] | None:
        """Raise targets that are off, one after the other; go back where that is infeasible."""
        off = [(t, s) for t, s in self.targets(steps).items() if s is not None and s[0] < 0]
        if not off:
            return self._point(search), search, steps
        if depth > 4 * len(self.unknowns):
            return None
        forms = [(t, self._form(s)) for t, s in off]
        for target, form in forms:
            trial = search.copy()
            self._require(trial, form, self.words(target), True)
            try:
                found = self._settle(trial)
            except Infeasible as error:
                self.conflicts.append((target, list(dict.fromkeys(trial.texts[k] for k in error.conflict))))
                continue
            answer = self._maximal(trial, found, depth + 1)
            if answer is not None:
                return answer
        return None

    def words(self, target: Target) -> str:
        """A target in words."""
        kind, whose = target
        if kind == "update":
            return f"the update of `{whose}` acts at Θ(1)"
        if kind == "init":
            return f"the initial `{whose}` sees what training changed at Θ(1)"
        return f"what `{whose}` scales moves by Θ(1)"

    # ------------------------------------------------------------ uniqueness

    def free(self, search: _Search, steps: list[Step]) -> tuple[list[str], list[str]]:
        """Unknowns that the final face leaves free, and the tight forms that hold the others."""
        face = search.copy()
        facets = []
        for target, sized in self.targets(steps).items():
            if sized is not None:
                form = self._form(sized)
                self._require(face, form, "", True)
                facets.append(f"{self.words(target)}: {form} = 0")
        known = face.polyhedron.determined()
        others = [u for u in self.unknowns if self.index[u] not in known]
        if others:
            face.polyhedron.settle()
        return [u for u in others if self._range(face, u)], facets

    def _range(self, face: _Search, unknown: str) -> bool:
        """Whether ``unknown`` varies over the face: both ends are certified by evaluation, or cut."""
        k = self.index[unknown]
        for _ in range(ROUNDS):
            ends = []
            for sign in (1, -1):
                trial = face.copy()
                low = trial.polyhedron.minimise([Fraction(sign * (j == k)) for j in range(len(self.unknowns))])
                ends.append((sign * low, self._point(trial)))
            if ends[0][0] == ends[1][0]:
                return False
            cut = False
            for _, point in ends:
                steps = self._run(point)
                for v in self._violations(steps)[:1]:
                    self._require(face, self._form(v.sized), "", v.vanishing)
                    cut = True
            if not cut:
                return True
            face.polyhedron.minimise([ONE] * len(self.unknowns))
            face.polyhedron.settle()
        return True

    # ------------------------------------------------------------ refusals

    def _refused(self, search: _Search, error: Infeasible) -> LimitError:
        lines = list(dict.fromkeys(search.texts[k] for k in error.conflict))
        reason = "these constraints contradict each other:\n  " + "\n  ".join(lines)
        remedy = "leave the exponent of a multiplier free, `let beta` and n^(-beta), or change the network"
        return LimitError(Message(NOWHERE, reason, remedy, "no stable parametrization"))

    def _blocked(self, steps: list[Step]) -> Blocked:
        """Some targets cannot be met beside the others: the shortest contradiction that was found, at the weight it is about."""
        if self.conflicts:
            target, texts = min(self.conflicts, key=lambda item: len(item[1]))
            reason = f"not all updates can be maximal together. That {texts[-1]}, contradicts that\n  " + "\n  ".join(texts[:-1])
            reason += (
                "\n(the initial size of `W` is n^(-w_W), an update is n^(-u_W) times what the optimizer makes of the gradient)"
            )
        else:
            target = next(t for t, s in self.targets(steps).items() if s is not None and s[0] < 0)
            reason = f"not all updates can be maximal together: {self.words(target)} in no way that was tried"
        weight = self.engine.concrete.parameters.get(target[1])
        remedy = "leave the exponent of a multiplier free, `let beta` and n^(-beta), or change the network"
        return Blocked(Message(weight.span if weight else NOWHERE, reason, remedy, "not maximal"))


class Blocked(LimitError):
    """No stable point is maximal."""


def mup(
    engine: Engine, optimizer_name: str, gauge: Any, steps: int | None, constants: Mapping[str, Any] | None = None
) -> ScalingReport:
    """The maximal-update rules in a gauge, with the tight constraints that hold them and what they leave free."""
    try:
        return solved(engine, optimizer_name, gauge, steps, constants)
    except Blocked as error:
        from tp.readings.mup_ways import with_ways

        raise with_ways(error, engine, optimizer_name, steps, constants) from None


def solved(
    engine: Engine, optimizer_name: str, gauge: Any, steps: int | None, constants: Mapping[str, Any] | None = None
) -> ScalingReport:
    """As :func:`mup`; ``Blocked`` where no stable point is maximal, without looking for ways out."""
    walk = engine.walk(optimizer_name)
    known = known_constants(engine, constants, steps)
    solver, (point, search, found), last = _steady(engine, walk, known, steps)
    _bounded(solver, point)
    free, facets = solver.free(search, found)
    found = walk.certified(point, last)
    rules = gauged(engine, walk, point, gauge)
    deep = engine.deep
    depth: DepthReport | LimitError | str | None = engine.no_depth
    if deep is not None:
        from tp.readings.mup_depth import depth_rules

        depth = depth_rules(deep, optimizer_name, point, last, lambda x: gauged(engine, walk, x, gauge, True), known)
    title = f"maximal update ({gauge or 'table3'})" if gauge is None or isinstance(gauge, str) else "maximal update"
    return report(
        engine,
        walk,
        found,
        point,
        rules,
        title,
        facets=tuple(facets),
        unique=not free,
        free=tuple(free),
        gauge=str(gauge or "table3"),
        depth=depth,
    )


def _steady(
    engine: Engine, walk: Walk, known: Mapping[str, Fraction], steps: int | None
) -> tuple[Solver, tuple[dict[str, Fraction], _Search, list[Step]], int]:
    """A maximal point for ``steps``; without these, for so few that all gradients have come and nothing grows later."""
    last = steps or engine.steps
    while True:
        solver = Solver(engine, walk, last, dict(known))
        point, search, found = solver.solve()
        silent = {p for p in walk.u if not any(p in s.gradients for s in found)}
        later = [] if steps is not None else classify.violations(walk, walk.run(point, last + 1, roles=0))
        if steps is None and last < 4 and (silent or later):
            last += 1
            continue
        if later:
            raise _unsteady(walk, later[0], last, solver.temps)
        return solver, (point, search, found), last


def _bounded(solver: Solver, point: Mapping[str, Fraction]) -> None:
    """An exponent at the end of the range that is searched is held by nothing, and no rule."""
    for unknown in solver.unknowns:
        if abs(point[unknown]) >= BOX:
            name = unknown[2:] if unknown[:2] in classify.WORDS else unknown
            what = f"{classify.WORDS.get(unknown[:2], 'the exponent')} `{name}`"
            weight = solver.engine.concrete.parameters.get(name)
            reason = f"{what} may be any power of the width up to n^({-point[unknown]}), and nothing that has to be Θ(1) holds it"
            remedy = "let something depend on its size, or declare it frozen with a size of its own"
            raise LimitError(Message(weight.span if weight else NOWHERE, reason, remedy, "no rule"))


def _unsteady(walk: Walk, v: classify.Violation, last: int, temps: frozenset[str]) -> LimitError:
    name, size = classify.label(v.member, temps), walk.exponent(v.sized)
    reason = f"rates at which {last} updates have moved everything by Θ(1) let `{name}` grow by n^({size}) in the next one: "
    reason += "training starts where gradients vanish as the width grows, and no rates are maximal for all times"
    remedy = "let activations of narrow layers not vanish at 0, use a normalised optimizer, or say how many {} there are"
    ways = remedy.format("steps=…"), remedy.format("--steps")
    return LimitError(Message(v.member.span, reason, ways[0], "no maximal rates", ways[1]))


# ---------------------------------------------------------------- gauges


def gauged(engine: Engine, walk: Walk, point: Mapping[str, Fraction], gauge: Any, depth: bool = False) -> dict[str, ABC]:
    """(a, b, c) from the invariants w = a + b and u = degree · a + c, one of the three being chosen per weight.

    ``depth``: of the exponents of the depth, where the one that is chosen is 0.
    """
    choices = _choices(engine, gauge)
    if depth:
        choices = {p: (which, Fraction(0)) for p, (which, _) in choices.items()}
    rules = {}
    for p in engine.concrete.parameters:
        w, u = point.get(f"w_{p}"), point.get(f"u_{p}", Fraction(0))
        degree = walk.optimizer.degree
        which, value = choices[p]
        if which == "b":
            a = w - value if w is not None else Fraction(0)
        elif which == "c":
            a = (u - value) / degree
        else:
            a = value
        rules[p] = ABC(a, (w if w is not None else a) - a, u - degree * a)
    return rules


PRESETS: dict[str, dict[str, tuple[str, Fraction | int]]] = {
    "table3": {"input": ("a", 0), "hidden": ("a", 0), "output": ("a", 0)},
    "table8": {"input": ("a", 0), "hidden": ("a", 0), "output": ("b", 0)},
    "table9": {"input": ("a", -HALF), "hidden": ("a", 0), "output": ("a", HALF)},
    "a=0": dict.fromkeys(("input", "hidden", "output"), ("a", 0)),
    "b=0": dict.fromkeys(("input", "hidden", "output"), ("b", 0)),
    "c=0": dict.fromkeys(("input", "hidden", "output"), ("c", 0)),
}


def _choices(engine: Engine, gauge: Any) -> dict[str, tuple[str, Fraction]]:
    preset = gauge if isinstance(gauge, str) else "table3"
    if preset not in PRESETS or not (gauge is None or isinstance(gauge, str | Mapping)):
        reason = f"there is no gauge {gauge!r}"
        remedy = f'choose {", ".join(PRESETS)}, or fix one exponent per weight: {{"W": {{"a": 0}}}}'
        raise DataError(Message(NOWHERE, reason, remedy, "unknown gauge", f"choose {', '.join(PRESETS)}"))
    found = {p: (which, Fraction(x)) for p, role in engine.roles.items() for which, x in [PRESETS[preset][role]]}
    for name, choice in gauge.items() if isinstance(gauge, Mapping) else ():
        matching = [p for p in found if p == name] or [p for p in found if p.split("[")[0].rstrip("'") == name]
        items: list[Any] = list(choice.items()) if isinstance(choice, Mapping) else [choice]
        if not matching or len(items) != 1 or len(items[0]) != 2 or items[0][0] not in ("a", "b", "c"):
            reason = f"the gauge of `{name}` is {choice!r}"
            remedy = f'give one of a, b, c for one of {", ".join(found)}: {{"a": 0}}'
            raise DataError(Message(NOWHERE, reason, remedy, "no gauge"))
        for p in matching:
            found[p] = (items[0][0], Fraction(items[0][1]))
    return found
