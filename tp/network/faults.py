"""What can be wrong with a network that parses: every way a name, an index, an axis or a constant can be off."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic

# ---------------------------------------------------------------- names


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
    title = "defined twice"
    label = "`{what}` is already defined on line {line}"
    help = "lines that define one name must not overlap: narrow the range of one of them"


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
    title = "wrong number of arguments"
    label = "`{name}` takes {wanted}, not {found}"


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


# ---------------------------------------------------------------- indices


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
    help = "shift the range instead: `h[l] = … h[l-1] … for l in 2..L`"


@dataclass(frozen=True)
class BadIndex(Diagnostic):
    text: str
    title = "not an index"
    label = "`{text}` is not a whole-number combination of indices and constants"
    help = "indices look like `l-1`, `2*p+k` or `L`"


@dataclass(frozen=True)
class NotWhole(Diagnostic):
    text: str
    value: str
    title = "not a whole number"
    label = "`{text}` is {value}, but must be a whole number"


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
    title = "empty range"
    label = "`{index}` runs from {lo} to {hi}, which is nothing"
    help = "ranges go upwards, `{index} in {hi}..{lo}`"


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


# ---------------------------------------------------------------- axes


@dataclass(frozen=True)
class UnknownAxis(Diagnostic):
    axis: str
    hint: str = ""
    title = "unknown axis"
    label = "`{axis}` is neither a width nor a dim"
    help = "{hint}"


@dataclass(frozen=True)
class TooManyAxes(Diagnostic):
    name: str
    count: int
    title = "too many axes"
    label = "`{name}` has {count} axes; a matrix has two"
    help = "make the others indices: `{name}[k] : [n, n] … for k in 1..K`"


@dataclass(frozen=True)
class InputOnWidth(Diagnostic):
    name: str
    axis: str
    title = "input on a width"
    label = "`{name}` lives on the width `{axis}`, but data stay finite while `{axis}` grows"
    help = "declare a `dim` for it and bring it to the width with a weight: `U : [{axis}, d]`, `U @ {name}`"


@dataclass(frozen=True)
class AxisMismatch(Diagnostic):
    matrix: str
    expected: str
    vector: str
    found: str
    hint: str = ""
    title = "axis mismatch"
    label = "`{matrix}` acts on axis `{expected}`, but `{vector}` lives on {found}"
    help = "{hint}"


@dataclass(frozen=True)
class AxesDiffer(Diagnostic):
    op: str
    left: str
    left_axes: str
    right: str
    right_axes: str
    hint: str = ""
    title = "axis mismatch"
    label = "`{op}` acts coordinatewise, but `{left}` lives on {left_axes} and `{right}` on {right_axes}"
    help = "{hint}"


@dataclass(frozen=True)
class MatrixAsVector(Diagnostic):
    text: str
    axes: str
    hint: str = "a matrix acts on a vector, `W @ x` or `W.T @ x`; a vector has one axis: `b : [n]`"
    title = "matrix used as a vector"
    label = "`{text}` is a matrix on {axes}; here a vector or a number is needed"
    help = "{hint}"


@dataclass(frozen=True)
class MatrixTimesMatrix(Diagnostic):
    left: str
    right: str
    title = "product of matrices"
    label = "`{left}` and `{right}` are both matrices"
    help = "apply them one after the other: `{left} @ ({right} @ x)`"


@dataclass(frozen=True)
class NothingToMultiply(Diagnostic):
    text: str
    axes: str
    title = "axis mismatch"
    label = "`@` needs a vector on either side, but `{text}` lives on {axes}"
    help = "the coordinatewise product is `*`"


@dataclass(frozen=True)
class NotAMatrix(Diagnostic):
    text: str
    axes: str
    title = "not a matrix"
    label = "`.T` transposes a matrix, but `{text}` lives on {axes}"
    help = "the inner product of two vectors is `u @ w` or `dot(u, w)`, without `.T`"


@dataclass(frozen=True)
class ComputedMatrix(Diagnostic):
    text: str
    title = "computed matrix"
    label = "`{text}` stands where a weight matrix acts"
    help = "a matrix is a weight, its transpose, or a multiple of these; apply each to the vector on its own"


@dataclass(frozen=True)
class AverageNotOverWidth(Diagnostic):
    text: str
    axes: str
    fn: str
    instead: str
    title = "not an average over width"
    label = "`{fn}` runs over a width, but `{text}` lives on {axes}"
    help = "{instead}"


@dataclass(frozen=True)
class InFunction(Diagnostic):
    fn: str
    problem: str
    title = "axis mismatch"
    label = "inside `{fn}`: {problem}"


@dataclass(frozen=True)
class SoftmaxOfVector(Diagnostic):
    text: str
    axes: str
    title = "softmax of a vector"
    label = "`softmax` takes numbers along an index, but `{text}` lives on {axes}"
    help = "softmax of the inner products: `softmax(dot(q[t], k[s])/n over s)`"


@dataclass(frozen=True)
class NeedsOver(Diagnostic):
    fn: str
    title = "missing `over`"
    label = "`{fn}` runs along an index"
    help = "write `{fn}(e[s] over s)`"


@dataclass(frozen=True)
class TakesNoOver(Diagnostic):
    fn: str
    title = "unexpected `over`"
    label = "`{fn}` does not run along an index"
    help = "remove `over …`"


@dataclass(frozen=True)
class OutputOnWidth(Diagnostic):
    name: str
    axes: str
    width: str
    title = "output on a width"
    label = "the output `{name}` lives on {axes}: it has no limit as `{width}` grows"
    help = "read it out, `v @ (…)` with `weight v : [{width}] ~ N(0, 1/{width})`, or average it, `avg(…)`"


@dataclass(frozen=True)
class NoOutput(Diagnostic):
    title = "no output"
    label = "nothing in this network is an output"
    help = "mark what it computes: `output f = v @ h`"


@dataclass(frozen=True)
class ClauseAxesDiffer(Diagnostic):
    name: str
    axes: str
    other: str
    line: int
    title = "axis mismatch"
    label = "`{name}` lives on {axes} here, but on {other} on line {line}, and both are read together"
    help = "give the two different names, or the same axes"


# ---------------------------------------------------------------- constants


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
    help = "use `{name}` where the let is used"


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
    name: str
    text: str
    title = "not a width"
    label = "`{text}` is not a fixed multiple of a width"
    help = "write `width {name}` for one of its own, or `width {name} = 4*n` for a ratio"


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


# ---------------------------------------------------------------- the order of things


@dataclass(frozen=True)
class CyclicDefinition(Diagnostic):
    name: str
    path: str
    hint: str = ""
    title = "cyclic definition"
    label = "`{name}` is defined through itself: {path}"
    help = "{hint}"


# ---------------------------------------------------------------- overrides and training


@dataclass(frozen=True)
class UnknownOverride(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown constant"
    label = "the spec has no constant `{name}` to set"
    help = "{hint}"


@dataclass(frozen=True)
class BadOverride(Diagnostic):
    name: str
    value: str
    wanted: str
    title = "wrong value"
    label = "`{name}` cannot be {value}"
    help = "{wanted}"


@dataclass(frozen=True)
class UnknownOptimizer(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown optimizer"
    label = "there is no optimizer `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class UnknownOption(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown option"
    label = "`train` has no option `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class UnknownLoss(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown loss"
    label = "there is no loss `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class GivenTwice(Diagnostic):
    what: str
    title = "defined twice"
    label = "{what} is given twice"
    help = "remove one of the two"


@dataclass(frozen=True)
class MoreErrors(Diagnostic):
    count: int
    title = "more errors"
    label = "and {count} more"
