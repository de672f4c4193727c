"""The gradient-independence check: may a weight's transpose be taken as an independent copy?

Source: Yang 2020, *Tensor Programs II*, Condition 1 (simple GIA check): the readout is independent, centred and
used nowhere else, and no weight's transpose appears in the forward pass.
"""

from __future__ import annotations

from tp.errors import LimitError, Message
from tp.limit.clauses import flatten
from tp.program.ir import MatMul, Program


def check_gradient_independence(program: Program, gradients: bool) -> None:
    """Raise a ``LimitError`` naming the vector and the two uses that break independence."""
    uses: dict[tuple[str, bool], MatMul] = {}
    for clause in flatten(program.body):
        ins = clause.ins
        if not isinstance(ins, MatMul):
            continue
        uses.setdefault((ins.W.name, ins.transpose), ins)
        other = uses.get((ins.W.name, not ins.transpose))
        if other is not None:
            forward, back = (other, ins) if ins.transpose else (ins, other)
            raise LimitError(
                Message(
                    back.span,
                    f"gradient independence fails: `{back.out}` uses the transpose of `{back.W}`, and `{forward.out}`"
                    f" (line {forward.span.line}) uses `{forward.W}` itself, so the two are correlated through the matrix",
                    f"use a separate weight for the transpose; with `{back.W}` tied the limit needs the full Z-calculus",
                    "W and its transpose",
                )
            )
