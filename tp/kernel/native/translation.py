"""Generated text → LLVM: the little Python that kernels are written in, translated as it stands.

The language: functions of floats, integers, arrays (last axis contiguous) and tuples of these; assignment, ``if``,
``for … in range``, ``while``, ``return``; arithmetic, comparisons, ``math``, ``np.empty`` and ``np.zeros``. A function is
translated once for every tuple of argument types, so the same text is a kernel in double and in single precision: a
literal has the precision of the numbers it meets, a variable first set to a literal that of the function's arguments.
Arithmetic is IEEE; products and sums may be fused (one rounding less) but for the functions in ``EXACT``. An index is never
negative. A loop over ``z`` runs over lanes: its turns are independent, and it becomes vector instructions.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from tp.kernel.native.expressions import Expressions
from tp.kernel.native.values import (
    F32,
    F64,
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
    unflatten,
)

EXACT = ("determinant",)
"""Functions whose every operation rounds: error-free transformations."""


@dataclass(frozen=True)
class Made:
    """A translated function and what it returns: a type, a tuple of them, an array type, or None."""

    function: Any
    returns: Any


class Translation:
    """One LLVM module: the functions of a text that an entry needs, for its argument types."""

    def __init__(self, text: str, entry: str, kinds: Sequence[Any]) -> None:
        tree = ast.parse(text)
        self.definitions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
        self.module = ir.Module(name=entry)
        self.made: dict[tuple[Any, ...], Made] = {}
        self.loops = 0
        self._entry(entry, list(kinds))

    def text(self) -> str:
        """LLVM assembly, with the loops over lanes marked as parallel."""
        text = str(self.module)
        for k in range(self.loops):
            text = text.replace(f'!{{ !"lanes{k}" }}', f"distinct !{{!LOOP{k}, !9001, !9002}}")
        lines = []
        for line in text.splitlines():
            name, _, rest = line.partition(" = distinct !{!LOOP")
            if rest:
                line = f"{name} = distinct !{{{name}, {rest.partition(', ')[2]}"
            lines.append(line)
        text = "\n".join(lines).replace('!{ !"lane access" }', "distinct !{}")
        text = text.replace("!9001", '!{!"llvm.loop.vectorize.enable", i1 true}')
        return text.replace("!9002", f'!{{!"llvm.loop.parallel_accesses", {self._access_name(text)}}}')

    @staticmethod
    def _access_name(text: str) -> str:
        return next((line.split(" =")[0] for line in text.splitlines() if line.endswith("= distinct !{}")), "!{}")

    def access(self) -> Any:
        return self.module.add_metadata([ir.MetaDataString(self.module, "lane access")])

    def loop(self) -> Any:
        self.loops += 1
        return self.module.add_metadata([ir.MetaDataString(self.module, f"lanes{self.loops - 1}")])

    def _entry(self, name: str, kinds: list[Any]) -> None:
        """``void entry(i64 *words)``: arguments as words, the result in the first."""
        body = Body(self, self.definitions[name], kinds, entry=True)
        body.translate()

    def call(self, name: str, kinds: tuple[Any, ...], real: Any) -> Made:
        key = (name, *kinds, real)
        if key not in self.made:
            body = Body(self, self.definitions[name], list(kinds), real=real, name=f"{name}.{len(self.made)}")
            self.made[key] = Made(body.function, body.translate())
        return self.made[key]

    def external(self, name: str, returns: Any, arguments: Sequence[Any]) -> Any:
        if name in self.module.globals:
            return self.module.globals[name]
        return ir.Function(self.module, ir.FunctionType(returns, arguments), name)


class Body(Expressions):
    """One function for one tuple of argument types."""

    def __init__(
        self, unit: Translation, tree: ast.FunctionDef, kinds: list[Any], entry: bool = False, real: Any = None, name: str = ""
    ) -> None:
        self.unit, self.tree, self.kinds, self.entry = unit, tree, kinds, entry
        flat = [t for k in kinds for t in flat_types(k)]
        self.real = self._precision() or real or F64
        arguments = [PTR] if entry else flat
        self.function = ir.Function(unit.module, ir.FunctionType(ir.VoidType(), arguments), name or tree.name)
        looped = any(isinstance(n, (ast.For, ast.While)) for n in ast.walk(tree))
        if not entry:
            self.function.linkage = "internal"
            if not looped:
                self.function.attributes.add("alwaysinline")
        set.add(self.function.attributes, '"prefer-vector-width"="512"')
        self.flags = () if tree.name in EXACT else ("contract",)
        self.allocas = self.function.append_basic_block("entry")
        start = self.function.append_basic_block("body")
        self.at = ir.IRBuilder(start)
        self.start = start
        self.variables: dict[str, tuple[Any, list[Any]]] = {}
        self.owned: list[Any] = []
        self.returns: Any = "unknown"
        self.breaks: list[tuple[Any, Any]] = []
        self.lane: Any = None

    def _precision(self) -> Any:
        """Single where a float or an array of floats comes in single and none in double; None without floats."""
        found = {k[1] if isinstance(k, tuple) else k for k in self.kinds if not isinstance(k, tuple) or k[0] == "array"}
        return F64 if F64 in found else F32 if F32 in found else None

    def translate(self) -> Any:
        """The body; what it returns."""
        names = [a.arg for a in self.tree.args.args]
        values = self._words() if self.entry else self._arguments()
        for name, value in zip(names, values, strict=True):
            self.variables[name] = (None, [value])  # read only until assigned to
        self.block(self.tree.body)
        if not self.at.block.is_terminated:
            self.give_back(None)
        ir.IRBuilder(self.allocas).branch(self.start)
        return self.returns

    def _arguments(self) -> list[Value]:
        for a in self.function.args:
            if a.type == PTR:
                a.add_attribute("noalias")
        values = iter(self.function.args)
        return [unflatten(k, values) for k in self.kinds]

    def _words(self) -> list[Value]:
        words, found, k = self.function.args[0], [], 0
        for kind in self.kinds:
            flat = []
            for t in flat_types(kind):
                p = self.at.gep(words, [I64(k)], source_etype=I64)
                flat.append(self.at.load(p, typ=t))
                k += 1
            found.append(unflatten(kind, iter(flat)))
        return found

    # ------------------------------------------------------------ statements

    def block(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            if self.at.block.is_terminated:
                return
            self.statement(statement)

    def statement(self, s: ast.stmt) -> None:
        match s:
            case ast.Assign(targets=[target], value=value):
                self.assign(target, self.value(value))
            case ast.AugAssign(target=target, op=op, value=value):
                read = ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target
                self.assign(target, self.value(ast.BinOp(read, op, value)))
            case ast.If():
                self.branch(s)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=args)):
                self.count(name, [self.value(a) for a in args], s.body)
            case ast.While(test=test, body=body):
                self.repeat(test, body)
            case ast.Return(value=value):
                self.give_back(None if value is None else self.value(value))
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Expr(value=value):
                self.value(value)
            case ast.Break():
                self.at.branch(self.breaks[-1][1])
            case ast.Continue():
                self.at.branch(self.breaks[-1][0])
            case ast.Pass():
                pass
            case _:
                raise Untranslated(ast.unparse(s))

    def assign(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name):
                self.store(name, value)
            case ast.Tuple(elts=elements):
                if not isinstance(value, tuple) or len(value) != len(elements):
                    raise Untranslated(ast.unparse(target))
                for t, v in zip(elements, [self.settled(v) for v in value], strict=True):
                    self.assign(t, v)
            case ast.Subscript():
                array = self.value(target.value)
                place, kind = self.place(array, self.indices(target.slice))
                self.marked(self.at.store(self.to(value, kind), place))
            case _:
                raise Untranslated(ast.unparse(target))

    def store(self, name: str, value: Value) -> None:
        if isinstance(value, tuple) and all(isinstance(v, Literal) for v in value) and name not in self.variables:
            self.variables[name] = (None, [value])  # a table of constants
            return
        value = self.settled(value)
        known = self.variables.get(name)
        if known is None or known[0] is None:
            kind = kind_of(value)
            slots = [self.alloca(t) for t in flat_types(kind)]
            if known is not None:  # an argument that is assigned to
                self._initial(slots, known[1][0], kind)
            self.variables[name] = known = (kind, slots)
        kind, slots = known
        if not isinstance(kind, tuple):
            value = self.to(value, kind)
        elif kind_of(value) != kind:
            raise Untranslated(f"`{name}` changes its type")
        for slot, x in zip(slots, flatten(value), strict=True):
            self.at.store(x, slot)

    def _initial(self, slots: list[Any], value: Value, kind: Any) -> None:
        """The argument's own value at the function's start; its type is the variable's."""
        if kind_of(value) != kind:
            raise Untranslated("an argument changes its type")
        builder = ir.IRBuilder(self.start)
        builder.position_at_start(self.start)
        for slot, x in zip(slots, flatten(value), strict=True):
            if isinstance(x, ir.Instruction):
                builder.position_after(x)
            builder.store(x, slot)

    def branch(self, s: ast.If) -> None:
        test = self.truth(self.value(s.test))
        if isinstance(test, Literal):
            self.block(s.body if test.value else s.orelse)
            return
        then, after = self.new("then"), self.new("after")
        other = self.new("else") if s.orelse else after
        self.at.cbranch(test, then, other)
        for label, body in ((then, s.body), (other, s.orelse)):
            if label is after:
                continue
            self.at.position_at_end(label)
            self.block(body)
            if not self.at.block.is_terminated:
                self.at.branch(after)
        self.at.position_at_end(after)
        if not any(after in _targets(b) for b in self.function.blocks):
            self.at.unreachable()

    def count(self, name: str, ends: list[Value], body: Sequence[ast.stmt]) -> None:
        step = ends[2] if len(ends) == 3 else Literal(1)
        lo, hi = (ends[0], ends[1]) if len(ends) > 1 else (Literal(0), ends[0])
        if not isinstance(step, Literal):
            step, down = self.to(step, I64), False
        else:
            down = step.value < 0
            step = self.to(step, I64)
        hi = self.to(hi, I64)
        counter = self.alloca(I64)
        self.at.store(self.to(lo, I64), counter)
        test, inside, turn, after = self.new("test"), self.new("loop"), self.new("turn"), self.new("done")
        self.at.branch(test)
        self.at.position_at_end(test)
        now = self.at.load(counter, typ=I64)
        self.at.cbranch(self.at.icmp_signed(">" if down else "<", now, hi), inside, after)
        self.at.position_at_end(inside)
        self.store(name, now)
        outer, self.lane = self.lane, self.unit.access() if name == "z" else self.lane
        self.breaks.append((turn, after))
        self.block(body)
        self.breaks.pop()
        if not self.at.block.is_terminated:
            self.at.branch(turn)
        self.at.position_at_end(turn)
        self.at.store(self.at.add(self.at.load(counter, typ=I64), step, flags=("nsw",)), counter)
        back = self.at.branch(test)
        if name == "z":
            back.set_metadata("llvm.loop", self.unit.loop())
        self.lane = outer
        self.at.position_at_end(after)

    def repeat(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        head, inside, after = self.new("while"), self.new("loop"), self.new("done")
        self.at.branch(head)
        self.at.position_at_end(head)
        self.at.cbranch(self.to(self.truth(self.value(test)), I1), inside, after)
        self.at.position_at_end(inside)
        self.breaks.append((head, after))
        self.block(body)
        self.breaks.pop()
        if not self.at.block.is_terminated:
            self.at.branch(head)
        self.at.position_at_end(after)

    def give_back(self, value: Value) -> None:
        value = self.settled(value) if value is not None else None
        if self.returns == "unknown":
            self.returns = None if value is None else kind_of(value)
            if self.entry:
                self.result = self.function.args[0]
            elif self.returns is not None:
                self._retype()
        if value is not None:
            value = self.cast(value, self.returns)
        kept = value.pointer if isinstance(value, Array) else None
        self.free(kept)
        if value is None:
            self.at.ret_void()
        elif self.entry:
            self.at.store(value, self.result)
            self.at.ret_void()
        else:
            whole = ir.Constant(self.function.return_value.type, ir.Undefined)
            for k, x in enumerate(flatten(value)):
                whole = self.at.insert_value(whole, x, k)
            self.at.ret(whole)

    def _retype(self) -> None:
        """The function's return type, once it is known."""
        f = self.function
        f.ftype = ir.FunctionType(ir.LiteralStructType(flat_types(self.returns)), f.ftype.args)
        f.type = f.ftype.as_pointer()
        f.return_value = ir.values.ReturnValue(f, f.ftype.return_type)


def _targets(block: Any) -> list[Any]:
    end = block.terminator
    return [op for op in getattr(end, "operands", []) if isinstance(op, ir.Block)] if end is not None else []
