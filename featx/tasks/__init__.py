"""What helps with one's own images: networks compared, an extraction measured."""

from featx.tasks.bench import Benchmark, benchmark
from featx.tasks.compare import Comparison, ComparisonRow, Figure, compare
from featx.tasks.pages import benchmark_report, comparison_report

__all__ = [
    "Benchmark",
    "Comparison",
    "ComparisonRow",
    "Figure",
    "benchmark",
    "benchmark_report",
    "compare",
    "comparison_report",
]
