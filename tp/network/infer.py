"""The axes of every line: declared for inputs and weights, found for the rest by going round until nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tp.errors import Diagnostic
from tp.network import faults
from tp.network.axes import Axes, Typing, text
from tp.network.coverage import Coverage
from tp.network.lines import Line
from tp.network.names import Clause, Declarations, Report
from tp.network.references import left_side
from tp.network.tree import Define, Name


class Families:
    """Which clauses a read reaches, and the axes of every clause as far as they are known."""

    def __init__(self, d: Declarations, sound: Callable[[Clause], bool]) -> None:
        self.d = d
        self.targets: dict[int, frozenset[int]] = {}
        self.clauses: dict[str, list[Axes | None]] = {
            name: [None if isinstance(c, Define) or not sound(c) else c.axes for c in family]
            for name, family in d.families.items()
        }

    def reached(self, coverages: Sequence[Coverage], lines: Sequence[Line]) -> None:
        """Remember for every read which clauses it may reach."""
        for line in lines:
            for read in line.reads:
                if read.name.name in self.d.families:
                    found = frozenset(i for c in coverages for i in c.touched(read))
                    self.targets[id(read.name)] = self.targets.get(id(read.name), frozenset()) | found

    def candidates(self, e: Name) -> Sequence[int]:
        """The clauses that ``e`` may mean; for a name that no line reads, those whose fixed indices agree."""
        known = self.targets.get(id(e))
        if known:
            return sorted(known)
        family = self.d.families[e.name]
        same = [i for i, c in enumerate(family) if c.index == e.index]
        open_ = [i for i, c in enumerate(family) if any(isinstance(x, Name) for x in c.index)]
        return same[:1] or open_[:1] or range(len(family))

    def clause(self, name: str, i: int) -> Axes | None:
        """The axes of one clause; a number among vectors (``h[0] = 0``) is a vector like them."""
        axes = self.clauses[name][i]
        if axes == () and len(self.clauses[name]) > 1 and isinstance(self.d.families[name][i], Define):
            others = {a for a in self.clauses[name] if a}
            if len(others) == 1:
                return others.pop()
        return axes

    def family(self, e: Name) -> Axes | None:
        """The axes of a family where it is read; None when unknown, or when what it reaches disagrees."""
        found = {self.clause(e.name, i) for i in self.candidates(e)}
        known = found - {None}
        if len(known) == 1 and (None not in found or known != {()}):
            return known.pop()
        return None

    def disagree(self, e: Name) -> tuple[int, int] | None:
        """Two clauses that ``e`` reaches and whose axes differ."""
        first: int | None = None
        for i in self.candidates(e):
            axes = self.clause(e.name, i)
            if axes is None:
                continue
            if first is not None and axes != self.clause(e.name, first):
                return first, i
            first = i if first is None else first
        return None


def infer(families: Families, lines: Sequence[Line]) -> None:
    """Find the axes of all definitions."""
    d = families.d
    place = {id(c): (name, i) for name, family in d.families.items() for i, c in enumerate(family)}
    typing = Typing(d, families.family)
    readers: dict[str, set[int]] = {}
    for k, line in enumerate(lines):
        for read in line.reads:
            readers.setdefault(read.name.name, set()).add(k)
    queue, waiting, turns = list(range(len(lines))), set(range(len(lines))), 0
    while queue and turns < 20 * len(lines) + 100:
        k, turns = queue.pop(0), turns + 1
        waiting.discard(k)
        line = lines[k]
        if not isinstance(line.written, Define) or not line.sound:
            continue
        name, i = place[id(line.written)]
        axes = typing.axes(line.written.body, {})
        if axes is not None and len(axes) < 2 and axes != families.clauses[name][i]:
            families.clauses[name][i] = axes
            typing = Typing(d, families.family)
            new = readers.get(name, set()) - waiting
            queue += sorted(new)
            waiting |= new


def report_axes(families: Families, lines: Sequence[Line], report: Report) -> None:
    """Report what lives on the wrong axes."""
    d = families.d
    typing = Typing(d, families.family, report)
    for line in lines:
        if isinstance(line.written, Define) and line.sound:
            typing.vector(line.written.body, {})
        for read in line.reads:
            if read.name.name in d.families and (pair := families.disagree(read.name)):
                report(_differ(families, read.name, pair))
    for name in d.outputs:
        _output(families, name, report)


def _differ(families: Families, e: Name, pair: tuple[int, int]) -> Diagnostic:
    first, second = (families.d.families[e.name][i] for i in pair)
    a, b = (families.clause(e.name, i) or () for i in pair)
    return faults.ClauseAxesDiffer(left_side(second), e.name, text(b), text(a), first.span.line)


def _output(families: Families, name: str, report: Report) -> None:
    for i, c in enumerate(families.d.families[name]):
        axes = families.clause(name, i)
        width = next((a for a in axes or () if a in families.d.widths), None)
        if axes and width:
            report(faults.OutputOnWidth(left_side(c), name, text(axes), width))
