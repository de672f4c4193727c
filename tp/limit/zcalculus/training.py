"""A training run as a Z-limit: exact, where every activation is a polynomial; explicit integrals elsewhere.

The run is one program, whose data are numbers. After a step of feature learning Z's of a deep linear network are
combinations of Gaussian letters, those of a polynomial network polynomials in them, so that every output is rational.

Source: Yang & Hu 2021, *Tensor Programs IV*, section 7 and appendix on deep linear networks.
"""

from __future__ import annotations

from tp.errors import NOWHERE, DataError, Message
from tp.limit.equations import I
from tp.limit.zcalculus.calculus import Calculus
from tp.limit.zcalculus.closing import close
from tp.limit.zcalculus.images import in_expressions
from tp.limit.zcalculus.limit import ZLimit
from tp.limit.zcalculus.members import Members, decimal
from tp.limit.zcalculus.ratios import leading
from tp.program.ir import Ref
from tp.readings.training import TrainingRun


def training_limit(run: TrainingRun, steps: int | None = None) -> ZLimit:
    """The lines that give the run's outputs after every step up to ``steps``, closed; ``[f.name, t, i]`` is output i then.

    Raises ``DataError`` for steps that the run has not, ``LimitError`` where training diverges with the width, and where
    formulas of networks that are no polynomials become too long. Cost grows fast with the steps: a few, for theory.
    """
    wanted = run.steps if steps is None else steps
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted <= run.steps:
        reason = f"the derivation of {steps!r} steps is asked for, and the run has {run.steps}"
        raise DataError(Message(NOWHERE, reason, f"give a whole number from 0 to {run.steps}", "steps"))
    data = {Ref(name, *index): decimal(float(value)) for (name, *index), value in run._numbers().items()}
    calculus = Calculus(Members(in_expressions(leading(run.training.program)), {}, data), entrywise=run.entrywise is not None)
    f = run.training.output.name
    for t in range(wanted + 1):
        for i in run.test:
            for k in run.coordinates:
                calculus.scalar(Ref(f, t, i, *k), I)
    lines = tuple(calculus.lines.values())
    return close(ZLimit(run.training.program, lines, (run.training.output,), frozenset(), decimals=True))
