"""What the verbs share: the SPEC argument, ``--let``, and how both become a network."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tp.errors import NOWHERE, Message

if TYPE_CHECKING:
    from tp.net import Net

Verbs = Any  # argparse's subparsers action, which has no public name

NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(e[+-]?\d{1,3})?(/\d{1,40})?", re.IGNORECASE)
LARGEST_SPEC = 1_000_000  # characters, as for a file


class Page(argparse.RawDescriptionHelpFormatter):
    """A help page whose paragraphs fit the terminal; blocks with lines that are set in stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = text.strip("\n").split("\n\n")
        kept = (any(line.startswith(" ") for line in block.split("\n")) for block in blocks)
        width = min(width, 110)
        return "\n\n".join(
            b if as_is else textwrap.fill(b, width, break_on_hyphens=False) for b, as_is in zip(blocks, kept, strict=True)
        )


class Verb(argparse.ArgumentParser):
    """A verb's command line. What it does not take is said with the verb's own usage, and the option that comes nearest."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            taken = {option.lstrip("-"): option for action in self._actions for option in action.option_strings}
            near = difflib.get_close_matches(unknown[0].partition("=")[0].lstrip("-"), taken, 1)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{f'; did you mean {taken[near[0]]}?' if near else ''}")
        return found, unknown


def verb(verbs: Verbs, name: str, line: str, text: str, examples: str) -> argparse.ArgumentParser:
    """A verb's parser: one line for ``tp --help``, a paragraph and examples for its own."""
    return verbs.add_parser(
        name,
        help=line,
        description=f"{line[0].upper()}{line[1:]}.\n\n{text.strip()}",
        epilog=f"examples:\n{examples.strip(chr(10))}",
        formatter_class=Page,
    )


def spec(parser: argparse.ArgumentParser) -> None:
    """The network: SPEC and ``--let``."""
    parser.add_argument("spec", metavar="SPEC", help="a .tp file, the name of a shipped network, or - for standard input")
    parser.add_argument(
        "--let",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=setting,
        help="another value for a `let` or `dim` of the spec: L=4, sb2=1/10; `L=` leaves it a symbol; repeatable",
    )


def setting(text: str) -> tuple[str, int | Fraction | None]:
    """``L=4`` as a name and an exact value; ``L=`` leaves the constant a symbol."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=VALUE, as in L=4")
    if not value:
        return name, None
    if not NUMBER.fullmatch(value):
        raise argparse.ArgumentTypeError(f"{text!r}: the value is a number: 4, 0.1, 1/3 or 2e-3")
    top, _, bottom = value.partition("/")
    if bottom and not int(bottom):
        raise argparse.ArgumentTypeError(f"{text!r}: division by zero")
    exact = Fraction(top) / int(bottom or 1)
    return name, exact.numerator if exact.denominator == 1 else exact


def load(arguments: argparse.Namespace) -> Net:
    """The network that SPEC and ``--let`` name."""
    import tp

    lets: dict[str, Any] = dict(arguments.let)
    if arguments.spec == "-":
        return tp.parse(sys.stdin.read(LARGEST_SPEC + 1), **lets)
    path = Path(arguments.spec)
    if path.suffix or path.name != arguments.spec or path.exists():
        return tp.load(path, **lets)
    beside = path.with_suffix(".tp")
    if beside.exists() and arguments.spec not in tp.zoo():
        reason = f"there is no network `{arguments.spec}` in the zoo"
        raise tp.SpecError(Message(NOWHERE, reason, f"did you mean the file `{beside}`?", "unknown network"))
    return tp.zoo(arguments.spec, **lets)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, at least 1")
    return int(text)


def nodes(text: str) -> int:
    """``2^17`` or ``131072``."""
    power = re.fullmatch(r"2(?:\^|\*\*)(\d{1,2})", text)
    if not power and not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: a power of 2, as in 2^17")
    return 2 ** int(power[1]) if power else int(text)


def amount(text: str) -> float:
    """A number of at least 0."""
    if not NUMBER.fullmatch(text.strip()) or text.strip().startswith("-") or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: a number of at least 0, as in 4 or 0.5")
    return float(text)


def widths(text: str) -> tuple[int, ...]:
    """``256,1024,4096``, in order and each once."""
    return tuple(sorted({positive(part.strip()) for part in text.split(",")}))


def pair(text: str) -> tuple[float, float]:
    """``0.9,0.999``: two numbers."""
    try:
        one, two = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: two numbers, as in 0.9,0.999") from None
    return one, two


def several_widths(text: str) -> tuple[int, ...]:
    """Widths that a rate can be fitted to: at least two."""
    found = widths(text)
    if len(found) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: at least two different widths, as in 256,1024,4096")
    return found


def memory(text: str) -> int:
    """``2GB`` as a number of bytes."""
    from tp.errors import DataError
    from tp.kernel.disk.tiles import bytes_of

    try:
        return bytes_of(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error).splitlines()[0]) from None
