"""What a page prints and does not explain: names of its formulas, told apart as a reader would."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tp.faces.notation import GREEK
from tp.network.prelude import PRIMITIVES

WORDS = {*PRIMITIVES, "arccos", "arcsin", "arctan", "sinh", "cosh", "softmax", "relu", "lrelu", "sgn", "Var", "Cov"}

# ---------------------------------------------------------------- text

NAME = r"[^\W\d]\w*′*"
LETTERS = {"K", "Θ", "S", "m", "Λ", "Z", "Ẑ", "Ż", "Φ", "φ", "Φ₂", "T"}
"""Letters that mean something only where a legend says so."""
SAID = {"E", "N", "α", "π", "e", "if", "where", "for", "exp"}
HEADINGS = ("Gaussian process kernel (NNGP)", "Tangent kernel (NTK)")


def unexplained(page: str, own: set[str]) -> set[str]:
    """Names of a page of text that are neither the author's ``own``, nor defined or bound, nor in the legend."""
    *parts, legend = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟᵀ]", "", page).rstrip().split("\n\n")
    told = {m[0] for m in re.finditer(r"^(Φ₂|[^\W\d_](?![^\W_]))", legend, re.M)}
    pairs = set(re.findall(r"^([KΘ])_\w,\w\(", legend, re.M))
    lines = [line for part in parts for line in part.splitlines()]
    known = own | WORDS | SAID | told | set(re.findall(rf"^({NAME}), ", legend, re.M)) | {f"{n}′" for n in told}
    defining = re.compile(rf"({NAME})(?:\[.*?\])? :=|({NAME})  +\S* ?(?:the|times)\b")
    known |= {m[1] or m[2] for line in lines if (m := defining.match(line))}
    found: set[str] = set()
    blocks = list(_blocks(lines))
    for block in blocks:  # a scalar and a Z are defined by their equation; a kernel's is about vectors that are
        left = block.split(" = ")[0]
        known |= {re.sub(r"^Z_", "", name) for name in re.findall(NAME, left) if not re.match(r"[KΘSmẐŻ]_", left.lstrip())}
    known -= LETTERS - told - own
    for block in blocks:
        ranges, where = (block.partition(word)[2] for word in (" for ", " where "))
        bound = {n for group in re.findall(r"_\{([^={}]*)=", block) for n in re.findall(NAME, group)}
        bound |= {n for group in re.findall(r"([^=]*) = \S+", ranges) for n in re.findall(NAME, group.rpartition("…")[2])}
        local = {n for group in re.findall(r"\(([^()~]*)\) ~", where) for n in re.findall(NAME, group)}
        local |= set(re.findall(rf"({NAME})(?:\[[^\]]*\])? (?:~|=)", where)) | set(re.findall(rf"Var ({NAME})", where))
        for name in re.findall(NAME, block):
            letter, _, rest = name.partition("_")
            parts_ = [name] if letter not in LETTERS | {"E", "Ψ", "softmax"} or not rest else [letter, rest]
            for part in (p.rstrip("_") for p in parts_):
                plain = {part, part.rstrip("′")} if part.rstrip("′") in own else {part}
                if not plain & (known | bound | local) and part != "Σ":
                    found.add(part)
        found |= {f"{letter} of two" for letter in re.findall(r"([KΘ])_\w+′*(?:\[[^\]]*\])?,\w", block) if letter not in pairs}
    return found


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Equations with their clauses, each on one line."""
    block: list[str] = []
    for line in lines:
        if "‹" in line:
            if block:
                yield " ".join(part.strip() for part in block)
            block = []
        elif line.strip() in HEADINGS or "─" in line:
            block = []
        elif " = " in line or block:
            block.append(line)


# ---------------------------------------------------------------- LaTeX

SYMBOL = re.compile(
    rf"\\(?:{'|'.join(GREEK)})(?![A-Za-z])|\\mathrm\{{(?:[^{{}}\\]|\\.)*\}}|\\(?:text|operatorname\*?|mathbb|mathcal|mathbf|begin|end|tag)\{{[^{{}}]*\}}"
    r"|\\[A-Za-z]+|[A-Za-z]"
)


def symbols(tex: str) -> Iterator[str]:
    """Names in a formula: a letter with the number that belongs to it, ``m_{1}`` of ``m_{1,t}``; primes stay."""
    for m in SYMBOL.finditer(tex):
        base, rest = m[0], tex[m.end() :]
        greek_ = base[1:] in GREEK
        if base[0] == "\\" and not greek_ and not base.startswith(r"\mathrm"):
            continue
        prime = re.match(r"'*", rest)[0]
        sub = re.match(r"(?:\^\{[^{}]*\})?_\{(\d+|\\mathrm\{\w+\})[,}]", rest[len(prime) :])
        yield f"{base}{f'_{sub[1]}' if sub else ''}{prime}"


def displays(page: str) -> Iterator[str]:
    """The rows of all displays."""
    for body in re.findall(r"\\begin\{align\*\}(.*?)\\end\{align\*\}", page, re.S):
        yield from re.split(r"\\\\(?:\[\d+pt\])?\n", body)


def unexplained_tex(page: str, own: set[str]) -> set[str]:
    """Names in the displays of LaTeX that no definition, range, clause, parameter or sentence introduces."""
    known = set(own)
    for row in displays(page):
        left = row.partition("&")[0].strip()
        known |= (
            set(symbols(left)) if not (re.match(r"(?:[KSm]|\\Theta|\\hat\{Z\}|\\dot\{Z\})[_^]", left) and "(" in left) else set()
        )
        for clause in re.findall(r"(?:where \}|,\\quad|\}\})\s*([^&]*?)(?: = |\\sim)", row):
            known |= set(symbols(clause))
        for bound in re.findall(r"\\sum_\{([^=]*)=", row) + re.findall(r"(?:\\qquad|for \}|\\;) ([^=&]*) = [^&]*\\dots", row):
            known |= set(symbols(bound))
    prose = re.sub(r"\\begin\{align\*\}.*?\\end\{align\*\}", "", page, flags=re.S)
    said = {s for math in re.findall(r"\$([^$]*)\$|\\\[(.*?)\\\]", prose, re.S) for s in symbols("".join(math))}
    said |= {f"{s}'" for s in said}
    known |= said | {f"{s}'" for s in known}
    found = {s for row in displays(page) for s in symbols(row)} - known - {"e", r"\pi", r"\alpha", *own}
    lefts = (row.partition("&")[0].strip() for row in displays(page))
    families = {m[1] for left in lefts if (m := re.match(r"([A-Za-z])_\{[a-z](?:_\{\w\})?[,}][^&=]*$", left)) and "(" not in left}
    return {s for s in found if re.sub(r"_\d+", "", s) not in said | families}  # members of a family
