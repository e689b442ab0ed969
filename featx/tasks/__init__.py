"""What helps with one's own images: networks compared, an extraction measured, presets."""

from featx.tasks.bench import Benchmark, Stage, Sweep, benchmark
from featx.tasks.compare import Comparison, ComparisonRow, compare
from featx.tasks.figure import Figure
from featx.tasks.pages import benchmark_report, comparison_report, list_versions
from featx.tasks.presets import PRESETS, Preset, get_preset

__all__ = [
    "PRESETS",
    "Benchmark",
    "Comparison",
    "ComparisonRow",
    "Figure",
    "Preset",
    "Stage",
    "Sweep",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
    "get_preset",
    "list_versions",
]
