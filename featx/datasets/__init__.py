"""Read the standard image sets as they unpack on disk; downloads nothing, never imports torch."""

from featx.datasets.crops import write_crops
from featx.datasets.images import ImageDataset
from featx.datasets.registry import DatasetCard, list_datasets, read_dataset
from featx.datasets.retrieval import RetrievalDataset

__all__ = [
    "DatasetCard",
    "ImageDataset",
    "RetrievalDataset",
    "list_datasets",
    "read_dataset",
    "write_crops",
]
