"""Constants without a value, or with one that cannot be."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic


@dataclass(frozen=True)
class NotConstant(Diagnostic):
    text: str
    where: str
    title = "not a constant"
    label = "`{text}` is not a constant; {where} must be one"
    help = "constants are numbers, lets, dims, widths and indices, with `+ - * / ^`, `sqrt`, `exp` and `log`"


@dataclass(frozen=True)
class NotInLet(Diagnostic):
    name: str
    kind: str
    title = "not a constant"
    label = "`{name}` is {kind}; the value of a `let` uses numbers and earlier lets"
    help = "use `{name}` where the let is used; a multiple of a width is declared with `width`, as in `width m = n/8`"


@dataclass(frozen=True)
class DivisionByZero(Diagnostic):
    title = "division by zero"
    label = "this divides by zero"


@dataclass(frozen=True)
class NotReal(Diagnostic):
    title = "no real value"
    label = "this has no real value"


@dataclass(frozen=True)
class ConstantTooLarge(Diagnostic):
    title = "number too large"
    label = "this number is too large to work with"
    help = "constants lie between 1e-300 and 1e300"


@dataclass(frozen=True)
class ExponentTooLarge(Diagnostic):
    limit: int
    title = "number too large"
    label = "this exponent is too large; at most {limit} is allowed"


@dataclass(frozen=True)
class NegativeVariance(Diagnostic):
    text: str
    value: str
    title = "negative variance"
    label = "the variance `{text}` is {value}"
    help = "the second argument of `N` is a variance, and not negative"


@dataclass(frozen=True)
class BadSize(Diagnostic):
    name: str
    value: str
    title = "not a size"
    label = "`{name}` is {value}, but an axis has 1, 2, 3, … coordinates"


@dataclass(frozen=True)
class BadWidth(Diagnostic):
    text: str
    hint: str
    title = "not a width"
    label = "`{text}` is not a fixed multiple of a width"
    help = "{hint}"


@dataclass(frozen=True)
class WidthCycle(Diagnostic):
    name: str
    title = "cyclic definition"
    label = "the width `{name}` is defined by itself"
    help = "leave one of the widths free: `width {name}`"


@dataclass(frozen=True)
class TableShape(Diagnostic):
    name: str
    index: str
    wanted: str
    found: int
    title = "wrong table size"
    label = "`{name}` has {found} entries here, but `{index}` takes {wanted}"
    help = "one entry for every value of `{index}`, in order"


@dataclass(frozen=True)
class TableDepth(Diagnostic):
    name: str
    wanted: int
    title = "wrong table size"
    label = "`{name}` has {wanted} indices, so its table is nested {wanted} deep"


@dataclass(frozen=True)
class TableNeedsIndices(Diagnostic):
    name: str
    title = "table without indices"
    label = "a table belongs to indices"
    help = "declare them and write `let {name}[u, v] = …`"


@dataclass(frozen=True)
class IndexedLetValue(Diagnostic):
    name: str
    title = "not a table"
    label = "the constants `{name}` over indices are given as a table"
    help = "write `[[…], …]`, one row for each value of the first index; or no value to keep symbols"
