"""What the pipelines' command lines share: which data, which network, where results go."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featx.cli.options import ENCODER, RUN, add_options, read_options
from featx.errors import FeatxError, ParameterError
from featx.extraction import Encoder, RunOptions
from featx.report import Report
from pipelines.datasets import read_dataset
from pipelines.protocols import TaskResult, task_report

__all__ = [
    "add_common",
    "command_line",
    "data_set",
    "run",
    "sweep",
    "write",
]


def add_common(parser: argparse.ArgumentParser, *, dataset: str, presets: Sequence[str]) -> None:
    """Add data, network, presets and the folder of the results."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--dataset", default=dataset, help=f"its layout (default {dataset})")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                        help="an option of the reader, such as partition=2")  # fmt: skip
    add_options(parser, Encoder, [name for name in ENCODER if name != "augment"],
                layers="module by dotted name; several are put side by side")  # fmt: skip
    add_options(parser, RunOptions, RUN)
    parser.add_argument("--preset", nargs="+", default=list(presets), dest="presets")
    parser.add_argument("--out", type=Path, help="folder of features and results (default: the "
                        "data set's name under results/)")  # fmt: skip


def data_set(args: argparse.Namespace, *, needs: str | None = None) -> Any:
    """Read the data set; one read by folders alone is named after its folder.

    `needs` is what the pipeline cannot do without: "labels", "attributes" or "queries".
    """
    options: dict[str, Any] = {}
    for word in args.option:
        name, _, value = word.partition("=")
        options[name] = int(value) if value.isdigit() else value
    found = read_dataset(args.dataset, args.data, **options)
    if needs is not None and getattr(found, needs, None) is None:
        raise ParameterError(
            f"dataset {args.dataset!r}: has no {needs}, expected a set with them; "
            "pipelines/README.md says which pipeline takes which"
        )
    if args.dataset in ("image_folder", "paired_folders"):
        found = dataclasses.replace(found, name=args.data.resolve().name)
    args.out = args.out or Path("results") / found.name
    args.out.mkdir(parents=True, exist_ok=True)
    return found


def sweep(
    name: str,
    data: Any,
    args: argparse.Namespace,
    task: Callable[..., TaskResult],
    **settings: Any,
) -> None:
    """Run a task of `pipelines.protocols` with every preset, print the figures, write the page."""
    results = []
    for preset in args.presets:
        result = task(
            data,
            args.out / "features.h5",
            encoder=read_options(args, Encoder),
            run=read_options(args, RunOptions),
            preset=preset,
            **settings,
        )
        print(result)
        results.append(result)
    page = task_report(results, command=command_line(f"pipelines.{name}"))
    write(args.out, name, page, [r.to_dict() for r in results])


def write(out: Path, name: str, report: Report, results: Any) -> None:
    """Save the page, and the results with their splits as JSON."""
    page = report.save(out / f"{name}.html")
    (out / f"{name}.results.json").write_text(json.dumps(results, indent=1))
    print(f"report: {page}")


def command_line(module: str) -> str:
    """Return what the user ran."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def run(main: Callable[[], None]) -> int:
    """Run a pipeline; one line on stderr and status 1 where featx refuses."""
    try:
        main()
    except FeatxError as err:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {err}\n")
        return 1
    return 0
