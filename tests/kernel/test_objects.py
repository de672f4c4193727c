"""What object files take from elsewhere, as their compiler was told."""

from __future__ import annotations

import platform

import numba
import pytest
from llvmlite import binding

from tp.kernel.objects import taken
from tp.kernel.quick import CHECKED

pytestmark = pytest.mark.skipif(not numba.__version__.startswith(CHECKED), reason="an LLVM of other pointers")

TEXT = """
declare double @cos(double)
declare void @told(i64)
declare void @both()
@table = external global i64
@kept = global ptr @both

define double @own(double %x) {
  %y = call double @cos(double %x)
  %z = call double @twice(double %y)
  ret double %z
}

define internal double @twice(double %x) noinline {
  %y = fadd double %x, %x
  ret double %y
}

define void @wrapper() {
  call void @both()
  %n = load i64, ptr @table
  call void @told(i64 %n)
  ret void
}
"""


@pytest.fixture(scope="module")
def code() -> bytes:
    if platform.system() != "Linux":
        pytest.skip("object files of another form")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    found: bytes = target.create_target_machine(codemodel="jitdefault", jit=True).emit_object(binding.parse_assembly(TEXT))
    return found


def test_a_wrapper_takes_what_nobody_else_does(code):
    own, others = taken(code, "wrapper")
    assert own == {"cos", "both"} and others == {"told", "table"}
    own, others = taken(code, "own")
    assert own == {"told", "both", "table"} and others == {"cos"}


def test_another_file_is_none(code):
    for other in (b"", b"#!/bin/sh\n", code[:64], code[: len(code) // 2], b"\x7fELF\x01" + code[5:]):
        with pytest.raises(ValueError):
            taken(other, "wrapper")
    with pytest.raises(ValueError):
        taken(code, "cos")  # which is elsewhere
