"""What the constants of a network are worth: lets, dims, widths and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from tp.network import faults
from tp.network.affine import affine
from tp.network.constants import Number, Unworkable, evaluate
from tp.network.names import Declarations, Report
from tp.network.references import References, Scope
from tp.network.show import number as show_number
from tp.network.show import show
from tp.network.tree import Binary, Call, Dim, Expr, Let, Name, Neg, Num, Reduce, Table, Transpose, Width
from tp.network.walk import rebuild, walk


def work_out(d: Declarations, references: References, report: Report) -> dict[str, Number]:
    """The numbers of dims and lets that have one; widths and functions are checked on the way."""
    values: dict[str, Number] = {}
    constants: list[Dim | Let] = [*d.dims.values(), *d.lets.values()]
    for s in sorted(constants, key=lambda s: d.order[s.name]):
        if isinstance(s, Let) and (s.index or isinstance(s.value, Table)):
            _table(s, d, references, values, report)
        elif s.value is not None:
            _number(s, s.value, d, references, values, report)
    _put_dims(d, values)
    for width in d.widths.values():
        _width(width, d, references, values, report)
    return values


def lookup(values: dict[str, Number]) -> Callable[[Name], Number | None]:
    """The number of a name that stands without index."""
    return lambda e: None if e.index else values.get(e.name)


def number(e: Expr, values: dict[str, Number], report: Report) -> Number | None:
    """The number that ``e`` is, having reported why it has none."""
    try:
        return evaluate(e, lookup(values))
    except Unworkable as problem:
        if problem.diagnostic is not None:
            report(problem.diagnostic)
        return None


def shown(value: Number) -> str:
    """A number as a user would write it."""
    return show_number(Num(value))[0] if isinstance(value, Fraction) else f"{value:.6g}"


def _number(s: Dim | Let, e: Expr, d: Declarations, references: References, values: dict[str, Number], report: Report) -> None:
    """Enter the number of a dim or let; without one it stays a symbol, and wrong ones are not spoken of again."""
    try:
        if not _names(e, s.name, d, references, report):
            raise Unworkable
        value = evaluate(e, lookup(values))
        if isinstance(s, Dim) and value is not None and (value != int(value) or value < 1):
            raise Unworkable(faults.BadSize(e.span, s.name, shown(value)))
        if value is not None:
            values[s.name] = Fraction(value) if isinstance(s, Dim) else value
    except Unworkable as problem:
        d.broken.add(s.name)
        if problem.diagnostic is not None:
            report(problem.diagnostic)


def _names(e: Expr, name: str, d: Declarations, references: References, report: Report) -> bool:
    """Whether the value of a let or dim uses only what it may: numbers and earlier lets."""
    ok = True
    for x in walk(e):
        if isinstance(x, Name) and x.name in d.order:
            kind = d.kind(x.name)
            assert kind is not None
            if x.name not in d.lets and x.name not in d.dims:
                report(faults.NotInLet(x.span, x.name, kind[0]))
                ok = False
            elif x.name == name:
                report(faults.SelfReference(x.span, name))
                ok = False
            elif d.order[x.name] > d.order[name]:
                report(faults.UsedBeforeDefinition(x.span, x.name, kind[1].line))
                ok = False
        elif isinstance(x, Table | Transpose) or (isinstance(x, Binary) and x.op == "@"):
            report(faults.NotConstant(x.span, show(x), "the value of a `let`"))
            ok = False
    return ok and references.expr(e, Scope(constant="the value of a `let`"))


def _put_dims(d: Declarations, values: dict[str, Number]) -> None:
    """Write numbers for dims in the values of lets, which then speak of lets alone."""

    def put(e: Expr) -> Expr:
        if isinstance(e, Name) and e.name in d.dims and (value := values.get(e.name)) is not None:
            return Num(Fraction(value), shown(value), e.span)
        return rebuild(e, put)

    for name, let in d.lets.items():
        if let.value is not None and not isinstance(let.value, Table):
            d.lets[name] = replace(let, value=put(let.value))


# ---------------------------------------------------------------- tables


def _table(let: Let, d: Declarations, references: References, values: dict[str, Number], report: Report) -> None:
    if let.value is None:
        return
    if not let.index:
        report(faults.TableNeedsIndices(let.span, let.name))
        return
    if not isinstance(let.value, Table):
        report(faults.IndexedLetValue(let.value.span, let.name))
        return
    sizes: list[int | None] = []
    for index in let.index:
        if index not in d.indices:
            report(faults.NoRange(let.span, index, f"declare it: `index {index} in 1..3`"))
            return
        sizes.append(_length(index, d, values))
    _rows(let, let.value, 0, sizes, d, references, values, report)


def _length(index: str, d: Declarations, values: dict[str, Number]) -> int | None:
    declared = d.indices[index]

    def value(name: str) -> Fraction | None:
        number = values.get(name)
        return Fraction(number) if number is not None and number == int(number) else None

    lo, hi = affine(declared.lo, value), affine(declared.hi, value)
    if lo is None or hi is None:
        return None
    length = hi - lo
    return int(length.const) + 1 if not length.terms else None


def _rows(
    let: Let, e: Expr, level: int, sizes: list[int | None], d: Declarations, references: References,
    values: dict[str, Number], report: Report,
) -> None:  # fmt: skip
    if (level < len(sizes)) != isinstance(e, Table):
        report(faults.TableDepth(e.span, let.name, len(sizes)))
        return
    if not isinstance(e, Table):
        if _names(e, let.name, d, references, report):
            number(e, values, report)
        return
    size = sizes[level]
    if size is None:
        report(faults.NeedsValue(e.span, f"the size of `{let.index[level]}`"))
        return
    if size != len(e.rows):
        report(faults.TableShape(e.span, let.name, let.index[level], f"{size} value{'s' * (size != 1)}", len(e.rows)))
        return
    for row in e.rows:
        _rows(let, row, level + 1, sizes, d, references, values, report)


# ---------------------------------------------------------------- widths


def _width(width: Width, d: Declarations, references: References, values: dict[str, Number], report: Report) -> None:
    if width.value is None or not references.expr(width.value, Scope(constant="a ratio of widths")):
        return
    seen, e, name = {width.name}, width.value, width.name
    while True:
        form = ratio(e, d, values)
        if form is None:
            open_ = sorted({x.name for x in walk(e) if isinstance(x, Name) and x.name in d.lets and x.name not in values})
            hint = f"write `width {name}` for one of its own, or `width {name} = 4*n` for a ratio"
            report(faults.BadWidth(e.span, show(e), f"give `{open_[0]}` a number" if open_ else hint))
            return
        name = form[0]
        if name in seen:
            if width.name == min(seen):  # once for all widths of the cycle
                report(faults.WidthCycle(width.value.span, width.name))
            return
        seen.add(name)
        inner = d.widths[name].value
        if inner is None:
            return
        e = inner


def ratio(e: Expr, d: Declarations, values: dict[str, Number]) -> tuple[str, Number] | None:
    """``e`` as a positive multiple of one width."""
    match e:
        case Name(name, ()) if name in d.widths:
            return name, Fraction(1)
        case Binary(op, left, right) if op in "*/":
            if op == "*" and not _has_width(left, d):
                left, right = right, left
            inner = ratio(left, d, values)
            try:
                factor = evaluate(right, lookup(values))
            except Unworkable:
                return None
            if inner is None or factor is None or factor <= 0:
                return None
            return inner[0], inner[1] * factor if op == "*" else inner[1] / factor
        case Num() | Name() | Neg() | Call() | Reduce() | Transpose() | Table() | Binary():
            return None


def _has_width(e: Expr, d: Declarations) -> bool:
    return any(isinstance(x, Name) and x.name in d.widths for x in walk(e))
