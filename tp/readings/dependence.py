"""In which weights is an output affine, the others held fixed?

The program is run on sets of weights instead of numbers: for every member, the weights it is jointly affine in and
those it depends on in any other way. Sets are bit masks; a weight gets its bit when it is first read, so a higher
bit is nearer to the output. Of a product of two affine factors one stays affine, the one read last: a read-out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce

from tp.program.ir import Instruction, Loop, MatMul, Moment, Nonlin, Ref
from tp.program.reads import plain
from tp.readings.indexing import Env, Key, resolve
from tp.readings.ops import Add, Frame, Mul, Op, Over, Read, SumOver
from tp.readings.simulate import Run


@dataclass(frozen=True, slots=True)
class Dependence:
    """``affine``: jointly affine in these, all else fixed; ``other``: anything else."""

    affine: int = 0
    other: int = 0

    def __or__(self, also: Dependence) -> Dependence:
        other = self.other | also.other
        return Dependence((self.affine | also.affine) & ~other, other)

    def through_function(self) -> Dependence:
        return Dependence(0, self.affine | self.other)

    def times(self, also: Dependence) -> Dependence:
        keep, rest = (self, also) if self.affine > also.affine else (also, self)
        other = keep.other | rest.other | rest.affine
        return Dependence(keep.affine & ~other, other)


CONSTANT = Dependence()


@dataclass
class Trace:
    """What each member depends on, and the bit of each Gaussian vector or scalar weight."""

    run: Run
    of: dict[Key, Dependence] = field(default_factory=dict)
    bits: dict[Key, int] = field(default_factory=dict)

    def member(self, key: Key | None) -> Dependence:
        if key is None or key in self.run.given:
            return CONSTANT
        drawn = self.run.weights.get(key)
        if drawn is None:
            return self.of[key]
        if drawn.weight.cols or drawn.variance == 0:
            return CONSTANT
        return Dependence(1 << self.bits.setdefault(key, len(self.bits)), 0)

    def resolve(self, ref: Ref, env: Env) -> Key | None:
        key = self.run.compiler.key(ref, env)
        return resolve(key, self.run.values, self.run.edges.get(key[0], ()))


def affine_weights(run: Run, outputs: Sequence[Key]) -> frozenset[Key]:
    """Gaussian vectors and scalars in which all ``outputs`` are affine, jointly: typically the read-out weights."""
    trace = Trace(run)
    _walk(trace, run.program.body, run.env)
    found = reduce(lambda a, b: a | b, (trace.member(key) for key in outputs), CONSTANT)
    return frozenset(key for key, bit in trace.bits.items() if found.affine >> bit & 1)


def _walk(trace: Trace, body: Iterable[Instruction], env: Env) -> None:
    compiler = trace.run.compiler
    for ins in body:
        if isinstance(ins, Loop):
            values = compiler.interval(ins.range, env)
            for value in reversed(values) if ins.reverse else values:
                _walk(trace, ins.body, {**env, ins.range.index.name: value})
            continue
        for point in compiler.points(ins.domain, env):
            trace.of[compiler.key(ins.out, point)] = _instruction(trace, plain(ins, "an empirical kernel"), point)


def _instruction(trace: Trace, ins: MatMul | Nonlin | Moment, env: Env) -> Dependence:
    if isinstance(ins, MatMul):
        return trace.member(trace.resolve(ins.x, env))
    expr = ins.expr if isinstance(ins, Nonlin) else ins.coeff * ins.expr
    return _expression(trace, trace.run.compiler.op(expr), Frame(env, trace.run, vector=True))


def _expression(trace: Trace, op: Op, at: Frame) -> Dependence:
    if not op.active:
        return CONSTANT
    match op:
        case Read():
            return trace.member(trace.resolve(op.ref, at.env))
        case Add(terms=terms):
            return reduce(lambda a, b: a | b, (_expression(trace, t, at) for t in terms))
        case Mul(factors=factors):
            return reduce(lambda a, b: a.times(b), (_expression(trace, f, at) for f in factors))
        case SumOver(body=body):
            return reduce(lambda a, b: a | b, (_expression(trace, body, inner) for inner in op.frames(at)), CONSTANT)
        case Over(body=body):
            inside = (_expression(trace, body, inner) for inner in op.frames(at))
            return reduce(lambda a, b: a | b, inside, CONSTANT).through_function()
    parts = (_expression(trace, part, at) for part in op.parts())
    return reduce(lambda a, b: a | b, parts, CONSTANT).through_function()
