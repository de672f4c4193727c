"""How large a spec may be. A spec is data from strangers: a limit gives a clear error before memory or time run out."""

from __future__ import annotations

TEXT = 1_000_000
"""Characters in a spec."""

STATEMENTS = 5000
"""Lines of a spec that state something."""

WORDS = 100_000
"""Names, numbers and signs in a spec."""

CLAUSES = 300
"""Lines that define one family."""

DEPTH = 100
"""Brackets inside brackets, and operations inside operations."""

CHAIN = 32
"""Terms of a sum kept as one left-leaning chain; longer sums are grouped in halves (their value is the same)."""

NAME = 60
"""Characters of a name."""

DIGITS = 60
"""Characters of a number."""

BITS = 2048
"""Size of an exact number that constants work out to; floats beyond 1e300 are refused too."""

EXPONENT = 100
"""Largest number in the exponent of something that is not a constant."""

RANGE = 1_000_000
"""Values of one index."""

FAMILY = 10_000_000
"""Members of one family."""

EXPANDED = 20_000
"""Nodes of one statement once its functions are written out."""

ERRORS = 50
"""Errors shown for one spec."""
