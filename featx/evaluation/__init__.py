"""Metrics and protocols that scikit-learn lacks: arrays in, numbers out."""

from featx.evaluation._bootstrap import bootstrap_interval
from featx.evaluation._duplicates import Leaks, duplicate_groups, find_leaks
from featx.evaluation._learning_curve import FewLabelCurve, few_label_curve
from featx.evaluation._power_law import Extrapolation, LabelsNeeded, extrapolate, labels_needed
from featx.evaluation._precision_recall import precision_recall_points
from featx.evaluation._ranking import (
    Relevance,
    average_precision_scores,
    mean_average_precision_score,
    mean_precision_at_k,
    recall_at_k,
    relevance_from_labels,
    ukbench_score,
)
from featx.evaluation._scores import (
    average_precision_voc,
    mean_per_class_accuracy,
    multilabel_mean_average_precision,
    multilabel_mean_roc_auc,
)
from featx.evaluation._splits import Split, few_label_split, few_label_splits
from featx.evaluation._summaries import evaluate_attributes, evaluate_classes

__all__ = [
    "Extrapolation",
    "FewLabelCurve",
    "LabelsNeeded",
    "Leaks",
    "Relevance",
    "Split",
    "average_precision_scores",
    "average_precision_voc",
    "bootstrap_interval",
    "duplicate_groups",
    "evaluate_attributes",
    "evaluate_classes",
    "extrapolate",
    "few_label_curve",
    "few_label_split",
    "few_label_splits",
    "find_leaks",
    "labels_needed",
    "mean_average_precision_score",
    "mean_per_class_accuracy",
    "mean_precision_at_k",
    "multilabel_mean_average_precision",
    "multilabel_mean_roc_auc",
    "precision_recall_points",
    "recall_at_k",
    "relevance_from_labels",
    "ukbench_score",
]
