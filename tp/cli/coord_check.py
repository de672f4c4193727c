"""``tp coord-check``: finite networks against the derived exponents."""

from __future__ import annotations

import argparse
import sys

from tp.cli import files, options, scale

ABOUT = """
Trains the network for a few steps at several widths, measures the size of every variable and of its change, fits
powers of the width and compares them with the derived exponents. Exit code 1 if a slope is off by more than 0.1
beyond its uncertainty, if something grows, or if the output does not move."""

EXAMPLES = """
  tp coord-check mlp --parametrization mup --optimizer adam
  tp coord-check my.tp --widths 128,256,512,1024 --plot slopes.png
  tp coord-check mlp --parametrization sp --json > check.json"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "coord-check", "check exponents against finite networks", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--parametrization", metavar="NAME", help="sp, ntp, mup or mfp (default: as the spec declares)")
    scale.add_optimizer(parser)
    parser.add_argument(
        "--widths", type=options.several_widths, default=(128, 256, 512, 1024), metavar="N,N", help="default: 128,256,512,1024"
    )
    parser.add_argument(
        "--seeds", type=options.positive, default=4, metavar="S", help="networks at the widest; more at narrower (default: 4)"
    )
    parser.add_argument("--plot", type=files.picture_path, metavar="F.png", help="draw sizes against width (.png, .pdf or .svg)")
    parser.add_argument("--json", action="store_true", help="print the check as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    files.writable(arguments.plot)
    net = options.load(arguments)
    check = net.coord_check(
        arguments.optimizer, arguments.parametrization, arguments.widths, arguments.steps or 2, arguments.seeds,
        growth=dict(arguments.growth), progress=sys.stderr.isatty(),
    )  # fmt: skip
    if arguments.plot:
        with files.whole(arguments.plot) as temporary:
            check.plot(temporary)
    print(check.to_json() if arguments.json else check)
    return 0 if check.passed else 1
