"""``featx extract``."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from featx._repr import show_count
from featx.cli._outputs import add_output
from featx.cli.options import (
    ENCODER,
    RUN,
    add_options,
    add_preset,
    add_sources,
    as_source,
    read_options,
    read_preset,
)
from featx.errors import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RayOptions, RunOptions, extract

    add_sources(parser)
    add_output(
        parser, "--store", "store", required=True, metavar="F.h5", help="store to make or add to"
    )
    add_preset(parser, "sets --augment, unless you give that too")
    add_options(parser, Encoder, ENCODER)
    engines = "auto, torch, compile, openvino on a CPU, or ray on a cluster; see docs/cli.md"
    add_options(parser, RunOptions, RUN, engine=engines)
    errors = {"on_error": "record images that cannot be read, or raise an error"}
    add_options(parser, extract, (), **errors)
    parser.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="stop with an error if more than N images cannot be read (default no limit)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove images that are not in SOURCE and whose files are gone, from all tables",
    )
    parser.add_argument(
        "--shard",
        metavar="RANK/WORLD",
        help="do one of several parts, such as 0/8, each in its own process; auto takes the part "
        "from torchrun or SLURM",
    )
    add_options(
        parser.add_argument_group("with --engine ray"), RayOptions, (),
        actors="networks that run at once (default as many as fit)",
        cpus_per_actor="cores of each", gpus_per_actor="GPUs of each, or a share",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Extract and return the figures."""
    from featx.extraction import Encoder, RayOptions, RunOptions
    from featx.extraction.failures import most_failures
    from featx.extraction.into_store import fill_store
    from featx.extraction.processes import shard_of

    run = read_options(args, RunOptions)
    actors = [name for name in vars(args) if name in vars(RayOptions())]
    if actors and run.engine != "ray":
        name = actors[0].replace("_", "-")
        raise ParameterError(f"--{name}: got engine {run.engine!r} with it, expected ray")
    summary = fill_store(
        as_source(args.source),
        args.store,
        read_options(args, Encoder, **read_preset(args).encoder_options),
        run,
        max_failures=read_options(args, most_failures, on_error="record"),
        prune=args.prune,
        spread=shard_of(args.shard) or (read_options(args, RayOptions) if actors else None),
    )
    result = {**summary.to_dict(), "store": args.store}
    if summary.failed >= summary.images and not (summary.extracted or summary.reused):
        # not one could be read: no script should go on as if it were done
        result |= {
            "ok": False,
            "error": f"none of the {summary.images} images could be read, expected at least one "
            f"that is whole; featx info {shlex.quote(args.store)} lists the reasons",
        }
    return result


def show(result: dict[str, Any]) -> str:
    """Say what was done."""
    r = result
    lines = [
        (
            f"{show_count(r['images'], 'image')}: {r['extracted']} extracted, "
            f"{r['reused']} reused, {r['failed']} failed, in {r['seconds']:.1f} s "
            f"({r['images_per_second']:.0f} images/s on {r['device']} in {r['precision']})"
        ),
        f"engine {r['engine']} ({r['engine_reason']})",
        f"precision {r['precision']} ({r['precision_reason']})",
        f"images made into {r['preprocessing']} ({r['preprocessing_reason']})",
    ]
    lines += [f"table {fingerprint} in {r['store']}" for fingerprint in r["fingerprints"]]
    if r["ignored"]:
        from featx.images.listing import describe_ignored

        lines.append(describe_ignored(r["ignored"]))
    if r["failed"]:
        lines.append(f"featx info {r['store']} lists what could not be read and why")
    if r["elsewhere"]:
        lines.append(
            f"the table also has {show_count(r['elsewhere'], 'row')} of images that are not in "
            "this source (other sources, deleted images); train and index use all rows, and "
            "--prune removes those whose files are gone"
        )
    if r["pruned"]:
        lines.append(f"{show_count(r['pruned'], 'image')} removed, whose files are gone")
    if r["waiting"]:
        lines.append(
            f"{show_count(r['waiting'], 'image')} of other shards still to come; whoever finishes "
            f"last puts them together in {r['store']}"
        )
    if r["interrupted"]:
        lines.append("interrupted; everything finished is kept: run the same command to continue")
    return "\n".join(lines)
