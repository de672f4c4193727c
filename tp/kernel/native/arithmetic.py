"""Arithmetic: conversions, operators, functions of numbers."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from tp.kernel.native.values import F32, F64, FLOATS, I1, I64, Array, Literal, Untranslated, Value, fold, kind_of, rounded, suffix

INTRINSIC = {"sqrt": "llvm.sqrt", "fabs": "llvm.fabs", "floor": "llvm.floor", "ceil": "llvm.ceil"}


class Arithmetic:
    """Numbers of one function: ``at`` builds its instructions, ``real`` is its precision, ``flags`` what may be fused."""

    unit: Any
    at: Any
    real: Any
    flags: tuple[str, ...]

    def whole_power(self, base: Any, exponent: Any) -> Any:
        """``base`` to an integer known at run time."""
        raise NotImplementedError

    def settled(self, value: Value) -> Value:
        """Literals as numbers of this function's precision."""
        if isinstance(value, Literal):
            return self.to(value, self.real if isinstance(value.value, float) else I64 if type(value.value) is int else I1)
        return tuple(map(self.settled, value)) if isinstance(value, tuple) else value

    def to(self, value: Value, kind: Any) -> Any:
        """A number as ``kind``."""
        if isinstance(value, Literal):
            if kind in FLOATS:
                return ir.Constant(kind, rounded(float(value.value), kind))
            return ir.Constant(kind, int(value.value))
        if isinstance(value, (tuple, Array)) or value is None:
            raise Untranslated("a number is wanted")
        if value.type == kind:
            return value
        if kind in FLOATS:
            if value.type == I64:
                return self.at.sitofp(value, kind)
            if value.type == I1:
                return self.at.uitofp(value, kind)
            return self.at.fpext(value, kind) if kind == F64 else self.at.fptrunc(value, kind)
        if value.type == I1 and kind == I64:
            return self.at.zext(value, kind)
        raise Untranslated(f"{value.type} as {kind}")

    def joined(self, a: Value, b: Value) -> tuple[Any, Any, Any]:
        """Two numbers as one type."""
        kinds = [kind_of(v) for v in (a, b)]
        floats = [k for k in kinds if k in FLOATS]
        if floats:
            kind = F64 if F64 in floats else F32
        elif "real" in kinds:
            kind = self.real
        else:
            kind = I64 if I64 in kinds else I1
        return self.to(a, kind), self.to(b, kind), kind

    def binary(self, op: ast.operator, a: Value, b: Value) -> Value:
        if isinstance(a, Literal) and isinstance(b, Literal):
            return Literal(fold(op, a.value, b.value))
        if isinstance(op, ast.Pow):
            return self.power(a, b)
        if isinstance(op, ast.Div):
            x, y, kind = self.joined(a, b)
            if kind not in FLOATS:
                x, y = self.to(x, self.real), self.to(y, self.real)
            return self.at.fdiv(x, y)
        x, y, kind = self.joined(a, b)
        if kind in FLOATS:
            made: dict[type, Callable[..., Any]] = {ast.Add: self.at.fadd, ast.Sub: self.at.fsub, ast.Mult: self.at.fmul}
            if type(op) in made:
                return made[type(op)](x, y, flags=self.flags)
            raise Untranslated(type(op).__name__)
        x, y = self.to(x, I64), self.to(y, I64)
        match op:
            case ast.Add():
                return self.at.add(x, y, flags=("nsw",))
            case ast.Sub():
                return self.at.sub(x, y, flags=("nsw",))
            case ast.Mult():
                return self.at.mul(x, y, flags=("nsw",))
            case ast.Mod():
                return self.modulo(x, y)[1]
            case ast.FloorDiv():
                return self.modulo(x, y)[0]
        raise Untranslated(type(op).__name__)

    def modulo(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Quotient and remainder, rounded down: both positive in most places, so LLVM sees a mask for powers of two."""
        q, r = self.at.sdiv(x, y), self.at.srem(x, y)
        low = self.at.and_(self.at.icmp_signed("!=", r, I64(0)), self.at.icmp_signed("<", self.at.xor(r, y), I64(0)))
        return self.at.select(low, self.at.sub(q, I64(1)), q), self.at.select(low, self.at.add(r, y), r)

    def power(self, a: Value, b: Value) -> Value:
        if isinstance(b, Literal) and isinstance(b.value, int) and abs(b.value) <= 16:
            base = self.settled(a)
            if b.value == 0:
                return Literal(1.0)
            total = base
            for _ in range(abs(b.value) - 1):
                total = self.binary(ast.Mult(), total, base)
            return total if b.value > 0 else self.binary(ast.Div(), Literal(1.0), total)
        b = self.settled(b)
        if b.type == I64:
            return self.whole_power(self.to(a, self.real), b)
        x, y, kind = self.joined(a, b)
        return self.at.call(self.unit.external("pow" if kind == F64 else "powf", kind, [kind, kind]), [x, y])

    def unary(self, op: ast.unaryop, a: Value) -> Value:
        match op:
            case ast.USub():
                if isinstance(a, Literal):
                    return Literal(-a.value)
                return self.at.fneg(a) if a.type in FLOATS else self.at.neg(a)
            case ast.UAdd():
                return a
            case ast.Not():
                test = self.truth(a)
                return Literal(not test.value) if isinstance(test, Literal) else self.at.not_(test)
        raise Untranslated(type(op).__name__)

    def truth(self, a: Value) -> Any:
        if isinstance(a, Literal):
            return Literal(bool(a.value))
        if a.type == I1:
            return a
        return self.at.icmp_signed("!=", a, I64(0)) if a.type == I64 else self.at.fcmp_unordered("!=", a, a.type(0.0))

    def select(self, test: Any, a: Value, b: Value) -> Value:
        if isinstance(a, tuple):
            return tuple(self.select(test, x, y) for x, y in zip(a, b, strict=True))
        x, y, _ = self.joined(a, b)
        return self.at.select(test, x, y)

    def determinant(self, q1: Value, c: Value, q2: Value) -> Any:
        """q1 q2 − c² by fused products: ``tp.gaussian.primitives.determinant`` with the errors of both products from one
        instruction each."""
        kind = self.joined(self.joined(q1, c)[0], q2)[2]
        q1, c, q2 = (self.to(v, kind) for v in (q1, c, q2))
        fma = self.unit.external(f"llvm.fma.{suffix(kind)}", kind, [kind] * 3)
        p, r = self.at.fmul(q1, q2), self.at.fmul(c, c)
        x, y = self.at.call(fma, [q1, q2, self.at.fneg(p)]), self.at.call(fma, [c, c, self.at.fneg(r)])
        d = self.at.fadd(self.at.fsub(p, r), self.at.fsub(x, y))
        return self.at.select(self.at.fcmp_ordered("<", d, kind(0.0)), kind(0.0), d)

    def builtin(self, name: str, values: list[Value]) -> Value:
        match name:
            case "abs":
                if kind_of(values[0]) in FLOATS:
                    return self.mathematical("fabs", values)
                (x,) = (self.settled(v) for v in values)
                return self.at.select(self.at.icmp_signed("<", x, I64(0)), self.at.neg(x), x)
            case "max" | "min":
                total = values[0]
                for v in values[1:]:
                    x, y, kind = self.joined(total, v)
                    sign = ">" if name == "max" else "<"
                    compare = self.at.fcmp_ordered if kind in FLOATS else self.at.icmp_signed
                    total = self.at.select(compare(sign, y, x), y, x)
                return total
            case "float":
                return values[0] if kind_of(values[0]) in FLOATS else self.to(values[0], self.real)
            case "int":
                x = self.settled(values[0])
                return x if x.type == I64 else self.at.fptosi(x, I64)
        raise Untranslated(f"`{name}` is not known")

    def mathematical(self, name: str, values: list[Value]) -> Any:
        kind = F64 if any(kind_of(v) == F64 for v in values) else F32 if any(kind_of(v) == F32 for v in values) else self.real
        args = [self.to(v, kind) for v in values]
        if name in INTRINSIC:
            result = self.at.call(self.unit.external(f"{INTRINSIC[name]}.{suffix(kind)}", kind, [kind] * len(args)), args)
            return self.at.fptosi(result, I64) if name in ("floor", "ceil") else result
        f = self.unit.external(name if kind == F64 else f"{name}f", kind, [kind] * len(args))
        return self.at.call(f, args)
