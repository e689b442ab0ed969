"""Accuracy over the layers of a network: figure 2a of Razavian et al. 2014, on any set of classes.

    python -m pipelines.layers --data DIR --dataset scene15 --backbone resnet50 --over-layers 8

All layers come from one pass. The set's own split, or --labels-per-class drawn anew each repeat;
the paper has VOC 2007, OverFeat's layers and a linear SVM on each.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from featx import extract
from featx.cli.options import read_options
from featx.extraction import Encoder, RunOptions
from featx.report import Report
from featx.tasks.layers import spread_layers
from pipelines.options import add_common, command_line, data_set, run, write
from pipelines.protocols import run_classification


def main() -> None:
    """Measure every layer with one preset, and write the page with the curve."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.layers")
    add_common(parser, dataset="scene15", presets=["svm"])
    parser.add_argument("--over-layers", type=int, default=8, help="how many (default 8)")
    parser.add_argument("--labels-per-class", type=int, help="drawn anew for each repeat")
    args = parser.parse_args()
    data = data_set(args, needs="labels")
    encoder, options = read_options(args, Encoder), read_options(args, RunOptions)
    if not encoder.layers:
        shapes = encoder.load(options).backbone.layers
        encoder = replace(encoder, layers=spread_layers(shapes, args.over_layers))
    store = args.out / "features.h5"
    extract(list(data.paths), store, encoder, **vars(options)).close()
    results = [
        run_classification(
            data,
            store,
            encoder=replace(encoder, layers=layer),
            run=options,
            preset=args.presets[0],
            n_per_class=args.labels_per_class,
        )
        for layer in encoder.layers or ()
    ]
    names = [str(layer) for layer in encoder.layers or ()]
    figures = [result.figures["accuracy"] for result in results]
    for name, figure in zip(names, figures, strict=True):
        print(f"{name:32}{figure}")
    report = Report("Accuracy over the layers", subtitle=f"{data.name}, {results[0].backbone}")
    report.add_curve(
        range(1, len(names) + 1),
        {results[0].preset: [figure.value for figure in figures]},
        {results[0].preset: [(figure.low, figure.high) for figure in figures]},
        x_label="layer, in order of execution",
        y_label="accuracy",
        x_names=names,
        title="Accuracy over the layers, 95 % intervals",
    )
    report.add_key_values(
        {"command": command_line("pipelines.layers"), "protocol": results[0].protocol}
    )
    write(args.out, "layers", report, [result.to_dict() for result in results])


if __name__ == "__main__":
    sys.exit(run(main))
