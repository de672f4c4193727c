"""Closed forms of Gaussian expectations: ``closed_form(e)``, or ``simplify(e)`` as far as it goes."""

from tp.gaussian.closed.engine import closed_form, simplify
from tp.gaussian.closed.form import ClosedForm

__all__ = ["ClosedForm", "closed_form", "simplify"]
