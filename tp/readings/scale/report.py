"""What scaling inference says: exponents, the verdict, and the reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tp.errors import NOWHERE, DataError, LimitError, Message, Span
from tp.readings.scale.tables import html, latex, markdown

Exponent = Fraction | None


def power(x: Exponent, of: str = "n") -> str:
    """``n^(1/2)``; ``1`` for the exponent 0, ``0`` for what vanishes identically."""
    if x is None:
        return "0"
    if x == 0:
        return "1"
    return of if x == 1 else f"{of}^{x}" if x.denominator == 1 and x > 0 else f"{of}^({x})"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One variable: the exponent of its initial size, and of its change after 1, 2, … updates (None: it is 0)."""

    name: str
    initial: Exponent
    changes: tuple[Exponent, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a parametrization is unstable or trivial: ``quantity`` at ``step`` has ``exponent``, by ``monomial``.

    ``blame`` are the weights whose scale or rate would mend it.
    """

    quantity: str
    step: int
    exponent: Fraction
    monomial: str
    blame: tuple[str, ...]
    text: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        if self.span.line == 0:
            return self.text
        line = self.span.source.line(self.span.line).strip()
        return f"{self.text}\n  {self.span}: {line}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One tensor's scaling: multiplier n^(-a), initial std n^(-b), rate n^(-c); Adam's ε n^(epsilon), decay n^(decay)."""

    a: Fraction
    b: Fraction | None
    c: Fraction
    role: str = ""
    epsilon: Exponent = None
    decay: Exponent = None

    def __iter__(self) -> Iterator[Fraction | None]:
        return iter((self.a, self.b, self.c))


class Rules(Mapping[str, Rule]):
    """Rules by weight: ``rules["W[l]"]``, ``rules["W[2]"]``, or ``rules["W"]`` where all that bear the name agree."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)

    def __getitem__(self, name: str) -> Rule:
        if name in self._rules:
            return self._rules[name]
        family = name.split("[")[0]
        found = {p: r for p, r in self._rules.items() if p.split("[")[0].rstrip("'") == family}
        if "[" in name:  # a member: of the clause with a free index
            found = {p: r for p, r in found.items() if not p.split("[")[1][:1].isdigit()} or found
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        known = ", ".join(found or self._rules)
        reason = f"`{name}` is declared more than once, with different rules" if found else f"the network has no weight `{name}`"
        raise DataError(Message(NOWHERE, reason, f"choose one of {known}", "unknown weight"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return repr(self._rules)


@dataclass(frozen=True)
class DepthReport:
    """How a residual network scales with its depth ``symbol``, where the width has grown first; exponents are of the depth.

    ``rules``: per weight, the power of the depth in its multiplier (-a), initial std (-b) and rate (-c). ``branches[p]``: the sum
    over all initial blocks of what they differ by in the term that the weight p ends; ``diverse`` if none of it vanishes.
    ``updates[p]``: the largest change by the updates of p alone; ``nontrivial`` if some block's weight moves features by Θ(1).
    ``block_depth``: how many matrices a block has between the stream and itself.
    """

    symbol: str
    rules: Rules
    stable_at_init: bool
    stable: bool
    nontrivial: bool
    diverse: bool
    block_depth: int
    branches: Mapping[str, Exponent]
    updates: Mapping[str, Exponent]
    exponents: Mapping[str, Quantity]
    reasons: tuple[str, ...] = ()
    constants: Mapping[str, Fraction] = field(default_factory=dict)
    facets: tuple[str, ...] = ()
    unique: bool | None = None
    free: tuple[str, ...] = ()

    @property
    def optimal(self) -> bool:
        """Stable, nontrivial and diverse, with every update as large as it can be; only blocks of one matrix can be that."""
        return self.stable and self.nontrivial and self.diverse and self.block_depth <= 1

    @property
    def regime(self) -> str:
        """The verdict in words."""
        s = self.symbol
        if not self.stable_at_init:
            return f"the sum of all blocks grows with {s} at initialization"
        if not self.stable:
            return f"unstable in {s} in training"
        parts = [] if self.nontrivial else [f"trivial: what the blocks learn vanishes with {s}"]
        lost = [f"`{p}` adds {power(x, s)}" for p, x in self.branches.items() if x is not None and x < 0]
        if lost:
            parts.append(f"blocks lose their diversity: initially {', '.join(lost)}")
        if self.nontrivial and self.block_depth > 1:
            parts.append(
                f"stable, but no optimum: blocks have {self.block_depth} matrices, and what their updates do together within a "
                f"block vanishes with {s}; only blocks of one matrix have an optimal scaling with depth"
            )
        return "; ".join(parts) or f"stable in {s}, features and their diversity are kept"

    def __str__(self) -> str:
        values = [f"{k} = {v}" for k, v in self.constants.items()]
        return "\n".join([f"depth {self.symbol}: {self.regime}", *values, *self.reasons])

    def data(self) -> dict[str, Any]:
        """Everything, as plain lists and dicts."""
        flags = ("stable_at_init", "stable", "nontrivial", "diverse", "optimal")
        return {
            "symbol": self.symbol,
            "regime": self.regime,
            **{name: getattr(self, name) for name in flags},
            "block_depth": self.block_depth,
            "rules": {k: _rule(r) for k, r in self.rules.items()},
            "constants": {k: _plain(v) for k, v in self.constants.items()},
            "branches": {k: _plain(v) for k, v in self.branches.items()},
            "updates": {k: _plain(v) for k, v in self.updates.items()},
            "exponents": _quantities(self.exponents),
            "reasons": list(self.reasons),
            "facets": list(self.facets),
            "unique": self.unique,
            "free": list(self.free),
        }


@dataclass(frozen=True)
class ScalingReport:
    """How a network scales with its width under one parametrization and optimizer.

    ``r``: features move by n^(-r). ``layers[p]``: the same for what the update of p contributes to them.
    """

    network: str
    optimizer: str
    parametrization: str
    rules: Rules
    stable_at_init: bool
    stable: bool
    nontrivial: bool
    feature_learning: bool
    r: Exponent
    layers: Mapping[str, Exponent]
    exponents: Mapping[str, Quantity]
    reasons: tuple[Reason, ...] = ()
    facets: tuple[str, ...] = ()
    unique: bool | None = None
    free: tuple[str, ...] = ()
    constants: Mapping[str, Fraction] = field(default_factory=dict)
    gauge: str = ""
    outputs: tuple[str, ...] = ()
    behind: Mapping[str, Quantity] = field(default_factory=dict)  # the first that grows: only earlier sizes have a meaning
    legend: tuple[str, ...] = ()  # what representatives and temporaries in the names of quantities stand for
    depth: DepthReport | LimitError | str | None = None  # or why it has no exponents; None where it is a number

    @property
    def kernel_regime(self) -> bool:
        """Stable, nontrivial, and the features stay as they are."""
        return self.nontrivial and not self.feature_learning

    @property
    def regime(self) -> str:
        """The verdict in a word or two."""
        if not self.stable_at_init:
            return "not Θ(1) at initialization"
        if not self.stable:
            return "unstable in training"
        if not self.nontrivial:
            return "trivial: the output does not move"
        return "feature learning" if self.feature_learning else f"kernel regime (r = {self.r})"

    def __str__(self) -> str:
        return self.text()

    def text(self, command: bool = False) -> str:
        """All of it, with ways out as written in Python, or on the ``command`` line."""
        verdict = f"{self.network}, {self.optimizer}, {self.parametrization}: {self.regime}"
        parts = [verdict, *(f"{k} = {v}" for k, v in self.constants.items()), self.table()]
        if self.exponents:
            parts.append("\n".join([self.sizes(), *self.legend]))
        parts += [str(r) for r in self.reasons]
        if self.depth is not None:
            parts.append(self.of_depth(command))
        return "\n\n".join(parts)

    __repr__ = __str__

    def of_depth(self, command: bool = False) -> str:
        """What there is to say of the depth."""
        if not isinstance(self.depth, LimitError):
            return str(self.depth or "")
        lost = self.depth.text(command)
        return f"no exponents of the depth (what is said of the width is complete without them):\n{lost}"

    def _repr_html_(self) -> str:
        reasons = "".join(f"<pre>{_escaped(str(r))}</pre>" for r in self.reasons)
        head = f"{_escaped(self.network)}, {self.optimizer}, {_escaped(self.parametrization)}: <b>{_escaped(self.regime)}</b>"
        return f"<p>{head}</p>{self.table('html')}{reasons}"

    def explanation(self) -> str:
        """What holds the exponents: the tight constraints, and by which power of the width each weight's update falls short.

        Of an unstable run there is nothing to say beyond ``reasons``: exponents after the first violation mean nothing.
        """
        lines = [f"tight: {text}" for text in self.facets]
        if self.unique is not None:
            lines.append("no exponent can be changed alone" if self.unique else f"left free: {', '.join(self.free)}")
        for name, r in self.layers.items() if self.stable else ():
            how = "does not act on features" if r is None else "learns features" if r == 0 else f"moves features by {power(-r)}"
            lines.append(f"the update of `{name}` {how}")
        return "\n".join(lines)

    # ------------------------------------------------------------ tables

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table of rules."""
        head = ["weight", "role", "multiplier", "init std", "learning rate"]
        columns = (("epsilon", "epsilon"), ("decay", "weight decay"))
        extra = [(k, t) for k, t in columns if any(getattr(r, k) is not None for r in self.rules.values())]
        head += [t for _, t in extra]
        rows = []
        for name, rule in self.rules.items():
            row = [name, rule.role, self._power(name, "a", -1), self._power(name, "b", -1), self._power(name, "c", -1)]
            rows.append(row + [self._power(name, k, 1) for k, _ in extra])
        return head, rows

    def _power(self, name: str, which: str, sign: int) -> str:
        """n^(…), and L^(…) where the depth matters."""
        x = getattr(self.rules[name], which)
        if x is None:
            return "zero" if which == "b" else ""
        wide = power(sign * x)
        if not isinstance(self.depth, DepthReport):
            return wide
        y = getattr(self.depth.rules[name], which)
        if not y:
            return wide
        deep = power(sign * y, self.depth.symbol)
        return deep if wide == "1" else f"{wide} {deep}"

    def table(self, style: str = "markdown") -> str:
        """The rules as a ``markdown``, ``html`` or ``latex`` table, in powers of the width."""
        return _styled(style, *self.rows())

    def sizes(self, style: str = "markdown") -> str:
        """The exponents of all quantities, initially and of their change after each update."""
        steps = max((len(q.changes) for q in self.exponents.values()), default=0)
        head = ["quantity", "initially", *(f"change, step {t + 1}" for t in range(steps))]
        quantities = (*self.exponents.values(), *self.behind.values())
        rows = [[q.name, power(q.initial), *map(power, q.changes)] for q in quantities]
        rows = [row + [""] * (len(head) - len(row)) for row in rows]
        return _styled(style, head, rows)

    def latex(self) -> str:
        """Both tables for a paper."""
        return f"{self.table('latex')}\n\n{self.sizes('latex')}"

    def to_json(self) -> str:
        """Everything, as JSON; exponents are strings such as ``"1/2"``."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False)

    def data(self) -> dict[str, Any]:
        """Everything, as plain lists and dicts."""
        flags = ("stable_at_init", "stable", "nontrivial", "feature_learning", "kernel_regime")
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "parametrization": self.parametrization,
            "gauge": self.gauge,
            "regime": self.regime,
            **{name: getattr(self, name) for name in flags},
            "r": _plain(self.r),
            "layers": {k: _plain(v) for k, v in self.layers.items()},
            "rules": {k: _rule(r) for k, r in self.rules.items()},
            "constants": {k: _plain(v) for k, v in self.constants.items()},
            "exponents": _quantities(self.exponents),
            "behind": _quantities(self.behind),
            "legend": list(self.legend),
            "reasons": [
                {
                    "quantity": r.quantity,
                    "step": r.step,
                    "exponent": _plain(r.exponent),
                    "monomial": r.monomial,
                    "blame": list(r.blame),
                    "text": r.text,
                    "place": str(r.span) if r.span.line else None,
                }
                for r in self.reasons
            ],
            "facets": list(self.facets),
            "unique": self.unique,
            "free": list(self.free),
            "depth": self.depth.data() if isinstance(self.depth, DepthReport) else self.of_depth() or None,
        }


def _quantities(found: Mapping[str, Quantity]) -> dict[str, Any]:
    return {q.name: {"initial": _plain(q.initial), "changes": [_plain(x) for x in q.changes]} for q in found.values()}


def _styled(style: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    styles = {"markdown": markdown, "html": html, "latex": latex}
    if style not in styles:
        raise DataError(Message(NOWHERE, f"there is no table style {style!r}", f"choose {', '.join(styles)}", "unknown style"))
    return styles[style](head, rows)


def _rule(r: Rule) -> dict[str, str | None]:
    return {"role": r.role, **{x: _plain(getattr(r, x)) for x in ("a", "b", "c", "epsilon", "decay")}}


def _plain(x: Exponent) -> str | None:
    return None if x is None else str(x)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
