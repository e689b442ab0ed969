"""``featx train``."""

from __future__ import annotations

import argparse
import dataclasses
import time
from contextlib import ExitStack
from typing import Any

from featx._repr import show_count
from featx.cli._messages import list_failures, show_coverage, show_figure
from featx.cli._outputs import add_output, add_page
from featx.cli._sources import open_given_store
from featx.cli.options import (
    ENCODER,
    RUN,
    add_labels,
    add_options,
    add_preset,
    add_sources,
    add_table,
    as_source,
    read_options,
    read_preset,
)
from featx.errors import ParameterError

NO_MAPS = (
    "these labels are from the models of the folds, which are not kept; the pages of featx "
    "evaluate and featx predict have them"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from featx.extraction import Encoder, RunOptions

    add_sources(parser, also="; or a store")
    add_output(
        parser, "--out", "model", required=True, metavar="MODEL", help="model file to write"
    )
    add_labels(parser, attributes=True)
    parser.add_argument(
        "--task",
        default="classification",
        choices=["classification", "attributes"],
        help="classification: one label per image (default); attributes: a column of 0 and 1 each",
    )
    parser.add_argument(
        "--attributes", nargs="+", metavar="A", help="columns that are attributes (default all)"
    )
    add_preset(parser, "classifier, and views if SOURCE is images (default plain)")
    parser.add_argument(
        "--method", choices=["logistic", "svm"], help="classifier, instead of the preset's"
    )
    add_page(parser, "cross-validated accuracy, confusions and mistakes")
    add_table(parser)
    images = parser.add_argument_group("if SOURCE is images")
    add_output(
        images, "--store", "store", metavar="F.h5",
        help="store for the features of labelled images (default MODEL.h5)",
    )  # fmt: skip
    add_options(images, Encoder, ENCODER)
    add_options(images, RunOptions, RUN)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and save."""
    from featx.cli._later import import_scikit_learn

    import_scikit_learn()
    from featx.extraction.kept import keep_network
    from featx.tasks import train

    start = time.monotonic()
    preset = read_preset(args)
    if args.method:
        preset = dataclasses.replace(preset, method=args.method)
    with ExitStack() as stack:
        store, images = _open(args, preset, stack)
        training = train(
            store,
            args.labels,
            images=images,
            task=args.task,
            attributes=args.attributes,
            preset=preset,
        )
        training.save(args.out, store)
        keep_network(store.recipe, store.made_with)
        result = {**training.to_dict(), "task": args.task, "out": args.out, "store": store.path}
        if args.html:
            from featx.tasks import evaluation_report
            from featx.tasks.class_maps import ClassMaps

            try:
                found = training.cross_validate(store)
            except ParameterError as err:
                raise ParameterError(f"{err}; the model is saved, without a page") from err
            subtitle = (
                f"{args.out}, preset {preset.name}, trained on {store.path}. Each image is judged "
                "by a model that was not trained on it"
            )
            page = evaluation_report(
                found, title="Cross-validation of a model", subtitle=subtitle,
                curve=training.learning_curve(store),
                maps=lambda _: ClassMaps(why_not=NO_MAPS),
            )  # fmt: skip
            result["report"] = str(page.save(args.html))
    return {**result, "notes": list(training.notes), "seconds": time.monotonic() - start}


def _open(args: argparse.Namespace, preset: Any, stack: ExitStack) -> tuple[Any, Any]:
    """Return a store, and the images of it that are to be trained on, None for all."""
    store = open_given_store(args, stack)
    return _extract(args, preset, stack) if store is None else (store, None)


def _extract(args: argparse.Namespace, preset: Any, stack: ExitStack) -> tuple[Any, Any]:
    """Extract the images that have a label."""
    from featx.extraction import Encoder, RunOptions, extract
    from featx.images import ImageManifest
    from featx.tasks.training import find_labels

    encoder = read_options(args, Encoder, **preset.encoder_options)
    for name in ("layers", "poolings"):
        if len(getattr(encoder, name) or ()) > 1:
            raise ParameterError(f"{name}: got several, expected one to train on")
    if args.table:
        raise ParameterError(f"table: got {args.table!r} without a store, expected one to go with")
    images = ImageManifest.from_source(as_source(args.source))
    found = find_labels(images, args.labels, args.task, args.attributes)
    run = read_options(args, RunOptions)
    store = extract(
        images.subset(found.rows), args.store or f"{args.out}.h5", encoder, **vars(run)
    )
    return stack.enter_context(store), images


def notes(result: dict[str, Any]) -> list[str]:
    """Say what may not have been meant."""
    return [*list_failures(result["failures"]), *result["notes"]]


def _show_score(result: dict[str, Any]) -> tuple[str, str]:
    """Return the score as text and what it is: a loss as itself, not its negative."""
    score, name = result["cv_score"], result["cv_metric"]
    if not name.startswith("neg_log_loss"):
        return show_figure(score), name
    return show_figure(None if score is None else -score), "mean log loss (0 is perfect)"


def show(result: dict[str, Any]) -> str:
    """Say what was trained."""
    score, measure = _show_score(result)
    what = "class" if result["task"] == "classification" else "attribute"
    how = "" if score == "not measured" else " cross-validated"
    lines = [
        (
            f"{result['task']}: {show_count(len(result['classes']), what)}, "
            f"{show_count(result['n_samples'], 'image')}, "
            f"{measure} {score}{how}, "
            f"in {result['seconds']:.1f} s; saved to {result['out']}"
        ),
        f"preset {result['preset']}, features of {result['store']}",
    ]
    if score == "not measured":
        few = "every class has" if result["task"] == "classification" else "an answer of each has"
        lines.append(f"{few} a single image, so none can be held out: label more images")
    return "\n".join([*lines, *show_coverage(result)])
