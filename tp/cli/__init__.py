"""The command ``tp``: one verb per module, each with a help page that teaches.

Exit codes: 0 success; 1 a wrong spec or wrong data, with the message on stderr and nothing half-written; 2 usage.
Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Sequence

from tp.cli import coord_check, demo, derive, gram, language, mup, options, plainly, plot, scale, show, train, verify, zoo
from tp.errors import TPError
from tp.seldom import seldom
from tp.version import __version__

ABOUT = """\
Write a network down once; get its infinite-width limit derived, printed, compiled and checked.

A SPEC is a file such as mlp.tp, the name of a shipped network (`tp zoo` lists them), or - for standard input."""

EXAMPLES = """\
start here:
  tp demo                                    a tour on real digits, under a minute
  tp zoo mlp > my.tp                         a spec to begin from
  tp language                                all that can be written in it
  tp show my.tp                              what was understood, and the tensor program
  tp derive my.tp --limit ntk --closed       the recursions of the tangent kernel
  tp gram my.tp --data X.npy --out K.npy     its numbers on your data
  tp verify my.tp                            finite networks against what was derived
  tp train mup_mlp --let d=2 --data rows.csv --steps 5 --lr 0.5    training at infinite width"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="tp", description=ABOUT, epilog=EXAMPLES, formatter_class=options.Page)
    top.add_argument("--version", action="version", version=f"tp {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=options.Verb)
    for verb in (show, derive, gram, verify, scale, mup, coord_check, train, plot, language, zoo, demo):
        verb.add(verbs)
    return top


def command() -> int:
    """The verb of this process's command line. What it has made is left as it is: taking it apart takes half a second."""
    open_streams()
    warnings.formatwarning = warned
    with seldom():
        code = main()
    gc.freeze()
    return code


def warned(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as a line of the command: what it says, not where in this library it is said."""
    return f"warning: {message}\n"


def open_streams() -> None:
    """Standard streams that are there and take any character: what a terminal's encoding lacks is printed in words.

    A spec on standard input is UTF-8, as in a file. A stream that was closed is read as empty, and written to nowhere.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
        elif name == "stdin":
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        else:
            stream.reconfigure(errors=plainly.register())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except TPError as error:
        print(error.text(command=True), file=sys.stderr)
        return 1
    except BrokenPipeError:  # `tp zoo mlp | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename}" if error.filename else f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("; ".join(["interrupted", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory; give fewer samples, or smaller ranges", file=sys.stderr)
        return 1
    return code or 0
