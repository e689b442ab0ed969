"""``featx label``."""

from __future__ import annotations

import argparse
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from featx._optional import require
from featx._repr import show_count
from featx.cli._outputs import add_output
from featx.cli._sources import open_given_store
from featx.cli._streams import print_error, print_result
from featx.cli.options import (
    ENCODER,
    RUN,
    add_options,
    add_sources,
    add_table,
    as_source,
    read_options,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions

    add_sources(parser, also="; or a store")
    parser.add_argument(
        "--labels", required=True, metavar="L.csv",
        help="the label file to make or to continue",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=_names, default=(), metavar="A,B", help="classes to begin with"
    )
    parser.add_argument(
        "--attributes", type=_names, default=(), metavar="A,B",
        help="label these attributes, several per image, instead of one class",
    )  # fmt: skip
    add_output(
        parser, "--out", "model", metavar="MODEL",
        help="where the button Train saves the model (default L.model)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=0, help="port; 0 takes any free one (default 0)"
    )
    parser.add_argument(
        "--token", help="secret at the end of the page's address (default a random one)"
    )
    add_table(parser)
    images = parser.add_argument_group("if SOURCE is images")
    add_output(
        images, "--store", "store", metavar="F.h5", help="store for their features (default L.h5)"
    )
    add_options(images, Encoder, ENCODER)
    add_options(images, RunOptions, RUN)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve the page until stopped; what there is to print was printed when it was ready."""
    # before anything is extracted, which may take a while
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, extra="serve", purpose="featx label")
    from featx.images.thumbnail import require_pictures
    from featx.labelling import LabelSession
    from featx.labelling.label_file import check_label_file
    from featx.serve import ServeOptions, run_label_server

    token = args.token or secrets.token_urlsafe(16)
    check_label_file(args.labels)
    options = ServeOptions(host=args.host, port=args.port, token=token, rate=0)
    with ExitStack() as stack:
        store = _open(args, stack)
        require_pictures(store.require_images().paths, f"store {store.path!r}")
        session = LabelSession(
            store, args.labels, classes=args.classes, attributes=args.attributes
        )
        out = args.out or str(Path(args.labels).with_suffix(".model"))

        def ready(address: str) -> None:
            full, n = f"{address}#token={token}", len(session.file.values)
            counts = f"{show_count(len(store), 'image')}, {show_count(n, 'label')}"
            print_error(f"featx label: {counts}, at {full}; Ctrl-C stops")
            if args.json:
                print_result({"address": full, "labels": str(session.file.path), "n_labels": n})

        run_label_server(session, options, ready, out=out)
    return {}


def _open(args: argparse.Namespace, stack: ExitStack) -> Any:
    """Return a store, made or brought up to date where images are given."""
    from featx.extraction import Encoder, RunOptions, extract

    given = open_given_store(args, stack)
    if given is not None:
        return given
    path = args.store or str(Path(args.labels).with_suffix(".h5"))
    run = read_options(args, RunOptions)
    store = extract(as_source(args.source), path, read_options(args, Encoder), **vars(run))
    return stack.enter_context(store)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def show(result: dict[str, Any]) -> str:
    """Print nothing more."""
    return ""
