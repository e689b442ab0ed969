"""``featx serve``."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import Any

from featx._optional import require
from featx.cli._streams import print_error, print_result
from featx.cli.options import add_moved_weights, add_options, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; their defaults are those of `ServeOptions`."""
    from featx.extraction import RunOptions
    from featx.serve import ServeOptions

    d = ServeOptions()
    parser.add_argument("index", metavar="INDEX", help="a file of featx index")
    parser.add_argument("--model", metavar="MODEL", help="a file of featx train, to label queries")
    parser.add_argument("--host", default=d.host, help=f"address to listen on (default {d.host})")
    parser.add_argument("--port", default=d.port, type=int, help=f"0 is any (default {d.port})")
    parser.add_argument(
        "--token",
        default=os.environ.get("FEATX_TOKEN") or None,
        help="what clients must know; needed for any host but this machine (default: the "
        "environment's FEATX_TOKEN, which other users of the machine cannot see)",
    )
    parser.add_argument(
        "--trusted-proxies", metavar="A,B", default=d.trusted_proxies,
        type=lambda text: tuple(part.strip() for part in text.split(",")),
        help="addresses of proxies whose X-Forwarded-For says who a client is",
    )  # fmt: skip
    parser.add_argument(
        "--writable", action="store_true", help="let clients add and remove images; needs a token"
    )
    parser.add_argument("--show-names", action="store_true", help="show the images' file names")
    numbers = (
        ("--batch-size", "N", "images per pass of the network"),
        ("--wait-ms", "MS", "how long a query waits for others to go with"),
        ("--max-upload-mb", "MB", "largest request"),
        ("--max-pixels", "N", "largest width x height of an upload"),
        ("--rate", "R", "images per second and client; 0 is any number"),
        ("--copy-distance", "D", "cosine distance up to which two images are near-duplicates"),
    )
    for flag, metavar, text in numbers:
        default = getattr(d, flag[2:].replace("-", "_"))
        parser.add_argument(
            flag, metavar=metavar, type=type(default), default=default,
            help=f"{text} (default {default:g})",
        )  # fmt: skip
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device",))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until stopped; what there is to print was printed when it was ready."""
    from featx.extraction import RunOptions
    from featx.serve import ServeOptions, open_service, run_server

    # before the index is loaded, which may take a while
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, extra="serve", purpose="featx serve")
    names = [field.name for field in dataclasses.fields(ServeOptions)]
    options = ServeOptions(**{name: getattr(args, name) for name in names})
    service = open_service(
        args.index,
        model=args.model,
        options=options,
        weights=args.weights,
        device=read_options(args, RunOptions).device,
    )

    def ready(address: str) -> None:
        n = service.database.n_samples
        hint = "#token=TOKEN" if options.token else ""
        print_error(f"featx serve: {n} images at {address}{hint}; Ctrl-C stops")
        if args.json:
            print_result({"address": address, "n_samples": n})

    try:
        run_server(service, ready)
    finally:
        service.close()
    return {}


def show(result: dict[str, Any]) -> str:
    """Print nothing more."""
    return ""
