"""The five tasks: data set, network and preset in; figures with intervals and costs out."""

from featx.tasks.attributes import run_attributes
from featx.tasks.bench import Benchmark, Stage, Sweep, benchmark
from featx.tasks.classification import run_classification
from featx.tasks.compare import Comparison, ComparisonRow, compare
from featx.tasks.features import Features, Network, prepare_features
from featx.tasks.pages import benchmark_report, comparison_report, curve_report, task_report
from featx.tasks.presets import PRESETS, Preset, get_preset
from featx.tasks.results import Figure, Predictions, Rankings, TaskResult
from featx.tasks.retrieval import RETRIEVAL_PRESETS, RetrievalPreset, run_retrieval

__all__ = [
    "PRESETS",
    "RETRIEVAL_PRESETS",
    "Benchmark",
    "Comparison",
    "ComparisonRow",
    "Features",
    "Figure",
    "Network",
    "Predictions",
    "Preset",
    "Rankings",
    "RetrievalPreset",
    "Stage",
    "Sweep",
    "TaskResult",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
    "curve_report",
    "get_preset",
    "prepare_features",
    "run_attributes",
    "run_classification",
    "run_retrieval",
    "task_report",
]
