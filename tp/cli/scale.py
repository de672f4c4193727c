"""``tp scale``: how everything scales with the width, and what goes wrong."""

from __future__ import annotations

import argparse

from tp.cli import options

ABOUT = """
Derives, from the program alone, how the initial size of every variable and its change in training scale with
the width n: stable or not, learning features or a kernel method, and which weight's update is to blame otherwise.

  --parametrization sp | ntp | mup | mfp   a named one; without it, the multipliers, variances and rates of the spec

Exit code 1 if training is not stable."""

EXAMPLES = """
  tp scale mlp --optimizer sgd --parametrization sp    standard parametrization at a constant learning rate
  tp scale my.tp --optimizer adam --explain            the constraints behind the verdict
  tp scale transformer --parametrization mup --optimizer adam --json"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "scale", "derive how sizes scale with the width", ABOUT, EXAMPLES)
    options.spec(parser)
    add_optimizer(parser)
    parser.add_argument("--parametrization", metavar="NAME", help="sp, ntp, mup or mfp (default: as the spec declares)")
    parser.add_argument("--explain", action="store_true", help="what each weight's update contributes, in exponents")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def add_optimizer(parser: argparse.ArgumentParser) -> None:
    """``--optimizer``, ``--steps`` and ``--growth``."""
    parser.add_argument(
        "--optimizer", default="sgd", metavar="NAME", help="sgd (default), momentum, sign, adam, adamw, adafactor, muon, …"
    )
    parser.add_argument("--steps", type=options.positive, metavar="T", help="updates that are followed (default: 2)")
    parser.add_argument(
        "--growth", metavar="WIDTH=EXPONENT", action="append", default=[], type=options.setting,
        help="how another free width grows: m=1/2 like n^(1/2); repeatable",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    net = options.load(arguments)
    report = net.scaling(arguments.parametrization, arguments.optimizer, arguments.steps, dict(arguments.growth))
    if arguments.json:
        print(report.to_json())
    else:
        print(report.text(command=True))
        if arguments.explain and (more := report.explanation()):
            print("\n" + more)
    return 0 if report.stable else 1
