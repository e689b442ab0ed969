"""Metrics and protocols that scikit-learn lacks: arrays in, numbers out."""

from featx.evaluation._bootstrap import bootstrap_interval
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
)
from featx.evaluation._summaries import evaluate_attributes, evaluate_classes

__all__ = [
    "Relevance",
    "average_precision_scores",
    "average_precision_voc",
    "bootstrap_interval",
    "evaluate_attributes",
    "evaluate_classes",
    "mean_average_precision_score",
    "mean_per_class_accuracy",
    "mean_precision_at_k",
    "multilabel_mean_average_precision",
    "recall_at_k",
    "relevance_from_labels",
    "ukbench_score",
]
