"""The whole story, short enough to read aloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tp.limit.equations import Limit
from tp.limit.take import take_limit
from tp.network.check import check
from tp.network.parse import parse
from tp.program.lower import lower


def derive(text: str, kinds: tuple[str, ...] = ("K", "Theta"), lets: Mapping[str, Any] | None = None) -> Limit:
    """Spec text to limit equations: the NNGP kernel K and the tangent kernel Θ.

    Raises ``SpecError`` for a wrong spec, ``LimitError`` where no rule gives a limit.
    """
    network = check(parse(text), lets or {})
    program = lower(network)
    return take_limit(program, kinds)
