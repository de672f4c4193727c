"""Expressions and memory: names, subscripts, choices, calls."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from tp.kernel.native.arithmetic import Arithmetic
from tp.kernel.native.values import (
    F64,
    FLOATS,
    I1,
    I64,
    PTR,
    Array,
    Literal,
    Untranslated,
    Value,
    flat_types,
    flatten,
    kind_of,
    rounded,
    unflatten,
)

SIMPLE = ("abs", "max", "min", "float")
POWER = """
def _whole_power(x, k):
    total, left = 1.0, abs(k)
    while left > 0:
        if left % 2 == 1:
            total *= x
        x = x * x
        left = left // 2
    return total if k >= 0 else 1.0 / total
"""


class Expressions(Arithmetic):
    """Values of one function; ``variables`` are slots on the stack, which LLVM turns into registers."""

    function: Any
    allocas: Any
    lane: Any
    owned: list[Any]
    variables: dict[str, tuple[Any, list[Any]]]

    def value(self, e: ast.expr) -> Value:
        match e:
            case ast.Constant(value=bool() | int() | float()):
                return Literal(e.value)  # type: ignore[arg-type]
            case ast.Name(id=name):
                return self.read(name)
            case ast.Attribute(value=ast.Name(id="math"), attr=attr):
                return Literal(float(getattr(math, attr)))
            case ast.Tuple(elts=elements):
                return tuple(map(self.value, elements))
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self.unary(op, self.value(operand))
            case ast.Compare():
                return self.compare(e)
            case ast.BoolOp():
                return self.logic(e)
            case ast.IfExp():
                return self.choice(e)
            case ast.Call():
                return self.called(e)
            case ast.Subscript():
                return self.subscript(e)
        raise Untranslated(ast.unparse(e))

    def read(self, name: str) -> Value:
        if name not in self.variables:
            raise Untranslated(f"`{name}` is not defined")
        kind, slots = self.variables[name]
        if kind is None:
            return slots[0]
        values = [self.at.load(s, typ=t) for s, t in zip(slots, flat_types(kind), strict=True)]
        return unflatten(kind, iter(values))

    def subscript(self, e: ast.Subscript) -> Value:
        if isinstance(e.value, ast.Attribute) and e.value.attr == "shape" and isinstance(e.slice, ast.Constant):
            return self.value(e.value.value).sizes[e.slice.value]
        whole = self.value(e.value)
        if isinstance(whole, tuple):
            index = self.value(e.slice)
            if isinstance(index, Literal):
                return whole[int(index.value)]
            return self.chosen(whole, index)
        at = self.indices(e.slice)
        if len(at) < len(whole.sizes) or any(isinstance(x, tuple) for x in at):
            return self.view(whole, at)
        place, kind = self.place(whole, at)
        return self.marked(self.at.load(place, typ=kind))

    def chosen(self, values: tuple[Value, ...], index: Any) -> Any:
        """A tuple of literals, indexed at run time: a constant table."""
        if not all(isinstance(v, Literal) for v in values):
            raise Untranslated("a tuple of variables indexed at run time")
        kind = ir.ArrayType(self.real, len(values))
        name = self.unit.module.get_unique_name("table")
        table = ir.GlobalVariable(self.unit.module, kind, name)
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, [rounded(v.value, self.real) for v in values])
        return self.at.load(self.at.gep(table, [index], source_etype=self.real), typ=self.real)

    def compare(self, e: ast.Compare) -> Value:
        signs = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
        values = [self.value(x) for x in (e.left, *e.comparators)]
        total: Value = None
        for op, a, b in zip(e.ops, values, values[1:], strict=False):
            x, y, kind = self.joined(a, b)
            sign = signs[type(op)]
            if kind in FLOATS:
                made = self.at.fcmp_unordered(sign, x, y) if sign == "!=" else self.at.fcmp_ordered(sign, x, y)
            else:
                made = self.at.icmp_signed(sign, x, y)
            total = made if total is None else self.at.and_(total, made)
        return total

    def logic(self, e: ast.BoolOp) -> Value:
        if all(map(cheap, e.values)):
            tests = [self.to(self.truth(self.value(v)), I1) for v in e.values]
            total = tests[0]
            for test in tests[1:]:
                total = self.at.and_(total, test) if isinstance(e.op, ast.And) else self.at.or_(total, test)
            return total
        slot, after = self.alloca(I1), self.new("known")
        for k, v in enumerate(e.values):
            test = self.to(self.truth(self.value(v)), I1)
            self.at.store(test, slot)
            if k < len(e.values) - 1:
                more = self.new("more")
                self.at.cbranch(test, *((more, after) if isinstance(e.op, ast.And) else (after, more)))
                self.at.position_at_end(more)
        self.at.branch(after)
        self.at.position_at_end(after)
        return self.at.load(slot, typ=I1)

    def choice(self, e: ast.IfExp) -> Value:
        test = self.truth(self.value(e.test))
        if isinstance(test, Literal):
            return self.value(e.body if test.value else e.orelse)
        if cheap(e.body) and cheap(e.orelse):
            return self.select(test, self.value(e.body), self.value(e.orelse))
        then, other, after = self.new("then"), self.new("else"), self.new("after")
        self.at.cbranch(test, then, other)
        ends = []
        for label, arm in ((then, e.body), (other, e.orelse)):
            self.at.position_at_end(label)
            ends.append((self.settled(self.value(arm)), self.at.block))
        kinds = [kind_of(v) for v, _ in ends]
        kind = kinds[0] if kinds[0] == kinds[1] else self.real
        results = []
        for value, block in ends:
            self.at.position_at_end(block)
            results.append(flatten(self.cast(value, kind)))
            self.at.branch(after)
        self.at.position_at_end(after)
        phis = []
        for k, t in enumerate(flat_types(kind)):
            phi = self.at.phi(t)
            for (_, block), flat in zip(ends, results, strict=True):
                phi.add_incoming(flat[k], block)
            phis.append(phi)
        return unflatten(kind, iter(phis))

    def alloca(self, kind: Any) -> Any:
        return ir.IRBuilder(self.allocas).alloca(kind)

    def new(self, name: str) -> Any:
        return self.function.append_basic_block(name)

    def cast(self, value: Value, kind: Any) -> Value:
        if isinstance(value, tuple):
            return tuple(self.cast(v, k) for v, k in zip(value, kind, strict=True))
        if isinstance(value, Array):
            return value
        return self.to(value, kind)

    # ------------------------------------------------------------ calls

    def called(self, e: ast.Call) -> Value:
        match e.func:
            case ast.Name(id=name):
                if name in self.unit.definitions:
                    return self.invoke(name, [self.value(a) for a in e.args])
                return self.builtin(name, [self.value(a) for a in e.args])
            case ast.Attribute(value=ast.Name(id="math"), attr=name):
                return self.mathematical(name, [self.value(a) for a in e.args])
            case ast.Attribute(value=ast.Name(id="np"), attr="empty" | "zeros" as name):
                return self.allocate(name, self.value(e.args[0]))
        raise Untranslated(ast.unparse(e))

    def invoke(self, name: str, values: list[Value]) -> Value:
        if name == "determinant":
            return self.determinant(*values)
        values = [self.settled(v) for v in values]
        made = self.unit.call(name, tuple(map(kind_of, values)), self.real)
        result = self.at.call(made.function, [x for v in values for x in flatten(v)])
        if made.returns is None:
            return None
        flat = [self.at.extract_value(result, k) for k in range(len(flat_types(made.returns)))]
        value = unflatten(made.returns, iter(flat))
        if isinstance(value, Array):
            self.own(value.pointer)
        return value

    def whole_power(self, base: Any, exponent: Any) -> Any:
        """Repeated squaring, as Python defines integer powers."""
        made = self.unit.definitions.setdefault("_whole_power", ast.parse(POWER).body[0])
        assert isinstance(made, ast.FunctionDef)
        return self.invoke("_whole_power", [base, exponent])

    # ------------------------------------------------------------ memory

    def own(self, pointer: Any) -> None:
        """A pointer to be freed when the function returns, or when this place is passed again."""
        slot = self.alloca(PTR)
        null = ir.Constant(PTR, None)
        ir.IRBuilder(self.allocas).store(null, slot)
        self.at.call(self.unit.external("free", ir.VoidType(), [PTR]), [self.at.load(slot, typ=PTR)])
        self.at.store(pointer, slot)
        self.owned.append(slot)

    def free(self, kept: Any) -> None:
        for slot in self.owned:
            pointer = self.at.load(slot, typ=PTR)
            if kept is not None:
                pointer = self.at.select(self.at.icmp_unsigned("==", pointer, kept), ir.Constant(PTR, None), pointer)
            self.at.call(self.unit.external("free", ir.VoidType(), [PTR]), [pointer])

    def allocate(self, name: str, shape: Value) -> Array:
        sizes = [self.to(v, I64) for v in (shape if isinstance(shape, tuple) else (shape,))]
        strides = [sizes[-1]]
        for size in reversed(sizes[:-1]):
            strides.insert(0, self.at.mul(size, strides[0]))
        width = I64(8 if self.real == F64 else 4)
        whole = self.at.add(self.at.mul(strides[0], width), I64(64))
        allocator = self.unit.external("calloc", PTR, [I64, I64])
        pointer = self.at.call(allocator, [I64(1), whole])
        self.own(pointer)
        return Array(self.real, pointer, tuple(sizes), tuple(strides[1:]))

    def indices(self, slice_: ast.expr) -> list[Any]:
        elements = slice_.elts if isinstance(slice_, ast.Tuple) else [slice_]
        return [
            (self.bound(e.lower), self.bound(e.upper)) if isinstance(e, ast.Slice) else self.to(self.value(e), I64)
            for e in elements
        ]

    def bound(self, e: ast.expr | None) -> Any:
        return None if e is None else self.to(self.value(e), I64)

    def place(self, array: Value, at: Sequence[Any]) -> tuple[Any, Any]:
        if not isinstance(array, Array) or len(at) != len(array.sizes) or any(isinstance(x, tuple) for x in at):
            raise Untranslated("an index of something else than an array")
        return self.at.gep(array.pointer, [self.offset(array, at)], inbounds=True, source_etype=array.kind), array.kind

    def offset(self, array: Array, at: Sequence[Any]) -> Any:
        total: Any = None
        for x, stride in zip(at, (*array.strides, None), strict=False):
            part = x if stride is None else self.at.mul(x, stride, flags=("nsw",))
            total = part if total is None else self.at.add(total, part, flags=("nsw",))
        return total

    def view(self, array: Array, at: list[Any]) -> Array:
        """Fewer indices than axes, or slices."""
        n = len(array.sizes)
        at = [*at, *[(None, None)] * (n - len(at))]
        starts = [(x[0] if x[0] is not None else I64(0)) if isinstance(x, tuple) else x for x in at]
        pointer = self.at.gep(array.pointer, [self.offset(array, starts)], inbounds=True, source_etype=array.kind)
        sizes, strides = [], []
        for k, x in enumerate(at):
            if isinstance(x, tuple):
                stop = x[1] if x[1] is not None else array.sizes[k]
                sizes.append(stop if x[0] is None else self.at.sub(stop, x[0], flags=("nsw",)))
                strides.append(array.strides[k] if k < n - 1 else None)
        if strides[-1] is not None:
            raise Untranslated("a view whose last axis is not contiguous")
        return Array(array.kind, pointer, tuple(sizes), tuple(strides[:-1]))

    def marked(self, access: Any) -> Any:
        if self.lane is not None:
            access.set_metadata("llvm.access.group", self.lane)
        return access


def cheap(e: ast.expr) -> bool:
    """Whether to work out an arm of a choice in any case: no memory, no integer division, no functions but the simplest."""
    for n in ast.walk(e):
        if isinstance(n, (ast.Subscript, ast.Mod, ast.FloorDiv, ast.Pow)):
            return False
        if isinstance(n, ast.Call):
            f = n.func
            known = f.attr in ("sqrt", "fabs") if isinstance(f, ast.Attribute) else isinstance(f, ast.Name) and f.id in SIMPLE
            if not known:
                return False
    return True
