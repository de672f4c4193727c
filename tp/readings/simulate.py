"""A program at finite width: every instruction does what its name says, on NumPy arrays.

This is the oracle that limits are held against. It reads the same Program as they do and shares no code with them.
Weights are drawn once per family member and shared by all samples; everything else exists once per sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, assert_never

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from tp.errors import NOWHERE, DataError, Message, Span
from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, OuterNonlin, Program, Ref, Space, Weight
from tp.program.reads import flat, reads
from tp.readings.expression import Compiler
from tp.readings.indexing import Edge, Env, Key, edges_of, resolve, show
from tp.readings.inputs import environment, generator, samples_of, table_members
from tp.readings.memory import check_size
from tp.readings.ops import Entries, Frame

Array = NDArray[np.float64]
BAND = 2**15
"""Entries of a matrix that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A weight's declaration and its numbers: entries are ``multiplier * w``, ``w ~ N(mean, variance)``."""

    weight: Weight
    multiplier: float
    mean: float
    variance: float
    rate: float


@dataclass(repr=False)
class Run:
    """One draw of the weights, and the value of every member.

    ``values`` holds matrices [m, n], vectors [N or 1, n] and scalars [N or 1], in the order in which they were made;
    ``given`` are the data and tables, ``weights`` says how each weight was drawn. ``run["h", 1, 3]`` is ``h[1,3]`` as [N, n].
    """

    program: Program
    samples: int
    env: dict[str, Any]
    values: dict[Key, Array] = field(default_factory=dict)
    given: frozenset[Key] = frozenset()
    weights: dict[Key, Drawn] = field(default_factory=dict)
    edges: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    compiler: Compiler = field(default_factory=Compiler)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{space.name} = {self.env[space.name]}" for space in self.program.spaces)
        return f"<run of {self.program.name}: {sizes}, {self.samples} samples, {len(self.values)} members>"

    def __getitem__(self, which: str | Ref | Key) -> Array:
        """Per sample for what is computed or given: [N, n] or [N]. A weight is its own shape: [m, n], [n] or []."""
        key = self.key(which)
        array = self.values[key]
        if key in self.weights:
            return array if self.weights[key].weight.cols else array[0]
        return np.broadcast_to(array, (self.samples, *array.shape[1:]))

    @property
    def outputs(self) -> dict[str, Array]:
        """The outputs by name: [N, index ranges in order…]; NaN at an index where none is defined."""
        return {str(ref.name): self._output(ref) for ref in self.program.outputs}

    def key(self, which: str | Ref | Key) -> Key:
        """``"f"``, ``("h", 1, 3)`` or a Ref, as a key of ``values``."""
        if isinstance(which, Ref):
            key = self.compiler.key(which, self.env)
        else:
            key = tuple(which) if isinstance(which, tuple) else (which,)
        if key not in self.values:
            members = [show(k) for k in self.values if k[0] == key[0]][:4]
            names = dict.fromkeys(k[0] for k in self.values if k[0] not in self.program.temps)
            remedy = f"its members begin with {', '.join(members)}" if members else f"it has {', '.join(names)}"
            if len(key) == 1 and members:
                remedy += f"; they are read as run[{', '.join(map(repr, next(k for k in self.values if k[0] == key[0])))}]"
            raise DataError(Message(NOWHERE, f"`{show(key)}` is no member of this program", remedy, "unknown member"))
        return key

    def members(self, ref: Ref) -> list[Key]:
        """The members that ``ref``, with its indices free, stands for."""
        fixed = {k: self.compiler.integer(e, self.env) for k, e in enumerate(ref.index) if not e.free_symbols}
        found = (k for k in self.values if k[0] == ref.name and len(k) == 1 + len(ref.index))
        return sorted(k for k in found if all(k[1 + slot] == at for slot, at in fixed.items()))

    def read(self, key: Key) -> Array | None:
        """What an expression sees at ``key``; None where the boundary makes it zero."""
        found = resolve(key, self.values, self.edges.get(key[0], ()))
        return None if found is None else self.values[found]

    def _output(self, ref: Ref) -> Array:
        keys = np.array([k[1:] for k in self.members(ref)], dtype=int)
        free = [slot for slot, e in enumerate(ref.index) if e.free_symbols]
        lows = [keys[:, slot].min() for slot in free]
        shape = [keys[:, slot].max() - low + 1 for slot, low in zip(free, lows, strict=True)]
        result = np.full((self.samples, *shape), np.nan)
        for index in keys:
            at = tuple(index[slot] - low for slot, low in zip(free, lows, strict=True))
            result[(slice(None), *at)] = self[(ref.name, *map(int, index))]
        return result


def simulate(
    program: Program,
    inputs: Mapping[str, Any],
    width: int | Mapping[str, int],
    seed: int | np.random.Generator = 0,
    constants: Mapping[str, Any] | None = None,
    memory: int | None = None,
) -> Run:
    """Draw the weights of ``program`` at ``width`` and compute every variable for every sample.

    ``inputs[name]`` is [N, index ranges…, finite axes…]; ``width`` sizes the free widths, all alike or by name;
    ``constants`` gives the lets that were left symbolic; ``memory`` is a limit in bytes (half of the machine's).
    """
    run = Run(program, 1, {})
    run.env = environment(program, width, constants or {}, run.compiler)
    check_size(program, _first_axis(inputs), run.env, run.compiler, memory)
    run.samples, data = samples_of(program, inputs, run.env, run.compiler)
    run.values.update(data)
    run.values.update(table_members(program, constants or {}, run.env, run.compiler, lambda e: _number(run, e, run.env)))
    run.given = frozenset(run.values)
    run.edges = edges_of(run.program, run.compiler.integer, run.env)
    with np.errstate(all="ignore"):
        _draw(run, generator(seed))
        _execute(run, program.body, run.env)
    _check_finite(run)
    return run


def replay(run: Run, changed: Mapping[Key, Array]) -> Run:
    """The same draw and the same data with some weights replaced, each by an array of the shape ``run[weight]`` has.

    What depends on them is computed again; the rest is kept.
    """
    arrays = {run.key(k): np.asarray(a, dtype=np.float64).reshape(run.values[run.key(k)].shape) for k, a in changed.items()}
    stale = _dependent(run.program, {str(k[0]) for k in arrays})
    again = replace(run, values={k: v for k, v in run.values.items() if k[0] not in stale} | arrays)
    with np.errstate(all="ignore"):
        _execute(again, _only(run.program.body, stale), run.env)
    _check_finite(again)
    return again


def _dependent(program: Program, names: set[str]) -> set[str]:
    """The families that are computed, at some remove, from those called ``names``."""
    graph = [(str(ins.out.name), {str(ref.name) for ref, _ in reads(ins)}) for ins in flat(program.body)]
    found: set[str] = set()
    while fresh := {out for out, read in graph if out not in found and read & (names | found)}:
        found |= fresh
    return found


def _only(body: Sequence[Instruction], names: set[str]) -> tuple[Instruction, ...]:
    """The instructions that make ``names``."""
    cut = (replace(ins, body=_only(ins.body, names)) if isinstance(ins, Loop) else ins for ins in body)
    return tuple(ins for ins in cut if (ins.body if isinstance(ins, Loop) else ins.out.name in names))


def _first_axis(inputs: Mapping[str, Any]) -> int:
    shapes = [np.shape(a) for a in inputs.values() if hasattr(a, "shape")]
    return max((s[0] for s in shapes if s), default=1)


# ---------------------------------------------------------------- weights


def _draw(run: Run, rng: np.random.Generator) -> None:
    """Every member of every weight, in declared order."""
    for weight in run.program.weights:
        for env in run.compiler.points(weight.domain, run.env):
            key = run.compiler.key(weight.ref, env)
            drawn = run.weights[key] = _numbers(run, weight, env)
            run.values[key] = _sample(run, drawn, rng)


def _numbers(run: Run, weight: Weight, env: Env) -> Drawn:
    law = (weight.multiplier, weight.mean, weight.variance, weight.rate)
    drawn = Drawn(weight, *(_number(run, e, env) for e in law))
    numbers = {name: getattr(drawn, name) for name in ("multiplier", "mean", "variance", "rate")}
    if not np.isfinite(list(numbers.values())).all() or drawn.variance < 0:
        reason = f"`{weight.ref}` has " + ", ".join(f"{name} {value:g}" for name, value in numbers.items())
        raise DataError(Message(weight.span, reason, "a variance is not negative, and all are finite", "no such weight"))
    return drawn


def _number(run: Run, expr: sp.Expr, env: Env) -> float:
    """An expression in constants, widths, indices and table entries."""
    return float(np.squeeze(Frame(env, run, vector=False).value(run.compiler.op(expr))))


def _sample(run: Run, drawn: Drawn, rng: np.random.Generator) -> Array:
    """A matrix [m, n], a vector [1, n] or a scalar [1]."""
    size = [run.env[space.name] for space in (drawn.weight.rows, drawn.weight.cols) if space]
    shape = tuple(size) if len(size) == 2 else (1, *size)
    if drawn.variance == 0:
        return np.full(shape, drawn.multiplier * drawn.mean)
    entries = rng.standard_normal(shape)
    entries *= drawn.multiplier * np.sqrt(drawn.variance)
    if drawn.mean:
        entries += drawn.multiplier * drawn.mean
    return entries


# ---------------------------------------------------------------- instructions


def _execute(run: Run, body: Sequence[Instruction], env: Env) -> None:
    for ins in body:
        match ins:
            case Loop(range=r, body=inner, reverse=downwards):
                values = run.compiler.interval(r, env)
                for value in reversed(values) if downwards else values:
                    _execute(run, inner, {**env, r.index.name: value})
            case MatMul():
                _matmul(run, ins, env)
            case Nonlin():
                _nonlin(run, ins, env)
            case Moment():
                _moment(run, ins, env)
            case OuterNonlin():
                _outer(run, ins, env)
            case _:
                assert_never(ins)


def uses(run: Run, ins: MatMul, env: Env) -> dict[Key, list[tuple[Key, Key | None]]]:
    """The products that ``ins`` asks for: per matrix, its (out, x) members; x is None where it reads as zero."""
    found: dict[Key, list[tuple[Key, Key | None]]] = {}
    for point in run.compiler.points(ins.domain, env):
        out, W, x = (run.compiler.key(ref, point) for ref in (ins.out, ins.W, ins.x))
        matrix = resolve(W, run.values, run.edges.get(W[0], ()), ins.span)
        argument = resolve(x, run.values, run.edges.get(x[0], ()), ins.span)
        found.setdefault(matrix or W, []).append((out, argument if matrix else None))
    return found


def _matmul(run: Run, ins: MatMul, env: Env) -> None:
    """All products with one matrix at once: [samples of all members, n] @ Wᵀ."""
    for W, pairs in uses(run, ins, env).items():
        zero = np.zeros((1, run.env[ins.space.name]))
        run.values.update({out: zero for out, x in pairs if x is None})
        live = [(out, run.values[x]) for out, x in pairs if x is not None]
        if not live:
            continue
        matrix = run.values[W]
        product = np.concatenate([x for _, x in live]) @ (matrix if ins.transpose else matrix.T)
        ends = np.cumsum([len(x) for _, x in live])[:-1]
        run.values.update(zip((out for out, _ in live), np.split(product, ends), strict=True))


def _nonlin(run: Run, ins: Nonlin, env: Env) -> None:
    op = run.compiler.op(ins.expr)
    for point in run.compiler.points(ins.domain, env):
        value = Frame(point, run, vector=ins.space is not None).value(op)
        run.values[run.compiler.key(ins.out, point)] = _shaped(run, value, ins.space)


def _moment(run: Run, ins: Moment, env: Env) -> None:
    op = run.compiler.op(ins.coeff * ins.expr)
    for point in run.compiler.points(ins.domain, env):
        value = Frame(point, run, vector=True).value(op)
        run.values[run.compiler.key(ins.out, point)] = _shaped(run, value, ins.space).mean(axis=-1)


def _outer(run: Run, ins: OuterNonlin, env: Env) -> None:
    """The entries of the matrix, a band of rows at a time, times all vectors it acts on."""
    indices = sorted(s.name for s in ins.entry.free_symbols)
    together: dict[Key, list[Env]] = {}
    for point in run.compiler.points(ins.domain, env):
        together.setdefault(tuple(point[name] for name in indices), []).append(point)
    for points in together.values():
        outs = [run.compiler.key(ins.out, point) for point in points]
        zero = np.zeros((1, run.env[ins.over.name]))
        found = (run.read(run.compiler.key(ins.x, point)) for point in points)
        vectors = [zero if x is None else x for x in found]
        samples = max(len(x) for x in vectors)
        x = np.stack([np.broadcast_to(x, (samples, x.shape[1])) for x in vectors])
        for key, value in zip(outs, _entries_times(run, ins, points[0], x), strict=True):
            run.values[key] = value


def _entries_times(run: Run, ins: OuterNonlin, point: Env, x: Array) -> Array:
    """[k, N, n_over] to [k, N, n]: (1/n_over) · the matrix of entries, or its transpose, times every x."""
    n_out, n_in = run.env[ins.space.name], run.env[ins.over.name]
    rows, cols = (n_in, n_out) if ins.transpose else (n_out, n_in)
    op, result = run.compiler.op(ins.entry), np.zeros((*x.shape[:2], n_out))
    band = max(1, BAND // cols)
    for sample in range(x.shape[1]):
        for lo in range(0, rows, band):
            part = slice(lo, min(lo + band, rows))

            def vector(key: Key, cut: slice, sample: int = sample) -> Array | None:
                array = run.read(key)
                return None if array is None else array[sample if len(array) > 1 else 0, cut]

            at = Entries(point, run, partial(vector, cut=part), partial(vector, cut=slice(None)))
            entries = np.broadcast_to(np.asarray(at.value(op), dtype=np.float64), (part.stop - lo, cols))
            if ins.transpose:
                result[:, sample] += x[:, sample, part] @ entries / n_in
            else:
                result[:, sample, part] = x[:, sample] @ entries.T / n_in
    return result


def _shaped(run: Run, value: Any, space: Space | None) -> Array:
    """``value`` as [N or 1, n] in ``space``, as [N or 1] where that is None."""
    array = np.asarray(value, dtype=np.float64)
    if space is None:
        return array if array.ndim else array[None]
    if array.ndim == 0:
        array = array[None, None]
    return np.broadcast_to(array, (array.shape[0], run.env[space.name]))


def _check_finite(run: Run) -> None:
    """An output that is NaN or infinite is blamed on the first variable that was."""
    outputs = [k for ref in run.program.outputs for k in run.members(ref)]
    if all(np.isfinite(run.values[k]).all() for k in outputs):
        return
    for key, value in run.values.items():
        bad = ~np.isfinite(value)
        if bad.any():
            place = _defining(run.program.body, str(key[0]))
            sample = int(np.argwhere(bad)[0][0])
            reason = f"`{show(key)}` is {value[tuple(np.argwhere(bad)[0])]} for sample {sample}"
            raise DataError(Message(place, reason, "is the network defined for this input, at this scale?", "not finite"))


def _defining(body: Sequence[Instruction], name: str) -> Span:
    """Where ``name`` is computed, for a message."""
    for ins in body:
        span = _defining(ins.body, name) if isinstance(ins, Loop) else ins.span if ins.out.name == name else NOWHERE
        if span is not NOWHERE:
            return span
    return NOWHERE
