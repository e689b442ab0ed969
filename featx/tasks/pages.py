"""The pages of a comparison, of a benchmark and of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from featx._repr import choose_time_unit, show_count
from featx._version import __version__
from featx.evaluation import FewLabelCurve, mean_over_attributes, precision_recall_points
from featx.report import Mistake, Report, ScatterPoint
from featx.tasks.bench import Benchmark
from featx.tasks.class_maps import ClassMaps, DrawMaps
from featx.tasks.classifier import Evaluation, Predictions
from featx.tasks.comparison import Comparison, ComparisonRow

__all__ = [
    "add_predictions",
    "benchmark_report",
    "comparison_report",
    "evaluation_report",
    "list_versions",
    "name_measure",
]

N_WORST, N_BARS = 12, 40
N_SHOWN_ATTRIBUTES = 6
N_MAPPED, MIN_MAPPED = 500, 10
MIN_LAYERS = 3  # of a curve
VECTOR = "none"  # the pooling of what needs none
SETTINGS = {"workers": "number of workers", "batch_size": "batch size"}
MEASURES = {
    "map": "mean average precision",
    "map_step": "mean average precision (step)",
    "map_voc2007": "mean average precision (VOC 2007)",
    "ukbench": "right among the first 4 (UKBench)",
}


def name_measure(key: str) -> str:
    """Return what a page calls a measure.

    Examples
    --------
    >>> name_measure("map"), name_measure("balanced_accuracy")
    ('mean average precision', 'balanced accuracy')
    """
    return MEASURES.get(key) or key.replace("_", " ")


def comparison_report(found: Comparison, *, command: str = "") -> Report:
    """Make the page of a comparison: the answer, accuracy against speed, layers, and a table."""
    n_networks = len({row.backbone for row in found.rows})
    report = Report(
        "Comparison of networks"
        if n_networks > 1 or len(found.rows) < 2
        else "Comparison of layers",
        subtitle=f"{show_count(found.n_images, 'image')} of "
        f"{show_count(found.n_classes, 'class')}, {show_count(found.n_folds, 'fold')}",
    )
    report.add_text(found.answer, title="Which to choose")
    report.add_scatter(
        [
            ScatterPoint(
                row.name if n_networks > 1 else row.name.removeprefix(f"{row.backbone} "),
                row.images_per_second, row.accuracy.value, row.accuracy.low, row.accuracy.high,
                row.backbone, row.is_on_frontier,
            )
            for row in found.rows
        ],
        x_label="images per second",
        y_label="accuracy, 95 % interval",
        log_x=True,
        frontier="no other network is both faster and more accurate"
        if n_networks > 1
        else "no other layer is both faster and more accurate",
        title="Accuracy against speed",
    )  # fmt: skip
    for backbone in dict.fromkeys(row.backbone for row in found.rows):
        _add_layers(report, [row for row in found.rows if row.backbone == backbone])
    report.add_table(
        [
            [
                r.name, r.accuracy.value, r.accuracy.low, r.accuracy.high, r.images_per_second,
                r.n_features, "yes" if r.is_as_accurate else "", "yes" if r.is_on_frontier else "",
            ]
            for r in found.rows
        ],
        ["network", "accuracy", "from", "to", "images per second", "features", "as good as best",
         "unbeaten"],
        title="All results",
        caption="From and to are the ends of Wilson's 95 % interval. As good as best: McNemar's "
        "exact test finds no difference at 5 %. Unbeaten: no other is better in accuracy or "
        "speed, beyond noise, without being worse in the other.",
    )  # fmt: skip
    fingerprints = ", ".join(r.fingerprint for r in found.rows)
    return report.add_key_values({**list_versions(command), "recipes": fingerprints})


def _add_layers(report: Report, rows: Sequence[ComparisonRow]) -> None:
    """Append accuracy over the layers of one network, a line for each pooling of all of them."""
    layers = [row.layer for row in sorted(rows, key=lambda row: row.depth)]
    layers = list(dict.fromkeys(layers))
    if len(layers) < MIN_LAYERS:
        return
    by_place = {(row.layer, row.pooling): row.accuracy for row in rows}
    curves, spans = {}, {}
    for pooling in dict.fromkeys(row.pooling for row in rows if row.pooling != VECTOR):
        # What is a vector already is the same point of every line.
        found = [by_place.get((n, pooling), by_place.get((n, VECTOR))) for n in layers]
        points = [figure for figure in found if figure is not None]
        if len(points) == len(layers):
            curves[pooling] = [figure.value for figure in points]
            spans[pooling] = [(figure.low, figure.high) for figure in points]
    if curves:
        report.add_curve(
            range(1, len(layers) + 1),
            curves,
            spans,
            x_label="layer, in order of execution",
            y_label="accuracy, 95 % interval",
            x_names=layers,
            title=f"Accuracy over the layers of {rows[0].backbone}",
        )


def benchmark_report(found: Benchmark, *, command: str = "") -> Report:
    """Make the page of a benchmark: the stages, the sweeps and what would help."""
    time, unit = choose_time_unit(3600 * found.hours)
    report = Report(
        "Speed of feature extraction",
        subtitle=f"{found.backbone} on {found.device}, {found.n_images:,} of "
        f"{show_count(found.n_in_source, 'image')}, median of {show_count(found.repeats, 'run')}",
    )
    report.add_scores(
        {
            "images per second in a whole extraction": found.end_to_end,
            "share of the speed that the stages allow": found.ratio_to_ceiling,
            f"{unit} for {show_count(found.n_in_source, 'image')}": time,
        },
        title=f"Slowest stage: {found.bottleneck}",
    )
    report.add_bars(
        [stage.name for stage in found.stages],
        [stage.share for stage in found.stages],
        limit=1.0,
        title="Share of the time per stage",
    )
    report.add_table(
        [[s.name, s.images_per_second, s.share, s.idle] for s in found.stages],
        ["stage", "images per second", "share of the time", "idle"],
        title="Each stage alone",
        caption="Decode reads and decodes the files, network computes the features, write saves "
        "them. Images per second: the stage has all cores to itself. Share of the time: if the "
        "stages ran one after the other. Idle: share of a whole extraction in which the stage "
        "would wait for the others.",
    )
    for sweep in found.sweeps:
        name = SETTINGS[sweep.setting]
        report.add_curve(
            list(sweep.values),
            {"whole extraction": list(sweep.images_per_second)},
            x_label=name,
            y_label="images per second",
            log_x=min(sweep.values) > 0,
            title=f"Speed by {name}: choose {sweep.best}",
        )
    if found.advice:
        advice = [f"{line[0].upper()}{line[1:]}." for line in found.advice]
        report.add_text("\n\n".join(advice), title="How to make it faster")
    return report.add_key_values(
        {
            **list_versions(command),
            "engine": f"{found.engine}: {found.engine_reason}",
            "precision": found.precision,
            "workers": found.workers,
            "batch size": found.batch_size,
            "mean size of a file": f"{found.file_bytes / 1e3:.1f} kB",
            "unreadable images": found.n_failed,
        }
    )


def evaluation_report(
    found: Evaluation,
    *,
    title: str,
    subtitle: str = "",
    curve: FewLabelCurve | None = None,
    maps: DrawMaps | None = None,
    command: str = "",
) -> Report:
    """Make the page of an evaluation: figures, confusions or attributes, and the mistakes.

    Parameters
    ----------
    found : Evaluation
        As of `Training.cross_validate` or `Classifier.evaluate`.
    title, subtitle : str
        What the page says of it.
    curve : FewLabelCurve, optional
        Shown behind the mistakes, as of `Training.learning_curve`.
    maps : callable, optional
        Draws the maps of the mistakes' labels, as `featx.tasks.class_maps.draw_class_maps` of the
        model; default none.
    command : str, default ""
        What the user ran.
    """
    names = list(found.figures["intervals"])
    spans = {name: span for name, span in found.figures["intervals"].items() if span}
    if found.n_seen:
        subtitle += (
            f"{'. ' if subtitle else ''}The model was trained on {found.n_seen} of these images, "
            "so expect less on new ones"
        )
    report = Report(title, subtitle=subtitle, thumbnail_px=256)
    counted = show_count(found.figures["n_samples"], "image")
    report.add_scores(
        {name_measure(name): found.figures[name] for name in names},
        intervals={name_measure(name): span for name, span in spans.items()},
        title=f"Scores on {counted}, with 95\u00a0% intervals",
    )
    add_predictions(report, found.predictions, maps)
    if curve is not None:
        report.add_curve(
            list(curve.n_per_class),
            curve.mean,
            curve.intervals,
            x_label="labels per class",
            y_label="accuracy, 95 % interval",
            log_x=True,
            title="Accuracy with fewer labels per class",
        )
    coverage = found.coverage
    unused = (
        {"rows of the label file without an image": coverage.n_unused} if coverage.n_unused else {}
    )
    return report.add_key_values(
        {
            **list_versions(command),
            "images without a label": coverage.n_unlabelled,
            **unused,
            "evaluated images that the model was trained on": "not known"
            if found.n_seen is None
            else found.n_seen,
        }
    )


def add_predictions(report: Report, found: Predictions, maps: DrawMaps | None = None) -> None:
    """Append what predictions got right and wrong, class by class or attribute by attribute."""
    if found.y_true.ndim == 2:
        _add_attributes(report, found)
    else:
        _add_classes(report, found)
        _add_mistakes(report, found, maps)
        _add_map(report, found)


def _add_classes(report: Report, found: Predictions) -> None:
    report.add_confusion_matrix(found.y_true.tolist(), found.y_pred.tolist(), paths=found.paths)
    names = sorted(set(found.y_true.tolist()))
    shares = [float(np.mean(found.y_pred[found.y_true == n] == n)) for n in names]
    worst = sorted(range(len(names)), key=lambda i: shares[i])[:N_BARS]
    title = "Accuracy by class" if len(names) <= N_BARS else "Accuracy of the 40 hardest classes"
    report.add_bars([names[i] for i in worst], [shares[i] for i in worst], limit=1.0, title=title)


def _add_mistakes(report: Report, found: Predictions, maps: DrawMaps | None) -> None:
    wrong = np.flatnonzero(found.y_true != found.y_pred)
    sure = found.scores.max(axis=1)
    surest = sorted(wrong.tolist(), key=lambda i: -sure[i])[:N_WORST]
    if not surest:
        return
    labels = {found.paths[i]: (str(found.y_pred[i]), str(found.y_true[i])) for i in surest}
    drawn = maps(labels) if maps else ClassMaps()
    report.add_mistakes(
        [
            Mistake(
                found.paths[i], found.y_true[i], found.y_pred[i], float(sure[i]),
                drawn.by_path.get(found.paths[i], ()),
            )
            for i in surest
        ],
        title="Most confident mistakes",
        note=drawn.note,
    )  # fmt: skip


def _add_map(report: Report, found: Predictions) -> None:
    """Lay the test images out by their features; a few hundred, since it takes seconds."""
    from featx.mapping import project

    if found.vectors is None or len(found.vectors) < MIN_MAPPED:
        return
    rows = np.unique(np.linspace(0, len(found.vectors) - 1, N_MAPPED).astype(int))
    report.add_embedding_map(
        project(found.vectors[rows]),
        found.y_true[rows].tolist(),
        title="Map of the test images: similar ones are close (t-SNE)",
    )


def _add_attributes(report: Report, found: Predictions) -> None:
    values = mean_over_attributes(found.y_true, found.scores, average=None)
    order = [int(i) for i in np.argsort(-np.nan_to_num(values, nan=-1)) if not np.isnan(values[i])]
    report.add_bars(
        [found.classes[i] for i in order],
        [float(values[i]) for i in order],
        limit=1.0,
        title="Average precision by attribute",
    )
    step = max(1, len(order) // N_SHOWN_ATTRIBUTES)
    curves, ap = {}, {}
    for i in order[::step][:N_SHOWN_ATTRIBUTES]:
        recall, precision = precision_recall_points(found.y_true[:, i], found.scores[:, i])
        curves[found.classes[i]] = (recall, precision)
        ap[found.classes[i]] = float(values[i])
    report.add_precision_recall(curves, ap=ap, title="Precision and recall, easy to hard")


def list_versions(command: str = "") -> dict[str, str]:
    """Return the command and the versions that a page names.

    Parameters
    ----------
    command : str, default ""
        What the user ran; left out where it is empty.
    """
    names = ("torch", "torchvision", "scikit-learn", "numpy")
    pairs = {"command": command} if command else {}
    return {
        **pairs,
        "featx": __version__,
        "python": sys.version.split()[0],
        **{name: version(name) for name in names},
    }
