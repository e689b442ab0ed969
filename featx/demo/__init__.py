"""The demonstration on the sample images."""

from featx.demo.samples import sample_data_dir

__all__ = ["sample_data_dir"]
