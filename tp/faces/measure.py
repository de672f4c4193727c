r"""How wide a formula will be on paper: an estimate in em from its TeX source, good to some ten per cent.

TeX alone knows the truth; the printer only needs to know when to begin a new line.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"\\begin\{(\w+\*?)\}|\\end\{(\w+\*?)\}|\\[A-Za-z]+|\\.|.", re.S)

_COMMANDS = {
    r"\,": 0.17, r"\;": 0.28, r"\:": 0.22, r"\!": -0.17, r"\ ": 0.33, r"\quad": 1.0, r"\qquad": 2.0,
    r"\sum": 1.45, r"\prod": 1.3, r"\int": 1.0, r"\infty": 1.0, r"\dots": 1.3, r"\ldots": 1.3, r"\cdots": 1.3,
    r"\le": 1.33, r"\leq": 1.33, r"\ge": 1.33, r"\geq": 1.33, r"\ne": 1.33, r"\neq": 1.33, r"\in": 1.22, r"\sim": 1.33,
    r"\cdot": 0.72, r"\times": 1.22, r"\odot": 1.22, r"\to": 1.55, r"\top": 0.6, r"\prime": 0.28, r"\langle": 0.4,
    r"\rangle": 0.4, r"\left": 0.1, r"\right": 0.1, r"\mid": 0.83, r"\lim": 1.5, r"\log": 1.45, r"\exp": 1.7, r"\arccos": 2.9,
    r"\arcsin": 2.9, r"\sin": 1.4, r"\cos": 1.5, r"\tanh": 2.2, r"\sinh": 2.1, r"\cosh": 2.2, r"\max": 1.9, r"\min": 1.8,
    r"\displaystyle": 0.0, r"\scriptstyle": 0.0, r"\limits": 0.0, r"\nonumber": 0.0, r"\mathring": 0.0, r"\bar": 0.0,
    r"\big": 0.0, r"\Big": 0.15, r"\bigl": 0.0, r"\bigr": 0.0, r"\Bigl": 0.15, r"\Bigr": 0.15, r"\bigg": 0.3,
    r"\biggl": 0.3, r"\biggr": 0.3, r"\sqrt": 0.9, r"\Lambda": 0.7, r"\Theta": 0.78, r"\Sigma": 0.73,
}  # fmt: skip
_FONTS = {r"\mathrm", r"\text", r"\operatorname", r"\mathbb", r"\mathcal", r"\mathbf", r"\mathtt", r"\mathit", r"\textstyle"}


def _char(char: str) -> float:
    if char in " \n~":
        return 0.0
    if char in "=<>":
        return 1.33
    if char in "+-":
        return 1.15
    if char in "()[]|/'!":
        return 0.4
    if char in ",;.:":
        return 0.42
    if char.isupper():
        return 0.76
    return 0.52


@lru_cache(maxsize=4096)
def width(tex: str) -> float:
    """The width of a formula, in em of its font size."""
    tokens = list(_TOKEN.finditer(tex))
    total, end = _run(tokens, 0, "")
    while end < len(tokens):  # an unmatched brace: measure what is there
        more, end = _run(tokens, end + 1, "")
        total += more
    return total


_Tokens = list["re.Match[str]"]


def _run(tokens: _Tokens, at: int, stop: str) -> tuple[float, int]:
    """The width from ``at`` up to the closing brace (or the end of the environment ``stop``)."""
    total = 0.0
    rows: list[list[float]] = [[]]
    while at < len(tokens):
        token = tokens[at]
        text = token[0]
        if text == "}" or token[2]:
            break
        if stop and text in ("&", r"\\"):
            rows[-1].append(total)
            total = 0.0
            if text != "&":
                rows.append([])
            at += 1
            continue
        item, at = _item(tokens, at)
        total += item
    if not stop:
        return total, at
    rows[-1].append(total)
    columns = max(map(len, rows))
    return sum(max(row[c] if c < len(row) else 0.0 for row in rows) for c in range(columns)) + columns - 1 + 1.3, at


def _item(tokens: _Tokens, at: int) -> tuple[float, int]:
    """One token with its arguments and scripts."""
    token = tokens[at]
    text = token[0]
    if token[1]:
        inner, at = _run(tokens, at + 1, token[1])
        return inner, at + 1
    if text == "{":
        inner, at = _run(tokens, at + 1, "")
        return inner, at + 1
    if text in ("^", "_"):
        return _scripts(tokens, at, 0.0)
    if text in (r"\frac", r"\tfrac", r"\dfrac", r"\binom"):
        above, at = _item(tokens, at + 1)
        below, at = _item(tokens, at)
        return max(above, below) * (0.7 if text == r"\tfrac" else 1.0) + 0.25, at
    if text in _FONTS:
        return _item(tokens, at + 1) if at + 1 < len(tokens) else (0.0, at + 1)
    if text in (r"\sum", r"\prod", r"\max", r"\min") and at + 1 < len(tokens) and tokens[at + 1][0] in "^_":
        return _scripts(tokens, at + 1, _COMMANDS[text] + 0.17)
    return (_COMMANDS.get(text, 0.56) if text[0] == "\\" else _char(text)), at + 1


def _scripts(tokens: _Tokens, at: int, under: float) -> tuple[float, int]:
    """Scripts stand above each other; those of an operator of width ``under`` above and below it."""
    widest = 0.0
    while at + 1 < len(tokens) and tokens[at][0] in ("^", "_"):
        script, at = _item(tokens, at + 1)
        widest = max(widest, 0.72 * script + 0.05)
    return (max(under, widest) if under else widest), max(at, 1)
