"""Metrics and protocols that scikit-learn lacks: arrays in, numbers out.

Names are loaded on first use: a prediction does not wait for what measures predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx._lazy import load_later

if TYPE_CHECKING:
    from featx.evaluation._duplicates import duplicate_groups, find_leaks
    from featx.evaluation._learning_curve import FewLabelCurve, few_label_curve
    from featx.evaluation._power_law import extrapolate, labels_needed
    from featx.evaluation._ranking import (
        Relevance,
        average_precision_scores,
        mean_average_precision_score,
        mean_precision_at_k,
        recall_at_k,
        relevance_from_labels,
    )
    from featx.evaluation._scores import (
        calibration_error,
        mean_over_attributes,
        precision_recall_points,
    )
    from featx.evaluation._splits import few_label_splits
    from featx.evaluation._summaries import (
        bootstrap_interval,
        evaluate_attributes,
        evaluate_classes,
        wilson_interval,
    )

__all__ = [
    "FewLabelCurve",
    "Relevance",
    "average_precision_scores",
    "bootstrap_interval",
    "calibration_error",
    "duplicate_groups",
    "evaluate_attributes",
    "evaluate_classes",
    "extrapolate",
    "few_label_curve",
    "few_label_splits",
    "find_leaks",
    "labels_needed",
    "mean_average_precision_score",
    "mean_over_attributes",
    "mean_precision_at_k",
    "precision_recall_points",
    "recall_at_k",
    "relevance_from_labels",
    "wilson_interval",
]

_HOMES = {
    "FewLabelCurve": "._learning_curve",
    "Relevance": "._ranking",
    "average_precision_scores": "._ranking",
    "bootstrap_interval": "._summaries",
    "calibration_error": "._scores",
    "duplicate_groups": "._duplicates",
    "evaluate_attributes": "._summaries",
    "evaluate_classes": "._summaries",
    "extrapolate": "._power_law",
    "few_label_curve": "._learning_curve",
    "few_label_splits": "._splits",
    "find_leaks": "._duplicates",
    "labels_needed": "._power_law",
    "mean_average_precision_score": "._ranking",
    "mean_over_attributes": "._scores",
    "mean_precision_at_k": "._ranking",
    "precision_recall_points": "._scores",
    "recall_at_k": "._ranking",
    "relevance_from_labels": "._ranking",
    "wilson_interval": "._summaries",
}

__getattr__ = load_later(__name__, _HOMES)
