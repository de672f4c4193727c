"""Generated text with positions as lanes as array code: many pairs abreast, every number with a last axis of pairs.

The text has one pair at a time, and loops over lanes. Here its tables get one more axis, the last: an index that leaves it out
gives all pairs, so that places stay as they are written, with the pair's own ``i``, ``j`` and place in the results at 0 of tables
that were gathered for the pairs at hand. A loop over lanes is one statement after the other for all lanes [lane, pair], and what
is the same for all lanes, as a number of the first sample, has pairs alone. Only flags, of a loop that missed a lane, are asked
whether any lane, or any pair, has them. Helpers are straight functions of numbers; with others a text is :class:`Unfit`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from tp.kernel import lanewise
from tp.kernel.arrays import SKIPPED, Lanes, Straight, Unfit, calling, flags, is_straight
from tp.kernel.language import CALLS
from tp.kernel.loops import carried

Array = Any

LEAST = 4
"""Pairs from which on they are done abreast: for fewer NumPy takes longer than Python lane by lane."""

SUMS = "total", "total_single"
"""Functions of a row of lanes, which are what they are where each lane is an array."""

PAIRS = "range(work.shape[0])"
SAMPLES = "range(start, stop)"


# ------------------------------------------------------------ text


@lru_cache(8)
def array_code(text: str) -> tuple[CodeType, tuple[str, ...], tuple[str, ...]]:
    """The functions that have lanes and the helpers of these, and both their names; it raises :class:`Unfit`."""
    functions = {f.name: f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)}
    entries = {name: f for name, f in functions.items() if _over(f) or name.endswith("_apart") or name == "rows"}
    if "rows" not in entries:
        raise Unfit("samples are lanes")
    helpers: dict[str, ast.FunctionDef] = {}
    for name, f in functions.items():  # those that are called come first
        if name not in entries and _of_numbers(f) and _called(f) & functions.keys() <= helpers.keys():
            helpers[name] = f
    missing = {n for f in entries.values() for n in _called(f) & functions.keys()} - helpers.keys() - entries.keys() - {*SUMS}
    if missing:
        raise Unfit(f"{missing} are no straight functions of numbers")
    body: list[ast.stmt] = [_Abreast().function(f) for f in entries.values()]
    body += [Straight(f).function() for f in helpers.values()]
    code = compile(ast.fix_missing_locations(ast.Module(body, [])), "<abreast>", "exec")
    return code, tuple(n for n in entries if not n.endswith("_apart")), tuple(helpers)


def _over(f: ast.FunctionDef) -> bool:
    return any(isinstance(x, ast.For) and ast.unparse(x.iter) in (PAIRS, SAMPLES) for x in f.body)


def _of_numbers(f: ast.FunctionDef) -> bool:
    """Whether a function is straight and takes no rows of tables."""
    taken = {ast.unparse(x.value) for x in ast.walk(f) if isinstance(x, ast.Subscript)}
    return is_straight(f.body) and taken.isdisjoint(a.arg for a in f.args.args)


def _called(f: ast.FunctionDef) -> set[str]:
    return {x.func.id for x in ast.walk(f) if isinstance(x, ast.Call) and isinstance(x.func, ast.Name)} - CALLS


class _Abreast(Lanes):
    """A function of one pair at a time, for all that are given."""

    def __init__(self) -> None:
        self.first: ast.expr | None = None
        """The first lane of the loop at hand; ``None`` outside of loops over lanes."""
        self.stop: ast.expr = ast.Constant(0)
        self.flags: set[str] = set()

    def function(self, f: ast.FunctionDef) -> ast.FunctionDef:
        f.decorator_list = []
        samples = all(a.arg != "hard" for a in f.args.args)
        pairs = "pairs = stop - start" if samples else "pairs = hard.shape[-1]"
        f.body = [*ast.parse(pairs).body, *self.block(f.body)]
        return f

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for s in body:
            made = self.visit(s)
            found += made if isinstance(made, list) else [made] if made is not None else []
        return found

    # statements

    def visit_For(self, s: ast.For) -> Any:
        if isinstance(s.target, ast.Name) and s.target.id == "z" and self.first is None:
            return self.lanes(s)
        if ast.unparse(s.iter) in (PAIRS, SAMPLES):
            s.iter = calling("range", ast.Constant(1))
        s.iter = self.visit(s.iter)
        s.body = self.block(s.body)
        return s

    def lanes(self, s: ast.For) -> list[ast.stmt]:
        """A loop over lanes: none, for all of them at once."""
        assert isinstance(s.iter, ast.Call)
        self.flags |= flags(s.body)
        if left := carried(s) - flags(s.body):
            raise Unfit(f"{left} are carried from lane to lane")
        places = [(ast.unparse(x.value), x.ctx) for x in ast.walk(s) if isinstance(x, ast.Subscript)]
        read, written = ({n for n, ctx in places if isinstance(ctx, kind)} for kind in (ast.Load, ast.Store))
        if read & written:
            raise Unfit(f"{read & written} are read and written in one loop")
        *start, stop = [self.visit(a) for a in s.iter.args]
        if len(start) > 1:
            raise Unfit(ast.unparse(s.iter))
        self.first, self.stop = start[0] if start else ast.Constant(0), stop
        found = self.block(s.body)
        self.first = None
        return found

    def visit_If(self, s: ast.If) -> ast.If | None:
        if ast.unparse(s) == SKIPPED_PAIR:
            return None
        if self.first is not None:
            raise Unfit("a condition in a loop over lanes")
        s.test = calling("any_", s.test) if isinstance(s.test, ast.Name) and s.test.id in self.flags else self.visit(s.test)
        s.body, s.orelse = self.block(s.body) or [ast.Pass()], self.block(s.orelse)
        return s

    def visit_While(self, s: ast.While) -> Any:
        raise Unfit("while")

    def visit_Assign(self, s: ast.Assign) -> ast.Assign:
        match s:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.IfExp(test=test)) if self.first and flags([s]):
                s.value = calling("missing", ast.Name(name, ast.Load()), self.visit(test))
                return s
            case ast.Assign(value=ast.Call(func=ast.Attribute(attr="empty" | "zeros"), args=[shape, *_])):
                sizes = shape.elts if isinstance(shape, ast.Tuple) else [shape]
                shape = ast.Tuple([*sizes, ast.Name("pairs", ast.Load())], ast.Load())
                assert isinstance(s.value, ast.Call)
                s.value.args[0] = shape
                return s
        s.value = self.visit(s.value)
        s.targets = [self.visit(t) for t in s.targets]
        return s

    def visit_AugAssign(self, s: ast.AugAssign) -> ast.stmt:
        """What is added to a name is not added to the array it stood for, which may have other names."""
        value = self.visit(s.value)
        if isinstance(s.target, ast.Name):
            return ast.Assign([s.target], ast.BinOp(ast.Name(s.target.id, ast.Load()), s.op, value))
        return ast.AugAssign(self.visit(s.target), s.op, value)

    # places

    def visit_Subscript(self, e: ast.Subscript) -> ast.expr:
        *before, last = e.slice.elts if isinstance(e.slice, ast.Tuple) else [e.slice]
        if any(_has_lane(x) for x in before) or not _has_lane(last):
            if any(_has_lane(x) for x in (*before, e.value)):
                raise Unfit(ast.unparse(e))
            return e
        along = self.along(last)
        return ast.Subscript(e.value, ast.Tuple([*before, along], ast.Load()) if before else along, e.ctx)

    def along(self, x: ast.expr) -> ast.expr:
        """The lanes of the loop at hand, where one has ``x``."""
        assert self.first is not None
        if isinstance(x, ast.Name):
            return ast.Slice(self.first, self.stop)
        text, one = ast.unparse(x), ast.unparse(self.first)
        first, second = (re.sub(r"\bz\b", lane, text) for lane in (f"({one})", f"({one} + 1)"))
        count = f"({ast.unparse(self.stop)}) - ({one})"
        return ast.parse(f"span({first}, {second}, {count})", mode="eval").body


SKIPPED_PAIR = SKIPPED.replace("[i - i0]", "[w]")


def _has_lane(x: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "z" for n in ast.walk(x))


# ------------------------------------------------------------ what it calls


def span(first: int, second: int, count: int) -> slice:
    """``count`` places from the first on, as far apart as the second is from it."""
    step = second - first
    if count <= 0:
        return slice(0, 0)
    stop = first + step * count
    return slice(first, stop if stop >= 0 else None, step)


def missing(before: Any, fine: Any) -> Any:
    """Pairs that have a lane that is not fine, or had one before."""
    fine = np.asarray(fine)
    return np.logical_or(before, ~(fine.all(axis=0) if fine.ndim > 1 else fine))


def any_(flag: Any) -> bool:
    return bool(np.any(flag))


def flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays of lanes, for arrays [lane, pair], of which some have pairs alone."""

    def call(*args: Any) -> Any:
        arrays = [a for a in args if type(a) is np.ndarray]
        if not arrays or max(a.ndim for a in arrays) == 1:
            return function(*args)
        shape = np.broadcast(*arrays).shape
        found = function(*(_whole(a, shape) if type(a) is np.ndarray else a for a in args))
        if isinstance(found, tuple):
            return tuple(x.reshape(shape) if np.ndim(x) else x for x in found)
        return found.reshape(shape) if np.ndim(found) else found

    return call


def _whole(a: Array, shape: tuple[int, ...]) -> Array:
    return (a if a.shape == shape else np.broadcast_to(a, shape)).reshape(-1)


# ------------------------------------------------------------ functions


def functions(text: str, plain: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """The functions with lanes of a text, as array code for many pairs and as they are in plain Python for few."""
    code, entries, helpers = array_code(text)
    inside: dict[str, Any] = {**vars(lanewise), "math": lanewise.elementary(plain["math"]), "np": np, "range": plain["range"]}
    exec(code, inside)
    twins = lanewise.TWINS
    inside |= {"span": span, "missing": missing, "any_": any_, **{name: plain[name] for name in SUMS if name in plain}}
    inside |= {name: flat(lanewise.lanewise(plain[name], twins.get(name, inside[name]))) for name in helpers}
    return {name: _for_pairs(name, inside[name], plain[name]) for name in entries}


def _for_pairs(name: str, many: Callable[..., None], few: Callable[..., None]) -> Callable[..., None]:
    code: CodeType = few.__code__
    names = code.co_varnames[: code.co_argcount]
    work = _samples if name == "sites" else _pairs

    def call(*args: Any) -> None:
        with np.errstate(all="ignore"):  # both sides of a condition are computed; each thread has such a state of its own
            work(names, many, few, *args)

    return call


def _samples(names: Sequence[str], many: Any, few: Any, n: Any, c: Any, start: int, stop: int, *arrays: Array) -> None:
    """``sites`` of many samples: tables seen with the samples last."""
    if stop - start < LEAST:
        few(n, c, start, stop, *arrays)
        return
    named = zip(names[4:], arrays, strict=True)
    many(n, c, 0, stop - start, *(_constant(a) if _is_constant(name) else _last(a[start:stop]) for name, a in named))


def _pairs(names: Sequence[str], many: Any, few: Any, n: Any, c: Any, work: Any, same: bool, hard: Any, *arrays: Array) -> None:
    """``rows``, or ``exact`` for those that are hard, of many pairs."""
    which = np.flatnonzero(hard) if many.__name__ == "exact" else np.arange(len(work))
    if len(which) < LEAST:
        few(n, c, work, same, hard, *arrays)
        return
    i, j, row, col = work[which].T
    missed = np.zeros((1, len(which)), hard.dtype)
    given, results = [], []
    for name, a in zip(names[5:], arrays, strict=True):
        if re.fullmatch(r"out\d+", name):
            given.append(np.zeros((*a.shape[:-2], 1, 1, len(which)), a.dtype))
            results.append((a, given[-1]))
        elif _is_constant(name):
            given.append(_constant(a))
        else:
            given.append(np.ascontiguousarray(_last(a[i if name.endswith("_1") else j])))
    many(n, c, np.zeros((1, 4), np.int64), same, missed, *given)
    for a, found in results:
        a[..., row, col] = found[..., 0, 0, :]
    hard[which] += missed[0]


def _is_constant(name: str) -> bool:
    """Whether a table has numbers that all pairs share."""
    return name.startswith("const_")


def _constant(a: Array) -> Array:
    return a[..., None]


def _last(a: Array) -> Array:
    """[sample, …] as [1, …, sample]."""
    return np.moveaxis(a, 0, -1)[None]
