"""Metrics and protocols that scikit-learn lacks: arrays in, numbers out."""

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
