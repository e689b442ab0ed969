"""The five tasks on a data set: network and preset in; figures with intervals and costs out."""

from pipelines.protocols.attributes import run_attributes
from pipelines.protocols.classification import run_classification
from pipelines.protocols.features import Features, prepare_features
from pipelines.protocols.pages import curve_report, task_report
from pipelines.protocols.results import Rankings, TaskResult
from pipelines.protocols.retrieval import RETRIEVAL_PRESETS, RetrievalPreset, run_retrieval

__all__ = [
    "RETRIEVAL_PRESETS",
    "Features",
    "Rankings",
    "RetrievalPreset",
    "TaskResult",
    "curve_report",
    "prepare_features",
    "run_attributes",
    "run_classification",
    "run_retrieval",
    "task_report",
]
