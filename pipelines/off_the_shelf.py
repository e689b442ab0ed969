"""The table of Razavian et al. 2014, from whichever of its data sets are present.

    python -m pipelines.off_the_shelf --data ROOT --backbone resnet50

ROOT holds one folder per set, with the names of `pipelines.datasets.list_datasets` (ROOT/mit67).
Sets that are absent are listed with what is missing. The paper's own column is its network,
OverFeat at 221 px; other networks give other numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.cli.options import read_options
from featx.errors import ManifestError
from featx.extraction import Encoder, RunOptions
from featx.report import Report
from pipelines.datasets import read_dataset, write_crops
from pipelines.options import add_common, command_line, run, write
from pipelines.protocols import TaskResult, run_attributes, run_classification, run_retrieval


@dataclass(frozen=True)
class Row:
    """One line of the paper's tables: a set, its metric, and the paper's two figures."""

    name: str
    run: Callable[..., TaskResult]
    metric: str
    plain: float
    augmented: float
    presets: tuple[str, str] = ("svm", "paper")


EXCLUSIVE = ("svm-pairs", "paper-pairs")  # one-vs-one where an image has one label
ROWS = (
    Row("voc2007", run_attributes, "map_voc2007", 0.739, 0.772),
    Row("mit67", run_classification, "balanced_accuracy", 0.584, 0.690, EXCLUSIVE),
    Row("cub200", run_classification, "balanced_accuracy", 0.533, 0.618, EXCLUSIVE),
    Row("flowers102", run_classification, "balanced_accuracy", 0.747, 0.868, EXCLUSIVE),
    Row("apascal", run_attributes, "auc", 0.890, 0.915),
    Row("h3d", run_attributes, "map", 0.708, 0.730),
    Row("oxford5k", run_retrieval, "map", 0.322, 0.680, ("plain", "paper")),
    Row("paris6k", run_retrieval, "map", 0.495, 0.795, ("plain", "paper")),
    Row("sculptures6k", run_retrieval, "map", 0.241, 0.423, ("plain", "paper")),
    Row("holidays", run_retrieval, "map", 0.642, 0.843, ("plain", "paper")),
    Row("ukbench", run_retrieval, "ukbench", 0.760, 0.911, ("plain", "paper")),
)


def main() -> None:
    """Run what is present and write the table."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.off_the_shelf")
    add_common(parser, dataset="", presets=[])
    args = parser.parse_args()
    args.out = args.out or Path("results") / "off_the_shelf"
    lines: list[list[Any]] = []
    results: list[dict[str, Any]] = []
    absent: list[str] = []
    for row in ROWS:
        try:
            data = read_dataset(row.name, args.data / row.name)
        except ManifestError as err:
            absent.append(str(err))
            continue
        found = [_figure(row, preset, data, args, results) for preset in row.presets]
        lines.append([row.name, row.metric, row.plain, found[0], row.augmented, found[1]])
        print(f"{row.name:12}{row.metric:20}{found[0]:8.3f}{found[1]:8.3f}")
    for text in absent:
        print(f"left out: {text}")
    report = Report(
        "CNN features off the shelf", subtitle=str(read_options(args, Encoder).backbone)
    )
    columns = ["set", "metric", "paper, plain", "plain", "paper, augmented", "augmented"]
    report.add_table(lines, columns, caption="the paper's columns are those of its own network")
    if absent:
        report.add_text("\n\n".join(absent), title="Left out")
    report.add_key_values({"command": command_line("pipelines.off_the_shelf")})
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out, "off_the_shelf", report, results)


def _figure(
    row: Row, preset: str, data: Any, args: argparse.Namespace, results: list[dict[str, Any]]
) -> float:
    out = args.out / row.name
    out.mkdir(parents=True, exist_ok=True)
    if getattr(data, "boxes", None) is not None:
        data = write_crops(data, out / "crops", enlarge=1.5)
    if getattr(data, "query_boxes", None) is not None:
        data = write_crops(data, out / "queries")
    result = row.run(
        data,
        out / "features.h5",
        encoder=read_options(args, Encoder),
        run=read_options(args, RunOptions),
        preset=preset,
    )
    results.append(result.to_dict())
    return result.figures[row.metric].value


if __name__ == "__main__":
    sys.exit(run(main))
