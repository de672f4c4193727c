"""``tp coord-check``: finite networks against the derived exponents."""

from __future__ import annotations

import argparse

from tp.cli import files, options, scale

ABOUT = """
Trains the network for a few steps at several widths, measures the size of every variable and of its change, fits
powers of the width and compares them with the derived exponents. A row is confirmed if the slope is within 0.1 of
the exponent and known (two standard errors) to 0.1, contradicted if it is surely not within 0.1, undecided otherwise:
then a larger --budget, more --seeds or --widths may tell.

Exit code 1 if a row is contradicted, if something grows, or if the output does not move; 0 otherwise, also where
rows are undecided (--json has "confirmed", which is true if none is)."""

EXAMPLES = """
  tp coord-check mlp --parametrization mup --optimizer adam
  tp coord-check my.tp --widths 128,256,512,1024 --plot slopes.png
  tp coord-check transformer --let L=1 --let T=3 --parametrization mup --budget 8
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
    parser.add_argument(
        "--budget", type=options.amount, default=2.0, metavar="B",
        help="train more networks while exponents are undecided, for up to B times the cost of the first ones (default: 2)",
    )  # fmt: skip
    parser.add_argument("--plot", type=files.picture_path, metavar="F.png", help="draw sizes against width (.png, .pdf or .svg)")
    parser.add_argument("--json", action="store_true", help="print the check as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    files.writable(arguments.plot)
    net = options.load(arguments)
    check = net.coord_check(
        arguments.optimizer, arguments.parametrization, arguments.widths, arguments.steps or 2, arguments.seeds,
        growth=dict(arguments.growth), budget=arguments.budget,
    )  # fmt: skip
    if arguments.plot:
        with files.whole(arguments.plot) as temporary:
            check.plot(temporary)
    print(check.to_json() if arguments.json else check.text(command=True))
    return 0 if check.passed else 1
