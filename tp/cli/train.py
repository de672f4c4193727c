"""``tp train``: training at infinite width, and at finite widths beside it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tp.cli import files, options
from tp.cli.derive import hand_over

ABOUT = """
Unrolls the optimizer over the samples of a file and evaluates the infinite-width limit of that training: outputs,
loss and feature kernels after every step, each with its error. Samples are rows of --data with the targets in
--targets; or --data is an .npz with the arrays X and y (and X_test), or a .csv whose last column is the target.
Needs a network whose outputs are not random at initialization, such as mup_mlp, or one of the zoo with
--parametrization mup; --method lazy trains any network whose tangent kernel has a limit by kernel gradient descent
from 0, --method exact gives fractions where they are short. The picture has finite widths and, dashed, the lazy curve
beside the limit. What the options leave open is taken from the `train` line of the spec."""

METHODS = ("auto", "exact", "grid", "sobol", "lazy")

EXAMPLES = """
  tp train mup_mlp --let d=2 --data rows.csv --steps 5 --lr 0.5
  tp train my.tp --data X.npy --targets y.npy --steps 20 --lr 0.1 --loss logistic --plot run.png
  tp train mlp --let d=2 --data rows.csv --steps 9 --lr 0.1 --parametrization ntp --method lazy
  tp train my.tp --data run.npz --steps 3 --lr 1 --batch 4 --widths 256,1024 --json
  tp train my.tp --data rows.csv --steps 1 --lr 0.1 --optimizer sign --pdf step.pdf"""


def add(verbs: options.Verbs) -> None:
    parser = options.verb(verbs, "train", "train a network at infinite width", ABOUT, EXAMPLES)
    options.spec(parser)
    parser.add_argument("--data", type=files.array_path, required=True, metavar="X.npy", help="samples: .npy, .npz or .csv")
    parser.add_argument("--targets", type=files.array_path, metavar="y.npy", help="targets, one row a sample")
    parser.add_argument("--test", type=files.array_path, metavar="X.npy", help="samples to report on (default: those of --data)")
    parser.add_argument("--steps", type=options.positive, metavar="T", help="updates")
    parser.add_argument("--lr", type=float, metavar="ETA", help="learning rate; the rates of the spec multiply it")
    parser.add_argument(
        "--loss", metavar="L", help="mse (half the square), logistic, xent, or an expression in f and y (default: mse)"
    )
    parser.add_argument(
        "--optimizer", metavar="O", help="sgd, momentum, nesterov, sign, adam, adamw, rmsprop, adagrad, lion, or Q(g, m, v)"
    )
    parser.add_argument(
        "--parametrization", metavar="P", help="sp, ntp, mup or mfp, for the optimizer (default: as the spec declares)"
    )
    parser.add_argument("--momentum", type=float, metavar="BETA", help="heavy-ball momentum")
    parser.add_argument("--betas", type=options.pair, metavar="B1,B2", help="decay of Adam's means (default: 0.9,0.999)")
    parser.add_argument("--eps", type=float, metavar="EPS", help="Adam's epsilon, where gradients are of size 1 (default: 1e-8)")
    parser.add_argument("--decay", type=float, metavar="D", help="weights shrink by 1 - D a step")
    parser.add_argument(
        "--batch", type=options.positive, metavar="B", help="rows a step, in order and round again (default: all)"
    )
    parser.add_argument("--method", choices=METHODS, default="auto", help="lazy: by the tangent kernel (default: auto)")
    parser.add_argument("--tol", type=float, metavar="EPS", help="error to aim at")
    parser.add_argument("--memory", type=options.memory, metavar="2GB", help="for the arrays of the limit (default: 4GB)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="F.npz", help="keep what is finished there; the same run goes on from it"
    )
    parser.add_argument("--widths", type=options.widths, default=(), metavar="N,N", help="finite widths to train as well")
    parser.add_argument("--seeds", type=options.positive, default=8, metavar="S", help="networks at each width (default: 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all random numbers (default: 0)")
    parser.add_argument("--plot", type=files.picture_path, metavar="F.png", help="draw it (.png, .pdf or .svg)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--symbols", action="store_true", help="derive the outputs in symbols instead: for a step or two")
    parser.add_argument("--latex", type=Path, metavar="F.tex", help="write that derivation as a LaTeX document")
    parser.add_argument("--pdf", type=files.page_path, metavar="F.pdf", help="write it typeset (needs pdflatex)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    files.writable(arguments.plot, arguments.latex, arguments.pdf)
    net = options.load(arguments)
    X, y, test = _rows(arguments)
    settings = {k: getattr(arguments, k) for k in ("lr", "loss", "optimizer", "momentum", "decay", "betas", "eps")}
    settings |= {"steps": arguments.steps, "batches": arguments.batch}
    training = net.train(X, y, X_test=test, parametrization=arguments.parametrization, **settings)
    if arguments.symbols or arguments.latex or arguments.pdf:
        hand_over(training.z(), arguments)
        return
    if arguments.method == "lazy":
        limit = training.lazy()
    else:
        limit = training.limit(
            arguments.method, arguments.tol, arguments.seed, memory=arguments.memory, checkpoint=arguments.checkpoint
        )
    finite = [training.simulate(width, arguments.seeds, arguments.seed) for width in arguments.widths]
    if arguments.plot:
        with files.whole(arguments.plot) as temporary:
            limit.plot(temporary, beside=finite)
    if arguments.json:
        about = json.loads(limit.to_json())
        print(json.dumps({**about, "finite": [json.loads(run.to_json()) for run in finite]}, indent=2))
    else:
        print("\n\n".join(str(result) for result in (limit, *finite)))


def _rows(arguments: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Samples, targets and test samples."""
    from tp.errors import NOWHERE, DataError, Message

    def wrong(reason: str, remedy: str) -> DataError:
        return DataError(Message(NOWHERE, reason, remedy, "data file"))

    X = files.read_arrays(arguments.data)
    y = files.read_arrays(arguments.targets) if arguments.targets else None
    test = files.read_arrays(arguments.test) if arguments.test else None
    if isinstance(X, dict):
        y = X.pop("y", None) if y is None else y
        test = X.pop("X_test", None) if test is None else test
        X = X["X"] if set(X) == {"X"} else X
    elif y is None:
        if arguments.data.suffix != ".csv" or X.ndim != 2 or X.shape[1] < 2:
            raise wrong(
                f"`{arguments.data.name}` has no targets",
                "give --targets, an .npz with X and y, or a .csv whose last column is y",
            )
        X, y = X[:, :-1], X[:, -1]
    if y is None or isinstance(y, dict):
        raise wrong("there are no targets", "give --targets, or an .npz with the arrays X and y")
    if not getattr(y, "ndim", 0):
        raise wrong("the targets are one number", "give one row per sample")
    return X, y, test
