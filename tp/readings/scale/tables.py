"""Tables of text as markdown, HTML and LaTeX. Powers such as ``n^(1/2)`` are typeset where the style can."""

from __future__ import annotations

import re
from collections.abc import Sequence

POWER = re.compile(r"^[A-Za-z]\w*(\^(\(-?\d+(/\d+)?\)|\d+))?$|^-?\d+$")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Pipes, with columns as wide as they need."""
    widths = [max(len(c) for c in column) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; powers become superscripts."""
    top = "".join(f"<th>{_escaped(c)}</th>" for c in head)
    body = "".join("<tr>" + "".join(f"<td>{_raised(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A ``tabular``; powers become mathematics."""
    lines = [rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\hline", " & ".join(map(_tex, head)) + r" \\", r"\hline"]
    lines += [" & ".join(_math(c) for c in row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _raised(text: str) -> str:
    return re.sub(r"\^\(?(-?[\d/]+)\)?", r"<sup>\1</sup>", _escaped(text)) if POWER.match(text) else _escaped(text)


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


def _math(text: str) -> str:
    if not POWER.match(text):
        return _tex(text)
    inner = re.sub(r"\^\(?(-?[\d/]+)\)?", r"^{\1}", text)
    return f"${inner}$"
