"""One page for each run: what was run, the figures, and the pictures behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.evaluation import FewLabelCurve
from featx.report import GalleryMatch, GalleryRow, Report
from featx.tasks.pages import add_predictions, list_versions, name_measure
from pipelines.protocols.results import Rankings, TaskResult

__all__ = ["curve_report", "task_report"]

N_SHOWN_QUERIES = 12
N_SHOWN_MATCHES = 5
COUNTS = {
    "train": "training images",
    "test": "test images",
    "failed": "images that could not be read",
    "leaks": "near-duplicates between training and test images",
    "database": "images of the database",
}


def task_report(results: Sequence[TaskResult], *, command: str = "") -> Report:
    """Make the page of one or several results on one data set.

    Parameters
    ----------
    results : sequence of TaskResult
        Of one task; pictures are those of the one with the best headline.
    command : str, default ""
        What the user ran.

    Returns
    -------
    Report
    """
    best = max(results, key=lambda r: r.headline.value)
    name = next(iter(best.figures))
    report = Report(f"{best.dataset}: {best.task.replace('_', ' ')}", subtitle=best.protocol)
    report.add_scores(
        {name_measure(key): figure.value for key, figure in best.figures.items()},
        intervals={
            name_measure(key): (f.low, f.high)
            for key, f in best.figures.items()
            if f.low is not None and f.high is not None
        },
        title=f"{best.backbone}, {best.preset}",
    )
    if len(results) > 1:
        report.add_table(
            [_row(r) for r in results],
            [
                "network",
                "preset",
                *map(name_measure, best.figures),
                "images per second",
                *_cost_of(best),
            ],
            title="All results",
            caption="Images per second is empty where the features existed already.",
        )
        report.add_bars(
            _names(results),
            [r.headline.value for r in results],
            _spans(results),
            title=name_measure(name).capitalize(),
        )
    if isinstance(best.details, Rankings):
        _add_rankings(report, best.details)
    else:
        add_predictions(report, best.details)
    return report.add_key_values(
        {
            **list_versions(command),
            "recipes": ", ".join(sorted({f for r in results for f in r.fingerprints})),
            **{COUNTS.get(key, key.replace("_", " ")): n for key, n in best.counts.items()},
        }
    )


def curve_report(
    curve: FewLabelCurve, *, title: str, notes: Sequence[str] = (), command: str = ""
) -> Report:
    """Make the page of a few-label curve: plot, table and what more labels would buy."""
    report = Report(title, subtitle="score against labels per class, 95 % intervals over draws")
    report.add_curve(
        list(curve.n_per_class),
        curve.mean,
        curve.intervals,
        x_label="labels per class",
        y_label="score on the test images",
        log_x=True,
        title="Score by labels per class",
    )
    report.add_table(
        [
            [n, *(float(curve.mean[name][i]) for name in curve.mean)]
            for i, n in enumerate(curve.n_per_class)
        ],
        ["labels per class", *curve.mean],
        title="Mean over draws",
    )
    if notes:
        report.add_text("\n\n".join(notes), title="What more labels would give")
    return report.add_key_values(list_versions(command))


def _names(results: Sequence[TaskResult]) -> list[str]:
    """Name each by its preset, and by its network where there are several."""
    is_one = len({r.backbone for r in results}) == 1
    return [r.preset if is_one else f"{r.backbone} {r.preset}" for r in results]


def _row(result: TaskResult) -> list[Any]:
    return [
        result.backbone,
        result.preset,
        *(figure.value for figure in result.figures.values()),
        result.costs.get("images_per_second"),
        result.costs[next(iter(_cost_of(result).values()))],
    ]


def _cost_of(result: TaskResult) -> dict[str, str]:
    """Return the column that says what is slow, and where its value is."""
    if "seconds_per_query" in result.costs:
        return {"seconds per query": "seconds_per_query"}
    return {"seconds to fit": "fit_seconds"}


def _spans(results: Sequence[TaskResult]) -> list[tuple[float, float]] | None:
    spans = [(r.headline.low, r.headline.high) for r in results]
    known = [(low, high) for low, high in spans if low is not None and high is not None]
    return [(max(low, 0.0), high) for low, high in known] if len(known) == len(spans) else None


def _add_rankings(report: Report, found: Rankings) -> None:
    """Show queries from worst to best, evenly."""
    order = np.argsort(found.average_precision, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, N_SHOWN_QUERIES).astype(int))]
    rows = []
    for query in shown.tolist():
        matches = tuple(
            GalleryMatch(
                found.database[int(found.indices[query, k])],
                float(found.distances[query, k]),
                bool(found.is_right[query, k]),
            )
            for k in range(min(N_SHOWN_MATCHES, found.indices.shape[1]))
        )
        note = f"average precision {found.average_precision[query]:.2f}"
        rows.append(GalleryRow(found.queries[query], matches, note))
    report.add_gallery(rows, title="Queries, lowest average precision first")
