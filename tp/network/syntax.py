"""What to say about text that does not parse: what was expected, what was found, and the likely remedy."""

from __future__ import annotations

import re
from unicodedata import combining, normalize

from lark import Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from tp.errors import Diagnostic, Source, Span
from tp.network import diagnostics as say
from tp.network.diagnostics import listing, nearest

STATEMENTS = ("network", "width", "dim", "let", "index", "input", "weight", "frozen", "output", "train")
OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "AT", "_CARET"}
OPERANDS = {"NAME", "NUMBER", "MINUS", "PLUS", "_LPAR"}
TAILS = {"_TRANSPOSE", "_LPAR", "_LSQB"}
WORDS = {
    "_FOR": "`for`", "_IN": "`in`", "_OVER": "`over`", "_BOUNDARY": "`boundary`", "_LR": "`lr`", "_WITH": "`with`",
    "FROZEN": "`frozen`", "OUTPUT": "`output`", "_WEIGHT": "`weight`", "_NETWORK": "`network`", "_DOTS": "`..`",
    "_EQUAL": "`=`", "TILDE": "`~`", "COMMA": "`,`", "COLON": "`:`", "_LPAR": "`(`", "_RPAR": "`)`", "_LSQB": "`[`",
    "_RSQB": "`]`", "_TRANSPOSE": "`.T`", "NAME": "a name", "NUMBER": "a number", "_NL": "the end of the line",
    "$END": "the end of the text", "_CARET": "`^`",
}  # fmt: skip
CHARACTERS = {
    ";": "one statement is one line",
    "'": "names consist of letters, digits and `_`",
    '"': "names stand without quotes",
    "{": "use `(` and `)` to group, `[` and `]` for indices",
    "}": "use `(` and `)` to group, `[` and `]` for indices",
    "<": "comparisons are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    ">": "comparisons are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    "\\": "a backslash continues a line only at its end",
    ".": "the transpose is written `W.T`, a range `a..b`",
    "|": "the absolute value is written `abs(z)`",
    "%": "comments begin with `#`; there is no remainder",
    "!": "comments begin with `#`",
    "−": "the minus sign is `-`",
    "·": "a product is written `a*b`",
    "×": "a product is written `a*b`",
    "÷": "division is written `a/b`",
    "≤": "comparisons are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    "≥": "comparisons are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    "←": "a name is defined with `=`",
    "∼": "the tilde is `~`",
    "…": "a range is written `a..b`",
    "√": "the square root is written `sqrt(z)`",
    "ᵀ": "the transpose is written `W.T`",
    "&": "one statement is one line",
    "?": "cases are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    **dict.fromkeys("‘’“”`", "names stand without quotes"),
}
CLOSING = {"(": ")", "[": "]"}
FOREIGN = {
    "def": "a function of your own is a `let`: `let phi(z) = …`",
    "return": "what the network returns is marked: `output f = …`",
    "param": "parameters are weights: `weight W : [n, d] ~ N(0, 1/d)`",
    "parameter": "parameters are weights: `weight W : [n, d] ~ N(0, 1/d)`",
    "if": "cases are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
    "else": "cases are written with `step(z)`, which is 1 for z > 0 and 0 otherwise",
}
"""Words of other languages, and what stands for them here."""


def explain(source: Source, error: UnexpectedInput) -> Diagnostic:
    """The first thing wrong with the text."""
    at = error.pos_in_stream if error.pos_in_stream is not None else len(source.text)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        at = len(source.text)
    return _bracket(source, at, error) or _first_word(source, at) or _token(source, at, error)


# ---------------------------------------------------------------- brackets


def _bracket(source: Source, at: int, error: UnexpectedInput) -> Diagnostic | None:
    """A bracket before ``at`` that is closed wrongly, or not closed where a new statement begins."""
    opened: list[tuple[str, int]] = []
    for m in re.finditer(r"#[^\n]*|[()\[\]]", source.text[: at + 1]):
        bracket = m.group()
        if bracket in CLOSING:
            opened.append((bracket, m.start()))
        elif bracket in ")]":
            if not opened:
                return say.NeverOpened(place(source, m.start()), bracket)
            if CLOSING[opened[-1][0]] != bracket:
                return say.WronglyClosed(place(source, m.start()), bracket, opened[-1][0])
            opened.pop()
    if opened and opened[-1][1] == at:
        opened.pop()
    if not opened:
        return None
    bracket, start = opened[-1]
    if at >= len(source.text) or ("\n" in source.text[start:at] and _begins_statement(source, at)):
        return say.NeverClosed(place(source, start), bracket, CLOSING[bracket])
    return None


def _begins_statement(source: Source, at: int) -> bool:
    """Whether the line of ``at`` looks like a statement of its own."""
    line = source.line(place(source, at).line)
    return bool(re.match(rf"\s*(({'|'.join(STATEMENTS)})\b|\w+\s*(\[[^\]]*\])?\s*=)", line))


# ---------------------------------------------------------------- words


def _first_word(source: Source, at: int) -> Diagnostic | None:
    """A statement whose first word is misspelt, or that begins with no word of the language."""
    begin = source.text.rfind("\n", 0, at) + 1
    m = re.match(r"[ \t]*([^\W\d]\w*)[ \t]*", source.text[begin:])
    if not m or not begin + m.start(1) <= at <= begin + m.end():
        return None
    word, span = m.group(1), place(source, begin + m.start(1), len(m.group(1)))
    head = not re.search(r"^[ \t]*network\b", source.text[:begin], re.MULTILINE)
    if head:
        if word == "network":
            return None
        return say.UnknownStatement(span, word, hint) if (hint := nearest(word, ["network"])) else say.NoHeader(span)
    if word == "network":
        return say.SecondNetwork(span)
    if word in STATEMENTS or at < begin + m.end():
        return None
    if (following := source.text[at : at + 1]) and re.match(r"\w", following):
        words = listing(f"`{s}`" for s in STATEMENTS[1:])
        hint = FOREIGN.get(word) or nearest(word, STATEMENTS)
        hint = hint or f"statements begin with {words}, or define: `h = …`; `tp language` prints them all"
        return say.UnknownStatement(span, word, hint)
    if following == "(":
        return say.Unexpected(place(source, at), "`(`", "`=`", f"functions are defined by `let {word}(z) = …`")
    return None


# ---------------------------------------------------------------- tokens


def _token(source: Source, at: int, error: UnexpectedInput) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        return _character(source, at)
    assert isinstance(error, UnexpectedToken)
    if "_NETWORK" in (error.accepts or ()):
        return say.NoHeader(_line_end(source, at))
    token, accepts = error.token, set(error.accepts or error.expected)
    found = WORDS.get(token.type, f"`{token.value}`") if token.type in ("_NL", "$END") else f"`{token.value}`"
    span = place(source, at, len(token.value)) if token.type not in ("_NL", "$END") else _line_end(source, at)
    before = (error.token_history or [None])[-1]
    word = (source.text[:at].split() or [""])[-1]
    return say.Unexpected(span, found, expected(accepts), _hint(token, accepts, before, word))


def expected(accepts: set[str]) -> str:
    """The accepted tokens in words."""
    if "_WIDTH" in accepts:
        return "a statement"
    words, rest = [], set(accepts)
    if rest >= OPERATORS - {"_CARET"}:
        words.append("an operator")
        rest -= OPERATORS | TAILS | {"_CARET"}
    elif rest >= OPERANDS:
        words.append("an expression")
        rest -= OPERANDS
        rest -= {"_LSQB"}
    order = [w for w in WORDS if w in rest]
    return listing(words + [WORDS[w] for w in order]) or "something else"


def _hint(token: Token, accepts: set[str], before: Token | None, word: str) -> str:
    """What to write; ``before`` is the token before it, where that is known, and ``word`` what stands there in any case."""
    keywords = [w.strip("`") for t, w in WORDS.items() if t in accepts and w.strip("`").isalpha()]
    if token.type == "NAME" and (hint := nearest(token.value, keywords)):
        return hint
    if token.type == "NAME" and token.value == "where":
        return "ranges are written `for l in a..b`"
    if token.value in FOREIGN:
        return FOREIGN[token.value]
    if accepts == {"NAME", "_RSQB"} and token.value[:1].isdigit():
        return "axes are names, with sizes of their own: `width k = 2*n`, `dim k = 3`; a third axis is an index, `W[k] : [n, m]`"
    if accepts == {"_NL"} or (accepts == {"NAME"} and word == "network"):
        return "the name of a network is one word, `my_net`, that begins with a letter"
    if accepts == {"NAME"} and word == "boundary":
        return "it is `zero`, `circular`, `reflect` or `valid`"
    if accepts == {"COMMA", "_RSQB"}:
        return "a comma stands between axes: `[n, d]`"
    if "_IN" in accepts or "_DOTS" in accepts:
        return "ranges are written `l in a..b`"
    if token.type == "COLON" and "_RSQB" in accepts:
        return "there are no slices: an index takes one value, `x[p]`, and lines run over it, `… for p in a..b`"
    if "_EQUAL" in accepts and token.value in ("+", "-", "*", "/"):
        return "a name is defined once, with `=`"
    if "COLON" in accepts and token.type == "COMMA":
        return "declare one on a line"
    if "COLON" in accepts:
        return "after the name come its axes: `x : [d]`"
    if token.type == "_LSQB" and accepts >= OPERANDS:
        return "tables of numbers stand in a `let`: `let A[u, v] = [[…], …]`"
    if "TILDE" in accepts:
        return "say how it begins: `~ N(0, 1/n)`, or `~ 1` for a constant"
    if accepts == {"_LSQB"}:
        return "axes stand in brackets: `[n, d]`, or `[]` for a scalar"
    if "_LR" in accepts:
        return "after the comma comes `lr RATE` or `frozen`"
    if token.type == "_EQUAL" and before is not None and before.type == "_EQUAL":
        return "one `=` defines"
    if token.type == "COLON" and "_EQUAL" in accepts:
        return "one `=` defines, without `:`"
    if token.type == "_EQUAL" and {"COMMA", "_RPAR"} <= accepts:
        return "arguments have no names: write their values, in order"
    if token.type == "SLASH" and before is not None and before.type == "SLASH":
        return "division is one `/`; comments begin with `#`"
    if "AT" in accepts and token.type in ("NAME", "NUMBER", "_LPAR"):
        if before is not None and before == "lambda" and token.type == "NAME":
            return "a function of your own is a `let`: `let phi(z) = …`"
        if before is not None and before.type == "NUMBER":
            if before.end_pos == token.start_pos and re.fullmatch(r"[jJ]|[xX][0-9a-fA-F]+|[bBoO]\d+|_[\d_]+", token.value):
                return "numbers are real and decimal: `16`, `1000`, `2.5e-1`"
            if "COMMA" in accepts:
                return f"write `{before.value}, {token.value}`, or `{before.value}*{token.value}` for a product"
            return f"a product is written `{before.value}*{token.value}`"
        return "products are written `W @ x` (matrix or inner product) and `a*b` (coordinatewise)"
    if token.type == "_NL" and accepts >= OPERANDS:
        return "a line goes on inside brackets or after a trailing `\\`"
    if "_WIDTH" in accepts and token.type == "NUMBER":
        return "names begin with a letter"
    if token.type.strip("_").isalpha() and str(token.value) in ("for", "in", "over", *STATEMENTS) and "NAME" in accepts:
        return f"`{token.value}` is a word of the language and cannot be a name"
    return ""


def _character(source: Source, at: int) -> Diagnostic:
    c = source.text[at]
    if re.match(r"\.[A-Za-z]+", source.text[at:]):
        word = re.match(r"\.[A-Za-z]+", source.text[at:]).group()  # type: ignore[union-attr]
        return say.StrangeCharacter(place(source, at, len(word)), f"`{word}`", _method(word, source.text[at + len(word) :]))
    hint = CHARACTERS.get(c) or _plainly(c)
    shown = f"`{c}`" if c.isprintable() and not combining(c) else f"the character U+{ord(c):04X}"
    return say.StrangeCharacter(place(source, at), shown, hint)


def _plainly(c: str) -> str:
    """What to write for a character that is none of the language."""
    plain = normalize("NFKC", c)
    if plain.isdigit() and c.isalnum():
        return f"powers are written `h^{plain}`"
    if plain != c and plain.isascii() and plain.isprintable() and plain.strip():
        return f"write `{plain}`"
    return "" if c.isascii() else "names consist of ASCII or Greek letters, digits and `_`"


def _method(word: str, rest: str) -> str:
    """What stands for ``.word`` of another language."""
    if word in (".dot", ".matmul", ".mm"):
        return "products are written `W @ x`"
    if rest.startswith("(") and word.lower() not in (".t", ".transpose"):
        return f"functions stand alone, without a prefix: `{word[1:]}(z)`"
    return "the transpose is written `W.T`"


# ---------------------------------------------------------------- places


def place(source: Source, at: int, length: int = 1) -> Span:
    """The span of ``length`` characters from position ``at``."""
    at = min(at, len(source.text))
    begin = source.text.rfind("\n", 0, at) + 1
    return Span(source, source.text.count("\n", 0, begin) + 1, at - begin + 1, length)


def _line_end(source: Source, at: int) -> Span:
    """Just after the code of the line of ``at``, or of the last line that has any."""
    lines = source.text[:at].split("\n")
    while len(lines) > 1 and not lines[-1].partition("#")[0].strip():
        lines.pop()
    return Span(source, len(lines), len(lines[-1].partition("#")[0].rstrip()) + 1, 1)
