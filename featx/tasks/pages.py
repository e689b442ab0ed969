"""The pages of a comparison and of a benchmark."""

from __future__ import annotations

import sys
from importlib.metadata import version

from featx._version import __version__
from featx.report import Report, ScatterPoint
from featx.tasks.bench import Benchmark
from featx.tasks.compare import Comparison

__all__ = ["benchmark_report", "comparison_report", "list_versions"]


def comparison_report(found: Comparison, *, command: str = "") -> Report:
    """Make the page of a comparison: plot and table."""
    report = Report(
        "Which network?",
        subtitle=f"{found.n_images} images of {found.n_classes} classes, {found.n_folds} folds",
    )
    report.add_scatter(
        [
            ScatterPoint(
                r.name, r.images_per_second, r.accuracy.value, r.accuracy.low, r.accuracy.high,
                r.backbone,
            )
            for r in found.rows
        ],
        x_label="images per second",
        y_label="accuracy",
        log_x=True,
        frontier=True,
        title="Accuracy against speed",
    )  # fmt: skip
    report.add_table(
        [
            [
                r.name, r.accuracy.value, r.accuracy.low, r.accuracy.high, r.images_per_second,
                r.n_features, "yes" if r.is_on_frontier else "",
            ]
            for r in found.rows
        ],
        ["network", "accuracy", "low", "high", "images/s", "length", "unbeaten"],
        title="All networks",
        caption="low to high: 95 % bootstrap interval over images; unbeaten: nothing here is both "
        "faster and more accurate",
    )  # fmt: skip
    fingerprints = ", ".join(r.fingerprint for r in found.rows)
    return report.add_key_values({**list_versions(command), "recipes": fingerprints})


def benchmark_report(found: Benchmark, *, command: str = "") -> Report:
    """Make the page of a benchmark: the stages, the sweeps and what would help."""
    report = Report(
        "Where the time goes",
        subtitle=f"{found.backbone} on {found.device}, {found.n_images} of {found.n_in_source} "
        f"images, median of {found.repeats}",
    )
    report.add_scores(
        {
            "images/s, end to end": found.end_to_end,
            "of what the stages allow": found.ratio_to_ceiling,
            "hours for the whole source": found.hours,
        },
        title=f"Bottleneck: {found.bottleneck}",
    )
    report.add_bars(
        [f"{stage.name}, alone" for stage in found.stages],
        [stage.share for stage in found.stages],
        limit=1.0,
        title="Share of the time, one stage after the other",
    )
    report.add_table(
        [[s.name, s.images_per_second, s.share, s.idle] for s in found.stages],
        ["stage", "images/s alone", "share of the time", "idle"],
        title="Stages",
        caption="idle: share of a whole extraction in which the stage, at its own speed, would "
        "have nothing to do",
    )
    for sweep in found.sweeps:
        name = sweep.setting.replace("_", " ")
        report.add_curve(
            list(sweep.values),
            {"end to end": list(sweep.images_per_second)},
            x_label=name,
            y_label="images per second",
            log_x=min(sweep.values) > 0,
            title=f"{name.capitalize()}: {sweep.best} is enough",
        )
    if found.advice:
        report.add_text("\n\n".join(found.advice), title="What would help")
    return report.add_key_values(
        {
            **list_versions(command),
            "engine": f"{found.engine}: {found.engine_reason}",
            "precision": found.precision,
            "workers": found.workers,
            "batch size": found.batch_size,
            "mean file, kB": f"{found.file_bytes / 1e3:.1f}",
            "unreadable": found.n_failed,
        }
    )


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
