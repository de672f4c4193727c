"""``tp verify``: finite networks against the derived limit."""

from __future__ import annotations

import argparse

from tp.cli import files, options

ABOUT = """
Draws the network at several widths, measures its empirical kernels and compares them with the derived ones. The
two share the tensor program and nothing else, so their agreement is evidence. The error of a right derivation
falls like 1/sqrt(width): the table gives the fitted exponent, which should be near -1/2. Where it is not, the
exit code is 1."""

EXAMPLES = """
  tp verify mlp
  tp verify my.tp --widths 128,512,2048 --seeds 4
  tp verify cnn1d --plot error.png           the error against the width, with the fit
  tp verify rnn --json > report.json"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "verify", "check the derivation against finite networks", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument(
        "--widths", type=options.several_widths, default=(256, 1024, 4096), metavar="N,N", help="default: 256,1024,4096"
    )
    parser.add_argument(
        "--seeds", type=options.positive, default=8, metavar="S", help="networks drawn at each width (default: 8)"
    )
    parser.add_argument("--plot", type=files.picture_path, metavar="F.png", help="draw error against width (.png, .pdf or .svg)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    files.writable(arguments.plot)
    report = options.load(arguments).verify(arguments.widths, arguments.seeds)
    if arguments.plot:
        with files.whole(arguments.plot) as temporary:
            report.plot(temporary)
    print(report.to_json() if arguments.json else report.table())
    return 1 if report.verdict == "does not converge" else 0
