"""Is the network well-formed? Names, indices, axes, ranges and constants; everything wrong is reported at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tp.errors import NOWHERE, Span, SpecError
from tp.network import faults, limits
from tp.network.axes import Axes, Params, Scaled, Typing
from tp.network.bounded import symbol_ranges
from tp.network.constants import Number
from tp.network.coverage import Coverage, check_overlaps, check_reads
from tp.network.cycles import check_order
from tp.network.diagnostics import listing, locate, nearest
from tp.network.domains import Domains
from tp.network.infer import Families, infer, report_axes
from tp.network.lines import Line
from tp.network.names import Clause, Declarations, Report, declare
from tp.network.numbers import check_numbers
from tp.network.references import References, Scope
from tp.network.training import check_training
from tp.network.tree import (
    Call,
    Define,
    Dim,
    Expr,
    Function,
    Index,
    Input,
    Let,
    Network,
    Range,
    Statement,
    Train,
    Weight,
    Width,
)
from tp.network.values import work_out
from tp.network.walk import walk

BOUNDARIES = ("zero", "circular", "valid", "reflect")
SYNONYMS = {
    "periodic": "circular", "wrap": "circular", "cyclic": "circular", "mirror": "reflect", "symmetric": "reflect",
    "same": "zero", "zeros": "zero", "pad": "zero", "none": "valid",
}  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """A network in which every name, index and axis is right.

    ``network`` and ``families`` are *elaborated*: ranges complete and explicit, the bounds of inner ranges filled in,
    bodies with all functions written out (only primitives, ``avg``, ``dot`` and ``softmax`` remain); a line whose range is
    empty (``for l in 2..L`` when L = 1) is gone. Lets and dims carry the values given from outside. A let without value is
    a positive symbol; ``lowest`` has those that bound a range, whole numbers, with the smallest value they are taken at.
    ``numbers`` has what lets and dims work out to. ``indices`` also has those of families of symbols (``let a[l]``),
    with the range over which they are used.
    """

    network: Network
    widths: dict[str, Width]
    dims: dict[str, Dim]
    lets: dict[str, Let]
    functions: dict[str, Function]
    indices: dict[str, Index]
    families: dict[str, tuple[Clause, ...]]
    outputs: tuple[str, ...]
    train: Train | None
    numbers: dict[str, Number] = field(repr=False)
    lowest: dict[str, int] = field(repr=False)
    _declarations: Declarations = field(repr=False, compare=False)
    _families: Families = field(repr=False, compare=False)
    _domains: Domains = field(repr=False, compare=False)

    def axes(self, expr: Expr, params: Params | None = None) -> Axes:
        """The axes of an expression, () for a number."""
        return self._typing().axes(expr, params or {}) or ()

    def matrix(self, expr: Expr) -> Scaled:
        """The left side of an ``@`` that has two axes: a named matrix, its transpose, a multiple of these."""
        found = self._typing().scaled(expr, {})
        assert found is not None, "checked: only a matrix or a multiple of one stands there"
        return found

    def ranges(self, statement: Clause) -> tuple[Range, ...]:
        """The ranges of a clause's free indices, all explicit; outer ones before those that depend on them."""
        for line in self._domains.lines.values():
            if line is not None and (line.clause is statement or line.written is statement):
                return line.clause.ranges
        return statement.ranges

    def boundary(self, name: str) -> tuple[str | None, ...]:
        """Per index of a family (or table), what an index outside its range means."""
        return self._domains.bounded.modes(name)

    def hull(self, name: str) -> tuple[tuple[Expr, Expr], ...]:
        """Per index of a family, the smallest and the largest value it is defined at."""
        return tuple((lo.expr(), hi.expr()) for lo, hi in self._domains.bounded.hull(name, NOWHERE))

    def family_axes(self, name: str, clause: Clause | None = None) -> Axes:
        """The axes of a family, or of one of its clauses where they differ."""
        written = self._declarations.families[name]
        same = {id(line.clause): line.written for line in self._domains.lines.values() if line is not None}
        clause = self.families[name][0] if clause is None else clause
        return self._families.clause(name, next(i for i, c in enumerate(written) if c is same.get(id(clause), clause))) or ()

    def _typing(self) -> Typing:
        return Typing(self._declarations, self._families.family)


def check(network: Network, overrides: Mapping[str, Any] | None = None) -> Checked:
    """The network with everything resolved, or a :class:`SpecError` with all that is wrong.

    ``overrides`` sets lets and dims: a number, nested lists for a table, None to leave a symbol.
    """
    report = Report()
    _check_size(network)
    d = declare(network, overrides or {}, report)
    references = References(d, report)
    _check_functions(d, references, report)
    values = work_out(d, references, report)
    _check_indices(d, references, report)
    good = {id(c): references.clause(c) for c in d.clauses()}
    domains = Domains(d, values, lambda c: good[id(c)], report)
    lines = [line for c in d.clauses() if (line := domains.line(c)) is not None]
    families = Families(d, lambda c: good[id(c)][1])
    _check_lines(families, domains, lines, report)
    check_numbers(domains, lines, report)
    check_training(d, references, values, report)
    if not d.outputs and not report.found:
        report(faults.NoOutput(_last(network)))
    symbols = symbol_ranges(domains, lines)
    if found := report.sorted():
        raise SpecError(found)
    written, clauses = _elaborated(d, lines)
    outputs = tuple(name for name in d.outputs if name in clauses)
    if not outputs:
        raise SpecError(faults.NoOutput(_last(network)))
    return Checked(
        network=written,
        widths=d.widths,
        dims=d.dims,
        lets=d.lets,
        functions=d.functions,
        indices={**d.indices, **symbols},
        families=clauses,
        outputs=outputs,
        train=d.train,
        numbers=values,
        lowest=domains.lowest,
        _declarations=d,
        _families=families,
        _domains=domains,
    )


def _elaborated(d: Declarations, lines: Sequence[Line]) -> tuple[Network, dict[str, tuple[Clause, ...]]]:
    """The network with everything written out, and its clauses by name."""
    written = {id(line.written): line for line in lines}
    statements: list[Statement] = []
    clauses: dict[str, tuple[Clause, ...]] = {}
    for s in d.network.statements:
        if isinstance(s, Let | Dim):
            statements.append(d.lets[s.name] if isinstance(s, Let) else d.dims[s.name])
        elif not isinstance(s, Input | Weight | Define):
            statements.append(s)
        elif not written[id(s)].empty:
            statements.append(written[id(s)].clause)
            clauses[s.name] = (*clauses.get(s.name, ()), written[id(s)].clause)
    return replace(d.network, statements=tuple(statements)), clauses


def _check_lines(families: Families, domains: Domains, lines: Sequence[Line], report: Report) -> None:
    """Ranges, axes and the order of the lines."""
    coverages = [Coverage(domains, values) for values in domains.instances()]
    for coverage in coverages:
        check_overlaps(coverage, report)
        check_reads(coverage, lines, report)
    families.reached(coverages[:3], lines)
    infer(families, lines)
    report_axes(families, lines, report)
    check_order(coverages[min(2, len(coverages) - 1)], lines, report)


def _check_size(network: Network) -> None:
    for name, lines in Counter(s.name for s in network.statements if isinstance(s, Input | Weight | Define)).items():
        if lines > limits.CLAUSES:
            last = [s for s in network.statements if isinstance(s, Input | Weight | Define) and s.name == name][limits.CLAUSES]
            raise SpecError(faults.TooManyClauses(last.span, name, lines, limits.CLAUSES))
    count = len(network.statements)
    if count > limits.STATEMENTS:
        span = network.statements[limits.STATEMENTS].span
        raise SpecError(faults.TooManyStatements(span, count, limits.STATEMENTS))


def _check_functions(d: Declarations, references: References, report: Report) -> None:
    """User functions: their names, and that none calls itself."""
    for f in list(d.functions.values()):
        if f.span.source is not d.network.source:
            continue
        path = _recursion(f, d)
        if path and not d.broken & set(path):
            report(faults.RecursiveFunction(locate(f.span, f.name), f.name, " → ".join(f"`{p}`" for p in path)))
        if not references.function(f) or path:
            d.broken.add(f.name)


def _recursion(f: Function, d: Declarations) -> list[str]:
    """A way from ``f`` back to itself."""
    before: dict[str, str] = {}
    queue = [f.name]
    for name in queue:
        for x in walk(d.functions[name].body):
            if isinstance(x, Call) and x.fn == f.name:
                path = [f.name, name]
                while path[-1] != f.name:
                    path.append(before[path[-1]])
                return path[::-1]
            if isinstance(x, Call) and x.fn in d.functions and x.fn not in before:
                before[x.fn] = name
                queue.append(x.fn)
    return []


def _check_indices(d: Declarations, references: References, report: Report) -> None:
    for index in {id(i): i for i in d.indices.values()}.values():
        if index.boundary is not None and index.boundary not in BOUNDARIES:
            near = SYNONYMS.get(index.boundary.lower())
            hint = f"did you mean `{near}`?" if near else nearest(index.boundary, BOUNDARIES)
            hint = hint or f"write `boundary` {listing(f'`{b}`' for b in BOUNDARIES)}"
            report(faults.UnknownBoundary(locate(index.span, index.boundary, "boundary "), index.boundary, hint))
        ok = [references.index(b, Scope()) for b in (index.lo, index.hi)]
        if not all(ok):
            d.broken.update(index.names)


def _last(network: Network) -> Span:
    if network.statements:
        return network.statements[-1].span
    line = next((k for k, text in enumerate(network.source.text.split("\n"), 1) if text.lstrip().startswith("network")), 1)
    return locate(Span(network.source, line, 1, 1), "network")
