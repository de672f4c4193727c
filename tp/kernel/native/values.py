"""What translated code works on: numbers, arrays, tuples; their types and how they are passed."""

from __future__ import annotations

import ast
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

I1, I64, F64, F32, PTR = ir.IntType(1), ir.IntType(64), ir.DoubleType(), ir.FloatType(), ir.PointerType()
FLOATS = (F64, F32)


class Untranslated(Exception):
    """A construct that is not in the language."""


@dataclass(frozen=True)
class Array:
    """A pointer, sizes, and strides (in numbers) of all axes but the last, whose stride is 1."""

    kind: Any
    pointer: Any
    sizes: tuple[Any, ...]
    strides: tuple[Any, ...]


@dataclass(frozen=True)
class Literal:
    """A number known now."""

    value: float | int | bool


Value = Any  # ir.Value | Literal | Array | tuple of these


def kind_of(value: Value) -> Any:
    """The type of a value, as a key: an LLVM type, ``("array", type, axes)``, or a tuple of keys."""
    if isinstance(value, Array):
        return ("array", value.kind, len(value.sizes))
    if isinstance(value, tuple):
        return tuple(map(kind_of, value))
    if isinstance(value, Literal):
        return I1 if isinstance(value.value, bool) else I64 if isinstance(value.value, int) else "real"
    return value.type


def flat_types(kind: Any) -> list[Any]:
    """The LLVM types a value of this kind is passed as."""
    if kind is None:
        return []
    if isinstance(kind, tuple) and kind and kind[0] == "array":
        return [PTR, *[I64] * (2 * kind[2] - 1)]
    if isinstance(kind, tuple):
        return [t for k in kind for t in flat_types(k)]
    return [kind]


def flatten(value: Value) -> list[Any]:
    """The LLVM values a value is passed as."""
    if isinstance(value, Array):
        return [value.pointer, *value.sizes, *value.strides]
    if isinstance(value, tuple):
        return [x for v in value for x in flatten(v)]
    return [] if value is None else [value]


def unflatten(kind: Any, values: Iterator[Any]) -> Value:
    """The value of a kind made of LLVM values."""
    if kind is None:
        return None
    if isinstance(kind, tuple) and kind and kind[0] == "array":
        n = kind[2]
        return Array(kind[1], next(values), tuple(next(values) for _ in range(n)), tuple(next(values) for _ in range(n - 1)))
    if isinstance(kind, tuple):
        return tuple(unflatten(k, values) for k in kind)
    return next(values)


def suffix(kind: Any) -> str:
    return "f64" if kind == F64 else "f32"


def rounded(value: float, kind: Any) -> float:
    """``value`` rounded to the precision: LLVM refuses a literal that a float cannot hold."""
    if kind == F64 or math.isinf(value) or math.isnan(value):
        return value
    if abs(value) > 3.4e38:
        return math.copysign(math.inf, value)
    return float(struct.unpack("f", struct.pack("f", value))[0])


def fold(op: ast.operator, a: Any, b: Any) -> Any:
    match op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b if b else math.copysign(math.inf, a)
        case ast.FloorDiv():
            return a // b
        case ast.Mod():
            return a % b
        case ast.Pow():
            return a**b
    raise Untranslated(type(op).__name__)
