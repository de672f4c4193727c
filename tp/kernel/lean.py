"""numba's compiler for generated modules, without the work that these do not need.

numba turns every function into machine code, also those that are only ever called by others, of which LLVM makes a part of their
callers. Here such functions are optimized and linked into their callers, and no more. This goes below numba's interface, and is
done for the releases in which it has been checked.
"""

from __future__ import annotations

import operator
from types import ModuleType
from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import typed_passes, types, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.dispatcher import _FunctionCompiler  # type: ignore[attr-defined]


def compile_lean(module: ModuleType) -> None:
    """Have the functions of a generated module compiled this way."""
    for function in vars(module).values():
        compiler: Any = getattr(function, "_compiler", None)
        if type(compiler) is _FunctionCompiler:  # not those of a device's functions
            compiler.pipeline_class = Lean


class Part(JITCodeLibrary):
    """What is only ever linked into others and not turned into machine code.

    It is optimized on its own, as numba does: in its callers it is no longer known that its arguments do not overlap.
    """

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


PLAIN = (types.Number, types.Boolean, types.SliceType, types.BaseTuple, types.Array)


class Known:
    """A typing context that finds out once what an operation on numbers and arrays is; numba tries all it might be each time."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.found: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        known = isinstance(func, types.Function) or func in (operator.getitem, operator.setitem)
        if kws or not known or not all(isinstance(a, PLAIN) for a in args):
            return self.context.resolve_function_type(func, args, kws)
        if (func, args) not in self.found:
            self.found[func, args] = self.context.resolve_function_type(func, args, kws)
        return self.found[func, args]


@register_pass(mutates_CFG=True, analysis_only=False)
class Typing(typed_passes.NopythonTypeInference):
    """Types of all variables."""

    _name = "tp_type_inference"

    def run_pass(self, state: Any) -> bool:
        context, state.typingctx = state.typingctx, Known(state.typingctx)
        try:
            return bool(super().run_pass(state))
        finally:
            state.typingctx = context


@register_pass(mutates_CFG=True, analysis_only=False)
class Lowering(typed_passes.NativeLowering):
    """To LLVM; functions that nothing calls from outside become parts."""

    _name = "tp_native_lowering"

    def run_pass(self, state: Any) -> bool:
        entry = not state.flags.no_cpython_wrapper
        state.library = (JITCodeLibrary if entry else Part)(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        if entry:
            return bool(super().run_pass(state))
        state.flags.no_compile = True
        super().run_pass(state)
        made, context = state["cr"], state.targetctx
        name = made.fndesc.qualname.split(".")[-1]
        stands_for = _dynfunc.make_function(made.fndesc.lookup_module(), name, "", 0, made.env, (state.library,))
        context.insert_user_function(stands_for, made.fndesc, [state.library])
        state["cr"] = made._replace(cfunc=stands_for)
        return True


class Passes(PassManager):
    """One after the other; numba also looks after each whether what it left is sound."""

    def _runPass(self, index: int, pss: Any, internal_state: Any) -> None:
        pss.analysis = self._analysis
        pss.run_pass(internal_state)


class Lean(CompilerBase):
    """The passes that numbers, arrays and loops take; none for closures, generators, literals, exceptions or parallel loops."""

    def define_pipelines(self) -> list[Any]:
        lean = Passes("lean")
        lean.passes = [(one, one.__name__) for one in PASSES]
        lean.finalize()
        return [lean]


PASSES = (
    *(untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing),
    *(untyped_passes.GenericRewrites, untyped_passes.ReconstructSSA),
    *(Typing, typed_passes.PreLowerStripPhis),
    *(typed_passes.IRLegalization, typed_passes.AnnotateTypes, Lowering, typed_passes.NoPythonBackend),
)
