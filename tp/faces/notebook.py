"""What a notebook shows: formulas, derivations, networks and programs; and the ``%%tp`` cell.

``%load_ext tp`` once, then a cell that begins with ``%%tp`` holds a spec; its network is ``net``, or what stands
behind the ``%%tp``: ``%%tp shallow L=2``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, Any

from tp.errors import NOWHERE, Message, SpecError

if TYPE_CHECKING:
    from tp.limit.equations import Equation, Limit
    from tp.net import Net
    from tp.program.ir import Program

# ---------------------------------------------------------------- limits


def limit_latex(limit: Limit) -> str:
    """All equations in one display."""
    from tp.faces.display import rows
    from tp.faces.families import of_equations
    from tp.faces.latex import ordered
    from tp.faces.notation import notation

    limit = of_equations(limit)
    style = notation(limit)
    return _display([line for equation in ordered(limit) for line in rows(equation, style)])


def limit_markdown(limit: Limit) -> str:
    """The derivation: sections, displays, and under each equation its rule, source and line."""
    from tp.faces.display import rows
    from tp.faces.families import of_equations
    from tp.faces.latex import TITLES, conventions, introduced, named_vectors, ordered
    from tp.faces.notation import notation
    from tp.faces.order import is_theta
    from tp.faces.text import products

    limit = of_equations(limit)
    style = notation(limit)
    parts = [f"**{_plain(limit.program.name)}** in the limit of infinite width"]
    if lines := named_vectors(limit, style, products(limit)):
        parts.append(_display(lines))
    title = ""
    for equation in ordered(limit):
        heading = TITLES["Theta" if is_theta(equation.lhs) else "K"]
        if heading != title:
            parts.append(f"### {heading}")
            title = heading
        parts += [_display(rows(equation, style)), _origin(equation)]
    parts += [f"The kernel is $n^{{{power}}}$ times this ({kind})." for kind, power in limit.power.items() if power != 0]
    told = (
        part.replace("\\[\n", "$$").replace("\n\\]", "$$") for part in (*conventions(limit, style), *introduced(limit, style))
    )
    return "\n\n".join([*parts, "### Notation", *told]) + "\n"


def _display(lines: list[str]) -> str:
    return "$$\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}$$"


def _origin(equation: Equation) -> str:
    line = f"line {equation.span.line}" if equation.span.line else ""
    told = "; ".join(filter(None, (_plain(equation.rule), _plain(equation.source), line)))
    return f"<small>{told}</small>" if told else ""


def _plain(text: str) -> str:
    """Text in Markdown that stays as it is."""
    return "".join("\\" + c if c in r"\`*_{}[]#$|~^" else escape(c) for c in text.replace("*", ""))


# ---------------------------------------------------------------- programs and networks

_PRE = 'style="line-height:1.35;font-size:90%;overflow-x:auto"'


def program_html(program: Program) -> str:
    """The listing beside the graph."""
    from tp.faces.svg import graph
    from tp.program.listing import listing

    return (
        '<div style="display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start">'
        f"<pre {_PRE}>{escape(listing(program))}</pre>\n<div>{graph(program)}</div></div>"
    )


def net_html(net: Net) -> str:
    """The spec, coloured, and its graph."""
    from tp.faces.svg import graph
    from tp.network.show import show

    return (
        '<div style="display:flex;flex-wrap:wrap;gap:2em;align-items:flex-start">'
        f"{spec_html(show(net.network))}\n<div>{graph(net.program)}</div></div>"
    )


def spec_html(text: str) -> str:
    """A spec with colours where Pygments is installed."""
    try:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter

        from tp.faces.lexer import SpecLexer
    except ImportError:
        return f"<pre {_PRE}>{escape(text)}</pre>"
    return str(highlight(text, SpecLexer(), HtmlFormatter(noclasses=True, prestyles="line-height:1.35;font-size:90%")))


# ---------------------------------------------------------------- the cell magic


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext tp``: the ``%%tp`` cell, whose spec becomes a network of the session."""

    def tp(line: str, cell: str) -> Any:
        """A spec; ``%%tp name let=value …`` binds its network to ``name`` (``net`` when left out)."""
        from tp.net import Net

        name, lets = arguments(line)
        net = Net(cell, lets, name)
        shell.user_ns[name] = net
        return net

    shell.register_magic_function(tp, magic_kind="cell", magic_name="tp")


def arguments(line: str) -> tuple[str, dict[str, Fraction | int | None]]:
    """``name L=4 sw2=3/2 sb2=symbol`` taken apart; raises ``SpecError`` with an example."""
    name, lets = "net", {}
    for position, word in enumerate(line.split()):
        key, equals, value = word.partition("=")
        if not key.isidentifier() or (not equals and position):
            raise _misread(word)
        if not equals:
            name = key
            continue
        lets[key] = None if value == "symbol" else _number(value, word)
    return name, lets


def _number(text: str, word: str) -> Fraction | int:
    if not re.fullmatch(r"[+-]?\d{1,30}(\.\d{0,30})?(e[+-]?\d{1,2}|/0*[1-9]\d{0,29})?", text):
        raise _misread(word)
    value = Fraction(text)
    return int(value) if value.denominator == 1 else value


def _misread(word: str) -> SpecError:
    remedy = "a cell begins with `%%tp`, `%%tp name` or `%%tp name L=4 sw2=3/2 sb2=symbol`"
    return SpecError(Message(NOWHERE, f"cannot read `{word}`", remedy, "wrong %%tp line"))
