"""``featx predict``."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.cli._messages import describe_failures, list_failures
from featx.cli._outputs import add_output
from featx.cli._sources import are_stores, embed_sources
from featx.cli._streams import show_name
from featx.cli.options import add_moved_weights, add_options, add_sources, add_table, as_source
from featx.errors import ParameterError
from featx.files.kinds import PREDICTION_COLUMNS
from featx.files.outputs import write_output
from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.tasks import Classifier

Part = tuple[list[str], NDArray[np.float32]]
BLOCK_ROWS = 4096
TABLES = {".csv": "predictions", ".parquet": "predictions"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import RunOptions

    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    add_sources(parser, also="; or stores, whose vectors are taken")
    add_output(
        parser, "--out", TABLES, metavar="P.csv", help="also write a table: .csv or .parquet"
    )
    add_table(parser)
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device", "batch_size", "workers", "max_pixels"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Label images with what the model was trained on."""
    from featx.tasks import Classifier

    classifier = Classifier.load(args.model)
    failures: list[dict[str, str]] = []
    predictions: list[dict[str, Any]] = []
    for paths, features in _parts(args, classifier, failures):
        predictions += _label(classifier, paths, features)
    result: dict[str, Any] = {"predictions": predictions, "failures": failures}
    if failures and not predictions:
        return {**result, "ok": False, "error": describe_failures(failures)}
    if args.out:
        _write_table(args.out, _columns(predictions, classifier))
        result["out"] = args.out
    return result


def _parts(
    args: argparse.Namespace, classifier: Classifier, failures: list[dict[str, str]]
) -> Iterator[Part]:
    """Yield paths and vectors, of stores block by block, else of images through the network."""
    stores = args.source if are_stores("SOURCE", args.source) else []
    if args.table is not None and not stores:
        raise ParameterError(
            f"--table: got {args.table!r} without a store, expected one to go with"
        )
    with ExitStack() as stack:
        for opened in [
            stack.enter_context(classifier.open_store(word, args.table)) for word in stores
        ]:
            paths = opened.paths.tolist()
            for start, block in opened.iter_blocks(BLOCK_ROWS):
                yield paths[start : start + len(block)], block
    if not stores:
        saved = classifier.saved
        paths, features, bad = embed_sources(
            as_source(args.source), saved.recipe, saved.metadata.get("made_with", {}), args,
            thing=f"model {args.model!r}",
        )  # fmt: skip
        failures += bad
        yield paths, features


def _label(
    classifier: Classifier, paths: list[str], features: NDArray[np.float32]
) -> list[dict[str, Any]]:
    if not paths:
        return []
    labels, scores = classifier.predict(features)
    found = []
    for path, label, row in zip(paths, labels.tolist(), scores.tolist(), strict=True):
        of_class = dict(zip(classifier.classes, row, strict=True))
        if classifier.has_attributes:
            present = [name for name, p in of_class.items() if p > 0.5]
            found.append({"path": path, "label": present, "scores": of_class})
        else:
            confidence = of_class[label]
            found.append(
                {"path": path, "label": label, "confidence": confidence, "scores": of_class}
            )
    return found


def _columns(predictions: list[dict[str, Any]], classifier: Classifier) -> dict[str, list[Any]]:
    """Return the table's columns: of attributes 0 or 1, then the probability of each."""
    if not classifier.has_attributes:
        return {name: [p[name] for p in predictions] for name in PREDICTION_COLUMNS}
    names = classifier.classes
    return {
        "path": [p["path"] for p in predictions],
        **{name: [int(name in p["label"]) for p in predictions] for name in names},
        **{f"score.{name}": [p["scores"][name] for p in predictions] for name in names},
    }


def _write_table(path: str, columns: dict[str, list[Any]]) -> None:
    """Write columns of one length; the ending is the format.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, or is another kind of file.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.
    """
    shown = {show_path(name): [_show_cell(v) for v in values] for name, values in columns.items()}
    with write_output(path, "predictions") as beside:
        if Path(path).suffix.lower() == ".csv":
            with beside.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(shown)
                writer.writerows(zip(*shown.values(), strict=True))
            return
        arrow = require("pyarrow", extra="parquet", purpose="writing .parquet")
        parquet = require("pyarrow.parquet", extra="parquet", purpose="writing .parquet")
        table = arrow.table(shown)
        # how an older file of ours is known from one of other origin
        notes = {**(table.schema.metadata or {}), b"featx_predictions": b"1"}
        with beside.open("wb") as file:  # since Arrow takes no name that is not UTF-8
            parquet.write_table(table.replace_schema_metadata(notes), file)


def _show_cell(value: Any) -> Any:
    return show_path(value) if isinstance(value, str) else value


def notes(result: dict[str, Any]) -> list[str]:
    """Name the images that could not be read."""
    return list_failures(result["failures"])


def show(result: dict[str, Any]) -> str:
    """Print a line per image."""
    lines = []
    for p in result["predictions"]:
        path = show_name(p["path"])
        if isinstance(p["label"], list):
            lines.append(f"{path}\t{show_name(', '.join(p['label'])) or '(none)'}")
        else:
            lines.append(f"{path}\t{show_name(p['label'])}\t{p['confidence']:.3f}")
    return "\n".join(lines)
