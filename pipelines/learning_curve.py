"""How few labels suffice: frozen features against the same network trained from nothing.

    python -m pipelines.learning_curve --data DIR --backbone resnet50 --sizes 1 2 5 10 20

Heads on frozen features: logistic regression, linear SVM, nearest class mean, nearest neighbour.
--from-scratch trains random weights on the same labels, which is slow.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from featx import LinearProbeClassifier
from featx.cli.options import read_options
from featx.errors import FeatxError
from featx.estimators.presets import get_preset
from featx.evaluation import FewLabelCurve, extrapolate, few_label_curve
from featx.extraction import Encoder, RunOptions
from featx.finetuning import FineTuneClassifier
from pipelines.options import add_common, command_line, data_set, run, write
from pipelines.protocols import curve_report, prepare_features


def main() -> None:
    """Draw the curve, estimate what more would buy, write the page."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.learning_curve")
    add_common(parser, dataset="image_folder", presets=["plain"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--from-scratch", type=int, default=0, metavar="REPEATS",
                        help="train random weights too, for so many draws")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=30, help="of training from scratch")
    parser.add_argument("--scratch-px", type=int, help="side of the images it trains on, in px")
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    preset = get_preset(args.presets[0])
    features = prepare_features(
        data.paths,
        args.out / "features.h5",
        preset,
        read_options(args, Encoder),
        read_options(args, RunOptions),
    )
    y = data.labels[features.good]
    test = np.flatnonzero(data.split[features.good] == "test")
    own = test if len(test) else None
    with warnings.catch_warnings():
        # NearestCentroid divides by the spread within a class, which one label does not have, nor
        # a feature that is zero throughout, and then does without.
        warnings.filterwarnings("ignore", "invalid value encountered in divide")
        warnings.filterwarnings("ignore", "self.within_class_std_dev_ has at least 1 zero")
        curve = few_label_curve(
            features.X, y, _heads(), n_per_class=args.sizes, n_repeats=args.repeats, test=own
        )
    notes = _estimates(curve, args.sizes[-1])
    results: dict[str, Any] = {"frozen": _numbers(curve)}
    _show(curve)
    page = curve_report(
        curve, title=f"{data.name}: few labels", notes=notes,
        command=command_line("pipelines.learning_curve"),
    )  # fmt: skip
    if args.from_scratch:
        paths = [data.paths[i] for i in features.good]
        scratch = few_label_curve(
            np.array(paths), y, {"from scratch": _from_scratch(args)}, n_per_class=args.sizes,
            n_repeats=args.from_scratch, test=own,
        )  # fmt: skip
        _show(scratch)
        results["from_scratch"] = _numbers(scratch)
        page.add_curve(
            args.sizes,
            {**curve.mean, **scratch.mean},
            {**curve.intervals, **scratch.intervals},
            x_label="labels per class",
            y_label="accuracy",
            log_x=True,
            title="Beside the same network trained from random weights",
        )
    write(args.out, "learning_curve", page, results)


def _heads() -> dict[str, Any]:
    unit = Normalizer()
    return {
        "logistic": LinearProbeClassifier(),
        "svm": LinearProbeClassifier("svm"),
        "nearest class mean": make_pipeline(unit, NearestCentroid()),
        "nearest neighbour": make_pipeline(unit, KNeighborsClassifier(1)),
    }


def _from_scratch(args: argparse.Namespace) -> Any:
    model = read_options(args, FineTuneClassifier, validation_fraction=0, progress=False)
    sizes = {"resize_px": args.scratch_px, "crop_px": args.scratch_px} if args.scratch_px else {}
    return model.set_params(weights=None, **sizes)


def _estimates(curve: FewLabelCurve, largest: int) -> list[str]:
    notes = []
    for name in curve.mean:
        try:
            found = extrapolate(curve, name, 2 * largest)
            span = f"{found.score:.3f} ({found.low:.3f} to {found.high:.3f})"
            doubt = f"; but {found.problem}" if found.problem else ""
            notes.append(f"{name}: twice the labels, {2 * largest} a class, about {span}{doubt}")
        except FeatxError as err:
            notes.append(f"{name}: not told: {err}")
    return notes


def _numbers(curve: FewLabelCurve) -> dict[str, Any]:
    return {
        "n_per_class": list(curve.n_per_class),
        "scores": {k: np.asarray(v).tolist() for k, v in curve.scores.items()},
    }


def _show(curve: FewLabelCurve) -> None:
    print("labels per class     " + "".join(f"{n:>8}" for n in curve.n_per_class))
    for name, values in curve.mean.items():
        print(f"{name:19}" + "".join(f"{v:8.3f}" for v in values))


if __name__ == "__main__":
    sys.exit(run(main))
