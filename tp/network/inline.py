"""Functions written out: a call becomes the function's body with the arguments put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tp.errors import Span
from tp.network.tree import Binary, Call, Expr, Function, Name, Neg, Num, Range, Reduce, Table, Transpose
from tp.network.walk import rebuild, walk


def names_in(e: Expr) -> set[str]:
    """All names in ``e``, those of its inner indices included."""
    found = set[str]()
    for x in walk(e):
        match x:
            case Name(name):
                found.add(name)
            case Call(over=Range(index)):
                found.add(index)
            case Reduce(ranges=ranges):
                found.update(r.index for r in ranges)
    return found


def rename(e: Expr, names: Mapping[str, str]) -> Expr:
    """``e`` with indices renamed, those that run inside it included."""
    if not names:
        return e

    def visit(x: Expr) -> Expr:
        if isinstance(x, Name) and x.name in names and not x.index:
            return replace(x, name=names[x.name])
        return rebuild(x, visit, index)

    def index(r: Range) -> Range:
        lo, hi = (None if b is None else visit(b) for b in (r.lo, r.hi))
        return replace(r, index=names.get(r.index, r.index), lo=lo, hi=hi)

    return visit(e)


def inline(f: Function, call: Call, args: tuple[Expr, ...], fresh: Callable[[str], str]) -> Expr:
    """The body of ``f`` at ``args``. Indices that run inside the body get names that nothing in the arguments has."""
    return _Inliner(f, call, dict(zip(f.params, args, strict=True)), fresh).expr(f.body, {})


class _Inliner:
    def __init__(self, f: Function, call: Call, args: dict[str, Expr], fresh: Callable[[str], str]) -> None:
        self.f, self.over, self.args, self.fresh = f, call.over, args, fresh
        self.span: Span = call.span
        self.taken = set[str]().union(*(names_in(a) for a in args.values()))

    def expr(self, e: Expr, names: Mapping[str, str]) -> Expr:
        """``e`` of the body; ``names`` says what its indices are called now."""
        span = self.span
        match e:
            case Num():
                return replace(e, span=span)
            case Name(name, ()) if name in self.args:
                along = names.get(self.f.over or "")
                return rename(self.args[name], {self.over.index: along} if self.over and along else {})
            case Name(name, index):
                return Name(self.index(name, names), tuple(self.expr(i, names) for i in index), span)
            case Neg(arg):
                return Neg(self.expr(arg, names), span)
            case Transpose(arg):
                return Transpose(self.expr(arg, names), span)
            case Binary(op, left, right):
                return Binary(op, self.expr(left, names), self.expr(right, names), span)
            case Table(rows):
                return Table(tuple(self.expr(r, names) for r in rows), span)
            case Call(fn, args, over):
                new = None if over is None else self.range(over, self.index(over.index, names), names)
                return Call(fn, tuple(self.expr(a, names) for a in args), new, span)
            case Reduce(kind, body, ranges):
                inner, out = dict(names), []
                for r in ranges:
                    base = self.over.index if self.over and r.index == self.f.over else r.index
                    name = self.fresh(base) if base in self.taken else base
                    out.append(self.range(r, name, inner))
                    inner[r.index] = name
                return Reduce(kind, self.expr(body, inner), tuple(out), span)

    def index(self, name: str, names: Mapping[str, str]) -> str:
        """What an index of the body is called now; ``over`` means the one the call runs along."""
        if name == self.f.over and self.over:
            return names.get(name, self.over.index)
        return names.get(name, name)

    def range(self, r: Range, new: str, names: Mapping[str, str]) -> Range:
        if self.over and r.index == self.f.over and r.lo is None:
            return replace(self.over, index=new, span=self.span)
        lo, hi = (None if b is None else self.expr(b, names) for b in (r.lo, r.hi))
        return Range(new, lo, hi, self.span)
