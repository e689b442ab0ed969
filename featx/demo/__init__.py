"""The demonstration: every task on the sample images, with a report to open."""

from featx.demo.run import run_demo
from featx.images import sample_data_dir

__all__ = ["run_demo", "sample_data_dir"]
