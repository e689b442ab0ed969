"""``featx predict``."""

from __future__ import annotations

import argparse
import csv
import functools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx._repr import show_count
from featx.cli._messages import describe_failures, list_failures
from featx.cli._outputs import PAGE, add_output
from featx.cli._sources import are_stores, embed_sources
from featx.cli._streams import show_name
from featx.cli.options import (
    add_moved_weights,
    add_options,
    add_sources,
    add_table,
    as_source,
    read_options,
)
from featx.errors import ParameterError
from featx.files.kinds import PREDICTION_COLUMNS
from featx.files.outputs import write_output
from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.estimators.certainty import Answers
    from featx.tasks import Classifier

Part = tuple[list[str], NDArray[np.float32]]
BLOCK_ROWS = 4096
FALSE_ALARMS = 0.05  # as in featx.estimators.certainty, which loads scikit-learn
TABLES = {".csv": "predictions", ".parquet": "predictions"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import RunOptions

    parser.add_argument("model", metavar="MODEL", help="a file of featx train")
    add_sources(parser, also="; or a store")
    add_output(
        parser, "--out", TABLES, metavar="P.csv", help="also write a table: .csv or .parquet"
    )
    add_output(
        parser, "--html", PAGE, metavar="OUT.html",
        help="write a page of the pictures, the least confident first, that shows where the model "
        "sees the label",
    )  # fmt: skip
    parser.add_argument(
        "--sets", dest="coverage", metavar="COVERAGE", type=float,
        help="also give each image a set of labels that holds the right one for this share of "
        "images, such as 0.9",
    )  # fmt: skip
    parser.add_argument(
        "--false-alarms", metavar="RATE", type=float, default=FALSE_ALARMS,
        help="largest share of images like the training images that may be called unknown "
        f"(default {FALSE_ALARMS:g})",
    )  # fmt: skip
    add_table(parser)
    add_moved_weights(parser)
    add_options(parser, RunOptions, ("device", "batch_size", "workers", "max_pixels"))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Label images with what the model was trained on."""
    from featx.cli._later import import_scikit_learn

    import_scikit_learn()
    from featx.tasks import Classifier

    classifier = Classifier.load(args.model)
    failures: list[dict[str, str]] = []
    predictions: list[dict[str, Any]] = []
    for paths, features in _parts(args, classifier, failures):
        if paths:
            answers = classifier.saved.predict(
                features, coverage=args.coverage, false_alarms=args.false_alarms
            )
            predictions += _describe(paths, answers, classifier)
    result: dict[str, Any] = {
        "predictions": predictions,
        "n_unknown": sum(p["is_unknown"] for p in predictions),
        "false_alarms": args.false_alarms,
        "is_calibrated": classifier.saved.certainty is not None,
        "failures": failures,
    }
    if failures and not predictions:
        return {**result, "ok": False, "error": describe_failures(failures)}
    if args.out:
        _write_table(args.out, _columns(predictions, classifier))
        result["out"] = args.out
    if args.html:
        from featx.extraction import RunOptions
        from featx.tasks import predictions_report

        draw = functools.partial(
            classifier.draw_maps, run=read_options(args, RunOptions), weights=args.weights
        )
        page = predictions_report(
            predictions, model=args.model, n_unreadable=len(failures), maps=draw
        )
        result["report"] = str(page.save(args.html))
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


def _describe(paths: list[str], answers: Answers, classifier: Classifier) -> list[dict[str, Any]]:
    """Return what is said of each image, as JSON holds it."""
    found = []
    for i, path in enumerate(paths):
        label = answers.labels[i]
        prediction = {
            "path": path,
            "label": _list_names(label, classifier) if classifier.has_attributes else str(label),
            "confidence": float(answers.confidence[i]),
            "unknown": None if answers.unknown is None else float(answers.unknown[i]),
            "is_unknown": bool(answers.is_unknown[i]),
            "scores": dict(zip(classifier.classes, answers.scores[i].tolist(), strict=True)),
        }
        if answers.sets is not None:
            prediction["labels"] = _list_names(answers.sets[i], classifier)
        found.append(prediction)
    return found


def _list_names(is_chosen: NDArray[Any], classifier: Classifier) -> list[str]:
    return [name for name, chosen in zip(classifier.classes, is_chosen, strict=True) if chosen]


def _columns(
    predictions: list[dict[str, Any]], classifier: Classifier
) -> list[tuple[str, list[Any]]]:
    """Return the table's columns: of attributes 0 or 1, then the probability of each."""
    names = classifier.classes if classifier.has_attributes else ()
    last = [name for name in PREDICTION_COLUMNS[2:] if all(name in p for p in predictions)]
    first = [] if names else [("label", [p["label"] for p in predictions])]
    return [
        ("path", [p["path"] for p in predictions]),
        *first,
        *((name, [int(name in p["label"]) for p in predictions]) for name in names),
        *((f"score.{name}", [p["scores"][name] for p in predictions]) for name in names),
        *((name, [_as_cell(p[name]) for p in predictions]) for name in last),
    ]


def _as_cell(value: Any) -> Any:
    """Return a value of a table: truth as 0 or 1, a set of labels as JSON."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return int(value) if isinstance(value, bool) else value


def _write_table(path: str, columns: list[tuple[str, list[Any]]]) -> None:
    """Write columns of one length; the ending is the format.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, or is another kind of file.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.
    """
    names = [show_path(name) for name, _ in columns]
    shown = [[_show_cell(value) for value in values] for _, values in columns]
    with write_output(path, "predictions") as beside:
        if Path(path).suffix.lower() == ".csv":
            with beside.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(names)
                writer.writerows(zip(*shown, strict=True))
            return
        arrow = require("pyarrow", extra="parquet", purpose="writing .parquet")
        parquet = require("pyarrow.parquet", extra="parquet", purpose="writing .parquet")
        table = arrow.table([arrow.array(values) for values in shown], names=names)
        # how an older file of ours is known from one of other origin
        notes = {**(table.schema.metadata or {}), b"featx_predictions": b"1"}
        with beside.open("wb") as file:  # since Arrow takes no name that is not UTF-8
            parquet.write_table(table.replace_schema_metadata(notes), file)


def _show_cell(value: Any) -> Any:
    return show_path(value) if isinstance(value, str) else value


def notes(result: dict[str, Any]) -> list[str]:
    """Name the images that could not be read, and say what the model does not know."""
    lines = list_failures(result["failures"])
    if not result["is_calibrated"]:
        lines.append(
            "the model was saved without what calibrates it, so confidence is its own "
            "probability and unknown is not known; train it again"
        )
    return lines


def show(result: dict[str, Any]) -> str:
    """Print one line per image, then how many are unknown."""
    predictions, lines = result["predictions"], []
    for p in predictions:
        is_list = isinstance(p["label"], list)
        label = (
            (show_name(", ".join(p["label"])) or "(none)") if is_list else show_name(p["label"])
        )
        parts = [show_name(p["path"]), label, f"{p['confidence']:.3f}"]
        parts += (
            [f"possible: {show_name(', '.join(p['labels'])) or 'none'}"] if "labels" in p else []
        )
        parts += ["unknown"] if p["is_unknown"] else []
        lines.append("\t".join(parts))
    if n := result["n_unknown"]:
        lines.append(
            f"{n} of {show_count(len(predictions), 'image')} {'is' if n == 1 else 'are'} unlike "
            "anything the model was trained on; at most "
            f"{100 * result['false_alarms']:g} % of images like the training images are flagged so"
        )
    return "\n".join(lines)
