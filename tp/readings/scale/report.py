"""What scaling inference says: exponents, the verdict, and the reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tp.errors import NOWHERE, DataError, Message, Span
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
        verdict = f"{self.network}, {self.optimizer}, {self.parametrization}: {self.regime}"
        parts = [verdict, *(f"{k} = {v}" for k, v in self.constants.items()), self.table()]
        if self.exponents:
            parts.append(self.sizes())
        parts += [str(r) for r in self.reasons]
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        reasons = "".join(f"<pre>{_escaped(str(r))}</pre>" for r in self.reasons)
        head = f"{_escaped(self.network)}, {self.optimizer}, {_escaped(self.parametrization)}: <b>{_escaped(self.regime)}</b>"
        return f"<p>{head}</p>{self.table('html')}{reasons}"

    def explanation(self) -> str:
        """What holds the exponents: the tight constraints, and by which power of the width each weight's update falls short."""
        lines = [f"tight: {text}" for text in self.facets]
        if self.unique is not None:
            lines.append("no exponent can be changed alone" if self.unique else f"left free: {', '.join(self.free)}")
        for name, r in self.layers.items():
            how = "does not act on features" if r is None else "learns features" if r == 0 else f"moves features by {power(-r)}"
            lines.append(f"the update of `{name}` {how}")
        return "\n".join([*lines, *map(str, self.reasons)])

    # ------------------------------------------------------------ tables

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table of rules."""
        head = ["weight", "role", "multiplier", "init std", "learning rate"]
        columns = (("epsilon", "epsilon"), ("decay", "weight decay"))
        extra = [(k, t) for k, t in columns if any(getattr(r, k) is not None for r in self.rules.values())]
        head += [t for _, t in extra]
        rows = []
        for name, rule in self.rules.items():
            std = "zero" if rule.b is None else power(-rule.b)
            row = [name, rule.role, power(-rule.a), std, power(-rule.c)]
            rows.append(row + [power(e) if (e := getattr(rule, k)) is not None else "" for k, _ in extra])
        return head, rows

    def table(self, style: str = "markdown") -> str:
        """The rules as a ``markdown``, ``html`` or ``latex`` table, in powers of the width."""
        return _styled(style, *self.rows())

    def sizes(self, style: str = "markdown") -> str:
        """The exponents of all quantities, initially and of their change after each update."""
        steps = max((len(q.changes) for q in self.exponents.values()), default=0)
        head = ["quantity", "initially", *(f"change, step {t + 1}" for t in range(steps))]
        rows = [[q.name, power(q.initial), *map(power, q.changes)] for q in self.exponents.values()]
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
            "exponents": {
                q.name: {"initial": _plain(q.initial), "changes": [_plain(x) for x in q.changes]} for q in self.exponents.values()
            },
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
        }


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
