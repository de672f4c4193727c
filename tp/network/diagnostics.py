"""What can be wrong with a spec: the place, the reason, the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from tp.errors import Diagnostic, Span


def nearest(word: str, names: Iterable[str]) -> str:
    """``did you mean `weight`?`` where a name of ``names`` is near ``word``, nothing otherwise."""
    found = closest(word, names)
    return f"did you mean `{found}`?" if found else ""


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name of ``names`` nearest to ``word``, if one is near."""
    lower = word.lower()
    candidates = {n.lower(): n for n in names if n != word and abs(len(n) - len(word)) <= 3}
    if lower in candidates:
        return candidates[lower]
    if len(word) == 1:
        return None
    found = get_close_matches(lower, list(candidates)[:1000], n=1, cutoff=0.7 if len(word) > 3 else 0.6)
    return candidates[found[0]] if found else None


def locate(span: Span, word: str, after: str = "") -> Span:
    """Where ``word`` stands in the line of ``span``, from its beginning on and behind ``after``."""
    line = span.source.line(span.line)
    start = max(0, line.find(after, span.column - 1)) if after else span.column - 1
    m = re.compile(rf"\b{re.escape(word)}\b").search(line, start)
    return Span(span.source, span.line, m.start() + 1, len(word)) if m else span


def listing(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *rest, last = list(words)
    return f"{', '.join(rest)} or {last}" if rest else last


# ---------------------------------------------------------------- the text


@dataclass(frozen=True)
class Unexpected(Diagnostic):
    found: str
    expected: str
    hint: str = ""
    title = "syntax error"
    label = "expected {expected}, found {found}"
    help = "{hint}"


@dataclass(frozen=True)
class StrangeCharacter(Diagnostic):
    character: str
    hint: str = ""
    title = "syntax error"
    label = "{character} has no meaning here"
    help = "{hint}"


@dataclass(frozen=True)
class UnknownStatement(Diagnostic):
    word: str
    hint: str = ""
    title = "syntax error"
    label = "no statement begins with `{word}`"
    help = "{hint}"


@dataclass(frozen=True)
class NeverClosed(Diagnostic):
    bracket: str
    closing: str
    title = "syntax error"
    label = "this `{bracket}` is never closed"
    help = "a line goes on until its brackets are closed: put the missing `{closing}` where the bracket ends"


@dataclass(frozen=True)
class WronglyClosed(Diagnostic):
    bracket: str
    wanted: str
    title = "syntax error"
    label = "`{bracket}` does not close the `{wanted}` before it"
    help = "brackets close in the order in which they were opened"


@dataclass(frozen=True)
class NeverOpened(Diagnostic):
    bracket: str
    title = "syntax error"
    label = "this `{bracket}` closes nothing"
    help = "remove it, or open the bracket it belongs to"


@dataclass(frozen=True)
class NoHeader(Diagnostic):
    title = "syntax error"
    label = "a spec begins with its name"
    help = "write `network NAME` as the first line; `tp language` prints what follows it"


@dataclass(frozen=True)
class SecondNetwork(Diagnostic):
    title = "syntax error"
    label = "a second network begins here"
    help = "write one network per file"


@dataclass(frozen=True)
class ReservedWord(Diagnostic):
    word: str
    title = "syntax error"
    label = "`{word}` is a word of the language and cannot be a name"
    help = "choose another name, e.g. `{word}_`"


@dataclass(frozen=True)
class OptionTwice(Diagnostic):
    option: str
    title = "syntax error"
    label = "`{option}` is given twice"
    help = "remove one of the two"


@dataclass(frozen=True)
class GaussianArguments(Diagnostic):
    count: int
    title = "syntax error"
    label = "`N` takes a mean and a variance, not {count} argument(s)"
    help = "write `N(0, V)` for a Gaussian of variance `V`"


@dataclass(frozen=True)
class MultiplierInShortForm(Diagnostic):
    title = "syntax error"
    label = "after `~` stands the distribution alone"
    help = "write `= MULTIPLIER * N(0, V)` to give the parameter a multiplier, or put it into the variance"


@dataclass(frozen=True)
class ReduceWithoutRange(Diagnostic):
    fn: str
    title = "syntax error"
    label = "`{fn}` needs the index it runs over"
    help = "write `{fn}(e for k in a..b)` over a finite index; the average over the width is `avg(e)`"


@dataclass(frozen=True)
class ReduceArguments(Diagnostic):
    fn: str
    title = "syntax error"
    label = "`{fn}` takes one expression"
    help = "write `{fn}(e for k in a..b)`"


@dataclass(frozen=True)
class ForInCall(Diagnostic):
    fn: str
    hint: str
    title = "syntax error"
    label = "`{fn}` does not run over an index with `for`"
    help = "{hint}"


@dataclass(frozen=True)
class NumberTooLarge(Diagnostic):
    title = "number too large"
    label = "numbers have at most 60 characters and lie between 1e-300 and 1e300"


@dataclass(frozen=True)
class NameTooLong(Diagnostic):
    limit: int
    title = "name too long"
    label = "names have at most {limit} characters"


@dataclass(frozen=True)
class TextTooLarge(Diagnostic):
    size: str
    limit: str
    title = "spec too large"
    label = "this spec has {size}; at most {limit} are read"
    help = "a spec states the network; data come from `.npy`, `.npz` or `.csv` files, repeated lines from an index"


@dataclass(frozen=True)
class TooMany(Diagnostic):
    limit: str
    title = "spec too large"
    label = "up to here this spec has {limit} names, numbers and signs; more are not read"
    help = "let an index run over what repeats: `h[l] = … for l in 1..L`"


@dataclass(frozen=True)
class TooDeep(Diagnostic):
    limit: int
    title = "nested too deeply"
    label = "this is nested more than {limit} levels deep"
    help = "give parts of it names, on lines of their own"


@dataclass(frozen=True)
class NotText(Diagnostic):
    title = "not a text file"
    label = "a spec is UTF-8 text"


@dataclass(frozen=True)
class NoSuchFile(Diagnostic):
    path: str
    reason: str
    title = "cannot read the spec"
    label = "{path}: {reason}"
