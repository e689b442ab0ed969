"""``featx bench``."""

from __future__ import annotations

import argparse
from typing import Any

from featx.cli._options import add_run, add_sources, as_source, defaults_of
from featx.cli._outputs import PAGE, add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import benchmark

    defaults = defaults_of(Encoder) | defaults_of(RunOptions) | defaults_of(benchmark)
    add_sources(parser)
    for name, text in (
        ("backbone", "see featx backbones"),
        ("weights", "a .pth or .safetensors file, or the name of published weights"),
        ("device", "auto, cpu, cuda, cuda:1"),
        ("precision", "auto, float32, bfloat16, float16 or int8"),
        ("engine", "auto, torch, compile or openvino"),
    ):
        parser.add_argument(
            f"--{name}", default=defaults[name], help=f"{text} (default {defaults[name]})"
        )
    parser.add_argument(
        "--images",
        type=int,
        default=defaults["n_images"],
        help=f"how many to read, evenly over SOURCE (default {defaults['n_images']})",
    )
    parser.add_argument(
        "--repeats", type=int, default=defaults["repeats"], help="of which the median is taken"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="also try other numbers of workers and batch sizes"
    )
    add_output(parser, "--html", PAGE, metavar="OUT.html", help="write a page with plots")
    add_run(parser, defaults)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write the page."""
    from featx.extraction import Encoder, RunOptions
    from featx.tasks import benchmark, benchmark_report

    found = benchmark(
        as_source(args.source),
        Encoder(args.backbone, weights=args.weights, precision=args.precision),
        RunOptions(args.device, args.engine, args.batch_size, args.workers),
        n_images=args.images,
        repeats=args.repeats,
        sweep=args.sweep,
    )
    result = found.to_dict()
    if args.html:
        result["report"] = str(benchmark_report(found).save(args.html))
    return result


def show(result: dict[str, Any]) -> str:
    """Print the stages and what would help."""
    r = result
    head = (
        f"{r['backbone']} on {r['device']} in {r['precision']}, engine {r['engine']}, "
        f"{r['workers']} workers, batches of {r['batch_size']}; {r['n_images']} of "
        f"{r['n_in_source']} images, median of {r['repeats']}"
    )
    reached = (
        f"{r['ratio_to_ceiling']:.0%} of what decode and network allow "
        f"({r['ceiling']:.0f} images/s); all {r['n_in_source']} images: {r['hours']:.2g} hours"
    )
    lines = [
        head,
        f"{'':12}{'images/s':>10}{'of the time':>14}{'idle':>8}",
    ]
    lines += [
        f"{s['name']:12}{s['images_per_second']:10.0f}{s['share']:14.0%}{s['idle']:8.0%}"
        for s in r["stages"]
    ]
    lines += [
        f"{'end to end':12}{r['end_to_end']:10.0f}",
        reached,
        f"bottleneck: {r['bottleneck']}",
    ]
    for sweep in r["sweeps"]:
        rates = zip(sweep["values"], sweep["images_per_second"], strict=True)
        lines.append(f"{sweep['setting']}: " + ", ".join(f"{v}: {rate:.0f}" for v, rate in rates))
    lines += [f"- {line}" for line in r["advice"]]
    if r["n_failed"]:
        lines.append(f"{r['n_failed']} of the images could not be read")
    if "report" in r:
        lines.append(f"plots: {r['report']}")
    return "\n".join(lines)
