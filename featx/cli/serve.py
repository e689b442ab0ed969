"""``featx serve``."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from featx._optional import require
from featx._repr import show_count
from featx.cli._streams import print_error, print_result
from featx.cli.options import add_moved_weights, add_options, read_options

if TYPE_CHECKING:
    from featx.serve import ServeOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.cli._later import import_scikit_learn

    import_scikit_learn()
    from featx.extraction import RunOptions
    from featx.serve import ServeOptions

    parser.add_argument("index", metavar="INDEX", help="a file of featx index")
    parser.add_argument(
        "--model", metavar="MODEL", help="a file of featx train, which labels queries"
    )
    parser.add_argument("--map", metavar="MAP.html", help="a page of featx map, to show at /map")
    add_options(
        parser, ServeOptions, (),
        host="address to listen on",
        port="port; 0 takes any free one",
        token="what clients must know; needed for any host but this machine (default: the "
        "environment's FEATX_TOKEN, which other users of the machine cannot see)",
        trusted_proxies="addresses of proxies whose X-Forwarded-For names the client",
        writable="let clients add, remove and relabel images; needs a token",
        write_token="what clients must know to change the index; --token then only reads "
        "(default: the environment's FEATX_WRITE_TOKEN)",
        cors_origins="another site whose pages may search and show images, such as "
        "https://shop.example; may be given several times",
        show_names="show the images' file names",
        show_paths="show the images' whole paths",
        columns="columns that clients see and filter by (default all)",
        link_column="column with the address of each image's own page (default the first whose "
        "values all are addresses)",
        batch_size="most queries per forward pass",
        wait_ms="how long a query waits for others, in ms",
        max_upload_mb="largest request, in MB",
        max_pixels="largest width x height of an upload",
        rate="images per second per client; 0 is no limit",
        keep_uploads_mb="memory for the last uploads, to which addresses refer, in MB; 0 is none",
        copy_distance="cosine distance up to which two images are near-duplicates",
    )  # fmt: skip
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device",))


def _read(args: argparse.Namespace) -> ServeOptions:
    from featx.serve import ServeOptions

    args.cors_origins = tuple(getattr(args, "cors_origins", ()))
    tokens = {"token": "FEATX_TOKEN"}
    if getattr(args, "writable", False):  # one process of many that share an environment
        tokens["write_token"] = "FEATX_WRITE_TOKEN"
    given = {name: os.environ.get(variable) or None for name, variable in tokens.items()}
    return read_options(args, ServeOptions, **given)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until stopped; what there is to print was printed when it was ready."""
    from featx.extraction import RunOptions
    from featx.serve import open_service, run_server

    # before the index is loaded, which may take a while
    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        require(package, extra="serve", purpose="featx serve")
    options = _read(args)
    service = open_service(
        args.index,
        model=args.model,
        options=options,
        weights=args.weights,
        device=read_options(args, RunOptions).device,
        map_page=args.map,
    )

    def ready(address: str) -> None:
        n = service.database.n_samples
        hint = "#token=TOKEN" if options.token else ""
        print_error(f"featx serve: {show_count(n, 'image')} at {address}{hint}; Ctrl-C stops")
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
