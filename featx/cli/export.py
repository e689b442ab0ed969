"""``featx export``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from featx._repr import show_count
from featx.cli._outputs import add_output
from featx.cli.options import ENCODER, add_moved_weights, add_options, add_table, read_options
from featx.errors import ParameterError

TABLES = {".npz": "npz", ".npy": "npy", ".parquet": "parquet", ".csv": "csv"}
NETWORKS = {".onnx": "onnx", ".xml": "openvino"}
OF_NETWORK = ("weights", "check", "precision", "html", "onnxruntime_web")
OF_ENCODER = tuple(name for name in ENCODER if name not in ("backbone", "weights", "precision"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder

    parser.add_argument(
        "store",
        metavar="F.h5|MODEL|BACKBONE",
        help="a store to write as a table; or a file of featx train or the name of a network to "
        "write as .onnx or .xml",
    )
    add_output(
        parser,
        "out",
        TABLES | NETWORKS,
        metavar="OUT",
        help="ends in .npz (arrays features, paths, labels), .npy (features), .parquet or .csv "
        "(columns path, label); or in .onnx, or .xml for OpenVINO, which run without featx",
    )
    parser.add_argument(
        "--labels-only",
        action="store_true",
        help="write a .csv without features, which is a label file for featx label",
    )
    add_table(parser)
    network = parser.add_argument_group("to .onnx and .xml")
    add_moved_weights(network)
    network.add_argument(
        "--check", metavar="SOURCE", nargs="+",
        help="images on which the file is compared with featx (default 36 sample images)",
    )  # fmt: skip
    network.add_argument(
        "--precision", default=argparse.SUPPRESS, metavar="P",
        help="float32 (default), or int8, which is smaller and less accurate",
    )  # fmt: skip
    add_output(
        network, "--html", "page", metavar="OUT.html",
        help="also write a page that runs a model in the browser: drop a picture, get the label",
    )  # fmt: skip
    network.add_argument(
        "--onnxruntime-web", metavar="FOLDER",
        help="folder of this npm package for the page (default: fetched once)",
    )  # fmt: skip
    add_options(network, Encoder, OF_ENCODER)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Copy a table, or export a network."""
    if args.out.kind in NETWORKS.values():
        return _export_network(args)
    from featx.store import export_store, open_store

    given = [name for name in (*OF_ENCODER, *OF_NETWORK) if getattr(args, name, None)]
    if given:
        raise ParameterError(
            f"{given[0]}: got one for {str(args.out)!r}, a table, expected it for a file that "
            "ends in .onnx or .xml"
        )
    export_store(args.store, args.out, table=args.table, labels_only=args.labels_only)
    with open_store(args.store, table=args.table) as store:
        n_features = 0 if args.labels_only else store.n_features
        return {"out": args.out, "n_samples": store.n_samples, "n_features": n_features}


def _export_network(args: argparse.Namespace) -> dict[str, Any]:
    from featx.cli.options import as_source
    from featx.deployment import export_model
    from featx.extraction import Encoder

    if args.table or args.labels_only:
        raise ParameterError(
            f"{'table' if args.table else 'labels_only'}: got one for {str(args.out)!r}, a "
            "network, expected it for a table's copy"
        )
    is_file = os.path.isfile(args.store)  # noqa: PTH113
    given = [name for name in OF_ENCODER if hasattr(args, name)]
    if is_file and given:
        raise ParameterError(
            f"{given[0]}: got one for the model {args.store!r}, whose recipe says it, expected it "
            "for a network alone"
        )
    options = {"backbone": args.store, "weights": args.weights or "default"}
    precision = vars(args).pop("precision", "float32")
    vars(args).pop("weights")
    what = args.store if is_file else read_options(args, Encoder, **options)
    done = export_model(
        what,
        args.out,
        weights=options["weights"] if is_file and options["weights"] != "default" else None,
        check=as_source(args.check) if args.check else None,
        precision=precision,
        html=args.html,
        onnxruntime_web=args.onnxruntime_web,
    )
    found: dict[str, Any] = {
        "out": done.out,
        "n_samples": done.whole.n_samples,
        "n_failed": done.whole.n_failed,
        "max_difference": done.max_difference,
        "max_difference_resized": done.whole.max_difference,
        "n_same_labels": done.whole.n_same,
        "n_same_labels_as_trained": done.as_trained and done.as_trained.n_same,
        "mean_cosine": done.whole.mean_cosine,
        "worst_cosine": done.whole.worst_cosine,
        "precision": precision,
        "outputs": list(done.outputs),
        "classes": list(done.classes),
        "bytes": done.n_bytes,
    }
    return found if args.html is None else {**found, "html": str(args.html)}


def show(result: dict[str, Any]) -> str:
    """Say what was written, and how near it is to featx."""
    if "max_difference" in result:
        return _show_network(result)
    n, n_features = result["n_samples"], result["n_features"]
    what = f"{n} x {n_features}" if n_features else f"the labels of {show_count(n, 'image')}"
    return f"{what} written to {result['out']}"


def _show_network(result: dict[str, Any]) -> str:
    n, same = result["n_samples"], result["n_same_labels"]
    outputs, size = ", ".join(result["outputs"]), result["bytes"] / 1e6
    exact, resized = result["max_difference"], result["max_difference_resized"]
    lines = [f"{result['out']}: {size:.1f} MB, from an image to {outputs}"]
    lines.append(
        f"largest difference to featx in float32: {exact:.2g} for the same pixels, "
        f"{resized:.2g} with its own resizing ({show_count(n, 'image')})"
    )
    if same is not None:
        lines.append(f"same label as featx: {same} of {n}")
        if (trained := result["n_same_labels_as_trained"]) is not None:
            lines[-1] += f"; as featx in the precision that it was trained in: {trained} of {n}"
    if result["precision"] == "int8":
        lines.append(
            f"int8: cosine to featx's features {result['mean_cosine']:.4f} on average, "
            f"{result['worst_cosine']:.4f} at worst"
        )
    if result["n_failed"]:
        lines.append(f"{show_count(result['n_failed'], 'image')} could not be read")
    return "\n".join(lines)
