"""What helps with one's own images: networks compared, an extraction measured, presets."""

from featx.tasks.bench import Benchmark, benchmark
from featx.tasks.compare import Comparison, ComparisonRow, compare
from featx.tasks.figure import Figure
from featx.tasks.pages import benchmark_report, comparison_report
from featx.tasks.presets import PRESETS, Preset, get_preset

__all__ = [
    "PRESETS",
    "Benchmark",
    "Comparison",
    "ComparisonRow",
    "Figure",
    "Preset",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
    "get_preset",
]
