"""Values from outside, and training."""

from __future__ import annotations

from dataclasses import dataclass

from tp.errors import Diagnostic


@dataclass(frozen=True)
class UnknownOverride(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown constant"
    label = "the spec has no constant `{name}` to set"
    help = "{hint}"


@dataclass(frozen=True)
class BadOverride(Diagnostic):
    name: str
    value: str
    wanted: str
    title = "wrong value"
    label = "`{name}` cannot be {value}"
    help = "{wanted}"


@dataclass(frozen=True)
class UnknownOptimizer(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown optimizer"
    label = "there is no optimizer `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class UnknownOption(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown option"
    label = "`train` has no option `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class UnknownLoss(Diagnostic):
    name: str
    hint: str = ""
    title = "unknown loss"
    label = "there is no loss `{name}`"
    help = "{hint}"


@dataclass(frozen=True)
class GivenTwice(Diagnostic):
    what: str
    title = "defined twice"
    label = "{what} is given twice"
    help = "remove one of the two"


@dataclass(frozen=True)
class MoreErrors(Diagnostic):
    count: int
    title = "more errors"
    label = "and {count} more"
