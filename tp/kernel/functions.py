"""The functions of a generated module: per-sample sites, coefficient vectors, pairs of samples, a sample with itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import sympy as sp

from tp.errors import NOWHERE, LimitError, Message
from tp.gaussian.expectation import Expectation
from tp.gaussian.lowered import Lowered, Site
from tp.kernel.cells import Axis, Cell, Formula, Over, Table, U, hull, parts
from tp.kernel.demand import Plan
from tp.kernel.emit import Emitter
from tp.kernel.lanes import Lane, Library
from tp.kernel.order import Code, Nest
from tp.kernel.plan import Root
from tp.kernel.text import ENTRY, Lines
from tp.kernel.tiling import TilingEmitter
from tp.program.ir import Domain, Range

REFLECT = """def reflect(at, size):
    period = max(2 * (size - 1), 1)
    distance = at % period
    return min(distance, period - distance) if size > 1 else 0"""

TOTAL = """def total(row):
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    n = len(row) - len(row) % 8
    for z in range(0, n, 8):
        a += row[z]
        b += row[z + 1]
        c += row[z + 2]
        d += row[z + 3]
        e += row[z + 4]
        f += row[z + 5]
        g += row[z + 6]
        h += row[z + 7]
    for z in range(n, len(row)):
        a += row[z]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))"""

HELPERS = {"reflect": REFLECT, "total": TOTAL}
"""Functions that text may call; a sum of a row is one of eight, which do not wait for each other."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A table of coefficient vectors: ``site`` at every point of ``domain`` and every sample. ``class_`` share a length."""

    name: str
    site: Site
    args: tuple[sp.Expr, ...]
    domain: Domain
    axes: tuple[Axis, ...]

    @property
    def makes(self) -> tuple[object, ...]:
        """What its vectors are made by; tables in which it is the same have their functions in common."""
        return self.site.function, self.site.count, self.site.squares, self.site.blocks, len(self.args)


@dataclass
class Shelf:
    """Coefficient tables that pair functions ask for, and which of them need the same length."""

    tables: dict[tuple[object, ...], Coefficients] = field(default_factory=dict)
    length: dict[str, str] = field(default_factory=dict)
    roots: dict[str, Root] = field(default_factory=dict)  # tables that are a power of a site table

    def root_of(self, e: sp.Expr, tables: dict[str, Table]) -> Cell | None:
        """The cell of a table of roots, where ``e`` is √(a q + b) or its inverse, q a cell of a site table."""
        cells = parts(e, Cell)
        if len(cells) != 1 or abs(e.exp) != sp.Rational(1, 2) or tables[cells[0].table].role != "site":
            return None
        (cell,) = cells
        base = e.base.xreplace({cell: U})
        slope = base.diff(U)
        if base.free_symbols != {U} or slope.free_symbols:
            return None
        root = Root(cell.table, float(slope), float(base.xreplace({U: sp.S.Zero})), float(e.exp))
        of = [name for name, known in self.roots.items() if known.base == cell.table]
        name = next((n for n in of if self.roots[n] == root), f"{cell.table}_root{len(of) + 1}")
        self.roots[name] = root
        tables[name] = replace(tables[cell.table], name=name)
        return Cell(name, cell.side, *cell.index)

    def root(self, name: str) -> str:
        while self.length.setdefault(name, name) != name:
            name = self.length[name]
        return name

    def tie(self, a: str, b: str) -> None:
        one, two = sorted((self.root(a), self.root(b)))
        self.length[two] = one

    def find(self, site: Site, ranges: list[Range]) -> tuple[Coefficients, tuple[sp.Expr, ...]]:
        """The table for a site, and the index at which it is read. Raises ``LimitError`` where two samples decide it."""
        if any(c.side == "ij" for a in site.args for c in parts(a, Cell)):
            reason = "an expectation is no sum of products of functions of one sample each, as these are written"
            remedy = "give what activations take a line of its own: `h = U @ x`, then `phi(h)`"
            raise LimitError(Message(NOWHERE, reason, remedy, "no numerical rule"))
        args = tuple(a.xreplace({c: Cell(c.args[0], "i", *c.index) for c in parts(a, Cell) if c.side == "j"}) for a in site.args)
        bundle = sp.Tuple(*args)
        index = [s for s in parts(bundle, sp.Symbol) if any(r.index == s for r in ranges)]
        names = {s: sp.Symbol(f"_k{k + 1}", integer=True) for k, s in enumerate(index)}
        domain: list[Range] = []
        for s in index:
            k = next(k for k, r in enumerate(ranges) if r.index == s)
            lo, hi = hull(ranges[k], tuple(ranges[:k]))
            domain.append(Range(names[s], sp.Integer(lo), sp.Integer(hi)))
        general = tuple(a.xreplace(names) for a in args)
        key = (site.function, general, tuple((r.lo, r.hi) for r in domain))
        if key not in self.tables:
            axes = tuple(Axis(int(r.lo), int(r.hi)) for r in domain)
            self.tables[key] = Coefficients(f"coef{len(self.tables) + 1}", site, general, tuple(domain), axes)
        return self.tables[key], tuple(index)


# ---------------------------------------------------------------- where cells lie


class _Samples(Emitter):
    """Lanes are samples ``at .. at + b`` of a block that starts at ``start``."""

    def input_row(self, cell: Cell, at: list[str]) -> str | None:
        table = self.tables[cell.table]
        if table.role == "local":
            return None
        self.used[cell.table] = None
        where = "at - start : at - start + b" if table.role == "gram" else "at : at + b"
        return f"{cell.table}[{', '.join([*at, where])}]"

    def input_scalar(self, cell: Cell, at: list[str]) -> str:
        self.used[cell.table] = None
        return f"{cell.table}[{', '.join(at)}]"

    def out_row(self, table: str, at: list[str]) -> str:
        self.used[table] = None
        return f"{table}[{', '.join([*at, 'at : at + b'])}]"


class SitesEmitter(_Samples):
    """What one sample decides."""

    same = spreads = True
    plan = "sites"

    def side(self) -> str:
        return "s"


class DiagonalEmitter(_Samples):
    """A sample with itself: the pair's formulas, equal spots being one variable."""

    same = spreads = True

    def __init__(self, library: Library, tables: dict[str, Table], code: Code, shelf: Shelf) -> None:
        super().__init__(library, tables, code)
        self.shelf = shelf

    def hoisted(self, e: sp.Expr) -> Cell | None:
        return self.shelf.root_of(e, self.tables)

    def coefficients(self, low: Lowered, e: Expectation) -> tuple[str, str] | None:
        names = []
        for site in low.sites:
            table, index = self.shelf.find(site, self.ranges)
            at = [
                f"{self.index(e)} - {self.library.end(table.name, k, 'lo', a.lo)}"
                for k, (e, a) in enumerate(zip(index, table.axes, strict=True))
            ]
            self.used[table.name] = None
            names.append(self.remember(("row", table.name, tuple(at)), f"{table.name}[{', '.join([*at, 'at : at + b'])}]", "m"))
            self.shelf.tie(table.name, self.shelf.find(low.sites[0], self.ranges)[0].name)
        return f"{names[0]}[z]", f"{names[-1]}[z]"


class PairsEmitter(TilingEmitter):
    """Sample i of the rows with a block of columns as lanes. ``how``: "pairs" in easy forms, "pairs_near", "exact" in neither."""

    def __init__(self, library: Library, tables: dict[str, Table], code: Code, shelf: Shelf, plan: Plan, how: str) -> None:
        super().__init__(library, tables, code)
        easy, self.follows = how != "exact", how == "pairs_near"
        self.easy = self.whole_rows = self.tiled = easy
        self.shelf, self.shared = shelf, {n: gram_split(plan, n) for n in plan.inputs}

    def hoisted(self, e: sp.Expr) -> Cell | None:
        return self.shelf.root_of(e, self.tables)

    def outside_in(self, nest: Nest) -> Domain:
        """First the indices at which sums read rows of lanes: these rows stay in the cache while the other loops run."""
        if any(r.lo.free_symbols or r.hi.free_symbols for r in nest.domain):
            return nest.domain
        sums = [o.body for f in nest.formulas for o in parts(f.rhs, Over)]
        rows = {s for body in sums for c in parts(body, Cell) if self.lane_cell(c) for e in c.index for s in e.free_symbols}
        return tuple(sorted(nest.domain, key=lambda r: r.index not in rows))

    def input_row(self, cell: Cell, at: list[str]) -> str | None:
        table = self.tables[cell.table]
        if table.role == "gram":
            self.used[cell.table] = None
            shared = self.shared[cell.table]
            first = [a for k, a in enumerate(at) if k in shared]
            rest = [a for k, a in enumerate(at) if k not in shared]
            return f"{cell.table}[{', '.join([*first, 'i - i0', *rest, 'at - j0 : at - j0 + b'])}]"
        if table.role == "site":
            self.used[f"{cell.table}_2"] = None
            return f"{cell.table}_2[{', '.join([*at, 'at : at + b'])}]"
        return None

    def input_scalar(self, cell: Cell, at: list[str]) -> str:
        if cell.side == "-":
            self.used[cell.table] = None
            return f"{cell.table}[{', '.join(at)}]"
        self.used[f"{cell.table}_1"] = None
        return f"{cell.table}_1[{', '.join([*at, 'i'])}]"

    def out_row(self, table: str, at: list[str]) -> str:
        self.used[table] = None
        return f"{table}[{', '.join([*at, 'i', 'at : at + b'])}]"

    def lane_cell(self, cell: Cell) -> bool:
        return cell.side in ("ij", "j")

    def coefficients(self, low: Lowered, e: Expectation) -> tuple[str, str] | None:
        name, at = self._vectors(low, -1)
        self.used[f"{name}_2"] = None
        where = ", ".join([*at, "at : at + b"])
        return self._one(low), f"{self.remember(('row', name, where), f'{name}_2[{where}]', 'm')}[z]"

    def columns(self, low: Lowered, e: Expectation) -> tuple[str, str, str]:
        name, at = self._vectors(low, -1)
        self.used[f"{name}_columns"] = None
        where = f"{name}_columns[{', '.join(at)}]" if at else f"{name}_columns"
        return self._one(low), self.remember(("row", where), where, "m"), "at"

    def _one(self, low: Lowered) -> str:
        """The row of coefficients of sample i."""
        name, at = self._vectors(low, 0)
        self.used[f"{name}_1"] = None
        where = f"{name}_1[{', '.join([*at, 'i'])}]"
        return self.remember(("row", where), where, "m")

    def _vectors(self, low: Lowered, which: int) -> tuple[str, list[str]]:
        """The table of a site's coefficients, and the slots at which it is read here."""
        table, index = self.shelf.find(low.sites[which], self.ranges)
        self.shelf.tie(table.name, self.shelf.find(low.sites[0], self.ranges)[0].name)
        ends = [self.library.end(table.name, k, "lo", a.lo) for k, a in enumerate(table.axes)]
        return table.name, [f"{self.index(x)} - {end}" for x, end in zip(index, ends, strict=True)]


def gram_split(plan: Plan, name: str) -> set[int]:
    """The axes of a Gram table that both members share; they come before the samples."""
    _, tied = plan.inputs[name]
    return {k for k, _ in tied}


# ---------------------------------------------------------------- functions


@dataclass(frozen=True, slots=True)
class Function:
    """A generated function: its text and the names of the arrays it takes, in order."""

    name: str
    text: str
    arrays: tuple[str, ...]


def allocations(emitter: Emitter) -> Lines:
    """The local tables, ``width`` lanes each; slots beyond a zero boundary stay 0."""
    lines = Lines()
    for name in dict.fromkeys(f.table for item in emitter.code.items for f in _formulas(item)):
        table = emitter.tables[name]
        if table.role != "local" or name in emitter.code.passing:
            continue
        sizes = []
        for k, axis in enumerate(table.axes):
            rolled = emitter.code.rolled.get(name)
            if rolled is not None and rolled[0] == k:
                sizes.append(str(rolled[1]))
            else:
                size = emitter.end(name, k, "size", axis.hi - axis.lo + 1)
                sizes.append(f"{size} + 1" if axis.mode == "zero" else size)
        fill = "zeros" if any(axis.mode == "zero" for axis in table.axes) else "empty"
        lines.add(f"{name} = np.{fill}(({', '.join([*sizes, 'width'])}))")
    if isinstance(emitter, TilingEmitter):
        for name, (shape, _) in emitter.copies.items():
            lines.add(f"{name} = np.empty(({', '.join([*shape, 'width'])}))")
        if emitter.held:
            lines.add(f"held = np.empty(({emitter.held}, width))")
    if emitter.rows:
        lines.add(f"acc = np.empty(({emitter.rows}, width))")
    for line in emitter.angle_states():
        lines.add(line)
    return lines


def _formulas(item: object) -> list[Formula]:
    from tp.kernel.order import formulas

    return list(formulas(item))  # type: ignore[arg-type]


def samples_function(name: str, emitter: Emitter) -> Function:
    """``name(n, c, start, stop, width, arrays…)``: a block of samples, ``width`` at a time."""
    body = emitter.body()
    arrays = tuple(a for a in emitter.used if a not in HELPERS)
    text = "\n".join(
        [
            str(allocations(emitter)),
            "    for at in range(start, stop, width):",
            "        b = width if at + width < stop else stop - at",
            body,
        ]
    )
    head = f"def {name}(n, c, start, stop, width{''.join(f', {a}' for a in arrays)}):\n"
    return Function(name, ENTRY + head + emitter.library.numbers.settle(text), arrays)


def pairs_function(name: str, emitter: PairsEmitter) -> Function:
    """``name(n, c, i0, i1, j0, j1, upper, width, hard, arrays…)``: a block of pairs; ``upper``: only j > i.

    In easy forms, counting in ``hard[i - i0]`` what they miss; or else without them, for the rows of which that count is not 0.
    """
    emitter.out.depth = 3
    body = emitter.body()
    arrays = tuple(a for a in emitter.used if a not in HELPERS)
    text = "\n".join(
        [
            str(allocations(emitter)),
            "    for i in range(i0, i1):",
            *([] if emitter.easy else ["        if hard[i - i0] == 0:", "            continue"]),
            "        for at in range(i + 1 if upper and i + 1 > j0 else j0, j1, width):",
            "            b = width if at + width < j1 else j1 - at",
            *(["            missed = 0"] if emitter.flagged else []),
            body,
            *(["            hard[i - i0] += missed"] if emitter.flagged else []),
        ]
    )
    head = f"def {name}(n, c, i0, i1, j0, j1, upper, width, hard{''.join(f', {a}' for a in arrays)}):\n"
    return Function(name, ENTRY + head + emitter.library.numbers.settle(text), arrays)


class _CoefficientEmitter(_Samples):
    """Arguments of a site function, sample by sample."""

    def input_scalar(self, cell: Cell, at: list[str]) -> str:
        self.used[cell.table] = None
        return f"{cell.table}[{', '.join(at if cell.side == '-' else [*at, 's'])}]"

    def lane_cell(self, cell: Cell) -> bool:
        return False


def coefficient_functions(table: Coefficients, library: Library, tables: dict[str, Table], maker: str) -> tuple[Function, ...]:
    """``arguments_…(n, c, count, arrays…, out)``: what the site takes, [slots…, sample, argument]; of rows of such arguments

    the following, named by the first of the tables that have them in common, the ``maker``.
    ``count_…(rows, eps)`` is the length of vectors, or of each of their blocks, that makes the error small, ``fill_…(rows, out)``
    the vectors, [row, length], and ``squares_…(rows, vectors, out)`` what is in them of the squares of the function and its
    derivative, [row, 2], where vectors may be interpolated.
    """
    arguments = _arguments(table, library, tables)
    if maker != table.name:
        return (arguments,)
    site, count = table.site, len(table.args)
    row = ", ".join(f"rows[s, {k}]" for k in range(count))
    length = ["    length = 1", "    for s in range(rows.shape[0]):", f"        length = max(length, {site.count}({row}, eps))"]
    vectors = ["    for s in range(rows.shape[0]):", f"        {site.function}({row}, out[s])"]
    parts_ = ["    for s in range(rows.shape[0]):", f"        out[s, 0], out[s, 1] = {site.squares}(rows[s, 0], vectors[s])"]
    made = (
        arguments,
        _of_rows(f"count_{table.name}", "rows, eps", [*length, "    return length"]),
        _of_rows(f"fill_{table.name}", "rows, out", vectors),
    )
    return (*made, _of_rows(f"squares_{table.name}", "rows, vectors, out", parts_)) if site.squares else made


def _arguments(table: Coefficients, library: Library, tables: dict[str, Table]) -> Function:
    emitter = _CoefficientEmitter(library, tables, Code(()))
    emitter.out.depth = 2
    with emitter.loops(table.domain):
        values = [Lane(emitter, emitter.out, scalar=True).value(a) for a in table.args]
        at = [f"{emitter.names[r.index]} - {library.end(table.name, k, 'lo', int(r.lo))}" for k, r in enumerate(table.domain)]
        for k, value in enumerate(values):
            emitter.out.add(f"out[{', '.join([*at, 's', str(k)])}] = {value}")
    arrays = tuple(a for a in emitter.used if a not in HELPERS)
    head = f"def arguments_{table.name}(n, c, count{''.join(f', {a}' for a in arrays)}, out):\n"
    text = f"    for s in range(count):\n{emitter.out}"
    return Function(f"arguments_{table.name}", ENTRY + head + library.numbers.settle(text), arrays)


def _of_rows(name: str, arguments: str, lines: list[str]) -> Function:
    return Function(name, "\n".join([f"{ENTRY}def {name}({arguments}):", *lines]), ())
