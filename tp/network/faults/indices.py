"""Indices: how many, over which range, and what lies outside."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic


@dataclass(frozen=True)
class WrongIndexCount(Diagnostic):
    name: str
    wanted: str
    found: str
    example: str
    title = "wrong number of indices"
    label = "`{name}` has {wanted}, but {found} here"
    help = "write `{example}`"


@dataclass(frozen=True)
class FreeIndex(Diagnostic):
    index: str
    title = "unbound index"
    label = "`{index}` runs over nothing here"
    help = "put `{index}` on the left side, or run over it with `sum(… for {index})` or `mean(… for {index})`"


@dataclass(frozen=True)
class NoRange(Diagnostic):
    index: str
    hint: str = ""
    title = "index without a range"
    label = "`{index}` has no range"
    help = "{hint}"


@dataclass(frozen=True)
class UnusedRange(Diagnostic):
    index: str
    name: str
    title = "range without an index"
    label = "`{index}` is not an index of `{name}`"
    help = "write `{name}[{index}]` on the left to define one for every `{index}`, or `sum(… for {index} in a..b)` to add them up"


@dataclass(frozen=True)
class RangeTwice(Diagnostic):
    index: str
    title = "defined twice"
    label = "`{index}` is given two ranges"
    help = "remove one of them"


@dataclass(frozen=True)
class IndexInUse(Diagnostic):
    index: str
    title = "index in use"
    label = "`{index}` already runs outside"
    help = "give the inner index another name"


@dataclass(frozen=True)
class IndexHidesName(Diagnostic):
    index: str
    kind: str
    line: int
    title = "name taken"
    label = "`{index}` is already {kind} (line {line})"
    help = "give the index another name"


@dataclass(frozen=True)
class IndexTwiceOnLeft(Diagnostic):
    index: str
    title = "index twice on the left"
    label = "`{index}` stands in two places"
    help = "use two indices"


@dataclass(frozen=True)
class LeftIndex(Diagnostic):
    text: str
    title = "not an index"
    label = "on the left side an index is a name or a number, not `{text}`"
    help = (
        "shift the range instead: `h[l] = … h[l-1] … for l in 2..L`; to spread values out, as in upsampling, sum with a table"
        " of 0 and 1: `u[p] = sum(S[p, r] * y[r] for r)`"
    )


@dataclass(frozen=True)
class BadIndex(Diagnostic):
    text: str
    title = "not an index"
    label = "`{text}` is not a whole-number combination of indices and constants"
    help = (
        "indices look like `l-1`, `2*p+k` or `L`; where several positions read one, as in upsampling, sum with a table"
        " of 0 and 1: `sum(S[p, r] * y[r] for r)`"
    )


@dataclass(frozen=True)
class WidthAsIndex(Diagnostic):
    width: str
    title = "a width counts"
    label = "`{width}` is a width, and an index runs over finitely many things"
    help = "make `{width}` an axis and what stays finite an index: `Q[k] : [{width}, n] … for k in 1..d`, one vector per `k`"


@dataclass(frozen=True)
class NotWhole(Diagnostic):
    text: str
    value: str
    least: str = ""
    hint: str = ""
    title = "not a whole number"
    label = "`{text}` is {value}, but must be a whole number{least}"
    help = "{hint}"


@dataclass(frozen=True)
class IndexOutOfRange(Diagnostic):
    reach: str
    defined: str
    hint: str = ""
    title = "index out of range"
    label = "{reach}, but {defined}"
    help = "{hint}"


@dataclass(frozen=True)
class MissingBase(Diagnostic):
    what: str
    reached: str
    index: str
    start: str
    title = "missing base case"
    label = "`{what}` reaches `{reached}`, which no line defines"
    help = "begin the recursion with a line `{reached} = …`, or let it start later: `for {index} in {start}..…`"


@dataclass(frozen=True)
class BackwardRange(Diagnostic):
    index: str
    lo: str
    hi: str
    hint: str
    title = "empty range"
    label = "`{index}` runs from {lo} to {hi}, which is nothing"
    help = "{hint}"


@dataclass(frozen=True)
class NothingLeft(Diagnostic):
    index: str
    title = "empty range"
    label = "with `boundary valid` no `{index}` is left for which everything is in range"
    help = "enlarge the range of `{index}`, or use another boundary"


@dataclass(frozen=True)
class EmptyMean(Diagnostic):
    text: str
    title = "empty range"
    label = "this is the mean of nothing: `{text}` is empty"


@dataclass(frozen=True)
class RangeCycle(Diagnostic):
    index: str
    title = "cyclic definition"
    label = "the range of `{index}` depends on itself"
    help = "bounds may use constants and the indices of outer ranges"


@dataclass(frozen=True)
class ShrinkingRecursion(Diagnostic):
    index: str
    name: str
    title = "shrinking recursion"
    label = "with `boundary valid` the range of `{index}` shrinks with every step of `{name}`"
    help = "write the range of every step, e.g. `for {index} in l..P-l`, or use another boundary"


@dataclass(frozen=True)
class NeedsValue(Diagnostic):
    what: str
    title = "needs a value"
    label = "{what} must be known here"
    help = "give the constants in it a value, in the spec or when loading it"


@dataclass(frozen=True)
class UnknownBoundary(Diagnostic):
    mode: str
    hint: str = ""
    title = "unknown boundary"
    label = "there is no boundary `{mode}`"
    help = "{hint}"


@dataclass(frozen=True)
class RangeTooLarge(Diagnostic):
    what: str
    size: str
    limit: str
    title = "too large"
    label = "{what} has {size} members; at most {limit} are allowed"
    help = "reduce the range, or leave the constant in it without a value to derive formulas for any value"


@dataclass(frozen=True)
class TooManyStatements(Diagnostic):
    count: int
    limit: int
    title = "too large"
    label = "this spec has {count} statements; at most {limit} are allowed"
    help = "let an index run over what repeats: `h[l] = … for l in 1..L`"


@dataclass(frozen=True)
class TooManyClauses(Diagnostic):
    name: str
    count: int
    limit: int
    title = "too large"
    label = "`{name}` is defined on {count} lines; at most {limit} are allowed"
    help = "let an index run over what repeats: `{name}[l] = … for l in 1..{count}`"


@dataclass(frozen=True)
class CyclicDefinition(Diagnostic):
    name: str
    path: str
    hint: str = ""
    title = "cyclic definition"
    label = "`{name}` is defined through itself: {path}"
    help = "{hint}"
