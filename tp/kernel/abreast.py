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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np

from tp.kernel import lanewise
from tp.kernel.language import CALLS
from tp.kernel.pairwise import PAIRS, SAMPLES, Pairwise
from tp.kernel.straight import Straight, Unfit, is_straight
from tp.kernel.trees import nodes, placed

Array = Any

LEAST = 4
"""Pairs from which on they are done abreast: for fewer NumPy takes longer than Python lane by lane."""

WIDEST = 1 << 17
"""Numbers that a statement for several turns at once makes at most."""

SUMS = "total", "total_single"
"""Functions of a row of lanes, which are what they are where each lane is an array."""


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
    body: list[ast.stmt] = [Pairwise().function(f) for f in entries.values()]
    body += [Straight(f).function() for f in helpers.values()]
    code = compile(placed(ast.Module(body, [])), "<abreast>", "exec")
    return code, tuple(n for n in entries if not n.endswith("_apart")), tuple(helpers)


def _over(f: ast.FunctionDef) -> bool:
    return any(isinstance(x, ast.For) and ast.unparse(x.iter) in (PAIRS, SAMPLES) for x in f.body)


def _of_numbers(f: ast.FunctionDef) -> bool:
    """Whether a function is straight and takes no rows of tables."""
    taken = {ast.unparse(x.value) for x in nodes(f) if isinstance(x, ast.Subscript)}
    return is_straight(f.body) and taken.isdisjoint(a.arg for a in f.args.args)


def _called(f: ast.FunctionDef) -> set[str]:
    return {x.func.id for x in nodes(f) if isinstance(x, ast.Call) and isinstance(x.func, ast.Name)} - CALLS


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
    return np.logical_or(before, ~(fine.reshape(-1, fine.shape[-1]).all(axis=0) if fine.ndim > 1 else fine))


def turns_(first: int, stop: int, lanes: int, pairs: int) -> Iterator[Array]:
    """The turns of a loop, as many at a time as tables in a core's cache have room for."""
    step = max(1, WIDEST // (max(1, lanes) * pairs))
    for start in range(first, stop, step):
        yield np.arange(start, min(start + step, stop))


def over_turns(found: Array) -> Array:
    """What all turns add."""
    return found.sum(axis=0)


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
    inside = lanewise.scope(plain["range"])
    exec(code, inside)
    twins = lanewise.TWINS
    inside |= {
        "span": span,
        "missing": missing,
        "any_": any_,
        "turns": turns_,
        "over_turns": over_turns,
        **{name: plain[name] for name in SUMS if name in plain},
    }
    made = {name: twins.get(name) or flat(inside[name]) for name in helpers}
    inside |= {name: lanewise.lanewise(plain[name], function) for name, function in made.items()}
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
