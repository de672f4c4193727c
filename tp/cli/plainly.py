"""Mathematics for terminals that lack its characters: ``Θ_f(x, x′)`` as ``Theta_f(x, x')``, not as numbers of characters."""

from __future__ import annotations

import codecs
import re
import unicodedata

NAME = "tp.plainly"
"""What the error handler is called."""

SIGNS = {
    "′": "'", "ᐟ": "'", "″": "''", "⟨": "<", "⟩": ">", "‹": "<-", "√": "sqrt", "−": "-", "–": "-", "—": "-", "─": "-", "·": "*",
    "×": "x", "⊗": "(x)", "…": "...", "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "∂": "d", "∫": "int",
    "∞": "oo", "∈": "in", "ℝ": "R", "‖": "||", "ᵀ": "^T", "⊤": "^T", "✗": "x", "ℓ": "l", "ᶻ": "^z", "ᵃ": "^a", "½": "1/2",
    "¼": "1/4", "⁻": "^-",
}  # fmt: skip
HATS = {"CIRCUMFLEX": "hat", "DOT ABOVE": "dot"}


def plainly(character: str) -> str:
    """A character in ASCII: its sign, the name of a Greek letter, the digit of an index, a letter without its accent."""
    if character in SIGNS:
        return SIGNS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK ") and " LETTER " in name:
        letter = name.rpartition(" LETTER ")[2].split()[0].lower().replace("lamda", "lambda")
        return letter.capitalize() if "CAPITAL" in name else letter
    if name.startswith(("SUPERSCRIPT ", "SUBSCRIPT ")) and (digit := unicodedata.normalize("NFKC", character)).isascii():
        return ("^" if name.startswith("SUPER") else "_") + digit
    base, *marks = list(unicodedata.normalize("NFKD", character))
    if base.isascii() and base.isalpha() and marks:
        return base + "".join(word for mark, word in HATS.items() if mark in name)
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _handler(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = "".join(map(plainly, error.object[error.start : error.end]))
    return re.sub(r"(?<=[-\d])\^(?=\d)", "", text), error.end  # a power of several characters


def register() -> str:
    """Make the handler known to streams; its name."""
    codecs.register_error(NAME, _handler)
    return NAME
