"""Integrals over a line without a compiler: all nodes of many panels at a time, for the templates of ``tp.gaussian.panels``.

A generated integral goes from panel to panel, for the next begins where the one before was halved to fit. Here panels are laid
out to the end as they were the last time, with the larger ones that are tried before, and φ is evaluated at all their nodes at
once; from the first on that is halved more or less often they are laid out anew. So panels are those of the template, and sums
but for rounding. φ itself is what the generated ``phi_fits`` has at a node, as a function of arrays.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp.gaussian.powers import beyond, node, tail
from tp.kernel.straight import Straight, calling, is_straight
from tp.kernel.trees import copied, nodes, placed

Array = NDArray[np.float64]

AT_ONCE = 64
"""Panels that are laid out at most."""

WHERE = "middle + half * (x if side == 1 else -x)"
"""A node, in the templates."""

DENSITY = 0.3989422804014327


# ------------------------------------------------------------ nodes and panels


@lru_cache(1)
def rule() -> tuple[Array, Array]:
    """The nodes of a panel [-1, 1], the two near its ends last, and the weights of the others."""
    x, w = np.array([node(i) for i in range(9)]).T
    return np.column_stack([-x, x]).ravel(), np.repeat(w[:8], 2)


@lru_cache(1)
def _tails() -> Array:
    """What takes a panel's values to their last four Legendre coefficients, and to what the ends are off the polynomial."""
    found = np.zeros((6, 18))
    for i in range(8):
        found[:4, 2 * i + 1] = tail(i)
        found[:4, 2 * i] = found[:4, 2 * i + 1] * (1.0, -1.0, 1.0, -1.0)
        found[4, [2 * i, 2 * i + 1]] = found[5, [2 * i + 1, 2 * i]] = beyond(i)
    found[[4, 5], [16, 17]] = -1.0
    return found


def doubts(values: Array) -> Array:
    """:func:`tp.gaussian.panels.doubt` of panels, [panel, node]."""
    k12, k13, k14, k15, low, high = np.abs(np.einsum("ki,pi->kp", _tails(), values))  # of a panel whatever the others are
    worst = np.maximum(np.maximum(k14 + k15, 0.03 * (k12 + k13)), 0.0106 * np.maximum(low, high))
    return np.asarray(np.maximum(worst - 1e-14 * np.abs(values[:, :16]).max(1), 0.0))


def doubt(row: Array) -> float:
    """The same of one panel."""
    k12, k13, k14, k15, low, high = map(abs, (_tails() @ row).tolist())
    worst = max(k14 + k15, 0.03 * (k12 + k13), 0.0106 * max(low, high))
    return max(worst - 1e-14 * float(np.abs(row[:16]).max()), 0.0)


@dataclass(frozen=True, slots=True)
class Line:
    """φ(m + s y) of a Gaussian y: the values and slopes, where a panel from y ends at most, sizes, and the moment.

    ``before`` has how often each panel was halved the last time, which tells what is worth evaluating at once, and nothing else.
    """

    values: Callable[[Array], tuple[Any, Any]]
    ends: Callable[[float], float]
    norm: float
    steep: float
    moment: float
    before: list[int]

    def fits(self, low: Array, high: Array) -> tuple[Array, NDArray[np.bool_]]:
        """φ and φ' at the nodes of panels, [2, panel, node], and whether the rule is right there: ``panels.phi_fits``."""
        half, middle = 0.5 * (high - low), 0.5 * (high + low)
        found = np.empty((2, len(low), 18))
        found[0], found[1] = self.values(middle[:, None] + half[:, None] * rule()[0])
        near = np.maximum(np.maximum(low, -high), 0.0)
        most = 1e-13 * np.exp(0.5 * near * near / self.moment) / half
        return found, ~((doubts(found[0]) > most * self.norm) | (doubts(found[1]) > most * self.steep))

    def panels(self, end: float, panels: int, halvings: int, both: int) -> tuple[Array, Array, Array] | None:
        """Panels from -end to end: their middles, half their widths, the values; None where it takes more than so many."""
        ends, rooms, ahead, halved, before = [-end], [], 3.0 - end, [0], self.before[:]
        while ends[-1] < end:
            expected = before[len(ends) - 1 :]
            expected[:1] = [max(0, k - halved[-1]) for k in expected[:1]]
            low, high, tries = self.laid(ends[-1], ahead, end, expected)
            with np.errstate(all="ignore"):  # of candidates that are never taken
                found, fine = self.fits(np.array(low), np.array(high))
            which, first = [], 0
            for count in tries:
                fit = fine[first : first + count]
                k = int(fit.argmax()) if fit.any() else count
                halved[-1] += k
                if k == count:
                    ahead = ends[-1] + 0.5 * (high[first + k - 1] - ends[-1])
                    break
                which.append(first + k)
                ends.append(high[first + k])
                ahead = ends[-1] + 2.0 * (ends[-1] - ends[-2])
                halved.append(0)
                if k + 1 < count:
                    break
                first += count
            rooms.append(found[:, which])
            if len(ends) > panels or sum(halved) >= halvings or sum(halved) + len(ends) > both:
                return None
        self.before[:] = halved
        starts, stops = np.array(ends[:-1]), np.array(ends[1:])
        return 0.5 * (stops + starts), 0.5 * (stops - starts), np.concatenate(rooms, 1)

    def laid(self, y: float, first: float, end: float, halved: Sequence[int]) -> tuple[list[float], list[float], list[int]]:
        """Where panels begin and end, from y on, and how many ends each has: it fits when it is so often ``halved``.

        The first ends no later than at ``first``.
        """
        starts: list[float] = []
        stops: list[float] = []
        tries: list[int] = []
        stop, often = min(self.ends(y), first, end), 0
        while y < end and len(stops) < AT_ONCE:
            often = halved[len(tries)] if len(tries) < len(halved) else often
            for k in range(often + 1):
                stop = y + 0.5 * (stop - y) if k else stop
                starts.append(y)
                stops.append(stop)
            tries.append(often + 1)
            y, stop = stop, min(self.ends(stop), stop + 2.0 * (stop - y), end)
        return starts, stops, tries


def mean(line: Line, end: float, most: int) -> tuple[float, float]:
    """``panels.phi_mean`` where φ has a variance."""
    found = line.panels(end, most, most, most)
    if found is None or line.norm == math.inf:
        return math.nan, math.nan
    middle, half, values = found
    x, w = rule()
    t = middle[:, None] + half[:, None] * x[:16]
    weight = half[:, None] * w * np.exp(-0.5 * t * t)
    value, slope = np.einsum("pi,kpi->k", weight, values[..., :16]).tolist()
    return DENSITY * value, DENSITY * slope


def samples(line: Line, end: float) -> Array:
    """``hermite.samples``."""
    found = line.panels(end, 4096, 8192, 1 << 30)
    if found is None or not line.norm < math.inf:
        return np.empty((4, 0))
    middle, half, values = found
    x, w = rule()
    t = middle[:, None] + half[:, None] * x[:16]
    weight = DENSITY * w * half[:, None] * np.exp(-0.25 * t * t)
    return np.stack([t, weight, *values[..., :16]]).reshape(4, -1)


def project(rows: Array, which: int, out: Array, first: int, terms: int) -> Any:
    """:func:`tp.gaussian.hermite.project`, all nodes at a time, of rows [..., 4, node]: there are many nodes, and many terms."""
    x, weight = rows[..., 0, :], rows[..., 1, :] * rows[..., which, :]
    before, now, next_ = np.zeros_like(x), np.exp(-0.25 * x * x), np.empty_like(x)
    square = np.einsum("...i,...i,...i->...", weight, now, rows[..., which, :])
    for k in range(terms):
        out[..., first + k] = np.einsum("...i,...i->...", weight, now)
        np.multiply(x, now, out=next_)
        before *= math.sqrt(k)
        next_ -= before
        next_ *= 1.0 / math.sqrt(k + 1.0)
        before, now, next_ = now, next_, before
    return square


def sites(drawn: Sequence[tuple[Any, float, Array]]) -> None:
    """``hermite.site`` of variances, from their samples, if these are no number that a site has already."""
    drawn = [one for one in drawn if isinstance(one[0], np.ndarray)]
    for rows, _, out in drawn:
        out[...] = 0.0
        out[-2:] = 0.0 if rows.shape[1] else math.inf
    drawn = [one for one in drawn if one[0].shape[1]]
    if not drawn:
        return
    whole = np.zeros((len(drawn), 4, max(rows.shape[1] for rows, _, _ in drawn)))
    for room, (rows, _, _) in zip(whole, drawn, strict=True):
        room[:, : rows.shape[1]] = rows  # the others have no weight
    found, q = np.zeros((len(drawn), len(drawn[0][2]))), np.array([q for _, q, _ in drawn])
    top = found.shape[1] - 2
    slope = project(whole, 3, found, 1, top - 1)
    x, weight, f, _ = whole.swapaxes(0, 1)
    mass = weight * np.exp(-0.25 * x * x)
    average, value = np.einsum("si,si->s", mass, f), np.einsum("si,si,si->s", mass, f, f)
    k = np.arange(1.0, top)
    squares = found[:, 1:top] ** 2
    left, dleft = value - average * average - q * (squares / k).sum(1), slope - squares.sum(1)
    found[:, 0] = average
    found[:, 1:top] /= np.sqrt(k)
    for column, rest, total in ((top, left, value), (top + 1, dleft, slope)):
        fine = total > 0.0
        found[fine, column] = np.sqrt(np.maximum(rest[fine], 2e-16 * total[fine]) / total[fine])
    for (_, _, out), values in zip(drawn, found, strict=True):
        out[...] = values


def site(rows: Array, q: float, out: Array) -> float:
    """The same of one; the larger of its tails."""
    sites([(rows, q, out)])
    return max(float(out[-2]), float(out[-1]))


def squares(q: float, out: Array) -> tuple[float, float]:
    """:func:`tp.gaussian.hermite.squares`, of all terms at a time."""
    terms = out[1:-2] * out[1:-2]
    return float(out[0] * out[0] + q * terms.sum()), float(np.arange(1.0, len(terms) + 1) @ terms)


TWINS: dict[str, Callable[..., Any]] = {"project": project, "squares": squares, "doubt": doubt}
"""What stands for functions that are the same in all texts."""


# ------------------------------------------------------------ generated functions


@lru_cache(16)
def code(text: str) -> tuple[CodeType, CodeType, frozenset[str]]:
    """Array code of what is evaluated at nodes; integrals, samples and sites that take it; the names of the latter."""
    functions = dict(_functions(text))
    values = [v for f in functions.values() if f.name.startswith("phi_fits_") and (v := _values(f)) is not None]
    known = {f.name for f in values}
    means = [_cut(f, known) for f in functions.values() if f.name.startswith(("phi_mean_", "samples_"))]
    made = [f for f in means if f is not None]
    drawn = {f.name for f in made}
    for f in [f for f in functions.values() if f.name.startswith("site_")]:
        made += _of_samples(f, drawn)
    drawing = {f.name for f in made}
    made += [f for f in functions.values() if f.name.startswith("fill_") and _fills(f, drawing)]
    parts = (placed(ast.Module([*body], [])) for body in (values, made))
    one, other = (compile(tree, "<lines>", "exec") for tree in parts)
    return one, other, frozenset(f.name for f in made)


KINDS = "phi_fits_", "phi_mean_", "samples_", "site_", "fill_"


def _functions(text: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for block in text.split("\n\n\n"):
        if any(f"def {kind}" in block for kind in KINDS):
            for f in ast.parse(block).body:
                if isinstance(f, ast.FunctionDef) and f.name.startswith(KINDS):
                    f.decorator_list = []
                    yield f.name, f


def _values(f: ast.FunctionDef) -> ast.FunctionDef | None:
    """φ and φ' at the node t, of a ``phi_fits``; None where they are no straight function of it."""
    loop = next((s for s in f.body if isinstance(s, ast.For)), None)
    inner = next((s for s in loop.body if isinstance(s, ast.For)), None) if loop is not None else None
    match inner:
        case ast.For(body=[*before, ast.Assign(value=one), ast.Assign(value=other)]):
            names = [a.arg for a in f.args.args]
            arguments = ast.arguments([], [ast.arg(n) for n in (*names[:2], "t", *names[8:])], None, [], [], None, [])
            body = [*before, ast.Return(ast.Tuple([one, other], ast.Load()))]
            found = _Nodes().visit(ast.FunctionDef(_at(f.name), arguments, body, []))
            left = {x.id for x in nodes(found) if isinstance(x, ast.Name)}
            return Straight(found).function() if left.isdisjoint({"x", "side", "middle"}) and is_straight(body) else None
    return None


class _Nodes(ast.NodeTransformer):
    """``t`` for a node."""

    def visit_BinOp(self, x: ast.BinOp) -> ast.expr:
        if ast.unparse(x) == WHERE:
            return ast.Name("t", ast.Load())
        self.generic_visit(x)
        return x


def _halved(name: str) -> str:
    return f"halved_{name}"


def _at(name: str) -> str:
    return f"at_nodes_{name}"


def _cut(f: ast.FunctionDef, known: set[str]) -> ast.FunctionDef | None:
    """A mean, or samples, up to its loop over panels, and then all of these at once; None where φ is not ``known`` at nodes."""
    k = next(k for k, s in enumerate(f.body) if isinstance(s, ast.While))
    calls = {x.func.id.rsplit("_", 1)[0]: x for x in nodes(f.body[k]) if isinstance(x, ast.Call) and isinstance(x.func, ast.Name)}
    panel, fits = calls.get("phi_panel"), calls.get("phi_fits")
    if panel is None or fits is None or _at(ast.unparse(fits.func)) not in known:
        return None
    m, s, moment, params = fits.args[0], fits.args[1], fits.args[6], fits.args[8:]
    values = calling(_at(ast.unparse(fits.func)), m, s, ast.Name("t", ast.Load()), *params)
    given = f"lambda t: {ast.unparse(values)}, lambda y: {ast.unparse(panel)}, norm, steep, {ast.unparse(moment)}"
    line = f"Line({given}, {_halved(f.name)})"
    last = f"along_line({line}, end, most)" if f.name.startswith("phi_mean_") else f"at_samples({line}, end)"
    f.body = [*f.body[:k], _returned(last)]
    return f


def _returned(text: str) -> ast.Return:
    return ast.Return(ast.parse(text, mode="eval").body)


def _of_samples(f: ast.FunctionDef, drawn: set[str]) -> list[ast.FunctionDef]:
    """A site from its samples, and the samples alone; nothing where these are not drawn here."""
    for k, s in enumerate(f.body):
        match s:
            case ast.Assign(targets=[ast.Name(id="rows")], value=ast.Call(func=ast.Name(id=name))) if name in drawn:
                before = [*ast.parse("out[...] = 0.0").body, *(x for x in f.body[: k + 1] if not isinstance(x, ast.For))]
                lasts = {f.name: "of_samples(rows, q, out)", _drawing(f.name): "rows"}
                return [ast.FunctionDef(n, f.args, copied([*before, _returned(last)]), []) for n, last in lasts.items()]
    return []


def _fills(f: ast.FunctionDef, drawing: set[str]) -> bool:
    """Makes what fills rows, a site each, draw the samples of all of them first; whether it is that and they are drawn here."""
    match f.body:
        case [ast.For(body=[ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[q, *_, out]) as call)]) as loop]:
            if _drawing(name) not in drawing:
                return False
            drawn = calling(_drawing(name), *call.args)
            loop.body = [*ast.parse(f"drawn.append(({ast.unparse(drawn)}, {ast.unparse(q)}, {ast.unparse(out)}))").body]
            f.body = [*ast.parse("drawn = []").body, loop, *ast.parse("of_all_samples(drawn)").body]
            return True
    return False


def _drawing(name: str) -> str:
    return f"drawn_{name}"


def functions(text: str, plain: dict[str, Any], inside: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The integrals of a text, to be called among ``plain`` functions; those that take arrays are ``inside``."""
    if "\ndef phi_fits_" not in text:
        return {}
    values, made, names = code(text)
    exec(values, inside)
    scope: dict[str, Any] = {**plain, **{n: f for n, f in inside.items() if n.startswith(_at(""))}}
    scope |= {"Line": Line, "along_line": mean, "at_samples": samples, "of_samples": site, "of_all_samples": sites}
    scope |= {_halved(name): [] for name in names}
    exec(made, scope)
    return {name: scope[name] for name in names}
