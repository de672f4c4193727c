"""Names that mean nothing, or something else."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic


@dataclass(frozen=True)
class UndefinedName(Diagnostic):
    name: str
    hint: str = ""
    also: str = ""
    title = "undefined name"
    label = "`{name}` is not defined{also}"
    help = "{hint}"


@dataclass(frozen=True)
class UndefinedFunction(Diagnostic):
    name: str
    hint: str = ""
    also: str = ""
    title = "undefined function"
    label = "there is no function `{name}`{also}"
    help = "{hint}"


@dataclass(frozen=True)
class DefinedTwice(Diagnostic):
    name: str
    kind: str
    line: int
    title = "defined twice"
    label = "`{name}` is already {kind} (line {line})"
    help = "give one of the two another name"


@dataclass(frozen=True)
class ClausesOverlap(Diagnostic):
    what: str
    line: int
    hint: str
    title = "defined twice"
    label = "`{what}` is already defined on line {line}"
    help = "{hint}"


@dataclass(frozen=True)
class BuiltinName(Diagnostic):
    name: str
    title = "name taken"
    label = "`{name}` is built in"
    help = "choose another name, e.g. `my_{name}`"


@dataclass(frozen=True)
class UsedBeforeDefinition(Diagnostic):
    name: str
    line: int
    title = "used before its definition"
    label = "`{name}` is defined further down, on line {line}"
    help = "a `let` may use the lets above it: move `{name}` up"


@dataclass(frozen=True)
class SelfReference(Diagnostic):
    name: str
    title = "cyclic definition"
    label = "`{name}` is defined by itself"
    help = "give it a number, or leave the value out for a symbol"


@dataclass(frozen=True)
class FunctionAsValue(Diagnostic):
    name: str
    title = "function without arguments"
    label = "`{name}` is a function"
    help = "apply it: `{name}(z)`"


@dataclass(frozen=True)
class NotAFunction(Diagnostic):
    name: str
    kind: str
    title = "not a function"
    label = "`{name}` is {kind} and cannot be called"
    help = "an index is written in square brackets, `{name}[l]`; a product `{name} * (…)`"


@dataclass(frozen=True)
class WrongArgumentCount(Diagnostic):
    name: str
    wanted: str
    found: int
    form: str = ""
    title = "wrong number of arguments"
    label = "`{name}` takes {wanted}, not {found}"
    help = "{form}"


@dataclass(frozen=True)
class RecursiveFunction(Diagnostic):
    name: str
    path: str
    title = "cyclic definition"
    label = "the function `{name}` calls itself: {path}"
    help = "functions are written out where they are used; write a recursion as a family, `h[l] = … h[l-1] … for l in 1..L`"


@dataclass(frozen=True)
class FamilyInFunction(Diagnostic):
    name: str
    fn: str
    title = "not a parameter"
    label = "`{name}` is not a parameter of `{fn}`"
    help = "a function uses its parameters and constants: make `{name}` a parameter"


@dataclass(frozen=True)
class ParameterTwice(Diagnostic):
    name: str
    title = "defined twice"
    label = "`{name}` stands twice among the parameters"
    help = "give each parameter its own name"


@dataclass(frozen=True)
class FunctionTooLarge(Diagnostic):
    limit: int
    title = "too large"
    label = "written out, this line has more than {limit} operations"
    help = "define intermediate results on lines of their own"


@dataclass(frozen=True)
class GaussianInside(Diagnostic):
    title = "randomness in a formula"
    label = "`N(…)` stands only where a weight is declared"
    help = "declare it, `weight b : [n] ~ N(0, 1)`, or write `N` last in `MULTIPLIER * N(mean, variance)`"


@dataclass(frozen=True)
class TableOutsideLet(Diagnostic):
    title = "table outside a let"
    label = "a table of numbers has a name and indices"
    help = "write `let A[u, v] = [[…], …]` over declared indices and use `A[u, v]` here"
