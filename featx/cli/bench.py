"""``featx bench``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from featx._repr import choose_time_unit, show_count
from featx.cli._outputs import add_page
from featx.cli.options import ENCODER, RUN, add_options, add_sources, as_source, read_options

COLUMNS = """\
  images/s  the stage by itself
  share     of the time that the stages take one after the other
  idle      of the time end to end, in which the stage waits for the others"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import benchmark

    add_sources(parser)
    add_options(parser, Encoder, ENCODER)
    add_options(parser, RunOptions, RUN)
    add_options(
        parser, benchmark, (),
        n_images="images to read, evenly over SOURCE", repeats="runs, of which the median counts",
        sweep="also measure other numbers of workers and batch sizes",
    )  # fmt: skip
    add_page(parser, "plots")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"columns of the table:\n{COLUMNS}"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write the page."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import benchmark, benchmark_report

    encoder, run = read_options(args, Encoder), read_options(args, RunOptions)
    found = read_options(args, partial(benchmark, as_source(args.source), encoder, run))
    result = found.to_dict()
    if args.html:
        result["report"] = str(benchmark_report(found).save(args.html))
    return result


def show(result: dict[str, Any]) -> str:
    """Print the stages and what would help."""
    r = result
    head = (
        f"{r['backbone']} on {r['device']} in {r['precision']}, engine {r['engine']}, "
        f"{show_count(r['workers'], 'worker')}, batches of {r['batch_size']}; {r['n_images']} of "
        f"{show_count(r['n_in_source'], 'image')}, median of {r['repeats']}"
    )
    reached = (
        f"{r['ratio_to_ceiling']:.0%} of what decode and network allow "
        f"({r['ceiling']:.0f} images/s); all of the source: {_show_time(r['hours'])}"
    )
    lines = [
        head,
        f"{'':12}{'images/s':>10}{'share':>14}{'idle':>8}",
    ]
    lines += [
        f"{s['name']:12}{s['images_per_second']:10.0f}{s['share']:14.0%}{s['idle']:8.0%}"
        for s in r["stages"]
    ]
    lines += [
        f"{'end to end':12}{r['end_to_end']:10.0f}",
        COLUMNS,
        reached,
        f"bottleneck: {r['bottleneck']}",
    ]
    for sweep in r["sweeps"]:
        rates = zip(sweep["values"], sweep["images_per_second"], strict=True)
        lines.append(f"{sweep['setting']}: " + ", ".join(f"{v}: {rate:.0f}" for v, rate in rates))
    lines += [f"- {line}" for line in r["advice"]]
    if r["n_failed"]:
        lines.append(f"{show_count(r['n_failed'], 'image')} could not be read")
    return "\n".join(lines)


def _show_time(hours: float) -> str:
    time, unit = choose_time_unit(3600 * hours)
    return f"{time:.3g} {unit}"
