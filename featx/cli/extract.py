"""``featx extract``."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from featx.cli._options import add_max_pixels, add_run, add_sources, as_source, defaults_of
from featx.cli._outputs import add_output
from featx.errors import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions, extract

    defaults = {**defaults_of(Encoder), **defaults_of(RunOptions), **defaults_of(extract)}
    add_sources(parser)
    add_output(parser, "--store", "store", required=True, metavar="F.h5", help="made, or added to")
    parser.add_argument(
        "--backbone",
        default=defaults["backbone"],
        metavar="NAME",
        help=f"see featx backbones (default {defaults['backbone']}, which needs no download)",
    )
    parser.add_argument(
        "--weights",
        default=defaults["weights"],
        help="a .pth or .safetensors file, or the name of published weights",
    )
    parser.add_argument(
        "--layer", action="append", help="module by dotted name; may be given several times"
    )
    parser.add_argument(
        "--pooling",
        action="append",
        help="avg, max, gem(3), spoc, crow, mac, rmac, cls, flatten; may be given several times",
    )
    parser.add_argument(
        "--resize", type=int, metavar="PX", help="shorter side (default what the weights ask for)"
    )
    parser.add_argument(
        "--crop", type=int, metavar="PX", help="side of the centre crop (likewise)"
    )
    for name, text in (
        (
            "augment",
            "none, hflip, multi-scale, ten-crop, sixteen-view, patches(1-6); averaged, or ':keep'",
        ),
        ("decode", "reduced (large JPEGs shrink while they are decoded) or full"),
        ("device", "auto, cpu, cuda, cuda:1"),
        ("precision", "auto, float32, bfloat16, float16 or int8"),
        (
            "engine",
            "auto, torch, compile, openvino on a CPU, or ray on a cluster; see docs/cli.md",
        ),
        ("on-error", "record bad images in the failures table, or raise"),
    ):
        default = defaults[name.replace("-", "_")]
        parser.add_argument(f"--{name}", default=default, help=f"{text} (default {default})")
    parser.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="stop with an error where more than N images cannot be read (default any number)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove images that are neither in SOURCE nor on the disk any more, from all tables",
    )
    add_max_pixels(parser)
    add_run(parser, defaults)
    parser.add_argument(
        "--shard",
        metavar="RANK/WORLD",
        help="do one of several parts, such as 0/8, each in a process of its own; auto takes it "
        "from torchrun or SLURM",
    )
    ray = parser.add_argument_group("with --engine ray")
    ray.add_argument(
        "--actors", type=int, metavar="N", help="networks at work (default all there is room for)"
    )
    ray.add_argument("--cpus-per-actor", type=float, metavar="C", help="cores of each (default 1)")
    ray.add_argument(
        "--gpus-per-actor", type=float, metavar="G", help="GPUs of each, or a share (default 0)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Extract and return the figures."""
    from featx.extraction import (
        Encoder,
        RayOptions,
        RunOptions,
        fill_store,
        most_failures,
        shard_of,
    )

    shard = shard_of(args.shard)
    names = ("actors", "cpus_per_actor", "gpus_per_actor")
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    is_ray = args.engine == "ray"
    if asked and not is_ray:
        name = next(iter(asked)).replace("_", "-")
        raise ParameterError(f"--{name}: got engine {args.engine!r} with it, expected ray")
    if is_ray and shard is not None:
        raise ParameterError(
            "shard: got one together with engine 'ray', which shares the work out itself; "
            "expected one of the two"
        )
    encoder = Encoder(
        args.backbone,
        weights=args.weights,
        layers=args.layer,
        poolings=args.pooling,
        augment=args.augment,
        resize_px=args.resize,
        crop_px=args.crop,
        decode=args.decode,
        precision=args.precision,
    )
    run = RunOptions(
        args.device,
        "auto" if is_ray else args.engine,
        args.batch_size,
        args.workers,
        args.max_pixels,
    )
    summary = fill_store(
        as_source(args.source),
        args.store,
        encoder,
        run,
        max_failures=most_failures(args.on_error, args.max_failures),
        prune=args.prune,
        spread=RayOptions(**asked) if is_ray else shard,
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
            f"{r['images']} images: {r['extracted']} extracted, {r['reused']} reused, "
            f"{r['failed']} failed, in {r['seconds']:.1f} s "
            f"({r['images_per_second']:.0f} images/s on {r['device']} in {r['precision']})"
        ),
        f"engine {r['engine']}: {r['engine_reason']}",
        f"precision {r['precision']}: {r['precision_reason']}",
        f"images made into {r['preprocessing']}: {r['preprocessing_reason']}",
    ]
    lines += [f"table {fingerprint} in {r['store']}" for fingerprint in r["fingerprints"]]
    if r["ignored"]:
        from featx.images import describe_ignored

        lines.append(describe_ignored(r["ignored"]))
    if r["failed"]:
        lines.append(f"featx info {r['store']} lists what could not be read and why")
    if r["elsewhere"]:
        lines.append(
            f"the table also has {r['elsewhere']} rows of images that are not in this source "
            "(other sources, deleted images); train and index use all rows, and --prune removes "
            "those whose files are gone"
        )
    if r["pruned"]:
        lines.append(f"{r['pruned']} images that are gone were removed")
    if r["waiting"]:
        lines.append(
            f"{r['waiting']} images of other shards are still to come; whoever finishes last puts "
            f"them together in {r['store']}"
        )
    if r["interrupted"]:
        lines.append("interrupted; everything finished is kept: run the same command to go on")
    return "\n".join(lines)
