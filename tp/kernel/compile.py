"""Limit → generated module: three demands, three schedules, one text.

*Sites*: what one sample decides (variances, deterministic scalars) and a pair reads. *Pairs*: two samples i and j.
*Diagonal*: a sample with itself, where equal sites are one variable by index, never by comparing floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from tp.errors import NOWHERE, DataError, Message
from tp.gaussian.arcs import arcsine_turns_apart
from tp.gaussian.codegen import renamed
from tp.gaussian.expectation import Expectation
from tp.gaussian.numeric import lower
from tp.kernel import inputs
from tp.kernel.alone import alone
from tp.kernel.alone import numbers as numbers_of
from tp.kernel.arrange import arrange
from tp.kernel.bands import banded
from tp.kernel.cells import Formula, Table, parts
from tp.kernel.demand import Demand, Plan, Want
from tp.kernel.emit import Emitter
from tp.kernel.exchange import symmetric
from tp.kernel.flat import flattened
from tp.kernel.functions import (
    HELPERS,
    DiagonalEmitter,
    Function,
    PairsEmitter,
    Shelf,
    SitesEmitter,
    coefficient_functions,
    pairs_function,
    samples_function,
)
from tp.kernel.inline import inlined
from tp.kernel.lanes import Library
from tp.kernel.order import order
from tp.kernel.plan import Compiled, Constant, Input
from tp.kernel.plane import Plane, numbers_kept, plane
from tp.kernel.prepare import Clause, System, numbers, prepare
from tp.kernel.rows import AloneEmitter, RowsEmitter, alone_function, rows_function
from tp.kernel.slots import layouts
from tp.kernel.staged import Unfit
from tp.kernel.stages import staged
from tp.kernel.text import EXACT, HEAD, HELPER, LOOPING, SUMMING
from tp.kernel.tiling import TilingEmitter
from tp.limit.equations import Entry, I, J, Limit, Value


def compiled(limit: Limit, kinds: Sequence[str], constants: Mapping[str, Any], output: str | None = None) -> Compiled:
    """Demand, arrange, order and emit."""
    system = prepare(limit, constants)
    name = output or limit.outputs[0].name
    wants = [w for k, kind in enumerate(kinds) for w in _output_wants(system, kind, name, f"out{k + 1}")]
    shapes = {d.ref.name: inputs.shape(d, numbers(limit, constants)) for d in limit.program.data}
    plans = _plans(system, wants, {d.ref.name: shapes[d.ref.name][-1] for d in limit.program.data if d.ref.index})
    made = _made(plans)
    site, pair, shelf, lowered = plans.site, plans.pair, made.shelf, list(made.library.lowered.values())
    return Compiled(
        network=limit.program.name,
        data=shapes,
        power=str(getattr(limit, "power", 0)),
        kinds=tuple(kinds),
        text=_module(made),
        integers=tuple(made.library.numbers.integers),
        floats=tuple(made.library.numbers.floats),
        functions={key: f.arrays for key, f in made.functions.items()},
        inputs={
            **{n: Input(k, t, site.tables[n].axes) for n, (k, t) in site.inputs.items()},
            **{f"pair.{n}": Input(k, t, pair.tables[n].axes) for n, (k, t) in pair.inputs.items()},
        },
        sites={n: t.axes for n, t in made.site_tables.items()},
        outputs=tuple(f"out{k + 1}" for k in range(len(kinds))),
        out_tables={n: t.axes for n, t in pair.tables.items() if t.role == "out"},
        crossed=pairs_members(system.clauses[kinds[0], name, name]),
        constants={n: _constant(limit, n) for p in (site, pair) for n, t in p.tables.items() if t.role == "const"},
        coefficients={t.name: t.axes for t in shelf.tables.values()},
        arguments={t.name: len(t.args) for t in shelf.tables.values()},
        lengths={t.name: shelf.root(t.name) for t in shelf.tables.values()},
        blocks={t.name: t.site.blocks for t in shelf.tables.values()},
        roots=dict(shelf.roots),
        bound=max((low.bound for low in lowered), default=0.0),
        double=any(low.double for low in lowered),
        rules=tuple(dict.fromkeys(low.rule for low in lowered)),
        lanes={key: _per_lane(emitter) for key, emitter in made.emitters.items()},
        sites_by_rows=made.site_rows is not None,
        makers=_makers(shelf),
        grid=made.grid,
        sizes={d.ref.name: d.sizes for d in limit.program.data},
    )


@dataclass(frozen=True, slots=True)
class _Plans:
    """What one sample decides and what pairs are made of; each also with positions as lanes, where it has that form."""

    site: Plan
    pair: Plan
    site_rows: Plane | None
    pair_rows: Plane | None


def _plans(system: System, wants: list[Want], channels: dict[str, int]) -> _Plans:
    """The plans of all outputs. ``channels``: by input with positions, its coordinates."""
    pairs, single = Demand(system, single=False), Demand(system, single=True)
    raw = pairs.plan(wants)
    pair = arrange(raw, "ij")
    pair_rows = _by_rows(pairs, raw, channels)
    site_wants = _site_wants(single, pair)
    both = None if pair_rows is not None else _with_outputs(system, site_wants, wants)
    site = single.plan(site_wants) if both is None else both
    for n in pair.sites:  # with the slots beyond boundaries that pairs read
        site.tables[n] = replace(pair.tables[n], role="out")
    site_rows = _alone_by_rows(site, channels) if pair_rows is not None else None
    return _Plans(site if site_rows is not None else _site_plan(site, channels), pair, site_rows, pair_rows)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was emitted, and with what."""

    library: Library
    shelf: Shelf
    emitters: Emitters
    functions: Functions
    site_rows: Plane | None
    site_tables: dict[str, Table]
    """What is kept of a sample."""

    @property
    def grid(self) -> tuple[tuple[int, int], ...]:
        """As :class:`Compiled` has it."""
        grid = self.site_rows.grid if self.site_rows is not None else None
        return () if grid is None else tuple(zip(grid.sizes, grid.blanks, strict=True))


def _made(plans: _Plans) -> _Made:
    """All functions, those that fill tables of coefficients last."""
    library = Library()
    made = _whole_images(library, plans.site_rows, plans.pair_rows)
    if made is None:
        shelf, site_rows = Shelf(), plans.site_rows
        emitters = _emitters(library, shelf, plans.site, plans.pair, site_rows, plans.pair_rows)
        functions = _functions(emitters)
    else:
        shelf, emitters, functions, site_rows = made
    kept = site_rows.tables if site_rows is not None and site_rows.grid is not None else {}
    site_tables = {n: replace(kept.get(n, t), role="site") for n, t in plans.site.tables.items() if t.role == "out"}
    makers = _makers(shelf)
    for table in shelf.tables.values():
        for function in coefficient_functions(table, library, {**plans.pair.tables, **site_tables}, makers[table.name]):
            functions[function.name] = function
    return _Made(library, shelf, emitters, functions, site_rows, site_tables)


def _makers(shelf: Shelf) -> dict[str, str]:
    """By table of coefficients the one whose functions make its vectors: the first of those made alike."""
    first: dict[tuple[object, ...], str] = {}
    return {table.name: first.setdefault(table.makes, table.name) for table in shelf.tables.values()}


Emitters = dict[str, Emitter]
Functions = dict[str, Function]


def _emitters(
    library: Library, shelf: Shelf, site_plan: Plan, pair_plan: Plan, site_rows: Plane | None, found: Plane | None
) -> Emitters:
    """By function: what one sample decides, pairs in three ways, a sample with itself unless the first has it."""
    emitters: Emitters = {}
    if site_rows is not None:
        emitters["sites"] = AloneEmitter(library, site_rows, shelf)
    elif site_plan.formulas:
        emitters["sites"] = SitesEmitter(library, site_plan.tables, order(site_plan))
    if found is not None:
        emitters["rows"] = RowsEmitter(library, found, shelf, easy=True)
        emitters["exact"] = RowsEmitter(library, found, shelf, easy=False)
    else:
        code = order(pair_plan)
        for how in ("pairs", "pairs_near", "exact"):
            emitters[how] = PairsEmitter(library, pair_plan.tables, code, shelf, pair_plan, how)
        if not {n for n, t in pair_plan.tables.items() if t.role == "out"} <= site_plan.tables.keys():
            emitters["diagonal"] = DiagonalEmitter(library, pair_plan.tables, code, shelf)
    return emitters


def _functions(emitters: Emitters) -> Functions:
    """The functions; the one for what a sample decides comes last, when it is known which roots of that pairs read."""
    functions = {}
    for key, emitter in sorted(emitters.items(), key=lambda item: item[0] == "sites"):
        if key == "exact" and not any(e.flagged for e in emitters.values()):
            continue
        made = _function(key, emitter)
        if key != "pairs_near" or emitter.angles:  # else it is as ``pairs``
            functions[key] = made
    return functions


def _whole_images(
    library: Library, site_rows: Plane | None, found: Plane | None
) -> tuple[Shelf, Emitters, Functions, Plane] | None:
    """The functions with all positions as lanes, where both plans by rows have that form."""
    if site_rows is None or found is None:
        return None
    shelf = Shelf()
    try:
        (one, pair), grid = flattened([site_rows.staged, found.staged])
        alone_plane, pair_plane = plane(one, grid), plane(pair, grid)
        emitters = _emitters(library, shelf, Plan(), Plan(), alone_plane, pair_plane)
        return shelf, emitters, _functions(emitters), alone_plane
    except Unfit:
        return None


def _constant(limit: Limit, name: str) -> Constant:
    """A table of numbers that the spec gives; ``const_`` comes before its name."""
    _, values = limit.program.tables[name[6:]]

    def numbers(v: Any) -> Any:
        return [numbers(x) for x in v] if isinstance(v, (list, tuple, sp.Tuple)) else float(v)

    array = np.array(numbers(values), dtype=np.float64)
    return Constant(array.shape, tuple(array.ravel().tolist()))


ROWS = 1 << 11
"""Numbers of a pair from which on positions are lanes: of fewer, samples are."""


def _site_plan(raw: Plan, channels: dict[str, int]) -> Plan:
    """What one sample decides, in bands where tables are large and most of them is far from the diagonals that are read."""
    plain = arrange(raw, "s")
    bands = banded(arrange(raw, "s", windows=True), channels) if numbers_of(raw) >= ROWS else None
    return bands if bands is not None and 2 * numbers_of(bands) < numbers_of(plain) else plain


def _with_outputs(system: System, sites: list[Want], outputs: list[Want]) -> Plan | None:
    """What one sample decides, and its own outputs with it: one function instead of two, where no series is asked for."""
    plan = Demand(system, single=True).plan([*sites, *(replace(w, expr=w.expr.xreplace({J: I})) for w in outputs)])
    couples = {e for f in plan.formulas for e in parts(f.rhs, Expectation) if len(e.variables) > 1}
    return None if numbers_of(plan) >= ROWS or any(lower(e).sites for e in couples) else plan


def _by_rows(pairs: Demand, raw: Plan, channels: dict[str, int]) -> Plane | None:
    """The pairs' plan with positions as lanes, where it has that form and a pair is large."""
    if numbers_of(raw) < ROWS or any(len(e.variables) > 2 for f in raw.formulas for e in parts(f.rhs, Expectation)):
        return None
    plan = arrange(raw, "ij", windows=True)
    mirrored = symmetric(raw)
    for one in layouts(plan, pairs.arity):
        try:
            return plane(staged(plan, one, channels, mirrored))
        except Unfit:
            continue
    return None


def _alone_by_rows(raw: Plan, channels: dict[str, int]) -> Plane | None:
    """The plan for one sample with positions as lanes, where it has that form."""
    try:
        return plane(alone(raw, channels)) if raw.formulas else None
    except Unfit:
        return None


def _function(key: str, emitter: Emitter) -> Function:
    match emitter:
        case AloneEmitter():
            return alone_function(key, emitter)
        case RowsEmitter():
            return rows_function(key, emitter)
        case PairsEmitter():
            return pairs_function(key, emitter)
    return samples_function(key, emitter)


def _output_wants(system: System, kind: str, name: str, out: str) -> list[Want]:
    """The answer ``Entry(kind, f, f)``: an axis per index of the left side, none for coordinates that are all alike."""
    clauses = system.clauses.get((kind, name, name))
    if not clauses:
        raise DataError(
            Message(NOWHERE, f"the limit has no {kind} of the output `{name}`", "ask for it when deriving", "no such kernel")
        )
    wants = []
    crossed = pairs_members(clauses)
    for c in clauses:
        assert c.b is not None
        alike = {r.index: r.lo for r in c.domain if len(clauses) == 1 and _alike(system, (kind, name, name), r.index)}
        a, b = c.a.xreplace(alike), c.b.xreplace(alike)
        slots = tuple(dict.fromkeys([*c.a.index, *c.b.index])) if crossed else c.a.index  # these may be equal numbers
        index = tuple(e for e in slots if e not in alike)
        domain = tuple(r for r in c.domain if r.index not in alike)
        wants.append(Want(out, index, domain, Entry(kind, a, b, I, J)))
    return wants


def pairs_members(clauses: Sequence[Clause]) -> bool:
    """Whether equations of an output's kernel pair its members at different indices."""
    return any(c.b is not None and c.a.index != c.b.index for c in clauses)


def _alike(system: System, family: tuple[str, str, str], index: sp.Symbol) -> bool:
    """Whether an output's kernel is the same for all values of an index: the coordinates of a finite axis are."""
    clauses = system.clauses.get(family, [])
    if len(clauses) != 1 or clauses[0].b is None or clauses[0].a.index != clauses[0].b.index:
        return False
    (c,) = clauses
    same = [e for e in parts(c.rhs, Entry) if (e.a.name, e.b.name) == family[1:]]
    own = {e for e in same if e.a.index == e.b.index == c.a.index}
    if index in c.rhs.xreplace({e: sp.Dummy() for e in own}).free_symbols:
        return False
    return all(_alike(system, (e.kind_name, *family[1:]), index) for e in own if e.kind_name != family[0])


def _site_wants(single: Demand, pairs: Plan) -> list[Want]:
    """Every table that pairs read of one sample, filled from the equations for one sample."""
    wants = []
    for name, (key, tied) in pairs.sites.items():
        for c in single.defining(key, tied):
            read = Value(key.kind, c.a, I) if c.b is None else Entry(key.kind, c.a, c.b, I, I)
            wants.append(Want(name, single.slots(c.a, c.b, tied), c.domain, read))
    return wants


BY_ROWS: dict[str, Callable[..., Any]] = {"arcsine_turns": arcsine_turns_apart}
"""What takes the place of a helper, under its name, where positions are lanes."""


def _module(made: _Made) -> str:
    """The text: helpers, then functions."""
    texts = [f.text for f in made.functions.values()]
    given = {name: text for name, text in HELPERS.items() if any(name in e.used for e in made.emitters.values())}
    given |= made.library.sources
    if "rows" in made.functions:
        given |= dict(renamed(twin, name) for name, twin in BY_ROWS.items() if name in given)
    sources = inlined(given, _alone, texts)
    blocks = [_decorator(text) + text for text in sources.values()]
    return HEAD + "\n\n\n" + "\n\n\n".join([*blocks, *texts]) + "\n"


def _alone(text: str) -> bool:
    """Whether a helper's arithmetic is not that of the others."""
    return _decorator(text) in (EXACT, SUMMING)


def _decorator(text: str) -> str:
    """Products and sums may be fused, but not where rounding errors are the result; the order of long sums is free."""
    if text.startswith("def determinant("):
        return EXACT
    if text.startswith("def project("):
        return SUMMING
    if text.startswith("def follow("):
        return LOOPING
    return LOOPING if " for " in text or " while " in text else HELPER


def _per_lane(emitter: Emitter) -> int:
    """Numbers a function keeps per lane, to choose how many lanes fit the cache; by rows, numbers it keeps."""
    if isinstance(emitter, RowsEmitter):
        return numbers_kept(emitter.plane)
    total = emitter.rows + (emitter.beside() if isinstance(emitter, TilingEmitter) else 0)
    for item in emitter.code.items:
        for name in dict.fromkeys(f.table for f in _all(item)):
            table = emitter.tables[name]
            if table.role == "local" and name not in emitter.code.passing:
                rolled = emitter.code.rolled.get(name)
                size = 1
                for k, axis in enumerate(table.axes):
                    size *= rolled[1] if rolled and rolled[0] == k else axis.size
                total += size
    return total


def _all(item: Any) -> list[Formula]:
    from tp.kernel.order import formulas

    return list(formulas(item))
